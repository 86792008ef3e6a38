"""Block shuffle: an epoch is a permutation made of large reads; and how well batches are mixed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from loaders.mixing import mixing
from loaders.order import Block, Order

FIXED = settings(deadline=None, derandomize=True, database=None, max_examples=200)


@some.composite
def orders(draw: Any, shuffles: Any = None) -> Order:
    rows, batch = draw(some.integers(1, 600)), draw(some.integers(1, 64))
    block = some.builds(Block, rows=some.integers(1, 90), window=some.integers(1, 12))
    shuffle = draw(shuffles if shuffles is not None else block | some.booleans())
    last = draw(some.sampled_from(["fill", "drop"])) if rows >= batch else "fill"
    return Order(rows, batch, draw(some.integers(0, 2**64 - 1)), shuffle, last)


def blocks() -> Any:
    return orders(some.builds(Block, rows=some.integers(1, 90), window=some.integers(1, 12)))


def epoch_of(order: Order, epoch: int) -> np.ndarray:
    return np.concatenate([order.take(epoch, step) for step in range(order.steps)])


@FIXED
@given(order=orders(), epoch=some.integers(0, 1000))
def test_every_epoch_is_a_permutation(order: Order, epoch: int) -> None:
    rows = epoch_of(order, epoch)
    whole = order.rows - (order.rows % order.batch if order.last == "drop" else 0)
    assert len(rows) == whole == len(set(rows.tolist()))
    assert rows.min() >= 0 and rows.max() < order.rows


@FIXED
@given(order=blocks(), epoch=some.integers(0, 1000))
def test_ahead_names_what_comes_next(order: Order, epoch: int) -> None:
    """The rows of an epoch are those of its windows, one after the other, and nothing between."""
    order = replace(order, last="fill")
    rows, at, step = epoch_of(order, epoch), 0, -1
    while at < order.rows:
        ranges = order.ahead(epoch, step)
        assert (np.diff(ranges[:, 0]) > 0).all() and (ranges[:, 1] > ranges[:, 0]).all()
        window = np.concatenate([np.arange(first, end) for first, end in ranges])
        assert sorted(rows[at : at + len(window)].tolist()) == window.tolist()
        at += len(window)
        begun = (at - len(window) + order.batch - 1) // order.batch  # the first step of the window
        if begun * order.batch >= at:  # no step begins in this window: `ahead` cannot be asked
            return
        step = begun
    np.testing.assert_array_equal(order.ahead(epoch, order.steps - 1), order.ahead(epoch + 1, -1))


@FIXED
@given(order=blocks(), epoch=some.integers(0, 1000))
def test_a_window_is_a_few_large_reads(order: Order, epoch: int) -> None:
    assert isinstance(order.shuffle, Block)
    ranges = order.ahead(epoch, -1)
    # One more than blocks: one of them may run over the end of the split.
    assert len(ranges) <= order.shuffle.window + 1
    assert (ranges[:, 1] - ranges[:, 0]).max() <= order.shuffle.rows


@pytest.mark.parametrize("rows", [1003, 1000, 90])
def test_neither_rows_nor_place_of_the_short_block_stay(rows: int) -> None:
    """Over many epochs each row meets each position equally often, those at the ends too."""
    order = Order(rows, 10, seed=3, shuffle=Block(20, 5))
    epochs = np.array([epoch_of(order, epoch) for epoch in range(1000)])
    expected, spread = (rows - 1) / 2, np.sqrt((rows**2 - 1) / 12 / len(epochs))
    assert np.abs(epochs.mean(axis=0) - expected).max() < 5 * spread
    places = np.argsort(epochs, axis=1)
    assert np.abs(places.mean(axis=0) - expected).max() < 5 * spread
    for cut in range(20, rows, 20):  # on a grid that stays, these would always lie apart
        apart = np.abs(places[:, cut] - places[:, cut - 1])
        assert (apart > 100).mean() < 0.2


def test_blocks_and_rows_inside_them_are_unrelated() -> None:
    order = Order(100_000, 1000, seed=1, shuffle=Block(100, 20))
    rows, other = epoch_of(order, 2), epoch_of(order, 3)
    for a, b in ((rows[:-1], rows[1:]), (rows % 100, np.roll(rows, 1) % 100), (rows, other)):
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.1
    blocks = epoch_of(Order(100_000, 100, seed=1, shuffle=Block(100, 1)), 2)[::100] // 100
    assert abs(np.corrcoef(blocks[:-1], blocks[1:])[0, 1]) < 0.1


def test_a_thousand_million_samples() -> None:
    """Any batch and any window of 10^9 is had without those before it."""
    order = Order(10**9, 256, seed=2, shuffle=Block(90, 64))
    step = order.steps // 2
    rows = order.take(7, step)
    assert len(set(rows.tolist())) == 256 and 0 <= rows.min() and rows.max() < 10**9
    assert len(np.unique(rows // 90)) <= 2 * 64 + 2  # two windows at the most
    assert len(order.ahead(7, step)) <= 65
    assert len(order.take(7, order.steps - 1)) == 10**9 - (order.steps - 1) * 256


def test_mixing_says_how_far_from_a_full_shuffle() -> None:
    full = mixing(Order(100_000, 100, seed=1))
    stored = mixing(Order(100_000, 100, seed=1, shuffle=False))
    sizes = (1, 4, 16, 64, 200)
    windows = [mixing(Order(100_000, 100, 1, Block(200, window))) for window in sizes]
    assert 0.7 < full < 1.4 and stored < 0.02
    assert windows == sorted(windows) and stored < windows[0] and windows[-1] < full
    for value, window in zip(windows, sizes, strict=True):
        assert 0.6 < value / (window / (window + 100)) < 1.6  # as Block's docstring says
    assert mixing(Order(50, 50)) == 1  # one batch of all rows
    assert 0.7 < mixing(Order(9001, 50, groups=np.arange(9001) % 2)) < 1.4


def test_block_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="a block needs rows and a window"):
        Block(0)
    with pytest.raises(ValueError, match="exclude each other"):
        Order(50, 8, shuffle=Block(10), groups=np.arange(50) % 3)
    assert len(Order(50, 8).ahead(0, 0)) == 0


def test_blocks_are_sized_by_bytes() -> None:
    assert Block.sized(92_000) == Block(23, 256)
    assert Block.sized(30e6, window=8) == Block(1, 8)
    assert Block.sized(0.0).rows == 2 << 20
