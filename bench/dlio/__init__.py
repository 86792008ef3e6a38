"""DLIO, the judge of MLPerf Storage, drives a contestant: `mpirun -n N dlio_benchmark`.

DLIO wants a folder of training files and looks at their names alone: it gets one empty file, and
beside it the job that plugin.py reads.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from ranks import FAREWELL_S, PATIENCE_S, Share

from dataprep.manifest import DataError

JOB = "job.json"
HERE = Path(__file__).resolve().parent


def check(judge: str) -> None:
    """Raise DataError where DLIO is asked for and not there."""
    if judge == "dlio" and not (_mpirun() and find_spec("dlio_benchmark") and find_spec("mpi4py")):
        why = "mpirun, mpi4py or dlio_benchmark is not installed: bench/dlio/README.md"
        raise DataError("--judge dlio", "", why)


def _mpirun() -> str | None:
    beside = os.fspath(Path(sys.executable).parent)  # where a package brings its own
    return shutil.which("mpirun", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))


def au(share: Share, ranks: int, steps: int, compute_s: float) -> float:
    """Return the AU that DLIO reports for one epoch of `steps` steps; RuntimeError: it failed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for split in ("train", "valid"):
            (folder / split).mkdir()
        (folder / "train" / "img_0.jpeg").touch()
        (folder / JOB).write_text(json.dumps(asdict(share)))
        command = [_mpirun() or "mpirun", "--oversubscribe", "-n", str(ranks), sys.executable]
        settings = options(folder, share.work["batch"], ranks, steps, compute_s)
        command += ["-m", "dlio_benchmark.main", *settings]
        root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        # bench/ itself, and the rooms beside it.
        paths = [str(HERE.parent), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
        path = os.pathsep.join(filter(None, paths))
        code, printed = ran(command, folder, os.environ | root | {"PYTHONPATH": path})
        summary = folder / "out" / "summary.json"
        if code or not summary.exists():
            raise RuntimeError(f"DLIO failed: {complaint(printed)}")
        share_of = json.loads(summary.read_text())["metric"]["train_au_mean_percentage"]
        return float(share_of) / 100


def ran(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> tuple[int, str]:
    """Run a command in a session of its own; return exit code and output, RuntimeError: too slow.

    Nothing that it started in its process group outlives it.
    """
    child = subprocess.Popen(
        command,
        env=env,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        printed, _ = child.communicate(timeout=PATIENCE_S)
        return child.returncode, printed
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"DLIO was not done after {PATIENCE_S:.0f} s") from None
    finally:
        _end(child)


def _end(child: subprocess.Popen[str]) -> None:
    """End a command and its group; it is asked first: mpirun has its ranks in other groups."""
    with suppress(ProcessLookupError):
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                child.wait(FAREWELL_S)
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if child.stdout:  # not read to its end: who escaped would keep it open
        child.stdout.close()


def options(folder: Path, batch: int, ranks: int, steps: int, compute_s: float) -> list[str]:
    """Return DLIO's settings: MLPerf's ResNet-50, its loader replaced by the plug-in."""
    workload = {
        "framework": "pytorch",
        "workflow.generate_data": False,
        "dataset.format": "jpeg",
        "dataset.data_folder": folder,
        "dataset.num_files_train": 1,
        "dataset.num_samples_per_file": ranks * steps * batch,
        "reader.data_loader": "pytorch",
        "reader.data_loader_classname": "dlio.plugin.Contestant",
        "reader.data_loader_sampler": "iterative",
        "reader.read_threads": 0,
        "reader.batch_size": batch,
        "train.epochs": 1,
        "train.computation_time": compute_s,
        "output.folder": folder / "out",
    }
    named = [f"++workload.{key}={value}" for key, value in workload.items()]
    return ["workload=resnet50_h100", *named, f"hydra.run.dir={folder / 'out'}"]


def complaint(text: str) -> str:
    """Return the line of an output that says most: the last that names an error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Error" in line), (lines or ["no word"])[-1])
