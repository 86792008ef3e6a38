"""From resampled pixels to the batch: types, layouts, grey levels that are stages', warps.

The reference is the same loader's float32 result, channels first, converted by torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from toys import PIXEL, Brighten, Toy, built, noise

from dataprep.manifest import Field
from loaders import Dataset, Loader, resample
from loaders.buffers import Scratch
from loaders.output import Output, warp
from loaders.program import Drawn, Route
from loaders.stages import Normalise as N
from loaders.stages import Stage, Views
from loaders.stages.colour_jitter import ColourJitter
from loaders.stages.crop import Crop
from loaders.stages.dihedral import Dihedral
from loaders.stages.resize import Resize
from loaders.stages.rotate import Rotate

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GAP = 77777.0
Type = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Kinds(Toy):
    """One size, three types of pixels; the depth has gaps."""

    def fields(self) -> dict[str, Field]:
        return {
            "image": Field(kind="image", dtype="uint8", shape=(40, 56, 3), scale=PIXEL),
            "thermal": Field(kind="map", dtype="uint16", shape=(40, 56, 1), scale=0.04),
            "depth": Field(kind="map", dtype="float32", shape=(40, 56, 3)),
        }

    def one(self, i: int) -> dict[str, Any]:
        depth = noise(i, 40, 56, 3).astype(np.float32) / 100
        depth[:5, 40:] = GAP
        thermal = noise(i, 40, 56, 1, dtype=np.uint16)
        return {"image": noise(i, 40, 56, 3), "thermal": thermal, "depth": depth}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    dataset = built(Kinds(), tmp_path_factory.mktemp("kinds") / "set")
    for path in (dataset.folder / "depth.zarr").glob("c*"):
        pixels = np.fromfile(path, np.float32)
        np.where(pixels == np.float32(GAP), np.float32(np.nan), pixels).tofile(path)
    return dataset


CHAINS: dict[str, tuple[Stage, ...]] = {
    "whole": (),
    "crop": (Crop(height=24, width=24), Dihedral()),
    "resize": (Resize(height=21, width=33),),
    "turned resize": (Crop(height=24, width=24), Resize(height=30, width=30), Dihedral()),
    "cubic": (Resize(height=90, width=70, interpolation="cubic"),),
    "nearest": (Resize(height=90, width=70, interpolation="nearest"),),
    "rotate": (Rotate(degrees=40.0),),
    "bright": (Resize(height=21, width=33), Brighten(fields=("image",))),
    "jitter": (Crop(height=24, width=20), ColourJitter(fields=("image",), brightness=0.5)),
}


def batch(dataset: Dataset, stages: tuple[Stage, ...], *ends: Stage, **other: Any) -> Any:
    settings = {"fields": ("image",), "global_batch_size": 5, "seed": 4, "threads": 2} | other
    loader = Loader(dataset, stages=(*stages, *ends), shuffle=False, epochs=1, **settings)
    found = next(iter(loader)).clone()
    loader.close()
    return found


def normalise(dtype: Type = "float32", last: bool = False, field: str = "image") -> N:
    if field != "image":
        return N(field=field, dtype=dtype, channels_last=last)
    return N(field="image", mean=MEAN, std=STD, dtype=dtype, channels_last=last)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("chain", CHAINS)
def test_layouts_and_types_are_torch_s(
    chain: str, dtype: Type, last: bool, dataset: Dataset
) -> None:
    plain = batch(dataset, CHAINS[chain], normalise())["image"]
    got = batch(dataset, CHAINS[chain], normalise(dtype, last))["image"]
    layout = torch.channels_last if last else torch.contiguous_format
    want = plain.to(getattr(torch, dtype)).contiguous(memory_format=layout)
    assert got.dtype == want.dtype and got.shape == want.shape
    assert got.stride() == want.stride()
    if chain in ("whole", "crop"):  # two kernels, of which one rounds product and sum at once
        torch.testing.assert_close(got, want, rtol=2e-6 if dtype == "float32" else 8e-3, atol=1e-6)
        assert dtype == "float32" or (got == want).float().mean() > 0.999
    else:
        assert torch.equal(got, want)


@pytest.mark.parametrize("engine", ["host", "dali"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("chain", ["resize", "rotate", "jitter"])
def test_uint8_is_what_is_stored_laid_out(
    chain: str, last: bool, engine: str, dataset: Dataset
) -> None:
    stored = batch(dataset, CHAINS[chain], engine=engine)["image"]
    got = batch(
        dataset, CHAINS[chain], N(field="image", dtype="uint8", channels_last=last), engine=engine
    )["image"]
    layout = torch.channels_last if last else torch.contiguous_format
    assert got.dtype == torch.uint8 and got.is_contiguous(memory_format=layout)
    assert torch.equal(got, stored.permute(0, 3, 1, 2))


@pytest.mark.parametrize("chain", CHAINS)
def test_as_stored_is_the_float_rounded(chain: str, dataset: Dataset) -> None:
    """Without Normalise a batch holds levels (B, H, W, C), rounded to the nearest."""
    levels = batch(dataset, CHAINS[chain])["image"]
    floats = batch(dataset, CHAINS[chain], N(field="image"))["image"] * 255
    assert levels.dtype == torch.uint8
    want = floats.permute(0, 2, 3, 1)
    assert levels.shape == want.shape
    assert (levels - want).abs().max() <= 0.5001
    assert levels.unique().numel() > 50


def test_cubic_is_clipped_to_levels(dataset: Dataset) -> None:
    """A cubic filter overshoots; no float is one that a level could not be."""
    floats = batch(dataset, CHAINS["cubic"], N(field="image"))["image"]
    assert floats.min() == 0.0 and floats.max() == 1.0
    for field, most in (("thermal", 65535 * 0.04), ("depth", None)):
        stages = (Resize(height=90, width=70, interpolation="cubic"), N(field=field))
        found = batch(dataset, stages, fields=(field,))[field]
        if most is not None:
            assert found.min() >= 0 and found.max() <= most * 1.00001
        else:
            assert found[found == found].max() > 2.56  # floats have no limit


@pytest.mark.parametrize("chain", ["resize", "rotate"])
def test_maps_of_floats_are_not_rounded(chain: str, dataset: Dataset) -> None:
    """As stored, normalised and warped: a depth of 1.37 m stays that."""
    for ends in ((), (N(field="depth"),)):
        found = batch(dataset, (*CHAINS[chain], *ends), fields=("depth",))["depth"]
        assert found.dtype == torch.float32
        valid = found[found == found]
        assert (valid != valid.round()).float().mean() > 0.5


def test_gaps_stay_in_their_image(dataset: Dataset) -> None:
    """NaN are where a filter meets them and nowhere else, whatever was read before."""
    stages = (Resize(height=20, width=28), N(field="depth"))
    first = batch(dataset, stages, fields=("depth",), threads=1)["depth"]
    gaps = torch.isnan(first)
    assert gaps[:, :, :2, 21:].all() and gaps.float().mean() < 0.15
    assert not gaps[:, :, 5:].any() and not gaps[..., :19].any()


def test_sixteen_bits(dataset: Dataset) -> None:
    stages = (Resize(height=21, width=33),)
    levels = batch(dataset, stages, fields=("thermal",))["thermal"]
    floats = batch(dataset, (*stages, N(field="thermal")), fields=("thermal",))["thermal"]
    assert levels.dtype == torch.uint16
    want = floats.permute(0, 2, 3, 1) / 0.04
    assert (levels.to(torch.int32) - want).abs().max() < 0.51
    for i in range(5):
        source = Image.fromarray(
            noise(i + i // 4, 40, 56, 1, dtype=np.uint16)[..., 0] * np.float32(1)
        )
        near = np.asarray(source.resize((33, 21), Image.Resampling.BILINEAR))
        assert np.abs(near - want[i, ..., 0].numpy()).max() < 0.5


def test_photometric_stages_see_whole_levels(dataset: Dataset) -> None:
    """They change 8-bit levels after the geometry; only then do these become floats."""
    stage = Brighten(fields=("image",))
    levels = batch(dataset, (Resize(height=21, width=33),))["image"].int()
    got = batch(dataset, (Resize(height=21, width=33), stage), normalise())["image"]
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (MEAN, STD))
    back = ((got * std + mean) * 255).permute(0, 2, 3, 1)
    assert (back - back.round()).abs().max() < 1e-3
    added = (back.round().int() - levels).flatten(1).amax(1)
    assert len(added.unique()) > 1
    assert torch.equal(back.round().int(), (levels + added.view(-1, 1, 1, 1)).clamp(max=255))


def test_views_and_plain_routes_do_not_mix(dataset: Dataset) -> None:
    """Routes of one batch write through the same scratch: each is as if alone."""
    one = (Resize(height=30, width=30), Brighten(fields=("image",)))
    two = (Rotate(degrees=20.0),)
    views = Views(names=("a", "b"), fields=("image",), stages=(one, two))
    kinds = (normalise("bfloat16", True), normalise("bfloat16", True, "depth"))
    both = batch(dataset, (views,), *kinds, fields=("image", "depth"))
    swapped = Views(names=("b", "a"), fields=("image",), stages=(two, one))
    assert both["image.a"].shape == (5, 3, 30, 30) and both["image.b"].shape == (5, 3, 40, 56)
    depth = batch(dataset, (), normalise("bfloat16", True, "depth"), fields=("depth",))["depth"]
    assert torch.equal(both["depth"].nan_to_num(), depth.nan_to_num())
    again = batch(dataset, (swapped,), *kinds, fields=("image", "depth"))
    assert again["image.a"].shape == both["image.a"].shape


def drawn(between: Any, warps: Any, size: tuple[int, int], source: Any, code: int = 0) -> Drawn:
    route = Route("image", "image", "", (), None, "linear")
    box = np.array([[0, 0, *source.shape[:2]]])
    codes = np.array([code])
    return Drawn(route, box.astype(float), box, codes, *size, False, (), warps, between)


def test_a_warp_follows_its_matrix() -> None:
    """Quarter turns and shifts by whole pixels have exact answers; outside is 0."""
    image = noise(1, 20, 30, 3)
    turn = np.array([[0, 1, 0], [-1, 0, 20], [0, 0, 1]], float)  # output (x, y) from (y, 20 − x)
    np.testing.assert_array_equal(warp(image, turn, 30, 20, 1), np.rot90(image, -1))
    shift = np.array([[1, 0, -4], [0, 1, 7], [0, 0, 1]], float)
    moved = warp(image, shift, 20, 30, 1)
    np.testing.assert_array_equal(moved[:13, 4:], image[7:, :26])
    assert not moved[13:].any() and not moved[:, :4].any()
    for channels in (1, 3, 4):
        assert warp(noise(2, 9, 9, channels), np.eye(3), 9, 9, 1).shape == (9, 9, channels)
    target = np.empty((1, 30, 20, 3), np.uint8)
    one = drawn(np.array([[20, 30]]), turn[None], (30, 20), image)
    Output(one, target, image.dtype, None, False).write(0, image.reshape(20, 90), (0, 0), Scratch())
    np.testing.assert_array_equal(target[0], np.rot90(image, -1))


@pytest.mark.parametrize("code", range(8))
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("bits", [False, True])
def test_turned_outputs(bits: bool, last: bool, code: int) -> None:
    """Every way from planes to the batch turns alike."""
    image = noise(code, 24, 36, 3)
    size = (30, 20) if code & 4 else (20, 30)
    affine = np.full(3, 2, np.float32), np.array([1, 0, -1], np.float32)
    shape = (1, *size, 3) if last else (1, 3, *size)
    one, scratch = drawn(None, None, size, image, code), Scratch()
    want, got = np.empty((1, 3, *size), np.float32), np.empty(shape, np.uint16 if bits else "f4")
    Output(one, want, image.dtype, affine, False).write(0, image.reshape(24, 108), (0, 0), scratch)
    Output(one, got, image.dtype, affine, last).write(0, image.reshape(24, 108), (0, 0), scratch)
    upright = drawn(None, None, (20, 30), image)
    plain = np.empty((1, 3, 20, 30), np.float32)
    Output(upright, plain, image.dtype, affine, False).write(
        0, image.reshape(24, 108), (0, 0), scratch
    )
    flipped = plain[0][:, :: -1 if code & 2 else 1, :: -1 if code & 1 else 1]
    np.testing.assert_array_equal(want[0], flipped.swapaxes(1, 2) if code & 4 else flipped)
    result = torch.from_numpy(want)
    result = result.permute(0, 2, 3, 1) if last else result
    if bits:
        assert torch.equal(torch.from_numpy(got).view(torch.bfloat16), result.bfloat16())
    else:
        assert torch.equal(torch.from_numpy(got), result)


def test_bfloat16_rounds_as_torch_does() -> None:
    """Over all kinds of floats: ties, subnormals, infinities; NaN stay NaN."""
    words = np.random.default_rng(0).integers(0, 1 << 32, 200_000, dtype=np.uint64)
    ties = (np.arange(1 << 16, dtype=np.uint64) << np.uint64(16)) + np.uint64(0x8000)
    edges = np.array([0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7FFFFFFF, 0xFFFFFFFF, 1, 0], np.uint64)
    values = np.concatenate([words, ties, edges]).astype(np.uint32).view(np.float32)
    out = np.empty(len(values), np.uint16)
    resample.to_bfloat(values, out)
    got = torch.from_numpy(out).view(torch.bfloat16)
    want = torch.from_numpy(values).bfloat16()
    assert torch.equal(got.isnan(), torch.from_numpy(values).isnan())
    number = ~want.isnan()
    assert torch.equal(got.view(torch.int16)[number], want.view(torch.int16)[number])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_whole_numbers_are_clipped(dtype: Any) -> None:
    facts = np.iinfo(dtype)
    planes = np.array([[[-1e6, facts.min - 0.4, 0.5, 1.5, 2.4999, facts.max + 0.4, 1e6]]], "f4")
    out = np.empty((1, 7, 1), dtype)
    resample.to_pixels(planes, float(facts.min), float(facts.max), out)
    assert out.ravel().tolist() == [facts.min, facts.min, 0, 2, 2, facts.max, facts.max]


def test_no_layout_leaves_garbage(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every value of a batch is written: a ring filled with NaN before does not show."""
    import loaders.buffers as buffers

    empty = torch.empty

    def poisoned(*size: Any, **options: Any) -> Any:
        return empty(*size, **options).fill_(255)

    for chain in CHAINS:
        for ends in ((), (normalise(),), (normalise("bfloat16", True),)):
            want = batch(dataset, CHAINS[chain], *ends)["image"]
            with monkeypatch.context() as patch:
                patch.setattr(buffers.torch, "empty", poisoned)
                assert torch.equal(batch(dataset, CHAINS[chain], *ends)["image"], want), chain
