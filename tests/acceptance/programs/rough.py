"""A node whose functions do what should end a process: exit, interrupt, raise what is no Exception."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator

from acceptance.programs import ready

from easyremote import ComputeNode

node = ComputeNode(os.environ["GATEWAY"], os.environ["NODE"])


class Disaster(BaseException):
    pass


def blow(kind: str) -> None:
    if kind == "exit":
        sys.exit(3)
    if kind == "interrupt":
        raise KeyboardInterrupt
    if kind == "generator exit":
        raise GeneratorExit
    if kind == "cancelled":
        raise asyncio.CancelledError
    raise Disaster(kind)


@node.register
def pid() -> int:
    return os.getpid()


@node.register
def plainly(kind: str) -> None:
    blow(kind)


@node.register
async def asynchronously(kind: str) -> None:
    blow(kind)


@node.register
def midway(kind: str) -> Iterator[int]:
    yield 1
    blow(kind)


@node.register
async def midway_async(kind: str) -> AsyncIterator[int]:
    yield 1
    blow(kind)


@node.register
def child_exit(code: int) -> int:
    """Fork a child that leaves without any clean-up."""
    child = os.fork()
    if child == 0:
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


ready.serve(node)
