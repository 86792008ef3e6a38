"""Labels made wrong on purpose: how many, which, and who gets to see them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from digit_set import Digits, batches, digits, net_of, task_of
from scipy import stats
from torch import nn
from toys import built

from loaders import Dataset, World
from tasks import evaluate
from tasks.classes.noise import noisy

# What 0, 1, 2 … 9, 0, 1 … become at a share of 0.3 under seed 7.
PINNED = [9, 0, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 8, 5, 5, 5, 7, 8, 9]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return built(Digits(), tmp_path_factory.mktemp("sets") / "digits")


def test_noise_has_its_share_and_is_always_another_class() -> None:
    labels = np.arange(60_000) % 10
    ids = np.arange(60_000)
    for share in (0.1, 0.3, 1.0):
        given = noisy(labels, ids, 10, share, 0)
        wrong = given != labels
        assert abs(wrong.mean() - share) <= 4 * (share * (1 - share) / len(ids)) ** 0.5
        assert given.min() == 0 and given.max() == 9
        # Which of the other nine: each as often, whatever the class.
        steps = np.bincount(((given - labels) % 10)[wrong], minlength=10)[1:]
        assert stats.chisquare(steps).pvalue > 1e-3
    np.testing.assert_array_equal(noisy(labels, ids, 10, 0.0, 0), labels)
    np.testing.assert_array_equal(noisy(labels % 2, ids, 2, 1.0, 0), 1 - labels % 2)


def test_noise_is_a_function_of_seed_and_id() -> None:
    """Order, company and process do not matter: the numbers stand here."""
    labels, ids = np.arange(1000) % 10, np.arange(1000)
    given = noisy(labels, ids, 10, 0.3, 7)
    turned = np.random.default_rng(0).permutation(1000)[:123]
    np.testing.assert_array_equal(noisy(labels[turned], ids[turned], 10, 0.3, 7), given[turned])
    assert (noisy(labels, ids, 10, 0.3, 8) != given).mean() > 0.3
    more = noisy(labels, ids, 10, 0.6, 7)
    was_wrong = given != labels
    np.testing.assert_array_equal(more[was_wrong], given[was_wrong])
    assert given[:20].tolist() == PINNED


def test_noise_is_trained_on_and_never_judged_by(dataset: Dataset) -> None:
    net = net_of()
    clean, wrong = task_of(dataset, net), task_of(dataset, net, label_noise=0.5, noise_seed=1)
    one, other = (evaluate(task, net, "train", world=World()) for task in (clean, wrong))
    assert one.figures == other.figures
    record = wrong.records("train")["label_noise"]
    np.testing.assert_array_equal(record["id"], dataset.split("train")[:])
    np.testing.assert_array_equal(record["label"], digits()[1][record["id"]])
    given = dict(zip(record["id"].tolist(), record["given"].tolist(), strict=True))
    for batch in batches(wrong):
        loss, plain = wrong.loss(net, batch, 0), clean.loss(net, batch, 0)
        assert loss.labels is not None and loss.logits is not None and loss.per_sample is not None
        assert loss.labels.tolist() == [given[i] for i in batch.id.tolist()]
        wanted = nn.functional.cross_entropy(loss.logits, loss.labels, reduction="none")
        torch.testing.assert_close(loss.per_sample, wanted)
        changed = loss.labels != batch["label"]
        assert changed.any() and ((loss.per_sample != plain.per_sample) == changed).all()
        assert (
            wrong.scores(loss, ("correct",))["correct"].tolist() == loss.terms["accuracy"].tolist()
        )
    assert clean.records("train") == {}


def test_two_ranks_are_given_the_same_labels_as_one(dataset: Dataset) -> None:
    def given(worlds: list[World]) -> dict[int, int]:
        found: dict[int, int] = {}
        for world in worlds:
            net = net_of()
            task = task_of(dataset, net, label_noise=0.4, noise_seed=2)
            for batch in batches(task, world):
                labels = task.loss(net, batch, 0).labels
                assert labels is not None
                found |= dict(zip(batch.id.tolist(), labels.tolist(), strict=True))
        return found

    alone = given([World()])
    assert len(alone) == 240 and alone == given([World(rank=r, size=2) for r in (0, 1)])
