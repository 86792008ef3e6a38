"""Order and draws: permutations, their quality, and that they need no list of N numbers."""

from __future__ import annotations

import numpy as np
import pytest

from loaders.draw import Keys
from loaders.order import Block, Order, permute


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20, 256, 1000, 4097])
def test_permute_is_a_permutation(size: int) -> None:
    rows = permute(size, seed=3, epoch=1, positions=np.arange(size))
    assert sorted(rows.tolist()) == list(range(size))


def test_permute_at_a_thousand_million() -> None:
    """Any slice of 10^9 costs what the slice holds, and agrees with itself."""
    size, middle = 10**9, 5 * 10**8
    rows = permute(size, 0, 0, np.arange(middle, middle + 1000))
    assert len(set(rows.tolist())) == 1000 and rows.min() >= 0 and rows.max() < size
    np.testing.assert_array_equal(
        rows[10:20], permute(size, 0, 0, np.arange(middle + 10, middle + 20))
    )
    assert abs(rows.mean() / size - 0.5) < 0.05


def test_permute_is_uniform() -> None:
    """Over many epochs each row meets each position equally often (chi-square, 19 × 19 cells)."""
    size, epochs = 20, 4000
    table = np.zeros((size, size))
    for epoch in range(epochs):
        table[permute(size, 11, epoch, np.arange(size)), np.arange(size)] += 1
    expected = epochs / size
    chi_square = ((table - expected) ** 2 / expected).sum()
    freedom = (size - 1) ** 2
    assert abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom)


def test_neighbours_are_unrelated() -> None:
    rows = permute(10_000, 1, 2, np.arange(10_000))
    assert abs(np.corrcoef(rows[:-1], rows[1:])[0, 1]) < 0.05
    other = permute(10_000, 1, 3, np.arange(10_000))
    assert abs(np.corrcoef(rows, other)[0, 1]) < 0.05


@pytest.mark.parametrize("last", ["fill", "drop"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_epoch_brings_each_row_once(last: str, shuffle: bool) -> None:
    order = Order(23, 5, seed=4, shuffle=shuffle, last=last)  # type: ignore[arg-type]
    rows = np.concatenate([order.take(1, step) for step in range(order.steps)])
    assert len(set(rows.tolist())) == len(rows) == (23 if last == "fill" else 20)


def test_the_full_shuffle_stays_what_it_was() -> None:
    """A run goes on after an update: the same seed brings the same batches, for good."""
    assert Order(1000, 16, seed=5).take(2, 3)[:6].tolist() == [589, 382, 168, 390, 856, 149]
    assert Order(10**9, 64, seed=5).take(0, 10**6)[:3].tolist() == [343749859, 688478305, 694108934]
    assert Order(9, 4, seed=1, shuffle=Block(2, 2)).take(0, 1).tolist() == [7, 0, 8, 5]


def test_groups_never_mix() -> None:
    groups = np.arange(50) % 3
    order = Order(50, 8, seed=1, groups=groups)
    batches = [order.take(0, step) for step in range(order.steps)]
    assert all(len(set(groups[rows].tolist())) == 1 for rows in batches)
    assert sorted(np.concatenate(batches).tolist()) == list(range(50))
    kinds = [int(groups[rows[0]]) for rows in batches]
    assert kinds != sorted(kinds)


def test_order_refuses_what_makes_no_batch() -> None:
    with pytest.raises(ValueError, match="no full batch of 8"):
        Order(5, 8, last="drop")
    with pytest.raises(ValueError, match="needs rows"):
        Order(0, 8)


def make_keys(count: int, **other: int) -> Keys:
    facts = {"seed": 1, "epoch": 2} | other
    return Keys(facts["seed"], facts["epoch"], np.arange(count), np.arange(count) * 7)


def test_draws_are_uniform_and_keyed() -> None:
    keys = make_keys(100_000)
    u = keys.uniform()
    assert 0 <= u.min() and u.max() < 1 and abs(u.mean() - 0.5) < 0.005
    assert np.abs(np.histogram(u, 50, (0, 1))[0] - 2000).max() < 5 * np.sqrt(2000)
    for other in (keys.uniform(1), keys.at(1).uniform(), make_keys(100_000, epoch=3).uniform()):
        assert abs(np.corrcoef(u, other)[0, 1]) < 0.02
    part = Keys(1, 2, keys.positions[40:50], keys.ids[40:50])
    np.testing.assert_array_equal(part.uniform(), u[40:50])


def test_integers_stay_below_their_bound() -> None:
    high = np.random.default_rng(0).integers(1, 9, 50_000)
    drawn = make_keys(50_000).integers(high)
    assert (drawn >= 0).all() and (drawn < high).all()
    assert (np.bincount(drawn[high == 8], minlength=8) > 0).all()
