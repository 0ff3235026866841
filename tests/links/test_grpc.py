"""What we speak is gRPC: its own library, at either end, understands us."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from links.gateways import CERTIFICATE, gateway

from easyremote.errors import LinkError
from easyremote.links.certificates import shown_name
from easyremote.links.link import Link
from easyremote.links.relay import CONNECT, ENROLL, SERVICE, connect, enroll, listen
from easyremote.links.rpc import FIRST_BYTES
from easyremote.wire.limits import GRPC_MAX_MESSAGE_BYTES
from easyremote.wire.messages import EnrollReply, EnrollRequest, encode_enrollment

SIZES = [1, 64, 16_383, 16_384, 16_385, 70_000, 1 << 20, 3_000_000, 1, GRPC_MAX_MESSAGE_BYTES]
PACKETS = [bytes([number % 251]) * size for number, size in enumerate(SIZES)]


def stock_channel(address: str) -> grpc.Channel:
    """What grpcio makes of a gateway's address and its certificate."""
    pinned = grpc.ssl_channel_credentials(ssl.DER_cert_to_PEM_cert(CERTIFICATE.der).encode())
    options = [
        ("grpc.ssl_target_name_override", shown_name(CERTIFICATE.der)),
        ("grpc.max_receive_message_length", GRPC_MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", 2 * GRPC_MAX_MESSAGE_BYTES),
    ]
    return grpc.secure_channel(address, pinned, options)


@asynccontextmanager
async def echoing() -> AsyncIterator[str]:
    """A gateway that says back what it hears."""

    async def accept(link: Link) -> None:
        while (packet := await link.receive()) is not None:
            await link.send(packet)

    def take(request: EnrollRequest, address: str) -> EnrollReply:
        return EnrollReply(code="pending", name=request.name, message=address)

    listener = await listen("127.0.0.1", 0, accept, take, key=CERTIFICATE.key, chain=CERTIFICATE.chain)
    try:
        yield listener.address
    finally:
        await listener.close(0.0)


def with_stock_client(ask: Any) -> Any:
    """What ``ask(channel)`` returns, run in a thread beside our gateway."""

    async def play() -> Any:
        async with echoing() as address:

            def work() -> Any:
                with stock_channel(address) as channel:
                    return ask(channel)

            return await asyncio.to_thread(work)

    return asyncio.run(play())


def test_its_client_streams_through_our_gateway() -> None:
    def ask(channel: grpc.Channel) -> list[bytes]:
        return list(channel.stream_stream(CONNECT)(iter(PACKETS), timeout=30))

    assert with_stock_client(ask) == PACKETS


def test_its_client_has_many_calls_on_one_connection() -> None:
    def ask(channel: grpc.Channel) -> list[list[bytes]]:
        def one(number: int) -> list[bytes]:
            return list(channel.stream_stream(CONNECT)(iter([bytes([number]) * 50_000] * 20), timeout=30))

        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(one, range(40)))

    assert with_stock_client(ask) == [[bytes([number]) * 50_000] * 20 for number in range(40)]


def test_its_client_enrolls() -> None:
    request = EnrollRequest(device=bytes(32), name="lab", role="node")

    def ask(channel: grpc.Channel) -> bytes:
        return bytes(channel.unary_unary(ENROLL)(encode_enrollment(request), timeout=10))

    expected = EnrollReply(code="pending", name="lab", message="127.0.0.1")
    assert with_stock_client(ask) == encode_enrollment(expected)


def failure(ask: Any) -> tuple[grpc.StatusCode, str]:
    def work(channel: grpc.Channel) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as caught:
            ask(channel)
        return caught.value.code(), caught.value.details()

    found: tuple[grpc.StatusCode, str] = with_stock_client(work)
    return found


def test_its_client_hears_what_is_wrong() -> None:
    code, words = failure(lambda channel: channel.unary_unary("/other.Service/Do")(b"", timeout=10))
    assert (code, words) == (grpc.StatusCode.UNIMPLEMENTED, "there is no method /other.Service/Do here")
    large = b"x" * (GRPC_MAX_MESSAGE_BYTES + 1)
    code, words = failure(
        lambda channel: list(channel.stream_stream(CONNECT)(iter([b"hello", large]), timeout=10))
    )
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(GRPC_MAX_MESSAGE_BYTES) in words
    first = b"x" * (FIRST_BYTES + 1)
    code, words = failure(lambda channel: list(channel.stream_stream(CONNECT)(iter([first]), timeout=10)))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(FIRST_BYTES) in words, "who has not said who they are has less room"
    code, words = failure(
        lambda channel: list(
            channel.stream_stream(CONNECT)(iter([b"x" * 500]), timeout=10, compression=grpc.Compression.Gzip)
        )
    )
    assert (code, words) == (grpc.StatusCode.UNIMPLEMENTED, "compressed messages are not taken here")


def test_health() -> None:
    def ask(channel: grpc.Channel) -> list[int]:
        stub = health_pb2_grpc.HealthStub(channel)
        answers = [
            stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10) for name in ("", SERVICE)
        ]
        watched = stub.Watch(health_pb2.HealthCheckRequest(service="other"), timeout=10)
        answers.append(next(watched))
        watched.cancel()
        return [one.status for one in answers]

    kinds = health_pb2.HealthCheckResponse
    assert with_stock_client(ask) == [kinds.SERVING, kinds.SERVING, kinds.SERVICE_UNKNOWN]

    def unknown(channel: grpc.Channel) -> None:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="x"), timeout=10)

    assert failure(unknown)[0] == grpc.StatusCode.NOT_FOUND


def test_reflection() -> None:
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="other.Thing"),
    ]

    def ask(channel: grpc.Channel) -> list[Any]:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        return list(stub.ServerReflectionInfo(iter(requests), timeout=10))

    listed, described, unknown = with_stock_client(ask)
    assert listed.original_request == requests[0]
    assert SERVICE in [one.name for one in listed.list_services_response.service]
    (file,) = described.file_descriptor_response.file_descriptor_proto
    assert b"EnrollRequest" in file
    assert unknown.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert "other.Thing" in unknown.error_response.error_message


@asynccontextmanager
async def stock_server() -> AsyncIterator[str]:
    """Grpcio's server, with its own windows and frame sizes; it says back what it hears."""

    def echo(requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        yield from requests

    server = grpc.server(
        ThreadPoolExecutor(4),
        options=[
            ("grpc.max_receive_message_length", GRPC_MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", GRPC_MAX_MESSAGE_BYTES),
        ],
    )
    methods = {"Connect": grpc.stream_stream_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    credentials = grpc.ssl_server_credentials([(CERTIFICATE.key, CERTIFICATE.chain)])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await asyncio.to_thread(server.stop(0).wait)


def test_our_device_speaks_to_its_server() -> None:
    async def play() -> list[bytes | None]:
        async with stock_server() as address:
            link = await connect(address, CERTIFICATE.der, timeout_seconds=10.0)

            async def say() -> None:
                for packet in PACKETS:
                    await link.send(packet)

            saying = asyncio.create_task(say())
            heard = [await link.receive() for _ in PACKETS]
            await saying
            await link.close()
            return heard

    assert asyncio.run(play()) == PACKETS


def test_our_device_hears_why_its_server_refuses() -> None:
    async def play() -> None:
        async with stock_server() as address:
            with pytest.raises(LinkError, match="does not enroll devices: Method not found!"):
                await enroll(address, CERTIFICATE.der, EnrollRequest(device=bytes(32)), timeout_seconds=10.0)

    asyncio.run(play())


def test_who_asks_for_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("easyremote.links.rpc.IDLE_SECONDS", 0.05)

    async def play() -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        async with gateway() as served:
            host, port = served.address.split(":")
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
            async with asyncio.timeout(10):
                said = await reader.read()
            writer.close()
            return said

    assert asyncio.run(play())[3] == 4  # its SETTINGS, and then the end
