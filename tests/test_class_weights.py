"""What rare classes count: beside scikit-learn's weights and torch's weighted loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from digit_set import Digits, batches, digits, net_of, task_of
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from toys import built

from loaders import Dataset, Loader
from tasks.classes import weights
from tasks.classify import Task

# Images of HAM10000 by class, and n / (7 · n_c) as published tables have them.
HAM10000 = {"akiec": (327, 4.38), "bcc": (514, 2.78), "bkl": (1099, 1.30), "df": (115, 12.44)}
HAM10000 |= {"mel": (1113, 1.29), "nv": (6705, 0.21), "vasc": (142, 10.08)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return built(Digits(), tmp_path_factory.mktemp("sets") / "digits")


def weighted(dataset: Dataset, **options: Any) -> Task:
    task = task_of(dataset, net_of(), class_weights="balanced", **options)
    task.begin("train")
    return task


def test_weights_are_sklearns(dataset: Dataset) -> None:
    labels = digits()[1][np.asarray(dataset.split("train"))]
    wanted = compute_class_weight("balanced", classes=np.arange(10), y=labels)
    counts = weighted(dataset)._counts
    assert counts is not None and counts.tolist() == pytest.approx(wanted)
    assert counts.numpy()[labels].mean() == pytest.approx(1)
    few = weights.balanced(torch.tensor([1, 1, 1, 3]), 5)
    assert few.tolist() == pytest.approx([0, 2 / 3, 0, 2, 0])


def test_weights_of_ham10000() -> None:
    labels = torch.from_numpy(np.repeat(np.arange(7), [n for n, _ in HAM10000.values()]))
    assert weights.balanced(labels, 7).tolist() == pytest.approx(
        [one for _, one in HAM10000.values()], abs=0.005
    )


def test_loss_is_torchs_over_the_samples(dataset: Dataset) -> None:
    """Σ w·ℓ / n: torch's own mean divides by Σ w, which differs from batch to batch."""
    task, (images, labels) = weighted(dataset), digits()
    plain = task_of(dataset, task.net)
    for batch in batches(task):
        ids = batch.id.numpy()
        pixels = torch.from_numpy(images[ids])[:, None] / 255
        summed = nn.CrossEntropyLoss(weight=task._counts, reduction="sum")
        wanted = summed(task.net(pixels), torch.from_numpy(labels[ids])) / len(ids)
        loss, unweighted = task.loss(task.net, batch, 0), plain.loss(task.net, batch, 0)
        assert loss.per_sample is not None
        torch.testing.assert_close(loss.per_sample.mean(), wanted)
        # The bound of a sample's gradient counts as much as its loss.
        found, bare = (
            t.scores(one, ("gradient_norm",)) for t, one in ((task, loss), (plain, unweighted))
        )
        assert task._counts is not None
        counts = task._counts[torch.from_numpy(labels[ids])]
        torch.testing.assert_close(found["gradient_norm"], bare["gradient_norm"] * counts)


def test_metrics_and_scores_of_others_are_not_weighted(dataset: Dataset) -> None:
    """Without a training split (`begin`) a loss is what it is: tables of scores stay comparable."""
    net = net_of()
    fresh = task_of(dataset, net, class_weights="balanced")
    task, plain = weighted(dataset), task_of(dataset, net)
    task.net = net
    batch = next(iter(batches(plain)))
    torch.testing.assert_close(
        fresh.loss(net, batch, 0).per_sample, plain.loss(net, batch, 0).per_sample
    )
    with torch.no_grad():
        found, wanted = task.metrics(net, batch), plain.metrics(net, batch)
    for name, values in wanted.items():
        assert (found[name] == values).all()


def test_balanced_batches_through_the_loader(dataset: Dataset) -> None:
    loader = Loader(dataset, strategy="balanced", global_batch_size=40, epochs=1, fields=("label",))
    labels = torch.cat([batch["label"][batch.weight > 0].clone() for batch in loader])
    assert torch.bincount(labels).tolist() == [24] * 10
    other = Loader(
        dataset,
        strategy="balanced",
        strategy_options={"label": "odd"},
        global_batch_size=40,
        epochs=1,
        fields=("odd",),
    )
    odd = torch.cat([batch["odd"][batch.weight > 0].clone() for batch in other])
    assert torch.bincount(odd).tolist() == [120, 120]


def test_a_column_of_no_numbers_is_refused(dataset: Dataset) -> None:
    with pytest.raises(Exception, match="image: holds image, not a number a sample"):
        Loader(dataset, strategy="balanced", strategy_options={"label": "image"})
