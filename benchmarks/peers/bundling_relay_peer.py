"""The bare gRPC relay once more, but calls that queue while a message is written share the next one.

The least that can be said for bundling, and the most: bytes that the relay joins and never looks into, no
encryption, no types, one caller and one echo service, so that nothing has to be routed.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from typing import Any

from loads import PAYLOAD, Figures, Length, check
from relay_peer import WORKLOADS, work
from turns import leave_when_told, say, take_part

CALL = struct.Struct("<QI")
"""What stands before each payload: the number of the call, and the payload's size."""
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
SERVICE = "bundling.Relay"


def calls(bundle: bytes) -> Iterator[tuple[int, bytes]]:
    """The calls in a bundle."""
    at = 0
    while at < len(bundle):
        number, size = CALL.unpack_from(bundle, at)
        at += CALL.size
        yield number, bundle[at : at + size]
        at += size


class Bundler:
    """Writes what it is given to a stream: at once when that is idle, else with the next message."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._queue: list[bytes] = []
        self._some = asyncio.Event()
        self._writer = asyncio.create_task(self._write())

    def send(self, piece: bytes) -> None:
        self._queue.append(piece)
        self._some.set()

    async def _write(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            pieces, self._queue = self._queue, []
            await self._stream.write(b"".join(pieces))

    def close(self) -> None:
        self._writer.cancel()


async def serve_relay() -> None:
    import grpc.aio

    links: dict[str, Bundler] = {}

    def side(name: str, other: str) -> Any:
        async def serve(_: Any, context: Any) -> None:
            links[name] = Bundler(context)
            while (bundle := await context.read()) is not grpc.aio.EOF:
                if bundle and other in links:
                    links[other].send(bundle)

        return grpc.stream_stream_rpc_method_handler(serve)

    server = grpc.aio.server(options=OPTIONS)
    handlers = {"Caller": side("caller", "echo"), "Echo": side("echo", "caller")}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    say(f"127.0.0.1:{port}")
    await server.wait_for_termination()


async def serve_echo(address: str) -> None:
    import grpc.aio

    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        stream: Any = channel.stream_stream(f"/{SERVICE}/Echo")()
        await stream.write(b"")
        outbox = Bundler(stream)
        say("ready")
        while (bundle := await stream.read()) is not grpc.aio.EOF:
            for number, payload in calls(bundle):
                outbox.send(CALL.pack(number, len(payload)))
                outbox.send(payload)


class Caller:
    """Calls through the relay; any number may be in flight."""

    def __init__(self, address: str) -> None:
        import grpc.aio

        self._end = grpc.aio.EOF
        self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self._stream: Any = self._channel.stream_stream(f"/{SERVICE}/Caller")()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._number = 0
        self._outbox = Bundler(self._stream)
        self._reader = asyncio.create_task(self._read())

    async def call(self, payload: bytes) -> bytes:
        self._number += 1
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[self._number] = future
        self._outbox.send(CALL.pack(self._number, len(payload)))
        self._outbox.send(payload)
        return await future

    async def _read(self) -> None:
        try:
            while (bundle := await self._stream.read()) is not self._end:
                for number, payload in calls(bundle):
                    self._waiting.pop(number).set_result(payload)
        finally:  # a relay that broke ends the run instead of leaving its calls waiting
            for future in self._waiting.values():
                future.cancel()

    async def close(self) -> None:
        self._reader.cancel()
        self._outbox.close()
        self._stream.cancel()
        await self._channel.close()


def relay(_: str) -> None:
    import uvloop

    leave_when_told()
    uvloop.run(serve_relay())


def echo(address: str) -> None:
    import uvloop

    leave_when_told()
    uvloop.run(serve_echo(address))


def measure(workload: str) -> Any:
    def run(address: str, length: Length) -> Figures:
        import uvloop

        async def connected() -> Figures:
            return await work(workload, Caller(address), length)

        figures: Figures = uvloop.run(connected())
        return figures

    return run


def first(address: str) -> None:
    import uvloop

    async def ask() -> None:
        check(await Caller(address).call(PAYLOAD))

    uvloop.run(ask())


if __name__ == "__main__":
    take_part({"relay": relay, "echo": echo}, {name: measure(name) for name in WORKLOADS}, first)
