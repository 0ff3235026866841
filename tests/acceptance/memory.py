"""What a process holds in memory, seen from outside through /proc. Linux only."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MIB = 1024 * 1024

needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"/proc/{pid}/status has no {field}")


class PeakGrowth:
    """By how many bytes a process's peak resident memory has passed what it held at the start."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak starts again from what it holds now
        self._before = _status(pid, "VmRSS")

    @property
    def bytes(self) -> int:
        return max(0, _status(self._pid, "VmHWM") - self._before)


def _regions(pid: int) -> Iterator[tuple[int, int]]:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, permissions, *_, name = [*line.split(maxsplit=5), ""][:6]
        if permissions.startswith("r") and not name.startswith(("[vvar", "[vsyscall")):
            low, high = span.split("-")
            yield int(low, 16), int(high, 16)


def memory_holds(pid: int, needles: list[bytes]) -> set[bytes]:
    """Which of the byte strings lie anywhere in the readable memory of a running process."""
    longest, found = max(map(len, needles)), set()
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        for low, high in _regions(pid):
            tail = b""
            while low < high:
                try:
                    block = os.pread(memory, min(8 * MIB, high - low), low)
                except OSError:  # mapped but not backed by anything
                    break
                if not block:
                    break
                window = tail + block
                found |= {needle for needle in needles if needle in window}
                tail = window[-longest:]
                low += len(block)
    finally:
        os.close(memory)
    return found
