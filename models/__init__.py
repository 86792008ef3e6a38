"""Networks and recipes: one file a network family, `RECIPES` in it, `build(**net)` beside it.

A recipe is all that decides a result. Each of its fields is a flag of train.py; a setting that
only one network knows is an annotated argument of its `build` and is set by `--net key=value`.
"""

from __future__ import annotations

import inspect
import json
import math
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Any, Literal, TypeVar

import torch

T = TypeVar("T")


def knob(default: T, doc: str, flag: str | None = None) -> T:
    """Return a dataclass field with its one-line help and, where it differs, its flag."""
    facts = {"help": doc} | ({"flag": flag} if flag else {})
    if isinstance(default, Mapping):
        frozen = MappingProxyType(dict(default))
        return field(default_factory=lambda: frozen, metadata=facts)  # type: ignore[return-value]
    return field(default=default, metadata=facts)


@dataclass(frozen=True, kw_only=True)
class Input:
    """What a network wants of one field: the task makes its stages from it."""

    channels: int = 3
    size: tuple[int, int] | None = None  # (height, width); None: any
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)  # in units of the field / 255 for 8-bit images
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    interpolation: Literal["linear", "cubic"] = "linear"
    multiple_of: int = 1
    crop: float = 1.0  # share of the short side that the middle of a photograph keeps when judged


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides a result. Legend: a step is one update of `global_batch_size` samples."""

    task: str  # what is learnt: a file of tasks/
    data: str = field(metadata={"help": "built set: a name under the data root, or a folder"})
    train_split: str = knob("train", "split to train on")
    val_split: str = knob("val", "split to validate on")
    net: Mapping[str, Any] = knob({}, "network settings, key=value, repeatable")
    task_options: Mapping[str, Any] = knob({}, "task settings, key=value, repeatable", "--task")
    strategy: str = knob("random", "which samples form a batch")
    strategy_options: Mapping[str, Any] = knob(
        {}, "strategy settings, key=value, repeatable", "--strategy-option"
    )
    feedback_lag: int = knob(2, "a choice sees the scores of steps up to this many before it")
    global_batch_size: int = knob(64, "samples in one optimiser update, all ranks together")
    shuffle: Literal["full", "block"] = knob("full", "all samples, or blocks for slow storage")
    last: Literal["fill", "drop"] = knob("fill", "a short last batch: weight-0 fillers, or drop")
    steps: int = knob(0, "optimiser updates; 0: use --epochs")
    epochs: int = knob(0, "passes over the data; 0: use --steps")
    optimiser: Literal["adam", "adamw", "sgd"] = knob("adam", "optimiser")
    lr: float = knob(1e-3, "peak learning rate")
    betas: tuple[float, float] = knob((0.9, 0.999), "Adam's betas; SGD's momentum is the first")
    weight_decay: float = knob(0.0, "weight decay")
    schedule: Literal["constant", "cosine", "steps"] = knob("constant", "learning-rate schedule")
    milestones: tuple[float, ...] = knob((), "schedule=steps: shares of the run where lr drops")
    gamma: float = knob(0.1, "schedule=steps: factor at each milestone")
    warmup: float = knob(0.0, "share of the run with linearly rising lr")
    grad_clip: float = knob(0.0, "largest gradient norm; 0: off")
    ema: float = knob(0.0, "decay of the averaged weights used in evaluation; 0: off")
    precision: Literal["fp32", "bf16", "fp16"] = knob("fp32", "autocast precision")
    channels_last: bool = knob(False, "NHWC memory format")
    validate_every: int = knob(0, "steps between validations; 0: at the end only")
    validate_epochs: int = knob(0, "epochs between validations, beside --validate-every; 0: off")
    best: str = knob("", "metric that names the best checkpoint  [default: the task's]")
    patience: int = knob(0, "validations without a better one, then training ends; 0: off")
    weights: Literal["last", "best"] = knob("last", "which weights the report judges")
    seed: int = knob(0, "seed of initialisation, order and every draw")

    def __post_init__(self) -> None:
        least = {"global_batch_size": 1, "steps": 0, "epochs": 0}
        least |= {"validate_every": 0, "validate_epochs": 0}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"--{name.replace('_', '-')} must be at least {value}")

    def facts(self) -> dict[str, Any]:
        """Return the recipe in JSON's types."""
        plain = {k: dict(v) if isinstance(v, Mapping) else v for k, v in vars(self).items()}
        facts: dict[str, Any] = json.loads(json.dumps(plain))
        return facts

    def progress(self, steps: int, epochs: float) -> float:
        """Return the share of the run that is done after so many steps and epochs.

        By epochs where the recipe counts them: a strategy that shortens them shortens no schedule.
        """
        return steps / self.steps if self.steps else epochs / self.epochs

    def validates(self, steps: int, epochs: float) -> bool:
        """Return whether a validation is due after so many steps and epochs."""
        done = ((steps, self.validate_every), (epochs, self.validate_epochs))
        return any(every and count % every == 0 for count, every in done)

    def learning_rate(self, progress: float) -> float:
        """Return the learning rate at a share of the run, 0 to 1."""
        if progress < self.warmup:
            return self.lr * progress / self.warmup
        if self.schedule == "cosine":
            part = (progress - self.warmup) / (1 - self.warmup)
            return self.lr * 0.5 * (1 + math.cos(math.pi * part))
        drops = sum(progress >= at for at in self.milestones) if self.schedule == "steps" else 0
        return self.lr * self.gamma**drops

    def optimise(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Return the recipe's optimiser over these parameters, its update one fused kernel."""
        given: dict[str, Any] = {"lr": self.lr, "weight_decay": self.weight_decay, "fused": True}
        if self.optimiser == "sgd":
            return torch.optim.SGD(parameters, momentum=self.betas[0], **given)
        kind = torch.optim.AdamW if self.optimiser == "adamw" else torch.optim.Adam
        return kind(parameters, betas=self.betas, **given)


def averaging(decay: float) -> Callable[[Any, Any, Any], None]:
    """Return an EMA for `AveragedModel` whose decay rises to `decay`: min(decay, (1+n) / (10+n)).

    Without the rise the random initial weights would fill the average of a short run.
    """

    @torch.no_grad()
    def update(averaged: Any, current: Any, count: Any) -> None:
        share = 1 - min(decay, (1 + float(count)) / (10 + float(count)))
        if not averaged[0].is_floating_point():  # torch passes one type at a time
            torch._foreach_copy_(list(averaged), list(current))  # the counts of batch norms
        else:
            torch._foreach_lerp_(list(averaged), list(current), share)

    return update


def families() -> list[str]:
    """Return the names of all network families."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def recipes() -> dict[str, tuple[str, Recipe]]:
    """Return recipe name -> (family, recipe) over every family."""
    return {
        name: (family, recipe)
        for family in families()
        for name, recipe in load(family).RECIPES.items()
    }


def load(family: str) -> ModuleType:
    """Import one network family; it has `build` and `RECIPES`."""
    return import_module(f"{__name__}.{family}")


def build(family: str, *, blank: bool = False, **net: Any) -> torch.nn.Module:
    """Build a network; every key is checked by the caller against the signature of `build`.

    blank: a checkpoint will fill it, so weights that others trained are not fetched.
    """
    make = load(family).build
    if blank and "pretrained" in inspect.signature(make).parameters:
        net["pretrained"] = False
    network: torch.nn.Module = make(**net)
    return network


def initialise(net: torch.nn.Module, checkpoint: Mapping[str, Any]) -> None:
    """Load weights strictly from a checkpoint of ours or of the network's authors.

    Averaged weights are preferred in ours; published files hold `params` (whose scores the papers
    give) and `params_ema`. ValueError, in one line, where they are those of another network.
    """
    state = checkpoint
    if checkpoint.get("ema"):
        averaged = checkpoint["ema"].items()
        state = {k.removeprefix("module."): v for k, v in averaged if k != "n_averaged"}
    else:
        for key in ("model", "params", "params_ema"):
            if isinstance(checkpoint.get(key), Mapping):
                state = checkpoint[key]
                break
    own = net.state_dict()
    wrong = [k for k in own if k in state and getattr(state[k], "shape", None) != own[k].shape]
    differing = {"missing": own.keys() - state.keys(), "unexpected": state.keys() - own.keys()}
    why = [f"{len(keys)} {what}, first {min(keys)}" for what, keys in differing.items() if keys]
    if wrong:
        k = wrong[0]
        there = tuple(getattr(state[k], "shape", ()))
        why.append(f"{k} has shape {there}, the network wants {tuple(own[k].shape)}")
    if why:
        raise ValueError(f"weights of another network: {'; '.join(why)}")
    net.load_state_dict(state)
