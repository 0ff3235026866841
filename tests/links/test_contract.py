"""One contract, every kind of link."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from links.gateways import CERTIFICATE, gateway

from easyremote.links.link import Link
from easyremote.links.memory import memory_pair
from easyremote.links.relay import connect
from easyremote.links.stream import Certificate, dial, listen
from easyremote.testing.links import CLAUSES, Clause, Pair, check_clause


@asynccontextmanager
async def memory() -> AsyncIterator[tuple[Link, Link]]:
    one, other = memory_pair()
    yield one, other
    await one.close()


async def acquainted(near: Link, far: Link) -> tuple[Link, Link]:
    """Both ends, after the first packet, which has to be small."""
    await near.send(b"hello")
    assert await far.receive() == b"hello"
    return near, far


@asynccontextmanager
async def relay() -> AsyncIterator[tuple[Link, Link]]:
    async with gateway() as served:
        device = await connect(served.address, CERTIFICATE.der, timeout_seconds=5.0)
        try:
            yield await acquainted(device, await served.arrived)
        finally:
            await device.close()


@asynccontextmanager
async def stream() -> AsyncIterator[tuple[Link, Link]]:
    arrived: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def accept(link: Link) -> None:
        arrived.set_result(link)
        await over.wait()

    certificate = Certificate(time.time())
    listener = await listen("127.0.0.1", 0, accept, certificate)
    near = await dial(listener.address, certificate.fingerprint, timeout_seconds=5.0)
    try:
        yield await acquainted(near, await arrived)
    finally:
        over.set()
        await near.close()
        await listener.close()


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize("pair", [memory, relay, stream], ids=["memory", "relay", "stream"])
def test_contract(pair: Pair, clause: Clause) -> None:
    asyncio.run(check_clause(pair, clause))
