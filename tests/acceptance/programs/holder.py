"""A node of which there can be several: it can hold a call until told, and says who it is."""

import asyncio
import os
import time
from collections.abc import Iterator

from acceptance.programs import ready
from acceptance.programs.files import add_mark, await_file

from easyremote import ComputeNode

NAME = os.environ["NODE"]
node = ComputeNode(os.environ["GATEWAY"], NAME)


@node.register
def hold(started: str, gate: str) -> str:
    add_mark(started)
    await_file(gate, 60)
    return NAME


@node.register(idempotent=True)
def hold_repeatable(started: str, gate: str) -> str:
    add_mark(started)
    await_file(gate, 60)
    return NAME


@node.register(idempotent=True)
def hold_repeatable_at(place: list[str]) -> str:
    return hold_repeatable(*place)


@node.register
def drip() -> Iterator[str]:
    for _ in range(3000):
        yield NAME
        time.sleep(0.01)


@node.register
def whoami() -> str:
    return NAME


@node.register
async def share(item: int) -> str:
    await asyncio.sleep(0.005)
    return NAME


@node.register
def share_in_thread(item: int) -> str:
    time.sleep(0.005)
    return NAME


ready.serve(node)
