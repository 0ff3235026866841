"""A gateway's queue and writer for one link."""

from __future__ import annotations

import asyncio

import pytest

from easyremote.gateway.ports import Port
from easyremote.wire.limits import LINK_QUEUE_BYTES


class StuckLink:
    """A link whose other end reads nothing: a write never returns."""

    address = "stuck"

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = asyncio.Event()

    async def send(self, packet: bytes) -> None:
        self.written.append(packet)
        await asyncio.Event().wait()

    async def receive(self) -> bytes | None:
        await self.closed.wait()
        return None

    async def close(self, reason: str = "") -> None:
        self.closed.set()


def test_a_link_that_is_stuck_in_a_write_is_closed_when_its_queue_is_too_long() -> None:
    async def play() -> None:
        link = StuckLink()
        port = Port(1, link)
        assert port.send([b"frame"])
        await asyncio.sleep(0)
        assert link.written
        assert not port.send([bytes(LINK_QUEUE_BYTES + 1)])
        port.close_at_once()
        async with asyncio.timeout(5):
            await link.closed.wait()
        assert port.send([bytes(LINK_QUEUE_BYTES + 1)]), (
            "what comes now is thrown away, and not complained of"
        )
        await port.drop()

    asyncio.run(play())


def test_a_link_that_is_to_be_closed_has_only_so_long_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("easyremote.gateway.ports.WRITE_OUT_SECONDS", 0.05)

    async def play() -> None:
        link = StuckLink()
        port = Port(1, link)
        port.send([b"frame"])
        await asyncio.sleep(0)
        port.close_when_written()
        async with asyncio.timeout(5):
            await link.closed.wait()
        await port.drop()

    asyncio.run(play())
