"""The yardstick: a bare gRPC relay of two bidirectional streams, one call a message, nothing else.

Three processes, as with us: a caller, a relay, and an echo service that connects to the relay. Each
message is one call, forwarded by itself; no encryption, no types, no scheduling, no batching. uvloop.

``typed`` is gRPC as one writes it: protobuf messages, and a task that writes for each stream, because gRPC takes
one write at a time and a relay has many sources. ``raw`` is the least that can be done: bytes that nobody
parses, written by whoever read them; right for one caller only, and measured to show the floor.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from typing import Any

import grpc
import grpc.aio
import uvloop
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

NUMBER = struct.Struct("<q")
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
CALLER, ECHO = "/relay.Relay/Caller", "/relay.Relay/Echo"


def call_class() -> Any:
    """``message Call { uint64 number = 1; bytes payload = 2; }``, as generated code would have it."""
    file = descriptor_pb2.FileDescriptorProto(name="relay.proto", package="relay", syntax="proto3")
    message = file.message_type.add(name="Call")
    field = descriptor_pb2.FieldDescriptorProto
    for number, (name, kind) in enumerate((("number", field.TYPE_UINT64), ("payload", field.TYPE_BYTES)), 1):
        message.field.add(name=name, number=number, type=kind, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("relay.Call"))


class Raw:
    """A call as bytes: its number, then the payload."""

    __slots__ = ("data",)

    def __init__(self, number: int = 0, payload: bytes = b"", data: bytes | None = None) -> None:
        self.data = NUMBER.pack(number) + payload if data is None else data

    @property
    def number(self) -> int:
        return int(NUMBER.unpack_from(self.data)[0])

    @property
    def payload(self) -> bytes:
        return self.data[8:]


def codec(way: str) -> tuple[Any, Any, Any]:
    """The class of a call, and how it becomes bytes and comes back."""
    if way == "raw":
        return Raw, lambda call: call.data, lambda data: Raw(data=data)
    made = call_class()
    return made, made.SerializeToString, made.FromString


class Outbox:
    """Writes messages to a stream; gRPC takes one at a time."""

    def __init__(self, stream: Any, way: str) -> None:
        self._stream = stream
        self._turn = asyncio.Lock()
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._writer = asyncio.create_task(self._write()) if way == "typed" else None

    async def send(self, message: Any) -> None:
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
    """Forward caller → echo → caller."""
    _, write, read = codec(way)
    links: dict[str, Outbox] = {}

    async def serve_caller(_: Any, context: Any) -> None:
        links["caller"] = Outbox(context, way)
        while (message := await context.read()) is not grpc.aio.EOF:
            await links["echo"].send(message)

    async def serve_echo(_: Any, context: Any) -> None:
        links["echo"] = Outbox(context, way)
        while (message := await context.read()) is not grpc.aio.EOF:
            if message.number and "caller" in links:
                await links["caller"].send(message)

    server = grpc.aio.server(options=OPTIONS)
    handlers = {
        name.rsplit("/", 1)[1]: grpc.stream_stream_rpc_method_handler(
            function, request_deserializer=read, response_serializer=write
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
    made, write, read = codec(way)
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        call = channel.stream_stream(ECHO, request_serializer=write, response_deserializer=read)()
        outbox = Outbox(call, way)
        await outbox.send(made())
        print("ready", flush=True)
        while (message := await call.read()) is not grpc.aio.EOF:
            await outbox.send(message)


class Caller:
    """Calls through the relay; any number may be in flight."""

    def __init__(self, address: str, way: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self._made, write, read = codec(way)
        self._call = self._channel.stream_stream(
            CALLER, request_serializer=write, response_deserializer=read
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
        await self._outbox.send(self._made(number=number, payload=payload))
        return await future

    async def _read(self) -> None:
        try:
            message: Any
            while (message := await self._call.read()) is not grpc.aio.EOF:
                self._waiting.pop(message.number).set_result(message.payload)
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
