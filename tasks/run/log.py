"""What a run tells while it goes on: a bar on a terminal, timed lines in a log file, TensorBoard.

Plain lines never hold a carriage return, so a batch job's log can be read and searched.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from tasks.run import Run


def peak_memory(device: torch.device) -> int:
    """Return the most memory held so far, in bytes: the GPU's, else this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Log:
    """Writes for rank 0; on other ranks (run None) it is silent.

    first, steps, done: the step that a launch begins at, those of the run at the most, and the
    share of it that was done before.
    """

    def __init__(self, run: Run | None, first: int, steps: int, done: float = 0.0) -> None:
        self._run, self._done = run, done
        self._began = time.perf_counter()
        self._board = SummaryWriter(str(run.folder), purge_step=first) if run else None
        self._bar: Any = None
        if run and sys.stderr.isatty():
            self._bar = tqdm(total=steps, initial=first, unit="step", dynamic_ncols=True)

    def say(self, *texts: str) -> None:
        """Print a line for each text."""
        for text in texts if self._run else ():
            if self._bar is not None:
                self._bar.write(text)
            else:
                stamp = time.strftime("%H:%M:%S")
                print(f"{stamp} {text}", file=sys.stderr, flush=True)  # noqa: T201

    def first_batch(self, seconds: float, loader: Mapping[str, Any]) -> None:
        """Record the start-up and what the loader holds."""
        if self._run:
            self._run.log(kind="loader", first_batch_s=seconds, **loader)
        self.say(
            f"first batch after {seconds:.1f} s; loader {loader['engine']}, {loader['threads']}"
            f" threads, {loader['slots']} slots of {loader['buffer_mb']:.0f} MB in all,"
            f" mixing {loader['mixing']:.2f}"
        )

    def advance(self, step: int) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def step(
        self,
        step: int,
        progress: float,
        values: Mapping[str, float],
        ids: list[int] | None = None,
    ) -> None:
        """Record one logged step; ids are those of the whole global batch, in order.

        progress: the share of the run that is done; it says how many steps there will be.
        """
        if not self._run or not self._board:
            return
        self._run.log(kind="step", step=step, **values, **({"ids": ids} if ids else {}))
        for name, value in values.items():
            self._board.add_scalar(f"train/{name}", value, step)
        loss, speed = values["loss"], values["samples_per_s"]
        tail = f"loss {loss:.5f}  {speed:.1f} samples/s  wait {100 * values['wait_share']:.1f} %"
        steps = round(step / progress)
        if self._bar is not None:
            self._bar.total = steps
            self._bar.set_postfix_str(tail)
        else:
            pace = (time.perf_counter() - self._began) / max(1e-9, progress - self._done)
            minutes, seconds = divmod(round(pace * (1 - progress)), 60)
            left = f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
            self.say(f"step {step}/{steps}  {tail}  lr {values['lr']:.2e}  ETA {left}")

    def epoch(self, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Record the end of an epoch."""
        if self._run:
            self._run.log(kind="epoch", epoch=epoch, step=step, **values)

    def validation(self, step: int, values: Mapping[str, float], headline: tuple[str, ...]) -> None:
        """Record one validation; the headline is what the line shows."""
        if not self._run or not self._board:
            return
        self._run.log(kind="validation", step=step, **values)
        for name, value in values.items():
            self._board.add_scalar(f"validation/{name}", value, step)
        shown = "  ".join(f"{name} {values[name]:.4f}" for name in headline or values)
        self.say(f"step {step} validation: {shown}")

    def pictures(self, step: int, panels: Mapping[str, npt.NDArray[np.uint8]]) -> None:
        """Show pictures (H, W, 3) on TensorBoard."""
        for name, picture in panels.items():
            if self._board:
                self._board.add_image(name, picture, step, dataformats="HWC")

    def finish(self, wait_share: float, paths: Mapping[str, Path]) -> None:
        """Say where the time went and where the results lie."""
        self.say(f"waited for data {100 * wait_share:.2f} % of the training time")
        for name, path in paths.items():
            self.say(f"{name}: {path}")

    def close(self) -> None:
        """Flush everything."""
        if self._bar is not None:
            self._bar.close()
        if self._board:
            self._board.close()
