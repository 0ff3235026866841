"""A client as a program: how many calls a second of a function go through; and how many bytes they are."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from easyremote import AsyncClient
from easyremote.links.rpc import Call
from scaling.programs import say, serve

PAYLOAD = b"x" * 64
_bytes = 0


def count_bytes() -> None:
    """Count what goes over links, both ways."""
    send, receive = Call.send, Call.receive

    async def counted_send(self: Any, *packet: bytes | memoryview) -> None:
        global _bytes
        _bytes += sum(map(len, packet))
        await send(self, *packet)

    async def counted_receive(self: Any) -> bytes | bytearray | None:
        global _bytes
        packet = await receive(self)
        _bytes += len(packet or b"")
        return packet

    Call.send, Call.receive = counted_send, counted_receive  # type: ignore[method-assign]


async def throughput(call: Callable[[], Awaitable[Any]], in_flight: int, seconds: float) -> tuple[int, float]:
    """How many calls were made, and how many a second: as many loops, each one call after another."""
    done, until = 0, time.perf_counter() + seconds

    async def loop() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await call()
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(loop() for _ in range(in_flight)))
    return done, done / (time.perf_counter() - began)


async def main() -> None:
    async with AsyncClient(sys.argv[1]) as client:

        async def answer(
            *, what: str, seconds: float, in_flight: int = 256, nodes: int = 1
        ) -> dict[str, Any]:
            while sum(what in node.functions for node in await client.list_nodes()) < nodes:
                await asyncio.sleep(0.01)  # a node is connected a moment before its card is known
            before = _bytes
            calls, rate = await throughput(lambda: client.execute(what, PAYLOAD), in_flight, seconds)
            return {"calls": calls, "rate": rate, "bytes": (_bytes - before) / calls}

        say(ready=True)
        await serve(answer)


if __name__ == "__main__":
    count_bytes()
    uvloop.run(main())
