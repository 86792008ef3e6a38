"""Scores of trained networks and the splits chosen by them, as commands and against arithmetic."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from digit_set import COUNT, SIDE, Digits, digits
from toys import Stimuli, SuperResolution, built

import models
import train
from dataprep import derived
from dataprep.build import build
from loaders import Dataset
from tasks.__main__ import main
from tasks.run import Run, load_checkpoint
from tasks.run.pruning import Rule

NOISE = ["--task", "label_noise=0.25"]
TRAIN = np.array([i for i in range(COUNT) if i % 3 != 2])
VAL = np.array([i for i in range(COUNT) if i % 3 == 2])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of the set `digits` and three runs: two on train, one on val."""
    folder = tmp_path_factory.mktemp("score")
    built(Digits(), folder / "digits")
    trained(folder, "a", "--seed", "1", *NOISE)
    trained(folder, "b", "--seed", "2", *NOISE)
    trained(folder, "holdout", "--train-split", "val", "--val-split", "train")
    return folder


@pytest.fixture
def fresh(place: Path) -> Path:
    """Return the same, with nothing derived yet."""
    shutil.rmtree(place / "digits" / "derived", ignore_errors=True)
    return place


def trained(folder: Path, name: str, *other: str) -> None:
    asked = ["--model", "mlp", "--net", f"side={SIDE}", "--net", "hidden=8", "--steps", "12"]
    asked += ["--data", str(folder / "digits"), "--runs", str(folder / "runs"), "--name", name]
    asked += ["--device", "cpu", "--threads", "1", "--checkpoint-every", "6"]
    result = CliRunner().invoke(train.main, [*asked, *other])
    assert result.exit_code == 0, result.output


def call(command: str, *asked: object) -> Result:
    device = ("--device", "cpu") if command == "score" else ()
    return CliRunner().invoke(main, [command, *map(str, asked), *device])


def score(place: Path, run: str, *asked: object) -> Result:
    runs = [place / "runs" / name for name in run.split()]
    return call("score", *runs, "--data", place / "digits", *asked)


def done(result: Result) -> str:
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def refused(result: Result) -> str:
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def by_hand(place: Path, name: str, given: Any, checkpoint: str = "best.pt") -> tuple[Any, Any]:
    """Return loss and ‖softmax − onehot‖ of every digit in numpy, from a run's weights."""
    net = models.build("mlp", side=SIDE, hidden=8)
    run = Run(place / "runs" / name)
    models.initialise(net, load_checkpoint(run.checkpoints / checkpoint))
    w = {key: value.detach().double().numpy() for key, value in net.state_dict().items()}
    flat = digits()[0].reshape(COUNT, -1) / 255
    hidden = np.maximum(flat @ w["hidden.weight"].T + w["hidden.bias"], 0)
    logits = hidden @ w["out.weight"].T + w["out.bias"]
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return -np.log(p[np.arange(COUNT), given]), np.linalg.norm(p - np.eye(10)[given], axis=1)


def given_labels(place: Path, name: str) -> Any:
    """Return the labels that a run was trained with, as it recorded them."""
    labels = digits()[1].copy()
    with np.load(place / "runs" / name / "label_noise.npz") as record:
        labels[record["id"]] = record["given"]
    assert (labels != digits()[1]).sum() > 20
    return labels


def test_el2n_is_a_mean_over_models(fresh: Path) -> None:
    """‖softmax − onehot‖ with the labels that training saw; nothing of val was scored."""
    text = done(score(fresh, "a b", "--what", "el2n"))
    table = Dataset(fresh / "digits").table("el2n")
    labels = given_labels(fresh, "a")
    wanted = (by_hand(fresh, "a", labels)[1] + by_hand(fresh, "b", labels)[1]) / 2
    np.testing.assert_allclose(table[TRAIN], wanted[TRAIN], atol=1e-5)
    assert np.isnan(table[VAL]).all()
    said = f"240 samples, mean {table[TRAIN].mean():.4f}, {table[TRAIN].min():.4f} to"
    assert said in text and str(fresh / "digits" / "derived" / "el2n-") in text


def test_the_irreducible_loss_is_that_of_a_holdout(fresh: Path) -> None:
    done(score(fresh, "holdout", "--what", "irreducible_loss"))
    table = Dataset(fresh / "digits").table("irreducible_loss")
    losses = by_hand(fresh, "holdout", digits()[1])[0]
    np.testing.assert_allclose(table[TRAIN], losses[TRAIN], atol=1e-5)
    line = refused(score(fresh, "a", "--what", "irreducible_loss"))
    assert "runs/a was trained on 240 samples of split train" in line
    assert "--train-split val" in line and "--allow-overlap" in line
    assert "holdout was trained on 120 samples of split val" in refused(
        score(fresh, "holdout", "--what", "irreducible_loss", "--split", "all")
    )
    done(score(fresh, "a", "--what", "irreducible_loss", "--allow-overlap", "--name", "own_loss"))
    assert np.isfinite(Dataset(fresh / "digits").table("own_loss")[TRAIN]).all()


def test_task_options_and_checkpoints_of_ones_own(fresh: Path) -> None:
    """Without noise the true labels count; an early checkpoint scores otherwise."""
    asked = ("--what", "loss", "--split", "val,train")
    done(score(fresh, "a", *asked, "--task", "label_noise=0", "--name", "clean"))
    done(score(fresh, "a b", *asked, "--checkpoint", "step-00000006.pt", "--name", "early"))
    dataset = Dataset(fresh / "digits")
    clean = by_hand(fresh, "a", digits()[1])[0]
    np.testing.assert_allclose(dataset.table("clean"), clean, atol=1e-5)
    labels = given_labels(fresh, "a")
    early = [by_hand(fresh, name, labels, "step-00000006.pt")[0] for name in "ab"]
    np.testing.assert_allclose(
        dataset.table("early")[TRAIN], np.mean(early, axis=0)[TRAIN], atol=1e-5
    )


def test_the_same_again_is_there(fresh: Path, monkeypatch: Any) -> None:
    """In any order of runs and splits; anything else is another table, and the user is told."""
    first = done(score(fresh, "a b", "--what", "loss", "--split", "train,val")).split(":")[0]
    monkeypatch.setattr("tasks.run.scoring._score_split", lambda *_: 1 / 0)
    again = done(score(fresh, "b a", "--what", "loss", "--split", "all"))
    assert f"{first} is there already: 360 samples" in again
    same = done(score(fresh, "a b", "--what", "loss", "--split", "all", *NOISE))
    assert f"{first} is there already" in same
    monkeypatch.undo()
    for other in (["--split", "val"], ["--task", "noise_seed=3"], ["--task", "label_noise=0"]):
        text = done(score(fresh, "a", "--what", "loss", *other))
        assert f"loss is also the name of {first}" in text or "is also the name of" in text
    line = refused(call("prune", fresh / "digits", "--by", "loss", "--keep", 0.5))
    assert "loss: which table? there are: loss-" in line and first in line


def test_origin_says_what_it_was_made_from(fresh: Path) -> None:
    done(score(fresh, "a", "--what", "gradient_norm"))
    dataset = Dataset(fresh / "digits")
    facts = derived.origin(dataset.result("gradient_norm"))
    (model,) = facts["made_from"]["models"]
    assert model["task"] == "classify" and model["task_options"]["label_noise"] == 0.25
    assert len(model["checkpoint"]) == 64 and facts["made_from"]["splits"] == ["train"]
    assert facts["runs"] == [str(fresh / "runs" / "a")] and facts["command"]


def test_mistakes_are_one_line(fresh: Path, tmp_path: Path) -> None:
    run = Run(fresh / "runs" / "a")
    other = tmp_path / "broken"
    shutil.copytree(run.folder, other)
    state = load_checkpoint(run.best())
    state["model"]["out.bias"] = torch.full_like(state["model"]["out.bias"], float("nan"))
    torch.save(state, other / "checkpoints" / "best.pt")
    loss = ("--what", "loss")
    for asked, why in (
        (("none", *loss), "not a run (no recipe.json)"),
        (("a a", *loss), "a run is named twice"),
        (("a", *loss, "--split", "dev"), "no such split; there are: train, val"),
        (("a", *loss, "--split", ","), "names no split"),
        (("a", *loss, "--checkpoint", "x.pt"), "no such checkpoint; there are: best.pt, step-"),
        (("a b", *loss, "--checkpoint", run.best()), "is of one run: give a name such as best.pt"),
        (("a", *loss, "--name", "a/b"), "'a/b' is no name for a result"),
        (("a", *loss, "--task", "colour=3"), "unknown key 'colour'"),
        (("a", "--what", "entropy"), "'entropy' is not one of 'irreducible_loss', 'el2n'"),
    ):
        assert why in refused(score(fresh, *asked)), asked
    assert "its loss is not finite" in refused(
        call("score", other, "--data", fresh / "digits", *loss)
    )
    assert not (fresh / "digits" / "derived").exists()


def test_a_task_without_such_a_score(tmp_path: Path) -> None:
    built(SuperResolution(), tmp_path / "pairs")
    asked = ["--model", "shufflemixer_tiny", "--net", "scale=2", "--net", "width=16"]
    asked += ["--net", "blocks=1", "--task", "patch=12", "--global-batch-size", "6", "--steps", "1"]
    asked += ["--data", str(tmp_path / "pairs"), "--runs", str(tmp_path), "--name", "sr"]
    ended = CliRunner().invoke(train.main, [*asked, "--threads", "1", "--device", "cpu"])
    assert ended.exit_code == 0, ended.output
    asked = ["--data", str(tmp_path / "pairs"), "--split", "all"]
    assert "gradient_norm" in refused(call("score", tmp_path / "sr", "--what", "el2n", *asked))
    done(call("score", tmp_path / "sr", "--what", "loss", *asked))  # images of any size
    assert np.isfinite(Dataset(tmp_path / "pairs").table("loss")).all()


def test_rules_on_ten_samples() -> None:
    """By hand: ids 10 to 19, two of equal score, classes of even and odd ids."""
    ids = np.arange(10, 20)
    scores = np.array([0.1, 0.9, 0.5, 0.5, 0.7, 0.2, 0.8, 0.3, 0.0, 0.6])

    def kept(labels: Any = None, **rule: Any) -> list[int]:
        return [int(i) for i in Rule(**rule).apply(ids, scores, labels)]

    assert kept(keep=0.5) == [11, 12, 14, 16, 19]  # of 12 and 13 the first
    assert kept(keep=0.6) == [11, 12, 13, 14, 16, 19]
    assert kept(keep=0.5, offset=0.2) == [12, 13, 14, 17, 19]
    assert kept(keep=0.3, order="lowest") == [10, 15, 18]
    assert kept(keep=0.3, offset=0.1, order="lowest") == [10, 15, 17]
    # Even: 16 .8, 14 .7, 12 .5, 10 .1, 18 .0. Odd: 11 .9, 19 .6, 13 .5, 17 .3, 15 .2.
    assert kept(ids % 2, keep=0.4) == [11, 14, 16, 19]
    assert kept(ids % 2, keep=0.4, offset=0.4) == [10, 12, 13, 17]
    assert Rule(0.5, 0.05, per_class=True).name("el2n") == "el2n_keep50_offset5_per_class"
    assert Rule(0.125, order="lowest").name("el2n") == "el2n_lowest_keep12.5"


@pytest.mark.parametrize(
    "wrong", [(0.0, 0.0), (1.0, 0.0), (-0.1, 0.0), (0.5, 0.6), (0.5, -0.1), (np.nan, 0), (0.5, 1)]
)
def test_shares_that_are_none(wrong: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="want shares"):
        Rule(*wrong)


def test_a_pruned_split_is_trained_on_alone(fresh: Path) -> None:
    done(score(fresh, "a", "--what", "el2n"))
    text = done(call("prune", fresh / "digits", "--by", "el2n", "--keep", 0.25))
    assert "60 of 240 samples of train" in text and "--train-split el2n_keep25" in text
    dataset = Dataset(fresh / "digits")
    kept, table = np.asarray(dataset.split("el2n_keep25")), dataset.table("el2n")
    assert len(kept) == 60 and set(kept) <= set(TRAIN) and (np.diff(kept) > 0).all()
    assert table[kept].min() >= np.delete(table, [*kept, *VAL]).max()
    assert "is there already" in done(
        call("prune", fresh / "digits", "--by", "el2n", "--keep", 0.25)
    )
    trained(fresh, "pruned", "--train-split", "el2n_keep25", "--log-ids", "--log-every", "1")
    log = Run(fresh / "runs" / "pruned").read_log()
    seen = {i for entry in log if entry.get("kind") == "step" for i in entry["ids"]}
    assert seen == set(kept.tolist())
    work = json.loads((fresh / "runs" / "pruned" / "report.json").read_text())["work"]
    assert work["decoded"] == work["trained"] <= 12 * 64
    # It was trained on some of train: its losses there are not irreducible.
    line = refused(score(fresh, "pruned", "--what", "irreducible_loss"))
    assert "trained on 60 samples of split train" in line
    shutil.rmtree(fresh / "runs" / "pruned")


def test_prune_refuses(fresh: Path, tmp_path: Path) -> None:
    done(score(fresh, "a", "--what", "el2n"))
    people = built(Stimuli(), tmp_path / "people")
    made_from = {"data": people.manifest.fingerprint}
    table = derived.place(people.folder, "el2n", made_from)
    derived.write(table, "values", np.ones(people.samples), made_from)
    half = ("--by", "el2n", "--keep", 0.5)
    for asked, why in (
        ((fresh / "digits", *half, "--split", "val"), "120 of 120 samples of split val have no"),
        ((fresh / "digits", "--by", "el2n", "--keep", 1.5), "want shares"),
        ((fresh / "digits", "--by", "el2n", "--keep", 0.001), "leaves none"),
        ((fresh / "digits", "--by", "grand", "--keep", 0.5), "no such table; there are: el2n-"),
        ((fresh / "digits", *half, "--split", "dev"), "no such split; there are: train, val"),
        ((fresh / "digits", *half, "--name", "val"), "the set has a split of that name"),
        ((fresh / "digits", *half, "--name", ".."), "is no name for a result"),
        ((people.folder, *half, "--per-class"), "label: no such field, so there are no classes"),
        ((tmp_path / "none", *half), "no such set"),
    ):
        assert why in refused(call("prune", *asked)), asked
    scores = next((fresh / "digits" / "derived").glob("el2n-*/values.npy"))
    data = bytearray(scores.read_bytes())
    data[-1] ^= 1
    scores.write_bytes(data)
    assert "el2n-" in (line := refused(call("prune", fresh / "digits", *half)))
    assert "damaged" in line


def test_a_run_of_another_set_may_score(fresh: Path, tmp_path: Path) -> None:
    """Whether it saw these samples cannot be known: the user is told."""
    build(Digits(), None, tmp_path / "again", workers=1)
    asked = ("--data", tmp_path / "again", "--what", "irreducible_loss")
    text = done(call("score", fresh / "runs" / "a", *asked))
    assert "runs/a is of another set: not known what it saw" in text
    assert len(Dataset(tmp_path / "again").table("irreducible_loss")) == COUNT


def test_help_teaches() -> None:
    for command, words in (
        ("score", ["score runs/holdout --data mnist --what irreducible_loss", "--allow-overlap"]),
        ("prune", ["prune mnist --by el2n --keep 0.5", "--per-class"]),
    ):
        text = CliRunner().invoke(main, [command, "--help"]).output
        assert all(word in text for word in words), text
