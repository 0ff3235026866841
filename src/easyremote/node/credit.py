"""The credit of one stream: how many bytes of items its reader still has room for."""

from __future__ import annotations

import asyncio
import threading

__all__ = ["ITEM_OVERHEAD_BYTES", "Credit"]

ITEM_OVERHEAD_BYTES = 64
"""What an item costs besides its own bytes, so that a stream of empty items is bounded too."""


class Credit:
    """Bytes of room. The producer spends, and waits while nothing is left; the reader grants.

    ``grant`` and ``end`` come from the loop's thread. The producer is one thread or one task.
    """

    __slots__ = ("_bytes", "_changed", "_ended", "_waiter")

    def __init__(self, window_bytes: int) -> None:
        self._bytes = window_bytes
        self._changed = threading.Condition(threading.Lock())
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def open(self) -> bool:
        """Whether the producer may make another item now."""
        return self._bytes > 0 or self._ended

    def spend(self, item_bytes: int) -> None:
        """Pay for an item. The last one may cost more than is left: it is owed."""
        with self._changed:
            self._bytes -= item_bytes + ITEM_OVERHEAD_BYTES

    def grant(self, size_bytes: int) -> None:
        """The reader has made room."""
        with self._changed:
            self._bytes += size_bytes
            if self._bytes > 0:
                self._wake()

    def end(self) -> None:
        """Nobody reads any more: the producer need not wait."""
        with self._changed:
            self._ended = True
            self._wake()

    def wait_in_thread(self) -> None:
        """Block until the stream is open."""
        with self._changed:
            while not (self._bytes > 0 or self._ended):
                self._changed.wait()

    async def wait(self) -> None:
        """Wait until the stream is open, on the loop."""
        while not self.open:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _wake(self) -> None:
        self._changed.notify()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
