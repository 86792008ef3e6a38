"""Files in a folder where others may write, too: no link is followed, only files are read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from dataprep.manifest import DataError

KINDS = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe"}


def is_there(path: Path) -> bool:
    """Tell whether there is a file of this name; DataError where it is anything but a file."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(mode):
        what = KINDS.get(stat.S_IFMT(mode), "a device or socket")
        raise DataError(path, "", f"is {what}, not a file: move it away")
    return True


def opener(path: str, flags: int) -> int:
    """Open for `open`, but never through a link that came after the look at it."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)
