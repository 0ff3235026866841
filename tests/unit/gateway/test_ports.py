"""A gateway's queue and writer for one link."""

from __future__ import annotations

import asyncio

import pytest

from easyremote.gateway.ports import Backlog, Port

QUEUE_BYTES = 1 << 20


class StuckLink:
    """A link whose other end reads nothing: a write never returns."""

    address = "stuck"

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = asyncio.Event()

    async def send(self, *packet: bytes | memoryview) -> None:
        self.written.append(b"".join(packet))
        await asyncio.Event().wait()

    async def receive(self) -> bytes | None:
        await self.closed.wait()
        return None

    async def close(self, reason: str = "") -> None:
        self.closed.set()


def test_a_link_that_is_stuck_in_a_write_is_closed_when_its_queue_is_too_long() -> None:
    async def play() -> None:
        link = StuckLink()
        port = Port(1, link, Backlog(QUEUE_BYTES))
        assert port.send([b"frame"])
        port.write()
        assert link.written
        assert not port.send([bytes(QUEUE_BYTES + 1)])
        port.close_at_once()
        async with asyncio.timeout(5):
            await link.closed.wait()
        assert port.send([bytes(QUEUE_BYTES + 1)]), "what comes now is thrown away, and not complained of"
        await port.drop()

    asyncio.run(play())


def test_a_link_that_is_to_be_closed_has_only_so_long_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("easyremote.gateway.ports.WRITE_OUT_SECONDS", 0.05)

    async def play() -> None:
        link = StuckLink()
        port = Port(1, link, Backlog(QUEUE_BYTES))
        port.send([b"frame"])
        port.write()
        port.close_when_written()
        async with asyncio.timeout(5):
            await link.closed.wait()
        await port.drop()

    asyncio.run(play())


def test_what_waits_is_counted_for_each_link_and_for_all_until_it_is_written_or_thrown_away() -> None:
    async def play() -> None:
        backlog = Backlog(QUEUE_BYTES)
        links = [StuckLink(), StuckLink()]
        one, other = (Port(number, link, backlog) for number, link in enumerate(links))
        one.send([b"head", b"body"])
        one.send([b"more"])
        other.send([bytes(1000)])
        assert (one.queued_bytes, other.queued_bytes, backlog.bytes) == (12, 1000, 1012)
        one.write()
        other.write()
        assert (one.queued_bytes, other.queued_bytes, backlog.bytes) == (0, 0, 0), "on their way"
        one.send([bytes(10)])
        other.send([bytes(100)])
        one.close_at_once()
        assert (one.queued_bytes, backlog.bytes) == (0, 100)
        one.send([bytes(10)])
        assert (one.queued_bytes, backlog.bytes) == (0, 100), "nothing more is taken"
        await one.drop()
        await other.drop()
        assert (other.queued_bytes, backlog.bytes) == (0, 0)

    asyncio.run(play())


def test_a_full_queue_of_one_link_is_no_fault_of_another() -> None:
    async def play() -> None:
        backlog = Backlog(QUEUE_BYTES)
        full, other = (Port(number, StuckLink(), backlog) for number in (1, 2))
        assert full.send([bytes(QUEUE_BYTES)]), "just so much may wait"
        assert not full.send([b"x"])
        assert other.send([b"x"])
        await full.drop()
        await other.drop()

    asyncio.run(play())
