"""The node most tests call: one small function for each thing a caller can observe."""

import asyncio
import builtins
import itertools
import os
import threading
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from acceptance.programs import ready, shapes
from acceptance.programs.files import add_mark, await_file

from easyremote import ComputeNode, current_call

node = ComputeNode(
    os.environ["GATEWAY"],
    os.environ["NODE"],
    node_capabilities=["tools"],
    labels={"room": "cellar"},
)


# ---- values and arguments


@node.register
def echo(value):
    return value


@node.register(name="echo_all")
def echo_everything(*args, **kwargs):
    return [list(args), kwargs]


@node.register
def add(a, b):
    return a + b


@node.register
async def add_async(a, b):
    return a + b


@node.register(description="How big the picture becomes.", tags=["image", "size"], version="2.1.0")
def resize(
    width: int, height: int = 100, *, mode: Literal["fit", "fill"] = "fit", ran: str = ""
) -> list[int]:
    if ran:
        add_mark(ran)
    return [width, height, len(mode)]


@node.register
def greet(name: str, *, excited: bool = False) -> str:
    """Say hello.

    More than one paragraph of it.
    """
    return f"Hello {name}{'!' if excited else '.'}"


@node.register
def area(box: shapes.Box) -> int:
    assert type(box) is shapes.Box
    return box.width * box.height


@node.register
def percent(value: Annotated[int, msgspec.Meta(ge=0, le=100)]) -> int:
    return value


@node.register
def takes_timeout(timeout: float, node: str = "none", policy: str = "none") -> list[Any]:
    return [timeout, node, policy]


@node.register
def type_name(value) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


@node.register
def add_one(array):
    array += 1  # in place: what arrives belongs to the function
    return array


@node.register
def unsendable(kind: str):
    return {"lock": threading.Lock(), "function": unsendable, "deep": {"rows": [1, object()]}}[kind]


@node.register
def unsendable_items():
    yield 1
    yield object()


@node.register
def measure(data: bytes) -> list[int]:
    return [len(data), zlib.crc32(data)]


@node.register
def make(size: int) -> bytes:
    return bytes(range(256)) * (size // 256)


# ---- how often, how long, how many


@node.register
def mark(path: str) -> int:
    return add_mark(path)


@node.register(cache_ttl=60)
def cached_mark(path: str, flavour: str = "") -> int:
    return add_mark(path)


@node.register(cache_ttl=0.3)
def briefly_cached_mark(path: str) -> int:
    return add_mark(path)


@node.register
def nap(seconds: float) -> str:
    time.sleep(seconds)
    return "rested"


@node.register
def slow_mark(path: str, seconds: float) -> str:
    add_mark(path)
    time.sleep(seconds)
    return "rested"


@node.register(timeout_seconds=0.5)
def strict(path: str, seconds: float) -> str:
    add_mark(path)
    time.sleep(seconds)
    return "rested"


@node.register(timeout_seconds=0.5)
async def strict_async(path: str) -> None:
    try:
        await asyncio.sleep(30)
    finally:
        add_mark(path)


@node.register(timeout_seconds=0.5)
def strict_ticks(path: str) -> Iterator[int]:
    yield from ticks(path)


@node.register
def ticks(path: str) -> Iterator[int]:
    try:
        for n in range(300):
            yield n
            time.sleep(0.02)
    finally:
        add_mark(path)


@node.register
async def hold_async(started: str, ended: str) -> None:
    add_mark(started)
    try:
        await asyncio.sleep(30)
    finally:
        add_mark(ended)


@node.register
def hold_patiently(started: str, ended: str) -> None:
    """Looks at its cancelled flag, as a long computation in a thread would."""
    call = current_call()
    add_mark(started)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if call.cancelled():
            add_mark(ended)
            return
        time.sleep(0.01)


@node.register
def gated(gate: str, value: Any = "through", started: str = "") -> Any:
    if started:
        add_mark(started)
    return value if await_file(gate) else "gave up"


@node.register
def pass_or_wait(item: dict[str, str]) -> str:
    if "gate" in item and not await_file(item["gate"]):
        return "gave up"
    return item["value"]


class Crowd:
    """Counts how many are inside at once."""

    def __init__(self) -> None:
        self.inside = self.most = 0
        self.lock = threading.Lock()

    def visit(self, seconds: float) -> int:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        time.sleep(seconds)
        with self.lock:
            self.inside -= 1
            return self.most


node.register(Crowd().visit, name="crowd")
node.register(Crowd().visit, name="crowd_of_map")
node.register(Crowd().visit, name="pair", max_concurrent=2)


# ---- errors


@node.register
def fail(kind: str, message: str) -> None:
    raise getattr(builtins, kind)(message)


@node.register
async def fail_async(message: str) -> None:
    raise ValueError(message)


class OutOfPaperError(Exception):
    pass


@node.register
def fail_custom(message: str) -> None:
    raise OutOfPaperError(message)


class WrongTrayError(ValueError):
    pass


@node.register
def fail_derived(message: str) -> None:
    raise WrongTrayError(message)


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


@node.register
def fail_unspeakably() -> None:
    raise UnspeakableError


@node.register
def fail_deep(depth: int) -> int:
    return fail_deep(depth + 1)


# ---- streams


@node.register
def countdown(n: int) -> Iterator[int]:
    """Count down to one."""
    yield from range(n, 0, -1)


@node.register
async def countdown_async(n: int) -> AsyncIterator[int]:
    for value in range(n, 0, -1):
        yield value


@node.register
def gated_stream(gate: str) -> Iterator[str]:
    yield "first"
    yield "second" if await_file(gate) else "gave up"


@node.register
async def gated_stream_async(gate: str) -> AsyncIterator[str]:
    yield "first"
    for _ in range(2000):
        if await asyncio.to_thread(Path(gate).exists):
            yield "second"
            return
        await asyncio.sleep(0.01)


@node.register
def endless(ended: str) -> Iterator[int]:
    try:
        yield from itertools.count()
    finally:
        add_mark(ended)


@node.register
async def endless_async(ended: str) -> AsyncIterator[int]:
    try:
        for n in itertools.count():
            yield n
            await asyncio.sleep(0)
    finally:
        add_mark(ended)


@node.register
def stalling(started: str, ended: str) -> Iterator[int]:
    """Yields once, then waits inside itself."""
    try:
        yield 0
        add_mark(started)
        call = current_call()
        for _ in range(3000):
            if call.cancelled():
                break
            time.sleep(0.01)
    finally:
        add_mark(ended)


@node.register
def fail_after(n: int, message: str) -> Iterator[int]:
    yield from range(n)
    raise ValueError(message)


@node.register
async def fail_after_async(n: int, message: str) -> AsyncIterator[int]:
    for value in range(n):
        yield value
    raise ValueError(message)


@node.register
def parcels(made: str, count: int, size: int) -> Iterator[bytes]:
    for _ in range(count):
        add_mark(made)
        yield bytes(size)


@node.register
async def parcels_async(made: str, count: int, size: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        add_mark(made)
        yield bytes(size)


if __name__ == "__main__":
    ready.serve(node)
