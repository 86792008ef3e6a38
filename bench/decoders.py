"""The JPEG decoders that bench/decode.py compares: whole files in memory to RGB, as stored.

To add one, write a function (held, threads) -> `Decode` and an entry in DECODERS. EXIF turns are
ignored by all. Legend: a row is the number of a held file, counted on without end.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
# Rows -> their images (H, W, 3) uint8, each valid until the next.
Decode = Callable[[Sequence[int]], Iterator[Array]]
AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
# So many times are the files cut, each time elsewhere, before it begins again.
LAPS = 16


@dataclass(frozen=True)
class Held:
    """Files in memory, their heights and widths, and the built set that holds them as `ids`."""

    paths: list[str]
    shapes: list[tuple[int, int]]
    data: str
    ids: list[int]

    @cached_property
    def files(self) -> list[bytes]:
        """The files' bytes."""
        return [Path(path).read_bytes() for path in self.paths]

    @cached_property
    def boxes(self) -> Array:
        """Boxes (LAPS, N, 4: y, x, h, w) as RandomResizedCrop draws them, on stored pixels."""
        from loaders.draw import Keys
        from loaders.stages.random_resized_crop import RandomResizedCrop

        sizes, rows = self.sizes, np.arange(len(self.paths))
        stage = RandomResizedCrop(height=1, width=1, scale=AREA, ratio=RATIO)
        laps = []
        for lap in range(LAPS):
            moves, _ = stage.draw(Keys(0, lap, rows, rows), sizes)
            # Shown at one pixel, a box's extent is the matrix's scale.
            box = np.stack([moves[:, 1, 2], moves[:, 0, 2], moves[:, 1, 1], moves[:, 0, 0]], 1)
            laps.append(np.rint(box).astype(np.int64))
        return np.stack(laps)

    @cached_property
    def sizes(self) -> Array:
        """Heights and widths (N, 2) as stored."""
        return np.array(self.shapes, np.int64)


@dataclass(frozen=True)
class Decoder:
    """One way to decode. package: whose version counts. cuts: yields a box of each image only.

    own_threads: takes batches and the number of threads; else it is started in each thread.
    What it raises while it starts and decodes for the first time says why it is not available.
    """

    summary: str
    start: Callable[[Held, int], Decode]
    package: str = ""
    cuts: bool = False
    own_threads: bool = False


def each(decode: Callable[[bytes], Any]) -> Callable[[Held], Decode]:
    """Return a start for a function of one file's bytes."""
    return lambda held: lambda rows: (decode(held.files[row % len(held.files)]) for row in rows)


def pillow(held: Held, threads: int) -> Decode:
    """Pillow."""
    from PIL import Image

    return each(lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))(held)


def opencv(held: Held, threads: int) -> Decode:
    """cv2.imdecode; straight to RGB where this version can."""
    import cv2

    cv2.setNumThreads(1)
    direct = getattr(cv2, "IMREAD_COLOR_RGB", None)
    flags = (cv2.IMREAD_COLOR if direct is None else direct) | cv2.IMREAD_IGNORE_ORIENTATION

    def decode(data: bytes) -> Any:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        return image if direct is not None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    return each(decode)(held)


def simplejpeg(held: Held, threads: int) -> Decode:
    """A fresh array for each image."""
    from simplejpeg import decode_jpeg

    return each(decode_jpeg)(held)


def simplejpeg_buffer(held: Held, threads: int) -> Decode:
    """One array for all images."""
    from simplejpeg import decode_jpeg

    buffer = np.empty(3 * int(held.sizes.prod(axis=1).max()), np.uint8)
    return each(lambda data: decode_jpeg(data, buffer=buffer))(held)


def simplejpeg_fast(held: Held, threads: int) -> Decode:
    """With libjpeg-turbo's less exact inverse DCT and plain chroma upsampling."""
    from simplejpeg import decode_jpeg

    buffer = np.empty(3 * int(held.sizes.prod(axis=1).max()), np.uint8)
    return each(lambda d: decode_jpeg(d, fastdct=True, fastupsample=True, buffer=buffer))(held)


def pyturbojpeg(held: Held, threads: int) -> Decode:
    """PyTurboJPEG; it needs libjpeg-turbo's shared library on the system."""
    turbojpeg: Any = import_module("turbojpeg")
    if not hasattr(turbojpeg, "TurboJPEG"):
        raise ImportError("another package named turbojpeg stands before PyTurboJPEG")
    decoder = turbojpeg.TurboJPEG()
    return each(lambda data: decoder.decode(data, pixel_format=turbojpeg.TJPF_RGB))(held)


def torchvision(held: Held, threads: int) -> Decode:
    """torchvision.io.decode_jpeg; what it yields is planes, seen as (H, W, 3) without a copy."""
    import torch
    from torchvision import io

    torch.set_num_threads(1)
    tensors = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in held.files]

    def decode(rows: Sequence[int]) -> Iterator[Array]:
        for row in rows:
            image = io.decode_jpeg(tensors[row % len(tensors)], mode=io.ImageReadMode.RGB)
            yield image.permute(1, 2, 0).numpy()

    return decode


def imageio(held: Held, threads: int) -> Decode:
    """imageio's reader of its choice, which is Pillow."""
    imageio_v3: Any = import_module("imageio.v3")
    return each(lambda data: imageio_v3.imread(data, extension=".jpg"))(held)


def skimage(held: Held, threads: int) -> Decode:
    """skimage.io.imread of a file in memory."""
    from skimage.io import imread

    return each(lambda data: imread(io.BytesIO(data)))(held)


def kornia(held: Held, threads: int) -> Decode:
    """kornia-rs's decoder over libjpeg-turbo."""
    kornia_rs: Any = import_module("kornia_rs")
    kind = getattr(kornia_rs, "ImageDecoder", None) or kornia_rs.io.ImageDecoder
    return each(kind().decode)(held)


def tensorflow(held: Held, threads: int) -> Decode:
    """tf.io.decode_jpeg as it is by default."""
    tf: Any = import_module("tensorflow")
    tf.config.set_visible_devices([], "GPU")
    return each(lambda data: tf.io.decode_jpeg(data, channels=3).numpy())(held)


def spdl(held: Held, threads: int) -> Decode:
    """spdl.io over FFmpeg, which must be installed on the system."""
    spdl_io: Any = import_module("spdl.io")
    frame = spdl_io.get_video_filter_desc(pix_fmt="rgb24")

    def decode(data: bytes) -> Any:
        packets = spdl_io.demux_image(data)
        frames = spdl_io.decode_packets(packets, filter_desc=frame)
        return spdl_io.to_numpy(spdl_io.convert_frames(frames))

    return each(decode)(held)


def nvimgcodec(held: Held, threads: int) -> Decode:
    """nvImageCodec's CPU backend, a batch a call."""
    from nvidia import nvimgcodec as codec

    decoder = codec.Decoder(
        device_id=codec.NVIMGCODEC_DEVICE_CPU_ONLY,
        max_num_cpu_threads=threads,
        backends=[codec.Backend(codec.CPU_ONLY)],
    )
    asked = codec.DecodeParams(apply_exif_orientation=False)

    def decode(rows: Sequence[int]) -> Iterator[Array]:
        files = [held.files[row % len(held.files)] for row in rows]
        for image in decoder.decode(files, params=asked):
            yield np.asarray(image.cpu())

    return decode


def dali(held: Held, threads: int) -> Decode:
    """fn.decoders.image in a pipeline of its own, which reads ahead: rows must come in order."""
    from nvidia.dali import fn, pipeline_def, types

    files, places = [np.frombuffer(data, np.uint8) for data in held.files], count()
    pipeline: Any = None

    @pipeline_def  # type: ignore[untyped-decorator]
    def graph() -> Any:
        encoded = fn.external_source(source=lambda _: files[next(places) % len(files)], batch=False)
        return fn.decoders.image(encoded, output_type=types.RGB, adjust_orientation=False)

    def decode(rows: Sequence[int]) -> Iterator[Array]:
        nonlocal pipeline
        if pipeline is None:
            pipeline = graph(batch_size=len(rows), num_threads=threads, device_id=None)
            pipeline.build()
        (images,) = pipeline.run()
        return (images.at(i) for i in range(len(rows)))

    return decode


def ours(held: Held, threads: int, cut: bool) -> Decode:
    """The loader's own decoder on the shards of a built set, read anew each time."""
    from loaders import Dataset, decode
    from loaders.buffers import Scratch

    tar, scratch, ids = Dataset(held.data).tar("image"), Scratch(), np.array(held.ids)
    whole = np.concatenate([np.zeros_like(held.sizes), held.sizes], axis=1)
    boxes = held.boxes if cut else whole[None]

    def images(rows: Sequence[int]) -> Iterator[Array]:
        laps, places = np.divmod(np.asarray(rows), len(ids))
        members = tar.locate(ids[places], boxes[laps % len(boxes), places])
        for row, (_, _, height, width) in enumerate(members.boxes.tolist()):
            lines, top, left = decode.pixels(tar, members, row, scratch)
            box = lines[top : top + height, 3 * left : 3 * (left + width)]
            yield box.reshape(height, width, 3)

    return images


def _whole(held: Held, threads: int) -> Decode:
    return ours(held, threads, cut=False)


def _box(held: Held, threads: int) -> Decode:
    return ours(held, threads, cut=True)


LIMIT, OWN_LIMIT = "simplejpeg-buffer", "nostall-box"
DECODERS: dict[str, Decoder] = {
    LIMIT: Decoder(
        "libjpeg-turbo into one reused array: the decode limit", simplejpeg_buffer, "simplejpeg"
    ),
    "simplejpeg": Decoder("decode_jpeg, a fresh array each", simplejpeg, "simplejpeg"),
    "simplejpeg-fast": Decoder(
        "fastdct, fastupsample, reused array", simplejpeg_fast, "simplejpeg"
    ),
    "pillow": Decoder("Image.open, convert RGB", pillow, "pillow"),
    "opencv": Decoder("cv2.imdecode, RGB", opencv, "opencv-python"),
    "torchvision": Decoder("io.decode_jpeg", torchvision, "torchvision"),
    "pyturbojpeg": Decoder("TurboJPEG.decode", pyturbojpeg, "PyTurboJPEG"),
    "imageio": Decoder("v3.imread", imageio, "imageio"),
    "skimage": Decoder("io.imread", skimage, "scikit-image"),
    "kornia-rs": Decoder("ImageDecoder.decode", kornia, "kornia-rs"),
    "tensorflow": Decoder("tf.io.decode_jpeg", tensorflow, "tensorflow"),
    "spdl": Decoder("spdl.io over FFmpeg", spdl, "spdl"),
    "nvimgcodec": Decoder(
        "CPU backend, in batches", nvimgcodec, "nvidia-nvimgcodec-cu13", own_threads=True
    ),
    "dali": Decoder(
        "fn.decoders.image on the CPU, in batches", dali, "nvidia-dali-cuda130", own_threads=True
    ),
    "nostall": Decoder("the loader's own decoder, whole images, read from the shards", _whole),
    OWN_LIMIT: Decoder("the same, boxes of RandomResizedCrop only", _box, cuts=True),
}
