"""The contract of a strategy, over every file of loaders/strategies/: a run in small over arrays.

tests/test_strategy_loading.py drives the same files through real loaders.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest
from trainings import BATCH, EPOCHS, LAG, ROWS, Training, check, lively, make, through_a_file

from loaders import strategies
from tasks.run import _encode

# What each one is for; a strategy that is not named here owes the whole contract.
IGNORES_THE_SEED = {"fixed"}
# Its own figures: tests/test_smart.py; frequent classes come in part: tests/test_balanced.py.
LEAVES_SAMPLES_OUT = {"smart_origin", "balanced"}
WHOLE_BATCHES_ONLY = {"smart_origin"}


@pytest.fixture(params=strategies.names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_first_epoch_offers_each_sample(name: str) -> None:
    offered = {r for one in Training(make(name)).run() if one.epoch == 0 for r in one.decoded}
    missed = ROWS - len(offered)
    assert (missed > 0) == (name in LEAVES_SAMPLES_OUT), f"{missed} of {ROWS} samples never came"


def test_steps_are_those_that_begin_says(name: str) -> None:
    steps = Training(make(name)).run()
    for epoch in range(EPOCHS):
        numbers = [one.step for one in steps if one.epoch == epoch]
        assert numbers == list(range(len(numbers)))
        assert numbers
    assert steps[-1].epoch == EPOCHS - 1


def test_seed_decides(name: str) -> None:
    """The same seed gives the same run, whatever other generators did; another one another."""
    first = Training(make(name)).run()
    np.random.seed(99)  # one that draws from the generator of all is what is looked for
    before = np.random.get_state()[1].tolist()
    assert Training(make(name)).run() == first
    assert np.random.get_state()[1].tolist() == before
    assert (Training(make(name, seed=8)).run() == first) == (name in IGNORES_THE_SEED)


def test_choosing_ahead_changes_nothing(name: str) -> None:
    """One step ahead, or as far as the lag allows, before anything of these steps is known."""
    assert Training(make(name), ahead=1).run() == Training(make(name), ahead=LAG).run()


def test_replicas_agree(name: str) -> None:
    """Ranks hold one strategy each, choose in other threads at other times, and talk of nothing.

    What each is told comes from the other's copy, so state shared by mistake would show as well.
    """
    one, other = Training(make(name), ahead=1), Training(make(name), ahead=LAG)
    while one.choose() and other.choose():
        assert one.train() == other.train()
    states = [_encode(replica.strategy.state()) for replica in (one, other)]
    assert str(states[0]) == str(states[1])


def test_weights_and_rows_are_sound(name: str) -> None:
    for one in Training(make(name)).run():
        check(one, strategies.load(name))


@pytest.mark.parametrize("ahead", [1, 3])
def test_resume_goes_on_exactly(name: str, ahead: int) -> None:
    """From a checkpoint after any step of the first epochs, by way of a file."""
    whole = Training(make(name), ahead).run()
    saved, original = [], Training(make(name), ahead)
    for _ in range(min(40, len(whole) - 1)):
        assert original.choose()
        original.train()
        if ahead > 1:
            original.choose()  # chosen, and not trained on, when the checkpoint is written
        saved.append(through_a_file(original.chooser.state()))
    for number, state in enumerate(saved, start=1):
        resumed = Training(make(name), ahead)
        resumed.chooser.load(state)
        resumed.number = number
        assert resumed.run(30) == whole[number : number + 30], f"after step {number}"


def test_state_holds_what_changes(name: str) -> None:
    """A state is taken back whole: what is loaded and saved again is the same."""
    training = Training(make(name))
    training.run(30)
    state = through_a_file(training.strategy.state())
    fresh = make(name)
    fresh.load(state)
    assert str(_encode(fresh.state())) == str(_encode(state))


def test_state_is_not_lived_in(name: str) -> None:
    """A run goes on from a state without changing it: two runs can go on from one."""
    training = Training(make(name))
    training.run(30)
    state = through_a_file(training.chooser.state())
    ends = []
    for _ in range(2):
        resumed = Training(make(name))
        resumed.chooser.load(state)
        resumed.number = 30
        ends.append(resumed.run())
    assert ends[0] == ends[1]


@pytest.mark.parametrize("value", [0.0, 1.0, 2.3025851, 1e-30, 1e6])
def test_equal_losses_are_nothing_special(name: str, value: float) -> None:
    """No 0/0 and no log(0), whatever the loss is."""
    training = Training(make(name), losses=lambda rows, step: np.full(len(rows), value))
    with np.errstate(invalid="raise", divide="raise", over="raise"):
        steps = training.run()
    for one in steps:
        check(one, strategies.load(name))
    assert not has_nan(training.strategy.state())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_unsound_loss_spoils_no_other(name: str, value: float) -> None:
    """A sample whose loss is never finite: the others come as they did, with sound weights."""

    def losses(rows: np.ndarray, step: int) -> np.ndarray:
        return np.where(rows == 17, value, lively(rows, step))

    training = Training(make(name), losses=losses)
    with np.errstate(invalid="ignore"):  # the root of what is made up here
        steps = training.run()
    for one in steps:
        check(one, strategies.load(name))
    assert not has_nan(training.strategy.state())
    visits = np.bincount([row for one in steps for row in one.trained], minlength=ROWS)
    sound = np.bincount([r for one in Training(make(name)).run() for r in one.trained])
    # Candidates with an unsound loss are trained on, so that the run's own guard names them.
    assert (visits > 0).sum() >= 0.8 * (sound > 0).sum()


def has_nan(state: Any) -> bool:
    if isinstance(state, dict):
        return any(has_nan(value) for value in state.values())
    return bool(np.isnan(np.asarray(state, float)).any())


def test_losses_matter_where_they_are_asked_for(name: str) -> None:
    """Other losses, other samples or weights; who asks for none hears none."""
    kind = strategies.load(name)
    turned = Training(make(name), losses=lambda rows, step: 1.1 - lively(rows, step)).run()
    assert (turned != Training(make(name)).run()) == bool(kind.needs)
    assert not kind.listens() or kind.needs


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_split_smaller_than_a_batch(name: str, rows: int) -> None:
    """All of it is a batch; who wants whole batches says so."""
    if name in WHOLE_BATCHES_ONLY:
        with pytest.raises(ValueError, match="whole batches"):
            make(name, rows=rows)
        return
    steps = Training(make(name, rows=rows)).run()
    assert {row for one in steps for row in one.decoded} == set(range(rows))
    for one in steps:
        check(one, strategies.load(name), rows)


def test_short_batches_are_dropped_where_the_order_drops(name: str) -> None:
    kind = strategies.load(name)
    rows = 2 * BATCH * kind.candidates + 3
    for one in Training(make(name, rows=rows, last="drop")).run():
        assert len(one.decoded) == BATCH * kind.candidates


def test_batches_of_one_size_stay_or_are_refused(name: str) -> None:
    """A batch holds samples of one group, or the strategy says that it cannot do that."""
    groups = np.arange(ROWS) % 3
    try:
        strategy = make(name, groups=groups)
    except ValueError as error:
        assert "groups" in str(error)
        return
    for one in Training(strategy).run():
        assert len(set(groups[one.decoded])) == 1


def test_says_what_it_is(name: str) -> None:
    """A file says what it does, the class what each of its options means."""
    kind = strategies.load(name)
    module = inspect.getmodule(kind)
    assert module is not None
    assert module.__doc__
    options = list(inspect.signature(kind).parameters.values())[1:]
    for option in options if kind.__init__ is not strategies.Strategy.__init__ else ():
        assert option.kind is option.KEYWORD_ONLY, f"{option.name} can be given without its name"
        assert option.annotation is not option.empty
        assert re.search(rf"\b{option.name}\b[\w, ]*:", kind.__doc__ or ""), option.name
