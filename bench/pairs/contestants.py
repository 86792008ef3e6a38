"""Who makes super-resolution pairs: the loader itself, its ceilings, and the peers.

To add one, write a function (work, setting) -> endless generator of (LR, HR), and put it into
CONTESTANTS. Legend: B batch, H W pixels of HR.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from workload import Contestant, Setting, Start, threads, workers

from loaders import Dataset, Loader, kernels
from loaders.arrays import Crops, Pixels
from loaders.stages import Normalise
from loaders.stages.crop import Crop
from loaders.stages.dihedral import Dihedral
from pairs import corpus, peers
from pairs.peers import Pairs
from pairs.work import Work

Array = npt.NDArray[Any]
# The ceilings write to as many buffers as the loader with its two batches ahead.
SLOTS = 4
# So many batches of fixed crops, over and over: far more bytes than the caches hold.
LAPS = 64


def nostall(work: Work, engine: Literal["host", "dali"]) -> Pairs:
    """Yield from the Loader, with the stages of training."""
    lr, hr = work.fields
    loader = Loader(
        Dataset(work.data),
        fields=(hr, lr),
        stages=(
            Crop(height=work.patch, width=work.patch),
            Dihedral(),
            Normalise(field=lr),
            Normalise(field=hr),
        ),
        reference=lr,
        global_batch_size=work.batch,
        last="drop",  # a filler counts as no pair
        seed=work.seed,
        engine=engine,
        threads=work.threads,
        device=work.device,
    )
    try:
        for batch in loader:
            yield batch[lr], batch[hr]
    finally:
        loader.close()


def fixed_crops(work: Work, name: str, pixels: Pixels) -> list[Crops]:
    """Return LAPS batches of aligned crops, in the order of the files, not turned."""
    dataset = Dataset(work.data)
    ids = np.asarray(dataset.split("train"))
    low = dataset.pixels(work.fields[0]).sizes(ids)
    rng, side = np.random.default_rng(work.seed), work.scale if name == "hr" else 1
    laps = []
    for _ in range(LAPS):
        rows = np.sort(rng.integers(len(ids), size=work.batch))
        corners = rng.integers(0, low[rows] - work.patch + 1) * side
        boxes = np.concatenate([corners, np.full_like(corners, work.patch * side)], axis=1)
        laps.append(pixels.locate(ids[rows], boxes, np.zeros(work.batch, np.int64)))
    return laps


def affine(pixels: Pixels) -> tuple[Array, Array]:
    """Return the factors and terms that make [0, 1] of stored values."""
    field = pixels.field
    return Normalise(field=pixels.name).affine(field.scale, field.offset, pixels.channels)


def ceiling(work: Work) -> Pairs:
    """Read fixed crops from the page cache to float: no shuffle, no turns, no loader."""
    dataset = Dataset(work.data)
    fields = [dataset.pixels(name) for name in work.fields]
    laps = [fixed_crops(work, field.name, field) for field in fields]
    local = threading.local()

    def fill(step: int, slot: int, outs: list[Array]) -> None:
        if not hasattr(local, "scratch"):
            local.scratch = np.empty(kernels.SCRATCH_BYTES, np.uint8)
        for field, lap, out in zip(fields, laps, outs, strict=True):
            kernels.read_float(*lap[step % LAPS][1:], *affine(field), local.scratch, out)

    return hand_over(work, fill)


def ceiling_memory(work: Work) -> Pairs:
    """Convert crops that were cut before and lie in memory to float: no reading at all."""
    dataset = Dataset(work.data)
    fields = [dataset.pixels(name) for name in work.fields]
    scratch = np.empty(kernels.SCRATCH_BYTES, np.uint8)
    cut: list[list[Array]] = []
    for field, side in zip(fields, (work.patch, work.patch * work.scale), strict=True):
        laps = fixed_crops(work, field.name, field)
        cut.append([np.empty((work.batch, side, side, 3), np.uint8) for _ in laps])
        for lap, raw in zip(laps, cut[-1], strict=True):
            kernels.read_raw(*lap[1:], scratch, raw)

    def fill(step: int, slot: int, outs: list[Array]) -> None:
        for field, raws, out in zip(fields, cut, outs, strict=True):
            kernels.convert(raws[step % LAPS], *affine(field), out)

    return hand_over(work, fill)


def hand_over(work: Work, fill: Callable[[int, int, list[Array]], None]) -> Pairs:
    """Let each thread fill whole batches in reused buffers; yield them as they come."""
    free: queue.Queue[int | None] = queue.Queue()
    ready: queue.Queue[int] = queue.Queue()
    sides = (work.patch, work.patch * work.scale)
    slots = [
        [torch.empty(work.batch, 3, side, side) for side in sides]
        for _ in range(max(SLOTS, 2 * work.threads))
    ]
    arrays = [[tensor.numpy() for tensor in slot] for slot in slots]

    def run(first: int) -> None:
        step = first
        while (slot := free.get()) is not None:
            fill(step, slot, arrays[slot])
            ready.put(slot)
            step += work.threads

    threads = [threading.Thread(target=run, args=(first,)) for first in range(work.threads)]
    for thread in threads:
        thread.start()
    for slot in range(len(slots)):
        free.put(slot)
    try:
        while True:
            slot = ready.get()
            yield slots[slot][0], slots[slot][1]
            free.put(slot)
    finally:
        for _ in threads:
            free.put(None)
        for thread in threads:
            thread.join()


def _chunks(work: Work) -> list[Setting]:
    return [setting | {"chunk": chunk} for chunk in corpus.CHUNKS for setting in workers(work)]


def _peer(kind: type[peers.Crops], form: str) -> Start:
    """Return a start for a peer that reads files of its own; `{chunk}` is filled by the setting."""

    def start(work: Work, setting: Setting) -> Pairs:
        folder = corpus.peer_files(
            Path(work.root), Path(work.data), form.format(**setting), work.scale
        )
        pairs = kind(peers.files(folder), work.scale, work.patch)
        return _batches(pairs, work, setting)

    return start


def _batches(pairs: peers.Crops, work: Work, setting: Setting) -> Pairs:
    torch.manual_seed(work.seed)
    return peers.batches(pairs, work.batch, setting["workers"], torch.device(work.device))


def _packed(work: Work, setting: Setting) -> Pairs:
    pairs = peers.Packed(peers.packed(Path(work.data), work.scale), work.scale, work.patch)
    return _batches(pairs, work, setting)


CONTESTANTS: dict[str, Contestant] = {
    "nostall": Contestant(
        "the Loader, host engine", lambda work, _: nostall(work, "host"), threads
    ),
    "nostall-dali": Contestant(
        "the Loader, DALI engine", lambda work, _: nostall(work, "dali"), threads
    ),
    "ceiling": Contestant(
        "limit: fixed crops, page cache to float, no shuffle, no turns",
        lambda work, _: ceiling(work),
        threads,
    ),
    "ceiling-memory": Contestant(
        "limit: fixed crops cut before, memory to float: conversion alone",
        lambda work, _: ceiling_memory(work),
        threads,
    ),
    "png": Contestant(
        "DataLoader, whole PNG pairs (BasicSR)", _peer(peers.Png, "png"), workers, ("png",)
    ),
    "png-sub": Contestant(
        "DataLoader, PNG sub-images of 480 px (BasicSR)",
        _peer(peers.Png, "png-sub"),
        workers,
        ("png-sub",),
    ),
    "npy": Contestant("DataLoader, memory-mapped .npy", _peer(peers.Npy, "npy"), workers, ("npy",)),
    "zarr": Contestant(
        "DataLoader, zarr-python on the very set that nostall reads", _packed, workers
    ),
    "zarr-chunks": Contestant(
        "DataLoader, zarr-python, an array an image in chunks that suit it",
        _peer(peers.Zarr, "zarr-{chunk}"),
        _chunks,
        tuple(f"zarr-{chunk}" for chunk in corpus.CHUNKS),
    ),
}
