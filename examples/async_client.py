"""Many calls at once from asyncio.

Usage::

    python examples/async_client.py [HOST:PORT]
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

from easyremote import AsyncClient, ComputeNode

ADDRESS = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("EASYREMOTE_GATEWAY", "127.0.0.1:8080")

node = ComputeNode(ADDRESS)


@node.register
async def look_up(city: str) -> str:
    """Waits a little, as for a database; while it waits the node does other calls."""
    await asyncio.sleep(0.1)
    return f"{city}: {len(city)} letters"


@node.register
async def watch(city: str) -> AsyncIterator[str]:
    """Three observations."""
    for number in range(1, 4):
        await asyncio.sleep(0.05)
        yield f"{city}, observation {number}"


async def main() -> None:
    async with AsyncClient(ADDRESS) as client:
        print(await client.execute("look_up", "Paris"))

        both = await asyncio.gather(client.execute("look_up", "Rome"), client.execute("look_up", "Oslo"))
        print(both)

        began = asyncio.get_running_loop().time()
        answers = [answer async for answer in client.map("look_up", ["Lima"] * 100)]
        took = asyncio.get_running_loop().time() - began
        print(f"{len(answers)} calls of 0.1 s each took {took:.1f} s")

        async for observation in client.stream("watch", "Cairo"):
            print(observation)


node.serve(blocking=False)
if not node.wait_for_connection(timeout=10):
    sys.exit(f"No gateway at {ADDRESS}. Start one with: easynet gateway")
asyncio.run(main())
node.stop()
