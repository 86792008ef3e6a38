"""The run folder: one execution's recipe, log, checkpoints and report.

    runs/<name>/recipe.json       what was asked for, with the data's fingerprint
                log.jsonl         one line per logged step or validation
                events.out.*      TensorBoard
                checkpoints/      step-00000100.pt …, best.pt
                report.json       results; figures/ pictures
                REQUEUE           left by a run that was told to stop; gone when it goes on

Checkpoints hold tensors and plain types only and are read with `weights_only=True`: a file from
a stranger cannot run code.
"""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataprep.manifest import DataError, atomic

REQUEUE = "REQUEUE"


class Run:
    """A run folder; only rank 0 writes to it."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.checkpoints = self.folder / "checkpoints"

    @property
    def exists(self) -> bool:
        """True where a run was begun here."""
        return (self.folder / "recipe.json").is_file()

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Write recipe.json: {"model", "family", "recipe", "fingerprint"}."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self.write_json("recipe.json", facts)

    def facts(self) -> dict[str, Any]:
        """Return recipe.json; DataError where this is no run."""
        path = self.folder / "recipe.json"
        try:
            facts: dict[str, Any] = json.loads(path.read_text())
        except OSError:
            raise DataError(self.folder, "", "not a run (no recipe.json)") from None
        except ValueError as error:
            raise DataError(path, "", f"damaged ({error})") from None
        return facts

    def refuse_changes(self, facts: Mapping[str, Any]) -> None:
        """ValueError names what differs between this run's recipe or data and those asked for."""
        before = self.facts()
        old, new = ({**each["recipe"], "model": each["model"]} for each in (before, facts))
        changed = [f"{k} was {old.get(k)!r}, is {v!r}" for k, v in new.items() if old.get(k) != v]
        if before["fingerprint"] != facts["fingerprint"]:
            changed.append("the data set has another fingerprint")
        if changed:
            raise ValueError(
                f"{self.folder} is a run of another recipe ({'; '.join(changed)}): choose another"
                " --name, or start from its weights with --init"
            )

    def keep(self, files: Mapping[str, Mapping[str, Any]]) -> None:
        """Write columns as `<name>.npz`, a file a name."""
        for name, columns in files.items():
            with atomic(self.folder / f"{name}.npz") as path, open(path, "wb") as file:
                np.savez(file, allow_pickle=False, **columns)

    def write_json(self, name: str, value: Any) -> Path:
        """Write a JSON file of the run atomically."""
        path = self.folder / name
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(value, indent=1, default=_plain) + "\n")
        return path

    def log(self, **values: Any) -> None:
        """Append one line to log.jsonl."""
        line = json.dumps({"time": round(time.time(), 3)} | values, default=_plain)
        with open(self.folder / "log.jsonl", "a") as file:
            file.write(line + "\n")

    def read_log(self) -> list[dict[str, Any]]:
        """Return log.jsonl, later lines of a step replacing those a resumed run did again."""
        path = self.folder / "log.jsonl"
        lines: dict[tuple[str, int], dict[str, Any]] = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                entry = json.loads(line)
            except ValueError:  # the last line of a killed run
                continue
            lines[entry.get("kind", ""), entry.get("step", 0)] = entry
        return sorted(lines.values(), key=lambda entry: entry.get("step", 0))

    def save(self, step: int, state: Mapping[str, Any], keep: int, best: bool = False) -> Path:
        """Write a checkpoint atomically, then drop all but the last `keep` (and the best)."""
        path = self.checkpoints / f"step-{step:08d}.pt"
        for stale in self.checkpoints.glob(".*.tmp"):  # of a run killed while it saved
            stale.unlink()
        encoded = _encode(dict(state))
        # The best one first: killed in between, a run goes on from before, and judges it anew.
        for target in (self.checkpoints / "best.pt", path) if best else (path,):
            try:
                with atomic(target) as temporary:
                    torch.save(encoded, temporary)
            except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
                why = f"checkpoint not written, earlier ones are whole ({error})"
                raise DataError(target, "", why) from None
        for old in self.steps()[:-keep]:
            old.unlink()
        return path

    def steps(self) -> list[Path]:
        """Return the numbered checkpoints, oldest first."""
        return sorted(self.checkpoints.glob("step-*.pt"))

    def latest(self) -> Path | None:
        """Return the newest checkpoint."""
        return self.steps()[-1] if self.steps() else None

    def judged(self) -> Path | None:
        """Return the checkpoint that the report judges, as the recipe says: the best, or the last.

        None where there is none yet.
        """
        is_best = self.facts()["recipe"].get("weights") == "best"
        return self.best() if is_best and self.latest() else self.latest()

    def best(self) -> Path:
        """Return the best checkpoint, else the newest; DataError where there is none."""
        path = self.checkpoints / "best.pt"
        found = path if path.exists() else self.latest()
        if found is None:
            raise DataError(self.checkpoints, "", "holds no checkpoint yet")
        return found


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; DataError where it is missing, cut short or unsafe."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(path, "", "no such checkpoint") from None
    except pickle.UnpicklingError:  # torch's own words say how to let it run code
        why = "not a checkpoint, or one that would run code: refused"
        raise DataError(path, "", why) from None
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise DataError(path, "", f"not a checkpoint ({str(error).splitlines()[0]})") from None
    if not isinstance(state, dict):
        raise DataError(path, "", "not a checkpoint (holds no dictionary)")
    decoded: dict[str, Any] = _decode(state)
    return decoded


def _encode(value: Any) -> Any:
    """Turn arrays into tagged tensors: the safe reader knows no arrays."""
    if isinstance(value, np.ndarray):
        return {"__array__": torch.from_numpy(np.ascontiguousarray(value))}
    if isinstance(value, Mapping):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_encode(item) for item in value])
    return value.item() if isinstance(value, np.generic) else value


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"__array__"}:
            return value["__array__"].numpy()
        return {key: _decode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_decode(item) for item in value])
    return value


def _plain(value: Any) -> Any:
    """Return JSON types for what json does not know."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return str(value)
