"""One contract, every kind of link."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from easyremote.links.link import Link
from easyremote.links.memory import memory_pair
from easyremote.links.relay import connect, listen
from easyremote.testing.links import CLAUSES, Clause, Pair, check_clause


@asynccontextmanager
async def memory() -> AsyncIterator[tuple[Link, Link]]:
    one, other = memory_pair()
    yield one, other
    await one.close()


@asynccontextmanager
async def relay() -> AsyncIterator[tuple[Link, Link]]:
    arrived: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def accept(link: Link) -> None:
        arrived.set_result(link)
        await over.wait()

    listener = await listen("127.0.0.1", 0, accept)
    device = await connect(listener.address, timeout_seconds=5.0)
    try:
        yield device, await arrived
    finally:
        over.set()
        await device.close()
        await listener.close(0.0)


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize("pair", [memory, relay], ids=["memory", "relay"])
def test_contract(pair: Pair, clause: Clause) -> None:
    asyncio.run(check_clause(pair, clause))
