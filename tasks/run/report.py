"""Reports: report.json and the figures of a run, each with what is needed to do it again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from loaders import Batch
from tasks import Net, Task, pictures
from tasks.run import Run

Array = npt.NDArray[Any]


def origin(run: Run, split: str, fingerprint: str) -> dict[str, Any]:
    """Return what a figure or number must carry: command, seed, split, data fingerprint."""
    seed = run.facts()["recipe"]["seed"]
    return {"command": " ".join(sys.argv), "seed": seed, "split": split, "data": fingerprint}


def wait_share(run: Run) -> float:
    """Return the share of the training time in which a run waited for data, by its log."""
    steps = [entry for entry in run.read_log() if entry.get("kind") == "step"]
    # A window's time is its samples over its speed; windows hold equally many samples.
    spent = [1 / entry["samples_per_s"] for entry in steps]
    waited = [entry["wait_share"] * time for entry, time in zip(steps, spent, strict=True)]
    return float(np.sum(waited) / max(np.sum(spent), 1e-9))


def save_picture(path: Path, picture: Array, facts: Mapping[str, Any]) -> Path:
    """Write a picture (H, W, 3) uint8 as PNG with its facts as text chunks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = PngImagePlugin.PngInfo()
    for key, value in facts.items():
        text.add_text(key, str(value))
    Image.fromarray(picture).save(path, pnginfo=text)
    return path


def stack(pictures: list[Array]) -> Array:
    """Return pictures below each other, left-aligned on white."""
    width = max(picture.shape[1] for picture in pictures)
    rows = []
    for picture in pictures:
        row = np.full((picture.shape[0] + 4, width, 3), 255, np.uint8)
        row[: picture.shape[0], : picture.shape[1]] = picture
        rows.append(row)
    return np.concatenate(rows)


def curves(run: Run, facts: Mapping[str, Any]) -> Path:
    """Draw loss terms and validation metrics over the steps of log.jsonl."""
    from matplotlib.figure import Figure  # slow to import: only for reports

    log = run.read_log()
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, kind, title in ((left, "step", "training"), (right, "validation", "validation")):
        lines = [entry for entry in log if entry.get("kind") == kind]
        for name in _shown(kind, lines):
            steps = [entry["step"] for entry in lines if name in entry]
            style = "--" if name.startswith("bicubic") else "-"
            axes.plot(steps, [e[name] for e in lines if name in e], style, label=name)
        axes.set(title=title, xlabel="step", ylabel="loss" if kind == "step" else "PSNR, dB")
        axes.grid(alpha=0.3)
        if lines:
            axes.legend()
    left.set_yscale("log")
    path = run.folder / "figures" / "curves.png"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=120, metadata={key: str(value) for key, value in facts.items()})
    return path


def _shown(kind: str, lines: list[dict[str, Any]]) -> list[str]:
    """Return which of the logged values a curve is drawn for."""
    if not lines:
        return []
    if kind == "step":
        other = {"lr", "samples_per_s", "wait_share", "memory_bytes", "time", "step", "kind", "ids"}
        return [name for name in lines[-1] if name not in other and "skipped" not in name]
    return [name for name in lines[-1] if "psnr" in name] or [
        name for name in lines[-1] if name not in {"time", "step", "kind"}
    ]


def write(
    run: Run, task: Task, net: Net, figures: Mapping[str, float], split: str, **loading: Any
) -> dict[str, Path]:
    """Write report.json, curves and panels of a finished run; returns their paths."""
    facts = origin(run, split, task.dataset.manifest.fingerprint)
    steps = [entry for entry in run.read_log() if entry.get("kind") == "step"]
    summary: dict[str, Any] = {"figures": dict(figures), "origin": facts}
    summary |= {"wait_share": wait_share(run), "last_step": steps[-1] if steps else {}}
    paths = {"report": run.write_json("report.json", summary), "curves": curves(run, facts)}
    shown = pictures(task, net, split, **loading)
    if shown:
        target = run.folder / "figures" / "panels.png"
        paths["panels"] = save_picture(target, stack(list(shown.values())), facts)
    return paths


def contact_sheet(batch: Batch) -> Array:
    """Return a batch as a picture: a row a sample, its image fields beside each other."""
    fields = [v for v in batch.fields.values() if isinstance(v, Tensor) and v.ndim == 4]
    rows = []
    for i in range(len(batch)):
        cells = [_picture(field[i]) for field in fields]
        height = max(cell.shape[0] for cell in cells)
        padded = [
            np.pad(c, ((0, height - len(c)), (0, 4), (0, 0)), constant_values=255) for c in cells
        ]
        rows.append(np.concatenate(padded, axis=1))
    return stack(rows)


def _picture(image: Tensor) -> Array:
    """Return one image of a batch as (H, W, 3) uint8, stretched to its own range if need be."""
    values = image.float().cpu().numpy()
    if image.dtype == torch.float32:  # normalised: channels first
        values = values.transpose(1, 2, 0)
    low, high = (0, 1) if 0 <= values.min() and values.max() <= 1 else (values.min(), values.max())
    grey_levels = (255 * (values - low) / max(high - low, 1e-6)).round().astype(np.uint8)
    return np.broadcast_to(grey_levels[..., :3], (*grey_levels.shape[:2], 3))
