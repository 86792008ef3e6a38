"""From source pixels to one sample of a batch: resample, turn, warp, change grey levels, convert.

Each route has one `Output`; its `write` runs in the reading threads, without the GIL but for a few
microseconds. The common case (flip at most, float32, channels first) is one compiled pass straight
into the batch. Legend: B batch, C channels, H W pixels of the output.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from loaders import kernels, resample
from loaders.buffers import Scratch
from loaders.program import Drawn

Array = npt.NDArray[Any]

_WARP = {"nearest": cv2.INTER_NEAREST, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}


class Output:
    """Writes a route's samples into `target`.

    target: (B, C, H, W), or (B, H, W, C) with `last`, of float32 or bfloat16 bits (uint16);
    (B, C, H, W) of uint8; (B, H, W, C) of the field's own dtype where affine is None.
    """

    def __init__(
        self,
        drawn: Drawn,
        target: Array,
        dtype: np.dtype[Any],
        affine: tuple[Array, Array] | None,
        last: bool,
    ) -> None:
        self._drawn, self._target, self._dtype = drawn, target, dtype
        self._kind = resample.KINDS[drawn.route.interpolation or "linear"]
        limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(np.float32)
        self._low, self._high = float(limits.min), float(limits.max)
        self._last = last
        self._bits = affine is not None and target.dtype == np.uint16
        self._whole = affine is not None and target.dtype == np.uint8
        self._channels = target.shape[3] if affine is None or last else target.shape[1]
        self._affine = affine
        same: tuple[Array, Array] = (
            np.ones(self._channels, np.float32),
            np.zeros(self._channels, np.float32),
        )
        # Grey levels are changed as levels, and clipped as levels: only then do they become floats.
        self._as_levels = bool(drawn.warps is not None or drawn.route.photometric)
        late = affine is None or self._as_levels or self._kind == resample.KINDS["cubic"]
        scale, bias = same if late or affine is None else affine
        self._scale, self._bias = scale, bias
        self._is_direct = not (late or last or self._bits or self._whole)

    def write(self, i: int, src: Array, place: tuple[int, int], scratch: Scratch) -> None:
        """Write sample i from the rows src (h, w × C), where its cover starts at `place`."""
        drawn = self._drawn
        planes = self._planes(i, src, place, scratch)
        if self._as_levels:
            image = self._levels(i, planes, scratch)
            if self._affine is None:
                self._target[i] = image
                return
            shape = (self._channels, drawn.height, drawn.width)
            planes = scratch.shaped("float", shape, np.float32)
            kernels.convert(image[None], *self._affine, planes[None])
        elif self._affine is None:
            self._store(planes, self._target[i])
            return
        elif self._kind == resample.KINDS["cubic"]:
            resample.clip(planes, self._low, self._high, *self._affine)
        if not self._is_direct:
            self._pack(planes, self._target[i], scratch)

    def _planes(self, i: int, src: Array, place: tuple[int, int], scratch: Scratch) -> Array:
        """Return the resampled and turned sample as planes (C, H, W), in the batch if possible."""
        drawn, channels = self._drawn, self._channels
        height, width = drawn.height, drawn.width
        if drawn.between is not None:
            height, width = drawn.between[i].tolist()
        cover, code = drawn.covers[i], int(drawn.codes[i])
        box = drawn.boxes[i].astype(np.float64)
        box[:2] -= cover[:2]
        there = cover.copy()
        there[:2] = place
        turned = bool(code & 4)
        shape = (channels, width, height) if turned else (channels, height, width)
        direct = self._is_direct and not turned
        out = self._target[i] if direct else scratch.shaped("planes", shape, np.float32)
        work = scratch.workspace
        work.fit(box, shape[1], shape[2], channels, int(cover[3]))
        resample.resample(
            src, there, box, code, self._kind, self._scale, self._bias,
            work.first, work.weights, work.line, out,
        )  # fmt: skip
        if not turned:
            return out
        shape = (channels, height, width)
        upright = self._target[i] if self._is_direct else scratch.shaped("up", shape, np.float32)
        resample.turn(out, upright)
        return upright

    def _levels(self, i: int, planes: Array, scratch: Scratch) -> Array:
        """Return the sample as (H, W, C) of the field's dtype, warped and changed by its stages."""
        drawn = self._drawn
        image = scratch.shaped("levels", (*planes.shape[1:], self._channels), self._dtype)
        self._store(planes, image)
        if drawn.warps is not None:
            image = warp(image, drawn.warps[i], drawn.height, drawn.width, self._interpolation)
        for (_, stage), parameters in zip(drawn.route.photometric, drawn.parameters, strict=True):
            image = stage.host(image, {key: value[i] for key, value in parameters.items()})
        return np.ascontiguousarray(image)

    def _store(self, planes: Array, out: Array) -> None:
        """Write planes to out (H, W, C) of the field's dtype, rounded where that is whole."""
        if self._dtype.kind == "f":
            resample.to_last(planes, out)
        else:
            resample.to_pixels(planes, self._low, self._high, out)

    @property
    def _interpolation(self) -> int:
        return int(_WARP[self._drawn.route.interpolation or "linear"])

    def _pack(self, planes: Array, target: Array, scratch: Scratch) -> None:
        """Write planes in the batch's layout and type."""
        if self._whole:
            resample.to_levels(planes, target)
            return
        if self._last:
            pixels = target
            if self._bits:
                pixels = scratch.shaped("last", target.shape, np.float32)
            resample.to_last(planes, pixels)
            planes = pixels
        if self._bits:
            resample.to_bfloat(planes.reshape(-1), target.reshape(-1))
        elif not self._last:
            target[...] = planes


def warp(image: Array, matrix: Array, height: int, width: int, interpolation: int) -> Array:
    """Return (height, width, C) pixels of an image through a matrix from output to image.

    The matrix is in continuous coordinates (a pixel's centre at 0.5); OpenCV's centres are whole.
    """
    shifted = matrix.copy()
    shifted[:2, 2] += 0.5 * (matrix[:2, 0] + matrix[:2, 1]) - 0.5
    turned = cv2.warpAffine(
        image, shifted[:2], (width, height), flags=interpolation | cv2.WARP_INVERSE_MAP
    )
    return np.asarray(turned).reshape(height, width, image.shape[2])
