"""Give a baseline JPEG restart intervals and the best Huffman tables, without changing a pixel.

Each interval can be decoded alone, so a loader that wants a crop reads and decodes only what covers
it (`loaders.cut`). The Huffman symbols are written again as they are; nothing is re-quantised and
every segment but the Huffman tables and the interval stays byte for byte. What cannot be treated so
is `Unsuited`, and kept whole by the builder.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dataprep import jpeg_header as header
from dataprep.jpeg_header import Frame, Segment, Unsuited, is_jpeg, orientation, size

__all__ = ["Restarted", "Unsuited", "is_jpeg", "orientation", "restart", "size"]

Array = npt.NDArray[Any]


class Restarted(NamedTuple):
    """A transcoded file.

    rows (MCU rows + 1,) uint32: the byte of `data` where each row starts, at last its end mark.
    interval: MCUs between two restarts; divides a row.
    """

    data: bytes
    rows: npt.NDArray[np.uint32]
    interval: int


class _Scan(NamedTuple):
    """The symbols of an image, and what is needed to write them again."""

    symbols: Array
    levels: Array
    counts: Array
    plan: Array
    stop: int


def restart(data: bytes, target_px: int = 48, growth: float = 1.03) -> Restarted:
    """Return the same image with restart intervals about `target_px` wide, or raise Unsuited.

    Intervals grow up to a whole row of MCUs as long as the file would grow by more than `growth`.
    """
    segments = list(header.segments(data))
    frame = header.frame(data, segments)
    scan = _read(data, segments, frame)
    kept = b"".join(
        data[s.start : s.end] for s in segments[:-1] if s.marker not in (header.DHT, header.DRI)
    )
    around = b"\xff\xd8" + kept, data[segments[-1].start : segments[-1].end]
    limit = int(growth * (scan.stop + 2))
    for interval in _intervals(frame, target_px):
        done = _write(scan, frame, interval, around, limit)
        if done is not None:
            return done
    raise Unsuited("would grow")


def _intervals(frame: Frame, target_px: int) -> list[int]:
    """Return the divisors of a row of MCUs, from the one nearest to the target upwards."""
    across, width = frame.mcus[1], frame.mcu[1]
    divisors = [n for n in range(1, across + 1) if across % n == 0]
    best = min(divisors, key=lambda n: abs(n * width - target_px))
    return divisors[divisors.index(best) :]


def _plan(data: bytes, sos: Segment, frame: Frame) -> Array:
    """Return component, DC slot and AC slot of each block of an MCU."""
    body, count = data[sos.start + 4 : sos.end], len(frame.parts)
    if not body or len(body) != 4 + 2 * body[0] or body[-3:] != b"\0\x3f\0":
        raise Unsuited("damaged header")
    if body[0] < count:
        raise Unsuited("several scans")
    if body[1:-3:2] != bytes(part.name for part in frame.parts):
        raise Unsuited("damaged header")
    plan = []
    for number, part in enumerate(frame.parts):
        tables = body[2 + 2 * number]
        if tables & 0xCC:
            raise Unsuited("damaged header")
        blocks = part.across * part.down if count > 1 else 1
        plan += [(number, tables >> 4, 4 + (tables & 15))] * blocks
    return np.array(plan, np.int64)


def _tables(data: bytes, segments: list[Segment], plan: Array) -> tuple[Array, Array, Array]:
    """Return the decoding tables that the plan uses, as `huffman.learn` makes them."""
    from dataprep import huffman

    look, far = np.zeros((8, 1024), np.uint16), np.zeros((8, 2, 17), np.int64)
    values, known = np.zeros((8, 256), np.uint8), set()
    for _, start, end in (segment for segment in segments if segment.marker == header.DHT):
        at = start + 4
        while at < end:
            slot, lengths = data[at] >> 4 << 2 | data[at] & 3, data[at + 1 : at + 17]
            table = data[at + 17 : min(at + 17 + sum(lengths), end)]
            if data[at] & 0xEC or not 0 < sum(lengths) <= min(256, len(table)):
                raise Unsuited("damaged header")
            if slot < 4 and max(table) > 15:
                raise Unsuited("damaged header")
            look[slot], values[slot, : len(table)] = 0, list(table)
            if not huffman.learn(np.frombuffer(lengths, np.uint8), values[slot], slot, look, far):
                raise Unsuited("damaged header")
            known.add(slot)
            at += 17 + len(table)
    if not set(plan[:, 1:].ravel().tolist()) <= known:
        raise Unsuited("damaged header")
    return look, far, values


def _read(data: bytes, segments: list[Segment], frame: Frame) -> _Scan:
    from dataprep import entropy

    plan = _plan(data, segments[-1], frame)
    tables = _tables(data, segments, plan)
    mcus, interval = frame.mcus[0] * frame.mcus[1], _interval(data, segments)
    interval = interval or mcus
    raw, start = np.frombuffer(data, np.uint8), segments[-1].end
    blocks = mcus * len(plan)
    # A block takes 2 bits or more: no memory for a size that cannot be true.
    if blocks > 4 * (len(raw) - start):
        raise Unsuited("damaged entropy data")
    ends = np.zeros(-(-mcus // interval), np.int64)
    clean = np.empty(len(raw) - start + entropy.PADDING_BYTES, np.uint8)
    found, stop = entropy.unstuff(raw, start, clean, ends)
    if found > 0 and data[stop + 1] in (header.DHT, header.SOS, header.DQT, header.DRI):
        raise Unsuited("several scans")
    if found != len(ends) or data[stop + 1] != header.EOI:
        raise Unsuited("damaged entropy data")
    levels = np.empty(blocks, np.int16)
    symbols = np.empty(min(63 * blocks, 8 * int(ends[-1]) + 64), np.uint32)
    counts = np.zeros((8, 257), np.int64)
    many = entropy.read(clean, ends, plan, tables, (mcus, interval), symbols, levels, counts)
    if many < 0:
        raise Unsuited("damaged entropy data")
    return _Scan(symbols[:many], levels, counts, plan, stop)


def _interval(data: bytes, segments: list[Segment]) -> int:
    """Return the MCUs of the source's own intervals, 0 where it has none."""
    interval = 0
    for marker, start, end in segments:
        if marker == header.DRI:
            if end - start != 6:
                raise Unsuited("damaged header")
            interval = int.from_bytes(data[start + 4 : end])
    return interval


def _write(
    scan: _Scan, frame: Frame, interval: int, around: tuple[bytes, bytes], limit: int
) -> Restarted | None:
    """Return the image in intervals of so many MCUs; None where it would exceed `limit` bytes."""
    from dataprep import entropy, huffman

    entropy.count_levels(scan.levels, scan.plan, interval, scan.counts)
    codes = np.zeros((8, 256), np.int64)
    lengths, values = np.zeros((8, 16), np.uint8), np.zeros((8, 256), np.uint8)
    tables, bits = b"", 0
    for slot in np.unique(scan.plan[:, 1:]).tolist():
        one = lengths[slot], values[slot], codes[slot]
        bits += huffman.optimise(scan.counts[slot], *one)
        listed = values[slot, : int(lengths[slot].sum())]
        tables += bytes([slot >> 2 << 4 | slot & 3]) + lengths[slot].tobytes() + listed.tobytes()
    head = around[0] + struct.pack(">HHH", 0xFFDD, 4, interval)
    head += struct.pack(">HH", 0xFFC4, 2 + len(tables)) + tables + around[1]
    down, across = frame.mcus
    least = bits // 8 + 2 * (down * across // interval)
    if len(head) + least > limit:
        return None
    # Every byte stuffed, every interval filled up and marked.
    out = np.empty(2 * least + 4 * (down * across // interval) + 16, np.uint8)
    rows = np.empty(down + 1, np.int64)
    shape = interval, across
    end = entropy.write(scan.symbols, scan.levels, scan.plan, codes, shape, out, rows)
    if len(head) + end + 2 > limit:
        return None
    data = head + out[:end].tobytes() + b"\xff\xd9"
    return Restarted(data, (rows + len(head)).astype(np.uint32), interval)
