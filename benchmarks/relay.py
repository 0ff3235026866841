"""The yardstick: a bare gRPC relay of two bidirectional streams, one call a message, nothing else.

Three processes, as with us: a caller, a relay, and an echo service that connects to the relay. Each
message is one call, forwarded by itself; no encryption, no types, no scheduling, no batching. uvloop.

There are two good ways to write one. ``direct``: who has a message writes it; the shortest way for one call
at a time. ``queued``: a task of its own writes, so that reading goes on meanwhile; a quarter to a third more
calls a second, and large messages faster, for a few dozen microseconds a call. Each is measured where it
is the better one.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from typing import Any

import grpc
import grpc.aio
import uvloop

OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
CALLER, ECHO = "/relay.Relay/Caller", "/relay.Relay/Echo"


def same(message: bytes) -> bytes:
    return message


class Outbox:
    """Writes messages to a stream; gRPC takes one at a time."""

    def __init__(self, stream: Any, way: str) -> None:
        self._stream = stream
        self._turn = asyncio.Lock()
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._writer = asyncio.create_task(self._write()) if way == "queued" else None

    async def send(self, message: bytes) -> None:
        if self._writer is not None:
            self._queue.put_nowait(message)
            return
        async with self._turn:
            await self._stream.write(message)

    async def _write(self) -> None:
        while True:
            await self._stream.write(await self._queue.get())

    def close(self) -> None:
        if self._writer is not None:
            self._writer.cancel()


async def relay(way: str) -> None:
    """Forward caller → echo → caller; a message's first 8 bytes name its call."""
    links: dict[str, Outbox] = {}

    async def serve_caller(_: Any, context: Any) -> None:
        links["caller"] = Outbox(context, way)
        while (message := await context.read()) is not grpc.aio.EOF:
            await links["echo"].send(message)

    async def serve_echo(_: Any, context: Any) -> None:
        links["echo"] = Outbox(context, way)
        while (message := await context.read()) is not grpc.aio.EOF:
            if message and "caller" in links:
                await links["caller"].send(message)

    server = grpc.aio.server(options=OPTIONS)
    handlers = {
        name.rsplit("/", 1)[1]: grpc.stream_stream_rpc_method_handler(
            function, request_deserializer=same, response_serializer=same
        )
        for name, function in ((CALLER, serve_caller), (ECHO, serve_echo))
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("relay.Relay", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


async def echo(address: str, way: str) -> None:
    """The service behind the relay: every message goes back as it came."""
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        call = channel.stream_stream(ECHO, request_serializer=same, response_deserializer=same)()
        outbox = Outbox(call, way)
        await outbox.send(b"")
        print("ready", flush=True)
        while isinstance(message := await call.read(), bytes):
            await outbox.send(message)


class Caller:
    """Calls through the relay; any number may be in flight."""

    def __init__(self, address: str, way: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self._call = self._channel.stream_stream(
            CALLER, request_serializer=same, response_deserializer=same
        )()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._number = 0
        self._outbox = Outbox(self._call, way)
        self._reader = asyncio.create_task(self._read())

    async def call(self, payload: bytes) -> bytes:
        self._number += 1
        number = self._number
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        await self._outbox.send(struct.pack("<q", number) + payload)
        return await future

    async def _read(self) -> None:
        try:
            while isinstance(message := await self._call.read(), bytes):
                self._waiting.pop(struct.unpack_from("<q", message)[0]).set_result(message[8:])
        finally:  # a relay that broke ends the run instead of leaving its calls waiting
            for future in self._waiting.values():
                future.cancel()

    async def close(self) -> None:
        self._reader.cancel()
        self._outbox.close()
        self._call.cancel()
        await self._channel.close()


if __name__ == "__main__":
    uvloop.run(relay(sys.argv[2]) if sys.argv[1] == "relay" else echo(sys.argv[2], sys.argv[3]))
