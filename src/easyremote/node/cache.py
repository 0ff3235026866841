"""Results kept for a while, for functions that ask for it with ``cache_ttl``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

__all__ = ["MAX_CACHE_BYTES", "MAX_CACHE_ENTRIES", "ResultCache"]

MAX_CACHE_ENTRIES = 256
MAX_CACHE_BYTES = 64 * 1024 * 1024


class ResultCache:
    """Encoded results by function and encoded arguments; the least recently used go first.

    It is told the time and used by one thread.
    """

    def __init__(self, *, max_entries: int = MAX_CACHE_ENTRIES, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[Hashable, bytes], tuple[float, bytes]] = OrderedDict()
        self._size = 0

    def get(self, function: Hashable, arguments: bytes, now: float) -> bytes | None:
        """The result, if it is here and not too old."""
        key = (function, arguments)
        found = self._kept.get(key)
        if found is None:
            return None
        until, value = found
        if now >= until:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return value

    def put(self, function: Hashable, arguments: bytes, value: bytes, until: float) -> None:
        """Keep a result until then, or for less if room runs out."""
        key = (function, arguments)
        self._drop(key)
        size = len(arguments) + len(value)
        if size > self._max_bytes:
            return
        self._kept[key] = (until, value)
        self._size += size
        while len(self._kept) > self._max_entries or self._size > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[Hashable, bytes]) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self._size -= len(key[1]) + len(found[1])
