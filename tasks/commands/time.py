"""Measure how long a run's network takes."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import click
import torch
from torch import Tensor, nn

from dataprep import flags
from tasks.commands import device_option, memory_explained, root_option
from tasks.run import Run
from tasks.run.report import identity
from tasks.run.restore import restore

FILE_NAME = "timing.json"
# Before the first round: kernels are chosen, clocks rise, memory is taken.
WARM_UP, WARM_UP_S = 3, 0.5
# A round has so many passes that a clock's step is nothing beside it.
ROUND_S = 0.2

Precision = Literal["fp32", "bf16", "fp16"]
KINDS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Milliseconds an image: median of the rounds, fastest and slowest round."""

    ms_per_image: float
    low: float
    high: float
    images_per_s: float
    rounds: int
    passes: int  # of a round


@click.command("time")
@click.argument("run", type=Path)
@click.option("--batches", default="1,32", help="images at a time, comma separated")
@click.option("--rounds", default=10, type=click.IntRange(1), help="measured, of each")
@click.option(
    "--precision", default="fp32", type=click.Choice(list(KINDS)), help="autocast precision"
)
@click.option("--checkpoint", type=Path, help="[default: the weights that the run's report judges]")
@device_option
@root_option
def command(
    run: Path,
    batches: str,
    rounds: int,
    precision: Precision,
    checkpoint: Path | None,
    device: str,
    data_root: str | None,
) -> None:
    """Print how long the network of RUN takes an image, and write it to RUN/timing.json.

    It sees random images of its own size, in evaluation mode and without gradients. Copying them
    to a device is not in the time, waiting until it is done is. Let nothing else run meanwhile.

    \b
    python -m tasks time runs/resnet50
    python -m tasks time runs/resnet50 --batches 1,32,256 --precision bf16
    """
    sizes = _sizes(batches)
    folder = Run(run)
    weights = checkpoint or folder.judged() or folder.best()
    _, net = restore(folder, weights, device)
    shape = _shape(net)
    if folder.facts()["recipe"]["channels_last"]:
        net = net.to(memory_format=torch.channels_last)
    found: dict[str, Any] = {}
    for size in sizes:
        images = torch.rand(size, *shape, generator=torch.Generator().manual_seed(0)).to(device)
        with memory_explained(), torch.inference_mode(), _autocast(device, precision):
            found[str(size)] = one = timed(net, images, rounds)
        spread = f"{one.low:.3f} … {one.high:.3f}"
        rate = f"{one.images_per_s:,.1f} images/s"
        print(f"batch {size}: {one.ms_per_image:.3f} ms an image ({spread}), {rate}")
    parameters = sum(parameter.numel() for parameter in net.parameters())
    facts = {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "input": list(shape),
        "batches": found,
        "parameters": parameters,
        "checkpoint": identity(weights),
        "versions": {"torch": torch.__version__},
        "command": " ".join(sys.argv),
    }
    print(f"{parameters:,} parameters, {facts['device']}, {facts['threads']} threads")
    print(f"written: {folder.write_json(FILE_NAME, facts)}")


def _sizes(text: str) -> list[int]:
    try:
        sizes = list(dict.fromkeys(flags.parse(text, tuple[int, ...])))
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1:
        raise ValueError(f"--batches {text}: want whole numbers of 1 and more, comma separated")
    return sizes


def _shape(net: nn.Module) -> tuple[int, int, int]:
    """Return the (C, H, W) that a network takes; ValueError where it takes images of any size."""
    inputs: dict[str, Any] = net.inputs  # type: ignore[assignment]
    wanted = [(one.channels, one.size) for one in inputs.values()]
    if len(wanted) != 1 or wanted[0][1] is None:
        raise ValueError("only a network that takes one image of a size of its own can be timed")
    channels, (height, width) = wanted[0]
    return channels, height, width


def _autocast(device: str, precision: Precision) -> torch.autocast:
    kind = KINDS[precision]
    return torch.autocast(device, kind, enabled=kind is not None)


def timed(net: Callable[[Tensor], Any], images: Tensor, rounds: int) -> Timed:
    """Measure passes over a batch (B, C, H, W), round by round; at the clock's two readings the
    device is done with everything.
    """
    seconds, count = 0.0, 0
    while count < WARM_UP or seconds < WARM_UP_S:
        seconds, count = seconds + _round(net, images, 1), count + 1
    passes = max(1, round(ROUND_S / _round(net, images, 1)))
    each = [_round(net, images, passes) / passes / len(images) for _ in range(rounds)]
    return Timed(
        ms_per_image=1e3 * median(each),
        low=1e3 * min(each),
        high=1e3 * max(each),
        images_per_s=1 / median(each),
        rounds=rounds,
        passes=passes,
    )


def _round(net: Callable[[Tensor], Any], images: Tensor, passes: int) -> float:
    """Return the seconds of so many passes."""
    _wait(images)
    began = time.perf_counter()
    for _ in range(passes):
        net(images)
    _wait(images)
    return time.perf_counter() - began


def _wait(images: Tensor) -> None:
    """Wait for a GPU: its kernels are only queued when a call returns."""
    if images.is_cuda:
        torch.cuda.synchronize(images.device)


def device_name(device: str) -> str:
    """Return what a GPU or the processor is called."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
