"""What connections of both kinds share: one buffer to read into, and patience at their end.

What arrives is looked at, and copied where it is to stay, before anything else is read. Without this, each read
under TLS would make an object of 256 KiB and shrink it: three calls of the system, and fresh pages, every time.
"""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

BUFFER_BYTES = 256 << 10
CLOSE_SECONDS = 0.25
"""How long the other end has to take leave before it is hung up on."""

_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()


def buffer_of(loop: asyncio.AbstractEventLoop) -> memoryview:
    """The loop's buffer."""
    buffer = _buffers.get(loop)
    if buffer is None:
        buffer = _buffers[loop] = memoryview(bytearray(BUFFER_BYTES))
    return buffer


async def taken_leave(gone: asyncio.Future[None], transport: asyncio.Transport) -> None:
    """Wait until a transport that is closing is closed, so that an event loop may end after it."""
    if not gone.done():
        await asyncio.wait([gone], timeout=CLOSE_SECONDS)
    if not gone.done():
        transport.abort()
        await asyncio.wait([gone], timeout=CLOSE_SECONDS)
