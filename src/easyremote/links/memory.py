"""Two ends of a link in one process: for tests, and the reference for what a link is."""

from __future__ import annotations

import asyncio
from collections import deque

from easyremote.errors import LinkError

QUEUE_PACKETS = 16


class MemoryLink:
    """One end; made in pairs by ``memory_pair``."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._other: MemoryLink = self
        self._inbox: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._closed = False

    async def send(self, *packet: bytes | memoryview) -> None:
        """Hand over a packet; waits while the other end has many unread."""
        other = self._other
        while len(other._inbox) >= QUEUE_PACKETS and not self._closed:
            self._changed.clear()
            await self._changed.wait()
        if self._closed:
            raise LinkError(f"the link to {self.address} is closed")
        other._inbox.append(b"".join(packet))
        other._changed.set()

    async def receive(self) -> bytes | None:
        """The next packet; None when the link has ended and all is read."""
        while not self._inbox:
            if self._closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        packet = self._inbox.popleft()
        self._other._changed.set()
        return packet

    async def close(self, reason: str = "") -> None:
        """End the link at both ends."""
        for end in (self, self._other):
            end._closed = True
            end._changed.set()


def memory_pair() -> tuple[MemoryLink, MemoryLink]:
    """Two ends of one link."""
    one, other = MemoryLink("memory:other"), MemoryLink("memory:one")
    one._other, other._other = other, one
    return one, other
