"""How a run is executed, as flags: free to change when it goes on, unlike the recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.distributed as dist

from dataprep import flags
from loaders import World
from loaders.engine import Settings
from models import knob

LEAST = {"micro_batch": 0, "threads": 0, "prefetch": 0, "hold_mb": 0, "log_every": 1}


def join() -> None:
    """Join the other ranks, where torchrun started several."""
    if World.from_environment().size > 1:
        gpu = torch.cuda.is_available()
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo")


def reseed(seed: int, device: torch.device) -> None:
    """Seed the generators that draw on the CPU and on a device, where none is named.

    torch.manual_seed does the same for every device there is, and costs a small network a fifth of
    its step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launch:
    """How to run: free to change when a run goes on, unlike the recipe."""

    micro_batch: int = knob(0, "samples on a rank at a time; 0: the rank's whole share")
    engine: Literal["auto", "host", "dali"] = knob("auto", "loader engine")
    threads: int = knob(0, "reading threads; 0: the rank's share of the cores")
    prefetch: int = knob(2, "batches ready ahead of the step")
    read_ahead: bool = knob(True, "tell the storage which bytes come next")
    hold_mb: int = knob(
        512, "each raw field of small images is held in a rank's memory up to so much"
    )
    dali: Mapping[str, Any] = knob({}, "DALI engine's settings, key=value: width_px, height_px, …")
    on_bad: Literal["stop", "skip"] = knob("stop", "at a sample that cannot be read")
    bad_limit: int = knob(100, "with --on-bad skip: so many bad samples at most")
    device: Literal["auto", "cpu", "cuda"] = knob("auto", "where to train")
    compile: bool = knob(False, "compile the network")
    log_every: int = knob(50, "steps between log lines")
    log_ids: bool = knob(False, "log the ids of every logged step, in order")
    checkpoint_every: int = knob(1000, "steps between checkpoints")
    keep: int = knob(3, "numbered checkpoints kept")
    on_non_finite: Literal["stop", "skip"] = knob("stop", "at a loss or gradient not finite")
    judge: str = knob("", "further splits, comma separated, to judge once at the end: test")
    count_visits: bool = knob(False, "count how often each sample is trained on: visits.npz")

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"--{name.replace('_', '-')} must be at least {least}")
        self._settings()
        if self.checkpoint_every < 1 or self.keep < 1:
            raise ValueError("--checkpoint-every and --keep must be at least 1")

    def open_device(self, world: World) -> torch.device:
        """Return where this rank computes; ValueError where the device is not there."""
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("--device cuda: torch finds no CUDA device here")
        if self.device == "cpu" or not torch.cuda.is_available():
            return torch.device("cpu")
        torch.cuda.set_device(world.local_rank)
        torch.backends.cudnn.benchmark = True
        return torch.device("cuda", world.local_rank)

    @property
    def judged_splits(self) -> list[str]:
        """The splits of `judge`."""
        return [name for name in map(str.strip, self.judge.split(",")) if name]

    def loading(self, training: bool) -> dict[str, Any]:
        """Return the loader's arguments. A bad sample is replaced in training, else counted."""
        names = ("engine", "threads", "prefetch", "read_ahead", "hold_mb", "bad_limit")
        skip = "replace" if training else "skip"
        return {name: getattr(self, name) for name in names} | {
            "on_bad": skip if self.on_bad == "skip" else "stop",
            "dali": self._settings(),
        }

    def _settings(self) -> Settings:
        return Settings(**flags.typed(self.dali, Settings))
