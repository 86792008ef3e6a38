"""Super-resolution: low-resolution in, `scale` times the size out.

Loss: mean L1 + fft_weight × mean L1 between the real and imaginary parts of the unnormalised 2-D
FFT (Sun et al. 2022, official code). Evaluation: whole images, PSNR and SSIM with the conventions
of the BasicSR toolbox (8-bit, `scale` pixels shaved, Y unrounded). Legend: B batch, H W of HR.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

import tasks
from dataprep.bicubic import upscale
from dataprep.manifest import DataError
from loaders import Batch, Dataset
from loaders.stages import Normalise, Stage
from loaders.stages.crop import Crop
from loaders.stages.dihedral import Dihedral
from tasks import Feed, Loss, Net, Prediction
from tasks.metrics.image import psnr, ssim, to_uint8

Array = npt.NDArray[Any]


class Task(tasks.Task):
    """Train on aligned crops of `patch` LR pixels, turned eight ways.

    tile: LR pixels of a tile in evaluation, 0 for whole images; the result is the same.
    """

    best = "psnr_y"
    headline = ("psnr_y", "bicubic_psnr_y", "gain_db", "ssim_y")
    curves = ("psnr_y", "psnr_rgb", "bicubic_psnr_y", "bicubic_psnr_rgb")
    curves_unit = "PSNR, dB"
    evaluation_batch = 1  # images differ in size

    def __init__(
        self,
        dataset: Dataset | None,
        net: torch.nn.Module,
        *,
        patch: int = 64,
        fft_weight: float = 0.1,
        tile: int = 0,
    ) -> None:
        super().__init__(dataset, net)
        if tile < 0 or patch < 1:
            raise ValueError(f"tile must be 0 or more and patch 1 or more, not {tile} and {patch}")
        self.scale = int(net.scale)  # type: ignore[arg-type]
        self.input: Any = net.inputs["lr"]  # type: ignore[index]
        self.lr, self.patch, self.fft_weight, self.tile = (
            f"lr_x{self.scale}",
            patch,
            fft_weight,
            tile,
        )
        self._bicubic: dict[int, dict[str, float]] = {}
        if dataset:
            dataset.chosen(("hr", self.lr))

    def feed(self, training: bool) -> Feed:
        """Return LR/HR crops in training, whole images in evaluation."""
        ends: tuple[Stage, ...] = (
            Normalise(field=self.lr, mean=self.input.mean, std=self.input.std),
            Normalise(field="hr"),
        )
        moves = (Crop(height=self.patch, width=self.patch), Dihedral()) if training else ()
        return Feed(("hr", self.lr), (*moves, *ends), reference=self.lr)

    def check(self, split: str) -> None:
        """Count the images that are smaller than a crop."""
        ids = np.asarray(self.dataset.split(split))
        small = ids[(self.dataset.pixels(self.lr).sizes(ids) < self.patch).any(axis=1)]
        if len(small):
            raise DataError(
                self.dataset.folder,
                split,
                f"{len(small)} of {len(ids)} images are smaller than a crop of {self.patch} LR"
                f" pixels, the first is {self.dataset.keys()[int(small[0])]!r}: choose a smaller"
                " --task patch=",
            )

    def loss(self, net: Net, batch: Batch, step: int) -> Loss:
        """Return L1 + fft_weight × FFT-L1 per sample, on the unclamped output."""
        sr, hr = net(batch[self.lr]).float(), batch["hr"]
        l1 = (sr - hr).abs().mean(dim=(1, 2, 3))
        terms = {"l1": l1.detach()}
        if not self.fft_weight:
            return Loss(l1, terms=terms)
        fft = fft_l1(sr, hr)
        return Loss(l1 + self.fft_weight * fft, terms=terms | {"fft": fft.detach()})

    def metrics(self, net: Net, batch: Batch) -> dict[str, Array]:
        """Return PSNR and SSIM on Y and RGB, beside those of bicubic upscaling, per image."""
        rows = []
        for i in range(len(batch)):
            one = batch.take(slice(i, i + 1))
            sr = to_image(self.upscale(net, one[self.lr]))
            rows.append(self._compare(sr, to_image(one["hr"])) | self._baseline(one))
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def upscale(self, net: Net, lr: Tensor) -> Tensor:
        """Return SR of one image (1, 3, h, w), by tiles where `tile` is set."""
        if not self.tile:
            return net(lr).float()  # type: ignore[no-any-return]
        return tiled(net, lr, self.scale, self.tile, int(self.net.reach))  # type: ignore[arg-type]

    def _compare(self, image: Array, hr: Array) -> dict[str, float]:
        return {
            f"{name}_{channel}": metric(image, hr, self.scale, channel)
            for name, metric in (("psnr", psnr), ("ssim", ssim))
            for channel in ("y", "rgb")
        }

    def _baseline(self, one: Batch) -> dict[str, float]:
        """Return the bicubic figures of one image, computed once."""
        key = int(one.id[0])
        if key not in self._bicubic:
            lr = to_image(self._unnormalised(one[self.lr]))
            figures = self._compare(upscale(lr, self.scale), to_image(one["hr"]))
            self._bicubic[key] = {f"bicubic_{name}": value for name, value in figures.items()}
        return self._bicubic[key]

    def _unnormalised(self, lr: Tensor) -> Tensor:
        mean, std = (
            torch.tensor(v, device=lr.device).view(-1, 1, 1)
            for v in (self.input.mean, self.input.std)
        )
        return lr * std + mean

    def predict(self, net: Net, path: Path, out: Path) -> Prediction:
        """Enlarge one picture; grey stays grey, transparency is enlarged by bicubic."""
        image = _opened(path)
        alpha = image.getchannel("A") if "A" in image.getbands() else None
        grey = image.mode in ("L", "LA")
        lr = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None] / 255
        device = next(self.net.parameters()).device
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (self.input.mean, self.input.std))
        sr = Image.fromarray(to_image(self.upscale(net, ((lr - mean) / std).to(device))))
        sr = sr.convert("L") if grey else sr
        if alpha is not None:
            sr.putalpha(Image.fromarray(upscale(np.array(alpha), self.scale)))
        target = out / f"{path.stem}_x{self.scale}.png"
        if target.exists():
            raise DataError(target, "", f"is there already, {path} is not written over it")
        sr.save(target)
        return Prediction((target,))

    def panels(self, net: Net, batch: Batch) -> dict[str, Array]:
        """Return LR nearest | bicubic | SR | HR, side by side, the middle of each image."""
        shown = {}
        for i in range(min(4, len(batch))):
            lr, hr = batch[self.lr][i : i + 1], to_image(batch["hr"][i : i + 1])
            small = to_image(self._unnormalised(lr))
            nearest = small.repeat(self.scale, 0).repeat(self.scale, 1)
            sr = to_image(self.upscale(net, lr))
            shown[f"sample-{int(batch.id[i])}"] = side_by_side(
                {
                    f"LR ×{self.scale} nearest": nearest,
                    "bicubic": upscale(small, self.scale),
                    "SR": sr,
                    "HR": hr,
                }
            )
        return shown

    def report(self, values: Mapping[str, Array]) -> dict[str, float]:
        """Return the means over images, and the gain over bicubic in dB."""
        means = super().report(values)
        return means | {"gain_db": means["psnr_y"] - means["bicubic_psnr_y"]}


def _opened(path: Path) -> Image.Image:
    """Open a picture upright as L, LA, RGB or RGBA; DataError where it is none."""
    try:
        image = ImageOps.exif_transpose(Image.open(path))
        image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(path, "", f"cannot be read as an image ({error})") from None
    if image.mode.startswith(("I", "F")):
        raise DataError(path, "", f"has more than 8 bits a channel (mode {image.mode})")
    has_alpha = "A" in image.getbands() or "transparency" in image.info
    is_grey = image.mode in ("1", "L", "LA")
    return image.convert(
        {(0, 0): "RGB", (0, 1): "RGBA", (1, 0): "L", (1, 1): "LA"}[is_grey, has_alpha]
    )


def fft_l1(sr: Tensor, hr: Tensor) -> Tensor:
    """Return (B,) mean L1 between rfft2 of two batches, real and imaginary parts stacked."""
    difference = torch.view_as_real(torch.fft.rfft2(sr) - torch.fft.rfft2(hr))
    return difference.abs().mean(dim=(1, 2, 3, 4))


def to_image(tensor: Tensor) -> Array:
    """Return one image (1, 3, H, W) in [0, 1] as (H, W, 3) uint8."""
    return to_uint8(tensor[0].permute(1, 2, 0).float().cpu().numpy())


def side_by_side(images: Mapping[str, Array], size: int = 256) -> Array:
    """Return the centres of equally large images in one row, each under its title."""
    height, width = next(iter(images.values())).shape[:2]
    h, w = min(size, height), min(size, width)
    y, x = (height - h) // 2, (width - w) // 2
    sheet = Image.new("RGB", (len(images) * (w + 4) - 4, h + 14), "white")
    for place, (title, image) in enumerate(images.items()):
        sheet.paste(Image.fromarray(image[y : y + h, x : x + w]), (place * (w + 4), 14))
        ImageDraw.Draw(sheet).text((place * (w + 4), 1), title, "black")
    return np.asarray(sheet)


def tiled(net: Net, lr: Tensor, scale: int, tile: int, overlap: int) -> Tensor:
    """Return net(lr) for (1, 3, h, w), computed tile by tile in bounded memory.

    Each tile sees `overlap` pixels more on every side. At least the network's reach makes the
    result equal to that of the whole image.
    """
    height, width = lr.shape[-2:]
    out = lr.new_empty((1, lr.shape[1], height * scale, width * scale), dtype=torch.float32)
    for y in range(0, height, tile):
        for x in range(0, width, tile):
            bottom, right = min(y + tile, height), min(x + tile, width)
            top, left = max(0, y - overlap), max(0, x - overlap)
            seen = lr[..., top : min(bottom + overlap, height), left : min(right + overlap, width)]
            sr = net(seen).float()
            dy, dx = (y - top) * scale, (x - left) * scale
            h, w = (bottom - y) * scale, (right - x) * scale
            target = out[..., y * scale : y * scale + h, x * scale : x * scale + w]
            target.copy_(sr[..., dy : dy + h, dx : dx + w])
    return out
