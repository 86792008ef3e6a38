"""dataprep/machine.py: the memory that a program may take, where a container limits it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataprep import machine

GB = 10**9


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A system with 16 GB available, no control groups."""
    put(tmp_path / "proc/meminfo", f"MemTotal: 1 kB\nMemAvailable: {16 * GB // 1024} kB\n")
    return tmp_path


def put(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def version_2(folder: Path, most: object, taken: int, files: tuple[int, int] | None = None) -> None:
    put(folder / "memory.max", most)
    put(folder / "memory.current", taken)
    if files:
        put(folder / "memory.stat", f"anon 7\nactive_file {files[0]}\ninactive_file {files[1]}")


def version_1(folder: Path, most: int, taken: int, files: int) -> None:
    put(folder / "memory.limit_in_bytes", most)
    put(folder / "memory.usage_in_bytes", taken)
    stat = f"active_file 0\ninactive_file 0\ntotal_active_file 0\ntotal_inactive_file {files}"
    put(folder / "memory.stat", stat)


def test_without_control_groups_it_is_what_the_machine_has(root: Path) -> None:
    assert machine.free_memory(root) == pytest.approx(16 * GB)
    (root / "proc/meminfo").unlink()
    assert machine.free_memory(root) > 0  # all there is: better than nothing


def test_this_machine_has_some() -> None:
    assert machine.free_memory() > 0


@pytest.mark.parametrize(
    ("most", "taken", "files", "expected"),
    [
        (4 * GB, GB, None, 3 * GB),
        (4 * GB, 3 * GB, (GB, GB // 2), 2.5 * GB),  # the page cache gives way
        (64 * GB, GB, None, 16 * GB),
        ("max", GB, None, 16 * GB),
        (GB, 2 * GB, None, 0),
    ],
)
def test_version_2(
    most: object, taken: int, files: tuple[int, int] | None, expected: float, root: Path
) -> None:
    put(root / "proc/self/cgroup", "0::/")
    version_2(root / "sys/fs/cgroup", most, taken, files)
    assert machine.free_memory(root) == pytest.approx(expected)


def test_groups_above_limit_too(root: Path) -> None:
    put(root / "proc/self/cgroup", "0::/jobs/one")
    version_2(root / "sys/fs/cgroup/jobs/one", 8 * GB, GB)
    version_2(root / "sys/fs/cgroup/jobs", 6 * GB, GB)
    version_2(root / "sys/fs", GB, 0)  # no control group
    assert machine.free_memory(root) == pytest.approx(5 * GB)


@pytest.mark.parametrize("inside", [True, False])
def test_version_1(inside: bool, root: Path) -> None:
    """Inside a container the path is often the host's, and the limit lies at the top."""
    put(root / "proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/box/a\n0::/")
    top = root / "sys/fs/cgroup/memory"
    version_1(top / "box/a" if inside else top, 4 * GB, 3 * GB, GB)
    if inside:
        version_1(top, 2**63 - 4096, GB, 0)
    assert machine.free_memory(root) == pytest.approx(2 * GB)
