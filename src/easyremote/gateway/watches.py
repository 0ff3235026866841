"""Questions about jobs of which there is no news yet: they wait until there is, or their time is up, or their link is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from easyremote.gateway.mailbox import Member

__all__ = ["Watch", "Watches"]

WATCHES_MAX, WATCHES_PER_DEVICE = 20_000, 1_000
"""So many wait, in all and of one device; further ones are answered at once."""


class Watch(msgspec.Struct, eq=False):
    """One question: about which job, by whom, over which link, and its number there."""

    job: bytes
    member: Member
    link: int
    number: int
    timer: asyncio.TimerHandle | None = None


class Watches:
    """Those of one gateway, on its loop.

    Args:
        loop: The loop.
        end: Told of each whose waiting is over, but for those whose link was closed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, end: Callable[[Watch], None]) -> None:
        self._loop, self._end = loop, end
        self._all: set[Watch] = set()
        self._by: dict[object, set[Watch]] = {}
        """By job, by device and by link, whose names are of different kinds."""

    def __len__(self) -> int:
        return len(self._all)

    def add(self, watch: Watch, seconds: float) -> bool:
        """Have it wait for so long; False if too many do."""
        if len(self._all) >= WATCHES_MAX or len(self._by.get(watch.member.device, ())) >= WATCHES_PER_DEVICE:
            return False
        self._all.add(watch)
        for name in (watch.job, watch.member.device, watch.link):
            self._by.setdefault(name, set()).add(watch)
        watch.timer = self._loop.call_later(seconds, self._over, watch)
        return True

    def news(self, job: bytes) -> None:
        """There is news of a job."""
        for watch in list(self._by.get(job, ())):
            self._over(watch)

    def left(self, link: int) -> None:
        """A link is closed: nobody there waits for anything."""
        for watch in list(self._by.get(link, ())):
            self._drop(watch)

    def close(self) -> None:
        """Nobody waits any more."""
        for watch in list(self._all):
            self._drop(watch)

    def _over(self, watch: Watch) -> None:
        self._drop(watch)
        self._end(watch)

    def _drop(self, watch: Watch) -> None:
        if watch.timer is not None:
            watch.timer.cancel()
        self._all.discard(watch)
        for name in (watch.job, watch.member.device, watch.link):
            there = self._by[name]
            there.discard(watch)
            if not there:
                del self._by[name]
