"""Counts what calls cost, in what does not depend on the clock: a gateway, a node and clients in one process.

Prints a JSON object: by situation, how often each thing was done for so many calls.
"""

import asyncio
import json
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import uvloop

from easyremote import AsyncClient, Client, ComputeNode, Server
from easyremote.links import loop as loops
from easyremote.links.rpc import Call
from easyremote.links.stream import _Stream
from easyremote.trust.session import Session

DIRECT = sys.argv[1] == "direct"
LARGE_BYTES = 64 << 20
counts: Counter[str] = Counter()


def counted(owner: Any, name: str, what: str) -> None:
    """Count every call of a method."""
    plain = getattr(owner, name)

    def counting(self: Any, *args: Any, **kwargs: Any) -> Any:
        counts[what] += 1
        return plain(self, *args, **kwargs)

    setattr(owner, name, counting)


class CountingLoop(uvloop.Loop):
    """Counts tasks, and wake-ups from other threads."""

    def create_task(self, *args: Any, **kwargs: Any) -> Any:
        counts["tasks"] += 1
        return super().create_task(*args, **kwargs)

    def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> Any:
        counts["thread hops"] += 1
        return super().call_soon_threadsafe(*args, **kwargs)


loops.new_loop = CountingLoop
counted(Session, "seal", "seals")
counted(Session, "open", "opens")
counted(Call, "send", "packets")
counted(_Stream, "send", "packets")

server = Server(port=0, host="127.0.0.1")
server.start_background()
node = ComputeNode(server.address, "counted")


@node.register
async def at_once(value: int) -> int:
    return value


@node.register
async def later(value: int) -> int:
    await asyncio.sleep(0)
    return value


@node.register
def in_thread(value: int) -> int:
    return value


@node.register
def same(array: np.ndarray) -> np.ndarray:
    return array


node.serve(blocking=False)
node.wait_for_connection(10)
found: dict[str, dict[str, int]] = {}


def note(situation: str) -> None:
    found[situation] = dict(counts)


async def settle() -> None:
    """Until nothing is on its way any more: acknowledgements come 100 ms after the last call."""
    before = None
    while before != (before := dict(counts)):
        await asyncio.sleep(0.25)


def blocking() -> None:
    with Client(server.address, direct=DIRECT) as client:
        for function in ("at_once", "in_thread"):
            for value in range(50):
                assert client.execute(function, value) == value
            counts.clear()
            for value in range(100):
                assert client.execute(function, value) == value
            note(f"100 blocking, {function}")


async def from_a_loop() -> None:
    async with AsyncClient(server.address, direct=DIRECT) as client:
        for function in ("at_once", "later", "in_thread"):
            for value in range(50):
                await client.execute(function, value)
            await settle()
            counts.clear()
            for value in range(100):
                assert await client.execute(function, value) == value
            note(f"100 one by one, {function}")
            await settle()
            counts.clear()
            for _ in range(4):
                values = await asyncio.gather(*(client.execute(function, value) for value in range(256)))
                assert values == list(range(256))
            note(f"1024 by 256, {function}")


def large() -> None:
    """The memory that objects of Python took at most, beside the array itself; its places at the ends are mapped."""
    array = np.arange(LARGE_BYTES // 4, dtype=np.float32)
    with Client(server.address, direct=DIRECT) as client:
        client.execute("same", array[:1_000_000])
        tracemalloc.start()
        result = client.execute("same", array)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert np.array_equal(result, array)
        found["large"] = {"peak bytes": peak, "owns its memory": int(result.flags.owndata)}


def run(main: Callable[[], Any]) -> None:
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        runner.run(main())


blocking()
run(from_a_loop)
large()
node.stop()
server.stop()
print(json.dumps(found), flush=True)
