"""The order of an epoch: a pure function of (seed, epoch), evaluated only where it is asked for.

A keyed permutation (a Feistel network walked until it falls inside the range) needs no list of N
numbers: making an order is O(1), a batch O(G) in time and memory, whether it is the first or batch
10^6 of 10^9 samples. Only `groups` are O(N).

A full shuffle reads anywhere, which a spinning disk or an object store cannot do fast. With a
`Block` the split is cut into blocks of neighbouring rows, blocks are permuted, and rows are mixed
inside windows of k blocks: storage sees a few large reads, known a window ahead (`Order.ahead`).

Legend: N rows of the split in storage order, G samples of a global batch, M blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from dataprep.compiled import compiled
from loaders.draw import mix, word

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
_ROUNDS = 6  # four are pseudo-random in theory (Luby & Rackoff 1988); small halves want more
# Uses of the key of an epoch beside the rounds of the full shuffle, which take 0 to 5.
_BLOCKS, _ROWS, _SHIFT, _SHORT = (np.uint64(64 + number) for number in range(4))


@compiled
def _walk(value: np.uint64, size: np.uint64, half: np.uint64, key: np.uint64) -> np.uint64:
    """Return where a value below `size` lies in the permutation of a key."""
    mask = (np.uint64(1) << half) - np.uint64(1)
    while True:
        left, right = value >> half, value & mask
        for number in range(_ROUNDS):
            left, right = right, left ^ (mix(mix(key, np.uint64(number)), right) & mask)
        value = (left << half) | right
        if value < size:
            return value


@compiled
def _walk_all(
    values: U64, size: np.uint64, half: np.uint64, seed: np.uint64, epoch: np.uint64
) -> None:
    """Permute values in place."""
    key = mix(mix(np.uint64(0), seed), epoch)
    for i in range(len(values)):
        values[i] = _walk(values[i], size, half, key)


def permute(size: int, seed: int, epoch: int, positions: I64) -> I64:
    """Return where each position lies in a permutation of range(size)."""
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    values = positions.astype(np.uint64)
    # Compiled: in numpy a batch of 16 took 0.6 ms, a fifth of what reading it takes.
    _walk_all(values, word(size), word(half), word(seed), word(epoch))
    return values.astype(np.int64)


@compiled
def _permuted(value: int, size: int, key: np.uint64) -> int:
    """Return where a value lies in a permutation of range(size), signed."""
    bits, rest = 0, size - 1
    while rest > 0:
        bits, rest = bits + 1, rest >> 1
    half = np.uint64(max(1, (bits + 1) // 2))
    return int(_walk(np.uint64(value), np.uint64(size), half, key))


@compiled
def _shuffled(
    step: int, steps: int, rows: int, batch: int, seed: np.uint64, epoch: np.uint64
) -> I64:
    """Return the rows of one step of a full shuffle, as `permute` gives them."""
    key = mix(mix(np.uint64(0), seed), epoch)
    first = _permuted(step, steps, mix(mix(np.uint64(0), seed), ~epoch)) * batch
    out = np.empty(min(batch, rows - first), np.int64)
    for i in range(len(out)):
        out[i] = _permuted(first + i, rows, key)
    return out


@compiled
def _grid(rows: int, block: int, seed: np.uint64, epoch: np.uint64) -> tuple[np.uint64, I64]:
    """Return an epoch's key and [blocks, rows of the short one, its place, shift of the grid]."""
    key = mix(mix(np.uint64(0), seed), epoch)
    blocks = (rows + block - 1) // block
    short = np.int64(mix(key, _SHORT) % np.uint64(blocks))
    shift = np.int64(mix(key, _SHIFT) % np.uint64(rows))
    return key, np.array([blocks, rows - (blocks - 1) * block, short, shift])


@compiled
def _start(place: int, block: int, grid: I64) -> int:
    """Return the first position of the block at a place; all before it are whole but the short."""
    return int(place * block - (block - grid[1] if place > grid[2] else 0))


@compiled
def _place(position: int, block: int, grid: I64) -> int:
    """Return the place of the block that holds a position: `_start` undone."""
    place = min(position // block, int(grid[2]))
    if place == grid[2] and position >= _start(place + 1, block, grid):
        place = (position + block - grid[1]) // block
    return place


@compiled
def _first_row(place: int, rows: int, block: int, key: np.uint64, grid: I64) -> int:
    """Return where the block at a place begins in storage; it may run over the end to row 0."""
    if place == grid[2]:
        number = grid[0] - 1
    else:
        number = _permuted(place - (place > grid[2]), grid[0] - 1, mix(key, _BLOCKS))
    return int((number * block + grid[3]) % rows)


@compiled
def _window(place: int, windows: int, blocks: int) -> int:
    """Return the window of a place. Windows differ by one block: none is left with a single one."""
    return ((place + 1) * windows - 1) // blocks


@compiled
def _in_blocks(
    positions: I64, rows: int, block: int, windows: int, seed: np.uint64, epoch: np.uint64
) -> I64:
    """Return the rows at some positions of an epoch."""
    key, grid = _grid(rows, block, seed, epoch)
    out = np.empty(len(positions), np.int64)
    for i in range(len(positions)):
        window = _window(_place(positions[i], block, grid), windows, grid[0])
        first = _start(window * grid[0] // windows, block, grid)
        end = _start((window + 1) * grid[0] // windows, block, grid)
        inner = mix(mix(key, _ROWS), np.uint64(window))
        at = first + _permuted(positions[i] - first, end - first, inner)
        place = _place(at, block, grid)
        out[i] = _first_row(place, rows, block, key, grid) + at - _start(place, block, grid)
        out[i] -= rows if out[i] >= rows else 0
    return out


@compiled
def _window_at(
    position: int, rows: int, block: int, windows: int, seed: np.uint64, epoch: np.uint64
) -> int:
    """Return the window that holds a position of an epoch."""
    grid = _grid(rows, block, seed, epoch)[1]
    return _window(_place(position, block, grid), windows, grid[0])


@compiled
def _ranges(
    window: int, rows: int, block: int, windows: int, seed: np.uint64, epoch: np.uint64
) -> I64:
    """Return (R, 2) first rows and ends of a window's blocks."""
    key, grid = _grid(rows, block, seed, epoch)
    first, end = window * grid[0] // windows, (window + 1) * grid[0] // windows
    out = np.empty((end - first + 1, 2), np.int64)
    count = 0
    for place in range(first, end):
        row = _first_row(place, rows, block, key, grid)
        size = _start(place + 1, block, grid) - _start(place, block, grid)
        out[count] = row, min(row + size, rows)
        count += 1
        if row + size > rows:  # one block of an epoch runs over the end
            out[count] = 0, row + size - rows
            count += 1
    return out[:count]


@dataclass(frozen=True)
class Block:
    """A shuffle for storage that wants large reads: `rows` to a block, `window` blocks mixed.

    Where storage is sorted, `mixing` is about window / (window + G): of two shuffles that hold as
    many bytes in a window, the one of more and smaller blocks mixes better.
    """

    rows: int
    window: int = 256

    def __post_init__(self) -> None:
        if self.rows < 1 or self.window < 1:
            raise ValueError(f"a block needs rows and a window, not {self.rows} and {self.window}")

    @classmethod
    def sized(cls, sample_bytes: float, block_bytes: int = 2 << 20, window: int = 256) -> Block:
        """Return blocks of about `block_bytes`, for samples of `sample_bytes` on average.

        The default suits solid-state disks and parallel file systems; a single spinning disk wants
        larger blocks and, for the same memory, fewer in a window.
        """
        return cls(max(1, round(block_bytes / max(1.0, sample_bytes))), window)


@dataclass(frozen=True)
class Order:
    """Steps of an epoch over N rows in batches of G; `take` gives the rows of one step.

    shuffle: over the whole epoch, not at all, or in blocks (not together with groups).
    groups: (N,) codes; a batch then holds rows of one group only (images of one size), its last
    one short. last: a short batch is kept ("fill", the loader pads it with weight 0) or dropped.
    """

    rows: int
    batch: int
    seed: int = 0
    shuffle: bool | Block = True
    last: Literal["fill", "drop"] = "fill"
    groups: I64 | None = None

    def __post_init__(self) -> None:
        if self.rows < 1 or self.batch < 1:
            raise ValueError(f"an order needs rows and a batch, not {self.rows} and {self.batch}")
        if self.steps == 0:
            raise ValueError(
                f"{self.rows} samples make no full batch of {self.batch}: choose last=fill or a"
                " smaller batch"
            )
        few = [len(rows) for rows in self._members if len(rows) < self.batch]
        if few and self.last == "drop":
            raise ValueError(
                f"{sum(few)} of {self.rows} samples would never come: their groups are smaller than"
                f" a batch of {self.batch}: choose last=fill"
            )
        if isinstance(self.shuffle, Block) and self.groups is not None:
            raise ValueError("a block shuffle and groups exclude each other: groups read anywhere")

    @property
    def steps(self) -> int:
        """Batches of one epoch."""
        return int(self._ends[-1])

    def take(self, epoch: int, step: int) -> I64:
        """Return the rows of one step, at most G."""
        if isinstance(self.shuffle, Block):  # batches stay in their window: no change of place
            first, end = step * self.batch, min(self.rows, (step + 1) * self.batch)
            positions = np.arange(first, end, dtype=np.int64)
            return np.asarray(_in_blocks(positions, *self._layout(self.shuffle, epoch)), np.int64)
        if self.shuffle and self.groups is None:
            # In one call: batches of small images are gone as fast as they are chosen.
            words = word(self.seed), word(epoch)
            return np.asarray(_shuffled(step, self.steps, self.rows, self.batch, *words), np.int64)
        if self.shuffle:  # whole batches change place, so that groups are mixed over the epoch
            step = int(permute(self.steps, self.seed, ~epoch, np.array([step]))[0])
        group = int(np.searchsorted(self._ends, step, side="right"))
        first = (step - (int(self._ends[group - 1]) if group else 0)) * self.batch
        size = len(self._members[group]) if self._members else self.rows
        positions = np.arange(first, min(size, first + self.batch), dtype=np.int64)
        if self.shuffle:
            positions = permute(size, self.seed + group, epoch, positions)
        return self._members[group][positions] if self._members else positions

    def ahead(self, epoch: int, step: int) -> I64:
        """Return (R, 2) ascending row ranges (first, end) to be read after this step's window.

        After an epoch's last window comes the first of the next one; step -1 gives the first of
        this epoch. R is about `Block.window`; 0 where there are no blocks. O(R).
        """
        if not isinstance(self.shuffle, Block):
            return np.zeros((0, 2), np.int64)
        layout = self._layout(self.shuffle, epoch)
        window = _window_at(step * self.batch, *layout) + 1 if step >= 0 else 0
        if window == layout[2]:
            window, layout = 0, self._layout(self.shuffle, epoch + 1)
        ranges = np.asarray(_ranges(window, *layout), np.int64)
        return ranges[np.argsort(ranges[:, 0])]

    def _layout(self, block: Block, epoch: int) -> tuple[int, int, int, np.uint64, np.uint64]:
        """Return rows, rows of a block, windows of an epoch, and the key's parts."""
        blocks = -(-self.rows // block.rows)
        windows = -(-blocks // block.window)
        return self.rows, block.rows, windows, word(self.seed), word(epoch)

    @cached_property
    def _members(self) -> list[I64]:
        if self.groups is None:
            return []
        by_group = np.argsort(self.groups, kind="stable").astype(np.int64)
        counts = np.unique(self.groups, return_counts=True)[1]
        return np.split(by_group, np.cumsum(counts)[:-1])

    @cached_property
    def _ends(self) -> I64:
        """Steps up to and with each group."""
        sizes = np.array([len(rows) for rows in self._members] or [self.rows])
        whole = sizes // self.batch if self.last == "drop" else -(-sizes // self.batch)
        return np.asarray(np.cumsum(whole), np.int64)
