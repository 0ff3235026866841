"""A gateway's side of its links: one queue and one writer each.

Frames for a device gather while a packet to it is being written, and the next packet takes them all.
A device that does not read what it is sent is disconnected before its queue takes too much memory;
it may come back, and nothing is lost by it, because devices resend what was not acknowledged.
"""

from __future__ import annotations

import asyncio

from easyremote.errors import LinkError
from easyremote.gateway.fairness import FairQueue
from easyremote.links.eager import Eager
from easyremote.links.link import Link
from easyremote.wire.frame import Pieces, parts
from easyremote.wire.limits import WINDOW_BYTES

SPACING_SECONDS = 0.0005
SPACING_FRAMES = 4
PAIR_BYTES = 4 * WINDOW_BYTES
"""What may wait of one source for one link before the source is read more slowly; the window keeps devices below."""
WRITE_OUT_SECONDS = 5.0
"""How long a link that is to be closed may take to write what is queued."""


class Backlog:
    """What waits to be written to all links together."""

    __slots__ = ("bytes", "per_connection")

    def __init__(self, per_connection: int) -> None:
        self.bytes = 0
        self.per_connection = per_connection


class Port:
    """One link and what waits to be written to it."""

    __slots__ = (
        "_backlog",
        "_closing",
        "_crowd",
        "_ending",
        "_limit",
        "_link",
        "_over",
        "_queue",
        "_source",
        "_writing",
        "_written",
        "number",
    )

    def __init__(self, number: int, link: Link, backlog: Backlog) -> None:
        self.number = number
        self._backlog = backlog
        self._link = link
        self._queue = FairQueue()
        self._written = asyncio.Event()
        self._over = False
        self._source = 0
        self._crowd = False  # whether several have sent something since the last write
        self._writing = False
        self._closing = False
        self._ending: asyncio.Task[None] | None = None
        self._limit: asyncio.TimerHandle | None = None

    @property
    def queued_bytes(self) -> int:
        """What waits to be written."""
        return self._queue.bytes

    def send(self, frame: Pieces, source: int = 0) -> bool:
        """Queue a frame that came over that link, for ``write``; False if so much waits that the link is to end."""
        if self._closing:
            return True
        if source != self._source:
            self._source, self._crowd = source, True
        size = sum(map(len, frame))
        self._queue.put(frame, size, source)
        self._backlog.bytes += size
        return self._queue.bytes <= self._backlog.per_connection

    def waits_for(self, source: int) -> bool:
        """Whether so much of one source waits here that nothing more should be read from it."""
        return self._queue.bytes_of.get(source, 0) > PAIR_BYTES

    async def written(self) -> None:
        """Wait until another packet has been written, or the link is over."""
        if not self._over:
            self._written.clear()
            await self._written.wait()

    def close_when_written(self) -> None:
        """Write what is queued, then end the link."""
        if not self._closing:
            self._closing = True
            self.write()
            self._limit = asyncio.get_running_loop().call_later(WRITE_OUT_SECONDS, self.close_at_once)

    def close_at_once(self) -> None:
        """End the link, also in the middle of a write; what is queued is thrown away."""
        self._closing = True
        self._empty()
        self._ending = asyncio.get_running_loop().create_task(self._link.close())

    async def drop(self) -> None:
        """The link is over: stop writing."""
        if self._limit is not None:
            self._limit.cancel()
        self._closing = True
        self._empty()
        if self._ending is not None:
            await self._ending

    def _empty(self) -> None:
        self._backlog.bytes -= self._queue.clear()
        self._over = True
        self._written.set()

    def write(self) -> None:
        """Write what is queued, at once if nothing is being written."""
        if not self._writing:
            self._writing = True
            Eager(self._write(), self._rest)

    def _rest(self) -> None:
        self._writing = False

    async def _write(self) -> None:
        queue = self._queue
        while queue:
            before = queue.bytes
            frames = queue.take()
            self._backlog.bytes -= before - queue.bytes
            try:
                await self._link.send(*parts(frames))
            except LinkError:
                return  # the reader sees the end as well
            self._written.set()
            crowd, self._crowd = self._crowd, False
            if len(frames) >= SPACING_FRAMES:
                await asyncio.sleep(SPACING_SECONDS)
            elif crowd:
                await asyncio.sleep(0)  # what the others send in this turn of the loop goes together
        if self._closing and not self._over:
            await self._link.close()
