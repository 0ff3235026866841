"""One of the three programs of a call: gateway, node or client; with notes taken, or plain."""

from __future__ import annotations

import asyncio
import ctypes
import platform
import sys
import time
from typing import Any

import uvloop
from scaling.caller import PAYLOAD, throughput
from scaling.programs import say, serve

from easyremote import AsyncClient, ComputeNode, Server
from profiling.stamps import Notebook

_PR_SET_PTRACER, _ANYBODY = 0x59616D61, -1


class Actor:
    """What the three have in common: they begin and end taking notes when told."""

    def __init__(self, process: str, *, noting: bool) -> None:
        self._notebook = Notebook()
        if noting:
            self._notebook.watch(process)

    async def answer(self, what: str, **details: Any) -> dict[str, Any]:
        """Do what the benchmark asks."""
        if what == "begin":
            self._notebook.open = True
            return {}
        if what == "end":
            self._notebook.open = False
            notes, self._notebook.notes = self._notebook.notes, []
            return {"notes": notes}
        raise ValueError(what)


class Caller(Actor):
    """The client: calls one by one, or 256 at a time."""

    def __init__(self, client: AsyncClient, *, noting: bool) -> None:
        super().__init__("client", noting=noting)
        self._client = client

    async def answer(self, what: str, **details: Any) -> dict[str, Any]:
        if what == "one by one":
            return await self._one_by_one(**details)
        if what == "at once":
            calls, rate = await throughput(lambda: self._client.execute("echo", PAYLOAD), 256, **details)
            return {"calls": calls, "rate": rate}
        return await super().answer(what, **details)

    async def _one_by_one(self, *, calls: int) -> dict[str, Any]:
        times = []
        for _ in range(calls):
            began = time.perf_counter()
            await self._client.execute("echo", PAYLOAD)
            times.append((time.perf_counter() - began) * 1e6)
        return {"times_us": times}


async def call(address: str, *, noting: bool) -> None:
    client = AsyncClient(address)
    caller = Caller(client, noting=noting)  # before it connects: a connection knows its reader by then
    async with client:
        while "echo" not in {function.name for function in await client.functions()}:
            await asyncio.sleep(0.01)  # a node is connected a moment before its card is known
        say(ready=True)
        await serve(caller.answer)


def work(address: str, *, noting: bool) -> None:
    actor = Actor("node", noting=noting)
    node = ComputeNode(address, "profiled")

    @node.register
    async def echo(value: Any) -> Any:
        return value

    node.serve(blocking=False)
    if not node.wait_for_connection(30):
        sys.exit("the node did not connect")
    say(ready=True)
    asyncio.run(serve(actor.answer))
    node.stop(0)


def route(*, noting: bool) -> None:
    actor = Actor("gateway", noting=noting)
    server = Server(port=0, host="127.0.0.1")
    server.start_background()
    say(address=server.address)
    asyncio.run(serve(actor.answer))
    server.stop()


def main() -> None:
    if (
        platform.system() == "Linux"
    ):  # some systems let only a parent look into a process; py-spy is a sibling
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANYBODY, 0, 0, 0)
    process, noting, address = sys.argv[1], sys.argv[2] == "noting", sys.argv[3]
    if process == "gateway":
        route(noting=noting)
    elif process == "node":
        work(address, noting=noting)
    else:
        uvloop.run(call(address, noting=noting))


if __name__ == "__main__":
    main()
