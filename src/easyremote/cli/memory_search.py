"""Looking for bytes in the memory of a process, where the system allows it (Linux, one's own processes)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["Search", "search_memory"]

CHUNK_BYTES = 4 * 1024 * 1024


class Search:
    """What a search found.

    Attributes:
        found: Whether the bytes were there.
        searched_bytes: How much was looked through.
    """

    def __init__(self, found: bool, searched_bytes: int) -> None:
        self.found = found
        self.searched_bytes = searched_bytes


def search_memory(pid: int, wanted: bytes) -> Search | None:
    """Look for the bytes in what the process can write to; None if the system does not let us look."""
    searched = 0
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for start, end in _writable(pid):
                for at in range(start, end, CHUNK_BYTES):
                    size = min(
                        CHUNK_BYTES + len(wanted) - 1, end - at
                    )  # what straddles two chunks is in the first
                    try:
                        memory.seek(at)
                        chunk = memory.read(size)
                    except (
                        OSError,
                        OverflowError,
                        ValueError,
                    ):  # a region that came or went, or is not memory
                        break
                    searched += min(len(chunk), CHUNK_BYTES)
                    if wanted in chunk:
                        return Search(True, searched)
    except OSError:
        return None
    return Search(False, searched) if searched else None


def _writable(pid: int) -> Iterator[tuple[int, int]]:
    """Where the process has memory of its own."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        place, rights, *_ = line.split()
        if rights.startswith("rw"):
            start, _, end = place.partition("-")
            yield int(start, 16), int(end, 16)
