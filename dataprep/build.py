"""Build a set: plan, write shards in worker processes, finish. Stopped anywhere, it goes on there.

The bytes of every file depend on the plan alone: not on the number of workers, nor on how often
the build was stopped. A set without a manifest is not complete and never loads.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from dataprep import manifest as manifests
from dataprep import plan as plans
from dataprep.arrays import full
from dataprep.crew import write_shards
from dataprep.finish import finish
from dataprep.manifest import FILE_NAME, DataError, Manifest
from dataprep.plan import Plan
from dataprep.progress import Progress
from dataprep.raw import Raw
from dataprep.shard import BUILDING, Job, Record, part_path, record_path
from dataprep.sources import Base

# Entries whose headers are read to estimate the size of the set.
WEIGHED = 16


def build(
    source: Base,
    raw: Raw | str | Path | None,
    folder: str | Path,
    *,
    workers: int | None = None,
    on_error: Literal["fail", "skip"] = "fail",
    overwrite: bool = False,
    say: Callable[[str], None] = lambda text: None,
    show: bool = False,
) -> Manifest:
    """Build a set into a folder and return its manifest; the same call resumes a stopped build.

    workers: processes, None for one a core. say: told what a user should know. show: progress on
    stderr. DataError for bad raw data (with `on_error="skip"` the set lists it instead), a full
    disk, another plan in the folder, or another build at work in it.
    """
    folder = Path(folder).resolve()
    raw = raw if isinstance(raw, Raw) else Raw(raw or ".")
    plan = plans.make(source, raw)
    for remark in source.remarks(plan.entries):
        say(remark)
    workers = workers or cores()
    with _locked(folder):
        ready = _settle(folder, plan, overwrite)
        if ready:
            say("already built, nothing to do (--overwrite builds it anew)")
            return ready
        job = Job(source, raw, folder, on_error == "skip")
        todo = [i for i in range(plan.shards) if not _is_finished(job, i)]
        _check_disk(job, plan, todo)
        plan.save(folder / BUILDING / "plan.json")
        if len(todo) < plan.shards:
            say(f"goes on: {plan.shards - len(todo)} of {plan.shards} shards were finished")
        _write(job, plan, todo, workers, show)
        manifest = _finish(job, plan, workers)
        for check in manifest.checks.values():
            for line in check["says"] if check.get("warns") else []:
                say(line)
        return manifest


def cores() -> int:
    """Return the cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _write(job: Job, plan: Plan, todo: list[int], workers: int, show: bool) -> None:
    if not show:
        for _ in write_shards(job, plan, todo, workers):
            pass
        return
    total = len(plan.entries)
    with Progress(job.folder.name, total, total - sum(len(plan.part(i)) for i in todo)) as progress:
        for entries, size_bytes in write_shards(job, plan, todo, workers):
            progress.add(entries, size_bytes)


def _finish(job: Job, plan: Plan, workers: int) -> Manifest:
    records = [Record.load(record_path(job.folder, shard)) for shard in range(plan.shards)]
    try:
        manifest = finish(job.folder, job.source, plan, records, workers)
    except OSError as error:
        raise full(error, job.folder) from None
    shutil.rmtree(job.folder / BUILDING)
    return manifest


def _settle(folder: Path, plan: Plan, overwrite: bool) -> Manifest | None:
    """Make the folder fit for this plan; return the manifest where the set is complete."""
    hint = "choose another --name, or --overwrite"
    if overwrite:
        _clear(folder)
    if (folder / FILE_NAME).exists():
        manifest = manifests.load(folder)
        if manifest.plan != plan.fingerprint:
            raise DataError(folder, "", f"holds a set made from other options or raw files: {hint}")
        _drop_stale(folder)
        shutil.rmtree(folder / BUILDING)
        return manifest
    saved = folder / BUILDING / "plan.json"
    if saved.exists():
        difference = plan.difference(saved)
        if difference:
            raise DataError(folder, "", f"holds an unfinished build of {difference}: {hint}")
    elif any(path.name != BUILDING for path in folder.iterdir()):
        raise DataError(folder, "", "is not empty and not a built set: choose another --name")
    _drop_stale(folder)
    return None


def _drop_stale(folder: Path) -> None:
    """Remove what a killed build of ours was writing: it would be counted among the set's files."""
    for stale in folder.rglob("*.tmp"):
        stale.unlink()


def _is_manifest(path: Path) -> bool:
    """Tell our manifest from any other file of that name."""
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and {"format", "fingerprint", "fields"} <= facts.keys()


def _clear(folder: Path) -> None:
    is_ours = _is_manifest(folder / FILE_NAME) or (folder / BUILDING / "plan.json").exists()
    if not is_ours and any(path.name != BUILDING for path in folder.iterdir()):
        raise DataError(folder, "", "is not a built set, so it is not overwritten")
    # The manifest goes first: without it nothing loads what is half removed.
    (folder / FILE_NAME).unlink(missing_ok=True)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if path.name != BUILDING or path.parent != folder:
                path.rmdir()
        elif path != folder / BUILDING / "lock":
            path.unlink()


def _is_finished(job: Job, shard: int) -> bool:
    path = record_path(job.folder, shard)
    if not path.exists() or not part_path(job.folder, shard).exists():
        return False
    record = Record.load(path)
    if record.skipped and not job.skip:
        return False  # this run wants to hear of them
    files = {job.folder / name: size for name, size in record.files.items()}
    return all(path.exists() and path.stat().st_size >= size for path, size in files.items())


def _check_disk(job: Job, plan: Plan, todo: list[int]) -> None:
    entries = [entry for shard in todo for entry in plan.part(shard)]
    sizes = []
    for entry in entries[:: max(1, len(entries) // WEIGHED)]:
        try:
            sizes.append(job.source.weigh(job.raw, entry))
        except DataError:
            continue  # said, with its name, when it is read
    need = sum(sizes) / max(len(sizes), 1) * len(entries)
    free = shutil.disk_usage(job.folder).free
    if need > free:
        gigabytes = f"about {need / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free"
        raise DataError(job.folder, "", f"the disk is too full: {gigabytes}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder for one build; leave nothing behind where there is nothing to resume."""
    building = folder / BUILDING
    building.mkdir(parents=True, exist_ok=True)
    with open(building / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataError(folder, "", "another build is at work in this folder") from None
        try:
            yield
        finally:
            if building.exists() and not (building / "plan.json").exists():
                shutil.rmtree(building)
            if not any(folder.iterdir()):
                folder.rmdir()
