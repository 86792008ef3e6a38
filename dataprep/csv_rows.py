"""The compiled loop that reads CSV rows of whole numbers.

Imported where it is needed: numba takes a second to start.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from dataprep.compiled import compiled

Array = npt.NDArray[Any]

COMMA, RETURN, NEWLINE, ZERO = 44, 13, 10, 48
# A whole number of so many digits fits 63 bits.
DIGITS = 18


@compiled
def parse(text: Array, labels: Array, pixels: Array) -> tuple[int, int]:
    """Read lines "label,pixel,pixel…" of bytes into labels (R,) and pixels (R, P) up to 255.

    Each line ends with a newline, with or without a carriage return. Returns how many lines were
    read and the byte behind them: that of the first bad line, or the end.
    """
    at, row, last = 0, 0, pixels.shape[1]
    while row < len(labels) and at < len(text):
        start, column = at, 0
        while column <= last:
            value, first = 0, at
            while at < len(text) and ZERO <= text[at] < ZERO + 10:
                value = value * 10 + (text[at] - ZERO)
                at += 1
            if at == first or at - first > DIGITS or at == len(text):
                return row, start
            if column and value > 255:
                return row, start
            if column == last and text[at] == RETURN and at + 1 < len(text):
                at += 1
            if text[at] != (NEWLINE if column == last else COMMA):
                return row, start
            if column:
                pixels[row, column - 1] = value
            else:
                labels[row] = value
            at += 1
            column += 1
        row += 1
    return row, at
