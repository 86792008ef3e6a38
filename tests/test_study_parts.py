"""Parts of a study: statistics, settings, children under signals, and the saliency study's say."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from scipy import stats

import train
from jobs import intervals, page, settings
from jobs.results import Result, Results
from jobs.studies import saliency
from jobs.study import Execution, Member, Table

ROOT = Path(__file__).parents[1]


# Statistics


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_interval_of_seeds(n: int) -> None:
    values = np.random.default_rng(n).normal(3, 2, n)
    found = intervals.spread(values.tolist())
    low, high = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    assert (found.n, found.low, found.high) == (n, pytest.approx(low), pytest.approx(high))
    assert found.half == pytest.approx((high - low) / 2)


def test_one_seed_has_no_interval_and_nothing_is_ever_nan() -> None:
    one = intervals.spread([4.0])
    assert (one.n, one.mean, one.sd, one.low, one.half) == (1, 4.0, None, None, None)
    assert intervals.spread([]).mean is None
    assert intervals.spread([1.0, float("nan"), 3.0, float("inf")]).mean == 2.0
    assert intervals.over_seeds([float("nan")]) is None
    single = intervals.over_seeds([0.5])
    assert single and (single.mean, single.low, single.p_t, single.p_wilcoxon) == (0.5,) + 3 * (
        None,
    )


def test_bootstrap_is_that_of_scipy() -> None:
    values = np.random.default_rng(1).exponential(1, 80) - 0.8
    found = intervals.over_samples(values.tolist())
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile")
    assert found and found.low is not None and found.high is not None
    interval, width = theirs.confidence_interval, np.ptp(theirs.confidence_interval)
    assert [found.low, found.high] == pytest.approx(list(interval), abs=0.05 * width)
    assert found == intervals.over_samples(values.tolist())  # the same each time
    assert found.p_wilcoxon == stats.wilcoxon(values).pvalue
    assert found.p_t == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_tests_of_equal_differences() -> None:
    same = intervals.over_seeds([0.0, 0.0, 0.0])
    assert same and (same.p_t, same.p_wilcoxon, same.low, same.high) == (1.0, 1.0, 0.0, 0.0)
    alike = intervals.over_seeds([0.25, 0.25, 0.25])  # t would be infinite
    assert alike and alike.p_t is None and alike.p_wilcoxon == pytest.approx(0.25)


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.2: × 4, 3, 2, 1; never below one before it.
    assert intervals.holm([0.03, None, 0.01, 0.2, 0.02]) == pytest.approx(
        [0.06, None, 0.04, 0.2, 0.06]
    )
    assert intervals.holm([0.9, 0.8]) == [1.0, 1.0] and intervals.holm([]) == []


# Settings


def test_settings_are_what_train_understands() -> None:
    """The recipe that is checked is the one that train.py makes of the arguments."""
    given = {
        "net.scale": "3",
        "net.shuffle": "false",
        "task.patch": "20",
        "lr": "1e-4",
        "betas": "0.8,0.95",
        "channels_last": "true",
        "milestones": "0.5,0.75",
        "epochs": "2",
        "strategy": "random",
    }
    command = ["--model", "shufflemixer", "--show", "--seed", "7", *settings.arguments(given)]
    shown = CliRunner().invoke(train.main, command)
    recipe = settings.recipe("shufflemixer", given, 7)
    assert json.loads(shown.output) == recipe.facts()
    assert recipe.steps == 0 and recipe.net["scale"] == 3 and recipe.channels_last
    assert "--no-channels-last" in settings.arguments({"channels_last": "off"})


def test_epochs_of_the_study_replace_steps_of_a_variant() -> None:
    assert settings.merged({"steps": "9", "lr": "1"}, {"epochs": "2"}) == {"lr": "1", "epochs": "2"}
    assert settings.merged({"steps": "9"}, {"steps": "3"}) == {"steps": "3"}


def test_latex_is_escaped() -> None:
    text = page.tex([Table("50 % & more", ("a_b", "x"), [(r"C:\d", "1 ± 2")], "{n}")])
    assert r"\caption{50 \% \& more. \{n\}}" in text
    assert r"a\_b & x \\" in text and r"C:\textbackslash{}d & 1 $\pm$ 2 \\" in text


# Children

DRIVER = """
import sys
from pathlib import Path
from jobs import child
with child.Stop() as stop, open(sys.argv[1] + "/lock", "w") as held:
    command = [sys.executable, "-c", sys.argv[2]]
    code, last = child.run(command, Path(sys.argv[1], "log"), "name", stop, held.fileno())
print(code, last, int(stop.signal))
"""
SAVING = """
import signal, sys, time
def save(number, frame):
    print("told once", flush=True)
    time.sleep(0.3)
    print("error: saved", flush=True)
    print("more", flush=True)
    sys.exit(5)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(60)
"""


def drive(folder: Path, command: str, **streams: Any) -> subprocess.Popen[str]:
    facts = os.environ | {"PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-c", DRIVER, str(folder), command]
    return subprocess.Popen(arguments, env=facts, text=True, start_new_session=True, **streams)


def wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_reaches_the_command_once_and_is_waited_for(tmp_path: Path, number: int) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with drive(tmp_path, SAVING, **pipes) as driver:
        wait_for(tmp_path / "log", "ready")
        os.killpg(driver.pid, number)  # as a terminal does: to the whole group
        out, err = driver.communicate(timeout=60)
    assert out == f"5 error: saved {int(number)}\n"
    assert err.splitlines() == [
        f"name | {line}" for line in ("ready", "told once", "error: saved", "more")
    ]
    assert (tmp_path / "log").read_text().count("told once") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel of Linux")
def test_a_killed_study_lets_its_command_save(tmp_path: Path) -> None:
    with drive(tmp_path, SAVING, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        wait_for(tmp_path / "log", "ready")
        driver.kill()
    wait_for(tmp_path / "log", "more")


def test_on_a_terminal_a_bar_is_drawn_and_its_last_state_logged(tmp_path: Path) -> None:
    drawing = "import sys\nfor i in range(3): sys.stderr.write(f'\\r{i} {sys.stderr.isatty()}')\n"
    reader, writer = pty.openpty()
    with drive(tmp_path, drawing + "print('\\nend')", stderr=writer, stdout=-1) as driver:
        out, _ = driver.communicate(timeout=60)
    os.close(writer)
    shown = os.read(reader, 4096).decode()
    os.close(reader)
    assert out == "0 end 0\n"
    assert "\r0 True\r1 True\r2 True\r\nend" in shown
    assert (tmp_path / "log").read_text() == "2 True\nend\n"


# The saliency study

BOUND = 12.0  # ln(HW)
HERE, AWAY = "mit1003/val", "cat2000/val"


def found(
    entropies: tuple[float, float], own: tuple[float, float], away: tuple[float, float] | None
) -> Results:
    """Return two seeds of baseline and regularised runs with these figures."""
    runs = []
    for number, variant in enumerate(saliency.STUDY.variants):
        for seed, shift in ((1, -0.001), (2, 0.001)):
            entropy = entropies[number] + shift
            figures = {
                HERE: {
                    "ig": own[number] + shift,
                    "centre_ig": 0.0,
                    "uniform_ig": -1.25,
                    "bias_entropy_nats": entropy,
                    "bias_entropy_share": entropy / BOUND,
                    "readout_entropy_nats": entropy,
                    "bias_entropy_bound_nats": BOUND,
                }
            }
            if away:
                figures[AWAY] = {"ig": away[number] + shift, "centre_ig": 0.0}
            member = Member("saliency", variant, seed, Execution(runs=Path("nowhere")))
            runs.append(Result(member, HERE, figures, {HERE: "f" * 64}))
    return Results(saliency.STUDY, runs, "the command")


def answers(results: Results) -> dict[str, tuple[str, str]]:
    asked = saliency.tables(results)[0]
    return {row[0].split(":")[0]: (row[1], row[2]) for row in asked.rows}


def test_entropy_that_cannot_rise_is_said() -> None:
    """Mistake 10: + 5 % of a bias entropy above ln(HW) / 1.05 does not exist."""
    said = answers(found((11.7, 11.8), (1.0, 0.99), (0.5, 0.6)))
    measured, answer = said["bias entropy, with centre bias"]
    assert measured.startswith("0.8547 ±") and measured.endswith(" %")
    assert answer == "could not be met: at most +2.56 % was possible"


def test_what_was_asked_is_answered() -> None:
    said = answers(found((10.0, 10.6), (1.0, 0.99), (0.5, 0.6)))
    gains = [100 * (10.599 / 9.999 - 1), 100 * (10.601 / 10.001 - 1)]
    half = stats.sem(gains) * stats.t.ppf(0.975, 1)
    assert said["bias entropy, readout alone"] == (
        f"6 ± {half:.2g} %",
        "met; at most +20.00 % was possible",
    )
    measured, answer = said[f"information gain on {HERE}"]
    assert measured.startswith("-1 ± ") and answer == "met"
    measured, answer = said[f"information gain on {AWAY}"]
    assert measured.startswith("0.1") and answer == "met; 2 of 2 seeds up"
    said = answers(found((10.0, 10.4), (1.0, 0.9), (0.5, 0.4)))
    assert said["bias entropy, with centre bias"][1].startswith("not met; at most +20.00 %")
    assert said[f"information gain on {HERE}"][1] == "not met"
    assert said[f"information gain on {AWAY}"][1] == "not met; 0 of 2 seeds up"


def test_no_share_of_a_gain_that_is_none() -> None:
    """A baseline below the centre bias has no 2 % to lose."""
    said = answers(found((10.0, 10.6), (-0.2, -0.1), None))
    assert said[f"information gain on {HERE}"][1].startswith("no share of it")
    assert said["information gain on another set"][1] == "no other set was judged"


def test_metrics_stand_beside_centre_bias_and_uniform() -> None:
    table = saliency.tables(found((10.0, 10.6), (1.0, 0.99), (0.5, 0.6)))[1]
    assert table.title == f"Metrics on {HERE}" and list(table.header) == ["", "ig"]
    assert [row[0] for row in table.rows] == [
        *("baseline", "entropy-regularised", "centre bias", "uniform")
    ]
    assert [row[1] for row in table.rows][2:] == ["0", "-1.25"]


def test_one_variant_alone_is_reported_without_answers() -> None:
    both = found((10.0, 10.6), (1.0, 0.99), (0.5, 0.6))
    alone = Results(saliency.STUDY, both.of("baseline"))
    assert {answer for _, answer in answers(alone).values()} == {"wants both variants of one seed"}


@pytest.mark.parametrize("away", [None, (0.5, 0.6)])
def test_trade_off_is_drawn(tmp_path: Path, away: tuple[float, float] | None) -> None:
    for picture in saliency.pictures(found((10.0, 10.6), (1.0, 0.99), away), tmp_path):
        with Image.open(picture.path) as image:
            pixels = np.asarray(image.convert("L"))
            facts = image.info
        assert (pixels < 128).mean() > 0.005  # something is drawn
        assert facts["command"] == "the command" and "f" * 64 in facts["data"]
        assert facts["seeds"] == "[1, 2]"
