"""Networks of timm by name, with weights from where one wants: what classifiers and others share.

Legend: a level is one of the grids of features that timm's `feature_info` lists, the finest first.
A head is the last layer of a classifier, a row a class.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, where timm names none
MISFITS = (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError)  # timm's refusals


class Extractor(nn.Module):
    """The levels of an image whose sides are multiples of `stride`, normalised by mean and std."""

    def __init__(self, net: Any, stride: int, unused: Sequence[str]) -> None:
        super().__init__()
        self.net, self.stride, self._unused = net, stride, unused
        self.channels: list[int] = net.feature_info.channels()
        self.mean = tuple(net.pretrained_cfg.get("mean") or MEAN)
        self.std = tuple(net.pretrained_cfg.get("std") or STD)
        self._channels_come_last = getattr(net, "output_fmt", "NCHW") == "NHWC"

    def learning(self, tuned: bool) -> Extractor:
        """Let the weights learn, or none; not those behind the last chosen level."""
        self.requires_grad_(tuned)
        for name in self._unused:  # ranks would wait for their gradients
            self.net.get_parameter(name).requires_grad_(False)
        return self

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return (B, C, h, w) of each chosen level of (B, 3, H, W)."""
        levels: list[Tensor] = self.net(image)
        return [x.permute(0, 3, 1, 2) for x in levels] if self._channels_come_last else levels


def extractor(name: str, levels: Sequence[int], pretrained: bool | str) -> Extractor:
    """Make an extractor; pretrained: timm's weights, none, or a file of them.

    ValueError, in one line, where there is no such network, level or weights, and for a network
    that takes images of one size only.
    """
    plan = _plan(name, levels)
    options = {"features_only": True, "out_indices": plan.levels, **plan.options}
    if isinstance(pretrained, str):
        state, wanted = read(pretrained), shapes(plan.whole)
        for key in [key for key in wanted if key.startswith(heads_of(plan.whole))]:
            del wanted[key]
            state.pop(key, None)
        compare(pretrained, name, state, wanted)
    return Extractor(make(name, pretrained, **options), plan.stride, plan.unused)


def make(name: str, pretrained: bool | str, rows: int | None = None, **options: Any) -> Any:
    """Make a network of timm; pretrained as in `extractor`, a file is one that was compared.

    rows: of the head in that file, where they are not those of the weights that timm knows.
    ValueError, in one line, where timm's weights are not to be had.
    """
    import timm  # here: it takes seconds, and every command lists the recipes of all families

    overlay: dict[str, Any] | None = None
    if isinstance(pretrained, str):
        overlay = {"file": pretrained, "custom_load": False}  # in timm's format, not in JAX's
        overlay |= {} if rows is None else {"num_classes": rows, "label_offset": 0}
    try:
        return timm.create_model(
            name, pretrained=bool(pretrained), pretrained_cfg_overlay=overlay, **options
        )
    except (OSError, RuntimeError) as error:  # no network, no such weights, a broken download
        raise ValueError(
            f"cannot get weights of {name}: {line(error)}; --net pretrained=FILE takes them from"
            " a file, --net pretrained=false does without"
        ) from error


def known(name: str) -> None:
    """Refuse a name that timm has not, with those near to it."""
    import timm

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=4, cutoff=0.4)
        raise ValueError(f"timm has no network {name!r}; near: {', '.join(near) or 'none'}")


class Plan(NamedTuple):
    """How timm shall make a feature extractor: found out on shapes alone."""

    whole: nn.Module  # the classifier, without values: the keys and shapes of its weights
    levels: tuple[int, ...]
    options: dict[str, Any]
    stride: int  # of the coarsest level
    unused: list[str]  # weights that no chosen level depends on


def _plan(name: str, levels: Sequence[int]) -> Plan:
    """Find out how to make an extractor; ValueError where timm has none for images of any size."""
    import timm

    known(name)
    try:
        with torch.device("meta"), torch.enable_grad():
            whole = timm.create_model(name)
            strides = [level["reduction"] for level in getattr(whole, "feature_info", [])]
            chosen = _chosen(name, levels, len(strides))
            taken = inspect.signature(type(whole).__init__).parameters
            wanted = {"dynamic_img_size": True, "strict_img_size": False}  # of any size
            options = {key: value for key, value in wanted.items() if key in taken}
            extractor = timm.create_model(
                name, features_only=True, out_indices=chosen, **options
            ).eval()
            seen = extractor(torch.empty(1, 3, 8 * max(strides), 12 * max(strides)))
            torch.autograd.backward([level.sum() for level in seen])
    except MISFITS as error:
        raise ValueError(
            f"timm's {name} gives no features of images of any size: {line(error)}"
        ) from error
    unused = [name for name, weight in extractor.named_parameters() if weight.grad is None]
    return Plan(whole, chosen, options, max(strides), unused)


def _chosen(name: str, levels: Sequence[int], count: int) -> tuple[int, ...]:
    if not levels or any(not -count <= level < count for level in levels):
        raise ValueError(f"{name} has feature levels 0 to {count - 1}, not {tuple(levels)}")
    return tuple(sorted({level % count for level in levels}))


def read(path: str) -> dict[str, Tensor]:
    """Read a file of weights, alone or under the names that trainings give them."""
    from timm.models import load_state_dict

    if not Path(path).is_file():
        raise ValueError(f"no file of weights {path!r} for --net pretrained (or: true, false)")
    why = "not plain weights, or cut short (a file that would run code is refused)"
    try:
        state = load_state_dict(path)  # tensors only: never runs what a pickle asks for
    except Exception as error:  # torch, pickle, zipfile and safetensors each raise their own
        raise ValueError(f"{path}: {why}") from error
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: {why}")
    return dict(state)


def shapes(net: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight of a network."""
    return {key: tuple(value.shape) for key, value in net.state_dict().items()}


def heads_of(net: Any) -> tuple[str, ...]:
    """Return what the weights of a classifier's head begin with."""
    heads = net.pretrained_cfg.get("classifier") or ()
    return tuple(f"{head}." for head in ((heads,) if isinstance(heads, str) else heads))


def compare(
    path: str, name: str, state: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]
) -> None:
    """Refuse a file whose weights are not exactly those wanted; old ones count no batches."""
    for key, shape in wanted.items():
        if key not in state and not key.endswith("num_batches_tracked"):
            raise ValueError(f"{path}: not the weights of {name}: {key} is missing")
        if key in state and tuple(state[key].shape) != shape:
            have = tuple(state[key].shape)
            raise ValueError(f"{path}: not the weights of {name}: {key} is {have}, not {shape}")
    if more := state.keys() - wanted.keys():
        raise ValueError(f"{path}: not the weights of {name}, which has no {min(more)}")
    for key, values in state.items():
        if not values.isfinite().all():
            raise ValueError(f"{path}: {key} is not finite: of a training that went wrong")


def line(error: Exception) -> str:
    """Return the first line of an error."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
