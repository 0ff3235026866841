"""What connections of both kinds share: one buffer to read into, messages gathered from it, patience at the end.

What arrives is looked at, and copied where it is to stay, before anything else is read. Without this, each read
under TLS would make an object of 256 KiB and shrink it: three calls of the system, and fresh pages, every time.
"""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

BUFFER_BYTES = 256 << 10
COPY_BYTES = 64 << 10
"""Messages up to this are copied once more, to be bytes."""
CLOSE_SECONDS = 0.25
"""How long the other end has to take leave before it is hung up on."""

_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()


def buffer_of(loop: asyncio.AbstractEventLoop) -> memoryview:
    """The loop's buffer."""
    buffer = _buffers.get(loop)
    if buffer is None:
        buffer = _buffers[loop] = memoryview(bytearray(BUFFER_BYTES))
    return buffer


class Messages:
    """Messages that follow their lengths, gathered from pieces that end anywhere.

    Args:
        prefix_bytes: How many bytes a length has, the most significant first.
        first_most: The largest first message that is taken.
        most: The largest other one.
    """

    __slots__ = ("_body", "_have", "_most", "_prefix", "_prefix_bytes", "_then", "refused")

    def __init__(self, prefix_bytes: int, first_most: int, most: int) -> None:
        self._prefix_bytes = prefix_bytes
        self._most, self._then = first_most, most
        self._prefix = b""
        self._body: bytearray | None = None
        self._have = 0
        self.refused = -1
        """The length of a message that is too large; nothing is taken after it."""

    @property
    def most(self) -> int:
        """The largest message that is taken now."""
        return self._most

    def feed(self, piece: memoryview) -> list[bytes | bytearray]:
        """The messages that are whole with this piece; it may be overwritten afterwards."""
        first, start, end = self._prefix_bytes, 0, len(piece)
        if self._body is None and not self._prefix and end > first:
            size = int.from_bytes(piece[:first], "big")
            if size == end - first and size <= self._most:  # one message and no more: mostly so
                self._most = self._then
                return [bytes(piece[first:])]
        found: list[bytes | bytearray] = []
        while start < end and self.refused < 0:
            if self._body is None:
                cut = min(start + first - len(self._prefix), end)
                self._prefix += piece[start:cut]
                start = cut
                if len(self._prefix) < first:
                    break
                size = int.from_bytes(self._prefix, "big")
                if size > self._most:
                    self.refused = size
                    break
                self._body, self._have = bytearray(size), 0
            body = self._body
            cut = min(start + len(body) - self._have, end)
            body[self._have : self._have + cut - start] = piece[start:cut]
            self._have += cut - start
            start = cut
            if self._have == len(body):
                self._body, self._prefix, self._most = None, b"", self._then
                found.append(bytes(body) if len(body) <= COPY_BYTES else body)
        return found


async def taken_leave(gone: asyncio.Future[None], transport: asyncio.Transport) -> None:
    """Wait until a transport that is closing is closed, so that an event loop may end after it."""
    if not gone.done():
        await asyncio.wait([gone], timeout=CLOSE_SECONDS)
    if not gone.done():
        transport.abort()
        await asyncio.wait([gone], timeout=CLOSE_SECONDS)
