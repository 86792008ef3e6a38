"""Reports: report.json and the figures of a run, each with what is needed to do it again."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from dataprep.manifest import atomic
from loaders import Batch, Dataset
from tasks import Evaluation, Net, Task, evaluate, pictures
from tasks.run import Run

Array = npt.NDArray[Any]

# Logged beside the loss terms.
OTHER = {"lr", "seconds", "samples_per_s", "wait_share", "memory_bytes", "skipped", "bad_samples"}
OTHER |= {"time", "step", "kind", "ids"}
# A loss that falls to less than this part is drawn on a logarithmic axis.
LOG_RANGE = 3


def origin(run: Run, split: str, fingerprint: str) -> dict[str, Any]:
    """Return what a figure or number must carry: command, seed, split, data fingerprint."""
    seed = run.facts()["recipe"]["seed"]
    return {"command": " ".join(sys.argv), "seed": seed, "split": split, "data": fingerprint}


def identity(path: Path) -> dict[str, Any]:
    """Return what tells one checkpoint from another: its name and the hash of its bytes."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": path.name, "sha256": digest}


def wait_share(run: Run) -> float:
    """Return the share of the training time in which a run waited for data, by its log."""
    steps = [entry for entry in run.read_log() if entry.get("kind") == "step"]
    spent = [entry["seconds"] for entry in steps]
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


def curves(run: Run, task: Task, facts: Mapping[str, Any]) -> Path:
    """Draw loss terms and the task's main metrics over the steps of log.jsonl."""
    from matplotlib.figure import Figure  # slow to import: only for reports

    log = run.read_log()
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, kind, title in ((left, "step", "training"), (right, "validation", "validation")):
        lines = [entry for entry in log if entry.get("kind") == kind]
        for name in _shown(kind, lines, task):
            steps = [entry["step"] for entry in lines if name in entry]
            style = "--" if name.startswith(("bicubic", "centre")) else "-"
            axes.plot(steps, [e[name] for e in lines if name in e], style, label=name)
        axes.set(title=title, xlabel="step", ylabel="loss" if kind == "step" else task.curves_unit)
        axes.grid(alpha=0.3)
        if lines:
            axes.legend()
    drawn = [value for line in left.lines for value in np.asarray(line.get_ydata()).tolist()]
    if drawn and min(drawn) > 0 and max(drawn) > LOG_RANGE * min(drawn):
        left.set_yscale("log")
    path = run.folder / "figures" / "curves.png"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=120, metadata={key: str(value) for key, value in facts.items()})
    return path


def _shown(kind: str, lines: list[dict[str, Any]], task: Task) -> list[str]:
    """Return which of the logged values a curve is drawn for."""
    if not lines:
        return []
    if kind == "step":
        names = dict.fromkeys(name for entry in lines for name in entry)
        return [name for name in names if name not in OTHER and not name.endswith("_applied")]
    wanted = task.curves or task.headline
    return [name for name in lines[-1] if name in wanted]


def write_values(run: Run, dataset: Dataset, judged: Evaluation, kind: str = "values") -> Path:
    """Write every sample's metrics, a line each: `<kind>-<set>-<split>.csv`."""
    path = run.folder / f"{kind}-{dataset.manifest.name}-{judged.split}.csv"
    keys = dataset.keys()
    with atomic(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "key", *judged.values])
        for i, sample in enumerate(judged.ids.tolist()):
            values = [repr(float(value[i])) for value in judged.values.values()]
            writer.writerow([sample, keys[sample], *values])
    return path


def judge(run: Run, task: Task, net: Net, splits: Sequence[str], **loading: Any) -> None:
    """Judge the report's weights on further splits; every rank calls it, the first one writes."""
    found = [evaluate(task, net, split, **loading) for split in splits]
    checkpoint = run.judged()
    if found and checkpoint and loading["world"].is_first:
        write_evaluations(run, task, found, checkpoint)


def write_evaluations(
    run: Run, task: Task, judged: Sequence[Evaluation], checkpoint: Path
) -> list[Path]:
    """Write evaluations of a checkpoint on a set: values and drawings of each, then all figures."""
    facts = task.dataset.manifest
    paths = []
    for one in judged:
        paths.append(write_values(run, task.dataset, one, "evaluation"))
        prefix = f"evaluation-{facts.name}-{one.split}-"
        paths += _drawn(run, task, one, prefix, origin(run, one.split, facts.fingerprint))
    told = origin(run, ", ".join(one.split for one in judged), facts.fingerprint)
    found = {"figures": {one.split: one.figures for one in judged}, "origin": told}
    told["checkpoint"] = identity(checkpoint)
    return [*paths, run.write_json(f"evaluation-{facts.name}.json", found)]


def _drawn(
    run: Run, task: Task, judged: Evaluation, prefix: str, facts: Mapping[str, Any]
) -> list[Path]:
    return [
        save_picture(run.folder / "figures" / f"{prefix}{name}.png", picture, facts)
        for name, picture in task.drawings(judged).items()
    ]


def write(
    run: Run, task: Task, net: Net, judged: Evaluation, work: Mapping[str, Any], **loading: Any
) -> dict[str, Path]:
    """Write report.json, values, curves and panels of a finished run; returns their paths."""
    facts = origin(run, judged.split, task.dataset.manifest.fingerprint)
    steps = [entry for entry in run.read_log() if entry.get("kind") == "step"]
    summary: dict[str, Any] = {"figures": judged.figures, "origin": facts, "work": work}
    summary |= {"wait_share": wait_share(run), "last_step": steps[-1] if steps else {}}
    checkpoint = run.judged()
    summary |= {"checkpoint": identity(checkpoint)} if checkpoint else {}
    values = write_values(run, task.dataset, judged)
    table = run.folder / "figures" / "table.txt"
    table.parent.mkdir(exist_ok=True)
    table.write_text(f"{task.table(judged.figures)}\n\n{json.dumps(facts, indent=1)}\n")
    drawn = curves(run, task, facts)
    shown = pictures(task, net, judged.split, **loading)
    paths = {"table": table, "values": values, "curves": drawn}
    paths |= {path.stem: path for path in _drawn(run, task, judged, "", facts)}
    if shown:
        target = run.folder / "figures" / "panels.png"
        paths["panels"] = save_picture(target, stack(list(shown.values())), facts)
    # Last: its presence says that the run is finished.
    return {"report": run.write_json("report.json", summary)} | paths


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
