"""The classify task on real digits: loss, scores and figures against what is worked out here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from digit_set import CLASSES, Digits, batches, digits, net_of, task_of
from sklearn import metrics as peer
from torch import Tensor, nn
from toys import built

from dataprep.manifest import DataError
from loaders import Dataset, World
from tasks import evaluate
from tasks.classify import Loss, Task


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return built(Digits(), tmp_path_factory.mktemp("sets") / "digits")


def loss_of(logits: Any, labels: Any) -> Loss:
    values, truth = torch.tensor(logits), torch.tensor(labels)
    losses = nn.functional.cross_entropy(values, truth, reduction="none")
    return Loss(losses, logits=values, labels=truth)


def test_loss_is_torchs(dataset: Dataset) -> None:
    """Per sample, float32; its mean has the gradient of CrossEntropyLoss on the stored pixels."""
    net = net_of()
    task, images, labels = task_of(dataset, net), *digits()
    for batch in batches(task):
        ids = batch.id.numpy()
        pixels = torch.from_numpy(images[ids])[:, None] / 255
        wanted = nn.CrossEntropyLoss()(net(pixels), torch.from_numpy(labels[ids]))
        expected = torch.autograd.grad(wanted, list(net.parameters()))
        loss = task.loss(net, batch, 0)
        assert loss.per_sample is not None and loss.per_sample.dtype == torch.float32
        assert loss.per_sample.shape == (len(batch),)
        found = torch.autograd.grad(loss.per_sample.mean(), list(net.parameters()))
        torch.testing.assert_close(found, expected)
        right = net(pixels).argmax(1) == torch.from_numpy(labels[ids])
        assert loss.terms["accuracy"].tolist() == right.float().tolist()


def test_scores_by_hand(dataset: Dataset) -> None:
    """softmax(ln 1, ln 3) is (1/4, 3/4): off by (-3/4, 3/4) for class 0, by (1/4, -1/4) for 1."""
    task = task_of(dataset)
    loss = loss_of(np.log([[1.0, 3.0], [1.0, 3.0], [2.0, 1.0]]), [0, 1, 0])
    found = task.scores(loss, ("loss", "gradient_norm", "correct"))
    wanted = [0.75 * 2**0.5, 0.25 * 2**0.5, 2**0.5 / 3]
    assert found["gradient_norm"].tolist() == pytest.approx(wanted)
    assert found["loss"].tolist() == pytest.approx(np.log([4, 4 / 3, 3 / 2]))
    assert found["correct"].tolist() == [0, 1, 1]
    assert set(task.scores(loss, ("correct",))) == {"correct"}
    with pytest.raises(ValueError, match="has no entropy; there are: loss, gradient_norm, correct"):
        task.scores(loss, ("loss", "entropy"))


def test_gradient_norm_is_that_at_the_logits(dataset: Dataset) -> None:
    logits = torch.randn(20, 10, requires_grad=True)
    labels = torch.arange(20) % 10
    losses = nn.functional.cross_entropy(logits, labels, reduction="none")
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    found = task_of(dataset).scores(Loss(losses, logits=logits, labels=labels), ("gradient_norm",))
    torch.testing.assert_close(found["gradient_norm"], gradient.norm(dim=1))
    assert not found["gradient_norm"].requires_grad


def test_figures_are_sklearns(dataset: Dataset) -> None:
    net = net_of()
    task = task_of(dataset, net, top_k=3)
    judged = evaluate(task, net, "val", world=World())
    images, labels = (part[judged.ids] for part in digits())
    with torch.no_grad():
        logits = net(torch.from_numpy(images)[:, None] / 255)
    predicted, figures = logits.argmax(1).numpy(), judged.figures
    np.testing.assert_array_equal(judged.values["predicted"], predicted)
    np.testing.assert_array_equal(judged.values["label"], labels)
    wanted = {
        "accuracy": peer.accuracy_score(labels, predicted),
        "top_k": peer.top_k_accuracy_score(labels, logits.numpy(), k=3),
        "loss": peer.log_loss(labels, logits.double().softmax(1).numpy()),
        "balanced_accuracy": peer.balanced_accuracy_score(labels, predicted),
        "macro_f1": peer.f1_score(labels, predicted, average="macro"),
    }
    recalls = peer.recall_score(labels, predicted, average=None)
    wanted |= {f"recall/{name}": recall for name, recall in zip(CLASSES, recalls, strict=True)}
    assert figures == pytest.approx(wanted, rel=1e-5)
    assert task.best in figures and set(task.headline) | set(task.curves) <= set(figures)
    table = task.table(figures)
    assert "top-3 accuracy" in table and "recall by class" in table and "digit 7" in table


def test_the_table_of_many_classes_lists_the_lowest() -> None:
    task = task_of(None, net_of(classes=100))
    figures = {"accuracy": 0.5} | {f"recall/c{i}": i / 100 for i in range(100)}
    table = task.table(figures)
    assert "the 10 lowest" in table and "c9 " in table and "c10 " not in table


@pytest.mark.parametrize(
    ("settings", "options", "why"),
    [
        ({"side": 28}, {}, "images are 8×8 with 1 channel, the network takes 28×28 with 1: "
         "--net side=8"),
        ({"side": 32, "channels": 3}, {}, "--net side=8, --net channels=1"),
        ({"channels": 3}, {}, "with 3: --net channels=1"),
        ({"classes": 7}, {}, "its label is 7, the network tells classes 0 to 6: --net classes=10"),
        ({}, {"label": "digit"}, "digit: no such field; there are: image, label, odd, ink"),
        ({}, {"label": "ink"}, "ink: holds value of float64, not a class number a sample"),
        ({}, {"label_noise": 1.5}, "want label_noise from 0 to 1"),
        ({}, {"top_k": 0}, "top_k of 1 or more"),
        ({}, {"names": ("a", "b")}, "2 names for 10 classes"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_a_line(
    dataset: Dataset, settings: dict[str, Any], options: dict[str, Any], why: str
) -> None:
    with pytest.raises((DataError, ValueError)) as error:
        task_of(dataset, net_of(**settings), **options)
    assert why in str(error.value) and "\n" not in str(error.value)


def test_another_label_has_names_of_its_own(dataset: Dataset) -> None:
    task = task_of(dataset, net_of(classes=3), label="odd", label_noise=1.0)
    assert task.names == ["0", "1", "2"] and task_of(dataset).names == CLASSES
    record = task.records("train")["label_noise"]  # of two classes the other one, never a third
    np.testing.assert_array_equal(record["given"], 1 - record["label"])


def test_flips_are_for_training_alone(dataset: Dataset) -> None:
    flipped, plain = task_of(dataset, augment="flip"), task_of(dataset)
    images = digits()[0]

    def mirrored(task: Task, training: bool) -> list[bool]:
        found = []
        for batch in batches(task, training=training):
            for i, image in zip(batch.id.tolist(), batch["image"][:, 0].numpy(), strict=True):
                same, other = (
                    np.allclose(image, stored / 255) for stored in (images[i], images[i][:, ::-1])
                )
                assert same or other
                found.append(not same)
        return found

    assert 0.35 < np.mean(mirrored(flipped, True)) < 0.65
    assert not any(mirrored(flipped, False)) and not any(mirrored(plain, True))


def test_drawings_and_panels(dataset: Dataset) -> None:
    net = net_of()
    task = task_of(dataset, net)
    judged = evaluate(task, net, "val", world=World())
    (drawn,) = task.drawings(judged).values()
    assert drawn.dtype == np.uint8 and drawn.ndim == 3 and drawn.shape[2] == 3
    right = judged.values | {"predicted": judged.values["label"]}
    (perfect,) = task.drawings(judged._replace(values=right)).values()
    assert not np.array_equal(drawn, perfect)
    shown = task.panels(net, batches(task)[0])
    assert len(shown) == 4 and all(one.shape[0] == 112 for one in shown.values())


class Constant(nn.Module):
    """Says the same of every image, NaN if that is asked for."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.inputs, self.classes = net_of().inputs, 10
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, image: Tensor) -> Tensor:
        return self.value.expand(len(image), 10)


@pytest.mark.parametrize(("value", "accuracy"), [(0.0, 0.1), (float("nan"), 0.0)])
def test_a_network_that_cannot_tell_is_not_praised(
    dataset: Dataset, value: float, accuracy: float
) -> None:
    net = Constant(value)
    figures = evaluate(task_of(dataset, net), net, "val", world=World()).figures
    assert figures["accuracy"] == pytest.approx(accuracy, abs=0.05)
