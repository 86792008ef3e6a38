"""Any number of ranks, stopped anywhere: the same global batches and the same draws.

Plans are compared, which need no pixels, so that many cases cost little: ids, places and draws.
A rank is a loader with its own `World`.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from toys import FAMILIES, built

from loaders import Dataset, Loader, World
from loaders.order import Block
from loaders.strategies import Strategy

FIXED = settings(deadline=None, derandomize=True, database=None, max_examples=80)
RANKS = some.sampled_from([1, 2, 3, 8])
SHUFFLES = some.builds(Block, rows=some.integers(1, 7), window=some.integers(1, 4))


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    root = tmp_path_factory.mktemp("sets")
    return {name: built(family.source, root / name) for name, family in FAMILIES.items()}


@some.composite
def settings_of_a_run(draw: Any) -> tuple[str, dict[str, Any]]:
    name = draw(some.sampled_from(sorted(FAMILIES)))
    run = {
        "global_batch_size": draw(some.integers(1, 16)),
        "seed": draw(some.integers(0, 2**32)),
        "last": draw(some.sampled_from(["fill", "drop"])),
        "shuffle": draw(some.booleans() if name == "points" else some.booleans() | SHUFFLES),
    }
    if name == "points":  # groups of one size: the smallest has 5 samples
        run["last"] = "fill"
    return name, run


def open_ranks(dataset: Dataset, name: str, run: dict[str, Any], ranks: int) -> list[Loader]:
    options = {"threads": 1} | FAMILIES[name].settings | {"strategy": Strategy} | run
    ranked = (World(rank=rank, size=ranks) for rank in range(ranks))
    loaders = [Loader(dataset, world=world, **options) for world in ranked]
    for loader in loaders:
        loader._together = 1  # a plan is a step here; test_held.py looks at several
    return loaders


def leaves(value: Any) -> list[Any]:
    """Return the per-sample arrays of a plan's draws, in a fixed order."""
    if is_dataclass(value):
        return [leaf for field in fields_of(value) for leaf in leaves(getattr(value, field.name))]
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in leaves(value[key])]
    if isinstance(value, tuple | list):
        return [leaf for one in value for leaf in leaves(one)]
    return [value] if isinstance(value, np.ndarray) else []


def next_step(loaders: Sequence[Loader]) -> list[Any]:
    """Return what the ranks would read next, joined: epoch, step, ids, places, every draw."""
    plans = [loader._plan() for loader in loaders]
    first = plans[0]
    assert first is not None and len({plan.weights.shape for plan in plans if plan}) == 1
    real = np.concatenate([plan.weights > 0 for plan in plans if plan])
    parts = [
        [plan.keys.ids, plan.keys.positions, *leaves(plan.moves), *leaves(plan.drawn)]
        for plan in plans
        if plan
    ]
    joined = [np.concatenate(columns)[real].tolist() for columns in zip(*parts, strict=True)]
    sizes = [(drawn.route.name, drawn.height, drawn.width) for drawn in first.drawn]
    return [first.choices[0].epoch, first.choices[0].step, sizes, *joined]


def close(loaders: Sequence[Loader]) -> None:
    for loader in loaders:
        loader.close()


@FIXED
@given(case=settings_of_a_run(), ranks=some.sampled_from([2, 3, 8]))
def test_ranks_plan_the_same_global_batches(
    sets: dict[str, Dataset], case: tuple[str, dict[str, Any]], ranks: int
) -> None:
    name, run = case
    alone, together = (open_ranks(sets[name], name, run, count) for count in (1, ranks))
    held: list[int] = []
    for _ in range(alone[0].steps + 2):
        one, other = next_step(alone), next_step(together)
        assert one == other
        held += one[3] if one[0] == 0 else []
    assert len(held) == len(set(held))
    if run["last"] == "fill":
        assert sorted(held) == np.asarray(sets[name].split("train")).tolist()
    close([*alone, *together])


@FIXED
@given(
    case=settings_of_a_run(),
    before=RANKS,
    after=RANKS,
    stop=some.integers(0, 40),
    ahead=some.integers(0, 5),
)
def test_stopped_anywhere_and_resumed_on_other_ranks(
    sets: dict[str, Dataset],
    case: tuple[str, dict[str, Any]],
    before: int,
    after: int,
    stop: int,
    ahead: int,
) -> None:
    """Ranks that have planned `ahead` batches more than were consumed forget them."""
    name, run = case
    whole, first, second = (open_ranks(sets[name], name, run, n) for n in (1, before, after))
    want = [next_step(whole) for _ in range(stop + 4)]
    got = [next_step(first) for _ in range(stop + ahead)][:stop]
    for loader in first:
        for _ in range(stop):
            loader._chooser.consume()
    states = [loader.state() for loader in first]
    assert all(state == states[0] for state in states)
    for loader in second:
        loader.load(deepcopy(states[0]))
    assert want == got + [next_step(second) for _ in range(4)]
    close([*whole, *first, *second])


@pytest.mark.parametrize("shuffle", [True, Block(3, 2)])
@pytest.mark.parametrize("name", FAMILIES)
def test_engines_plan_the_same(name: str, shuffle: bool | Block, sets: dict[str, Dataset]) -> None:
    """Ids, boxes and turns do not depend on the engine, nor on the ranks of one."""
    if name == "points" and shuffle is not True:
        return  # groups and blocks exclude each other
    run = {"global_batch_size": 5, "seed": 3, "shuffle": shuffle}
    host = open_ranks(sets[name], name, run | {"engine": "host"}, 1)
    dali = open_ranks(sets[name], name, run | {"engine": "dali"}, 2)
    for _ in range(2 * host[0].steps):
        assert next_step(host) == next_step(dali)
    close([*host, *dali])


@pytest.mark.parametrize("shuffle", [True, "block", Block(3, 2)])
def test_batches_read_in_blocks_are_the_same_on_any_ranks(
    shuffle: Any, sets: dict[str, Dataset]
) -> None:
    """Read, not only planned: stopped in the second epoch of two ranks, resumed on three."""
    run = {"global_batch_size": 5, "seed": 8, "shuffle": shuffle}
    loaders = [open_ranks(sets["pairs"], "pairs", run, ranks) for ranks in (1, 2, 3)]
    want = read(loaders[0], 9)
    got = read(loaders[1], 6)
    for loader in loaders[2]:
        loader.load(loaders[1][0].state())
    got += read(loaders[2], 3)
    for one, other in zip(want, got, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    for some_ranks in loaders:
        close(some_ranks)


def read(loaders: Sequence[Loader], steps: int) -> list[dict[str, np.ndarray]]:
    """Return the next global batches without fillers."""
    iterators = [iter(loader) for loader in loaders]
    found = []
    for _ in range(steps):
        parts = [next(iterator).clone() for iterator in iterators]
        real = np.concatenate([part.weight.numpy() > 0 for part in parts])
        held = {"id": np.concatenate([part.id.numpy() for part in parts])[real]}
        for name in parts[0].fields:
            held[name] = np.concatenate([part[name].numpy() for part in parts])[real]
        found.append(held)
    for iterator in iterators:
        iterator.close()
    return found
