"""The yardstick: a bare gRPC relay of two bidirectional streams, one call a message, nothing else.

Three processes, as with us: a caller, a relay, and an echo service that connects to the relay. Each
message is one call, forwarded by itself; no encryption, no types, no scheduling, no batching. uvloop.
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


async def relay() -> None:
    """Forward caller → echo → caller; a message's first 8 bytes name its call."""
    links: dict[str, Any] = {}

    async def serve_caller(_: Any, context: Any) -> None:
        links["caller"] = context
        while (message := await context.read()) is not grpc.aio.EOF:
            await links["echo"].write(message)

    async def serve_echo(_: Any, context: Any) -> None:
        links["echo"] = context
        while (message := await context.read()) is not grpc.aio.EOF:
            if message and "caller" in links:
                await links["caller"].write(message)

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


async def echo(address: str) -> None:
    """The service behind the relay: every message goes back as it came."""
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        call = channel.stream_stream(ECHO, request_serializer=same, response_deserializer=same)()
        await call.write(b"")
        print("ready", flush=True)
        while isinstance(message := await call.read(), bytes):
            await call.write(message)


class Caller:
    """Calls through the relay; any number may be in flight."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self._call = self._channel.stream_stream(
            CALLER, request_serializer=same, response_deserializer=same
        )()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._number = 0
        self._writing = asyncio.Lock()  # gRPC takes one write at a time
        self._reader = asyncio.create_task(self._read())

    async def call(self, payload: bytes) -> bytes:
        self._number += 1
        number = self._number
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        async with self._writing:
            await self._call.write(struct.pack("<q", number) + payload)
        return await future

    async def _read(self) -> None:
        while isinstance(message := await self._call.read(), bytes):
            if message:
                self._waiting.pop(struct.unpack_from("<q", message)[0]).set_result(message[8:])

    async def close(self) -> None:
        self._reader.cancel()
        self._call.cancel()
        await self._channel.close()


if __name__ == "__main__":
    uvloop.run(relay() if sys.argv[1] == "relay" else echo(sys.argv[2]))
