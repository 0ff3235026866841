"""Async clients in event loops that come and go, beside a node and a blocking client in the same process."""

import asyncio
import sys

from easyremote import AsyncClient, Client, ComputeNode

node = ComputeNode(sys.argv[1], "two-loops")


@node.register
async def twice_here(n: int) -> int:
    return 2 * n


async def ask() -> list[int]:
    async with AsyncClient(sys.argv[1]) as client:
        return await asyncio.gather(*(client.execute("twice_here", n) for n in range(50)))


node.serve(blocking=False)
assert node.wait_for_connection(10)
for _ in range(5):
    assert asyncio.run(ask()) == [2 * n for n in range(50)]
with Client(sys.argv[1]) as blocking:
    print(blocking.execute("twice_here", 21))
node.stop()
