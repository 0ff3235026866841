"""Links through the gateway: the only place where gRPC is spoken.

One bidirectional stream a device, ``easyremote.v1.Gateway/Connect``. Packets are written and read as
bytes: ``wire.frame`` is their one reader and writer, so nothing is parsed twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")  # its fork handlers can hang a forked child
os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what goes wrong is told in errors of our own

import grpc
import grpc.aio

from easyremote.errors import LinkError, ListenError, RemoteProtocolError
from easyremote.links.certificates import changed_certificate, look_at, own_authorities, shown_name
from easyremote.links.link import Link
from easyremote.wire.limits import GRPC_MAX_MESSAGE_BYTES
from easyremote.wire.messages import (
    EnrollReply,
    EnrollRequest,
    decode_enroll_reply,
    decode_enroll_request,
    encode_enrollment,
)

SERVICE = "easyremote.v1.Gateway"
CONNECT = f"/{SERVICE}/Connect"
ENROLL = f"/{SERVICE}/Enroll"

Accept: TypeAlias = Callable[[Link], Awaitable[None]]
"""Serves one link; the link lives as long as this runs."""
TakeEnrollment: TypeAlias = Callable[[EnrollRequest, str], EnrollReply]
"""Answers a request to enroll that came from this address."""

_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_send_message_length", GRPC_MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", GRPC_MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
]


def _same(packet: bytes) -> bytes:
    return packet


class _DeviceLink:
    """A device's end of the stream."""

    def __init__(self, address: str, channel: grpc.aio.Channel, call: Any) -> None:
        self.address = address
        self._channel = channel
        self._call = call
        self._closed = False

    async def send(self, packet: bytes) -> None:
        """Write one packet."""
        try:
            await self._call.write(packet)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError) as error:
            raise LinkError(f"the link to the gateway at {self.address} broke: {_reason(error)}") from None
        except asyncio.CancelledError:
            if _being_cancelled():
                raise
            raise LinkError(f"the link to the gateway at {self.address} was closed") from None

    async def receive(self) -> bytes | None:
        """Read one packet."""
        try:
            packet = await self._call.read()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError):
            return None
        except asyncio.CancelledError:
            if _being_cancelled():
                raise
            return None  # gRPC says so when it is the call, not the task, that was cancelled
        return None if packet is grpc.aio.EOF else packet

    async def close(self, reason: str = "") -> None:
        """End the stream and its connection."""
        if not self._closed:
            self._closed = True
            self._call.cancel()
            await self._channel.close()


async def connect(address: str, certificate: bytes, *, timeout_seconds: float) -> Link:
    """A fresh link to the gateway at ``host:port``.

    Args:
        address: Where it is.
        certificate: The one certificate (DER) it may show; empty if a public authority vouches for it.
        timeout_seconds: How long to try.

    Raises:
        LinkError: Nothing answers there within the time, or what answers is not a gateway.
        CertificateError: It shows another certificate.
    """
    channel = _channel(address, certificate)
    try:
        await asyncio.wait_for(_ready(channel, address, certificate), timeout_seconds)
    except TimeoutError:
        await channel.close()
        raise unreachable(address, timeout_seconds) from None
    except BaseException:
        await channel.close()
        raise
    stream = channel.stream_stream(CONNECT, request_serializer=_same, response_deserializer=_same)
    return _DeviceLink(address, channel, stream())


async def enroll(
    address: str, certificate: bytes, request: EnrollRequest, *, timeout_seconds: float
) -> EnrollReply:
    """Ask the gateway to become a member of its network.

    Raises:
        LinkError: Nothing answers there within the time, or what answers is not a gateway.
        CertificateError: It shows another certificate.
        RemoteProtocolError: The reply is not one.
    """
    channel = _channel(address, certificate)
    try:
        await asyncio.wait_for(_ready(channel, address, certificate), timeout_seconds)
        ask = channel.unary_unary(ENROLL, request_serializer=_same, response_deserializer=_same)
        return decode_enroll_reply(await ask(encode_enrollment(request), timeout=timeout_seconds))
    except TimeoutError:
        raise unreachable(address, timeout_seconds) from None
    except grpc.aio.AioRpcError as error:
        raise LinkError(f"the gateway at {address} does not enroll devices: {_reason(error)}") from None
    finally:
        await channel.close()


def unreachable(address: str, timeout_seconds: float) -> LinkError:
    """The error for a gateway that does not answer."""
    return LinkError(
        f"no gateway answers at {address} (tried for {timeout_seconds:g} s). Is it running? "
        "Start one with `easynet gateway`, or run `easynet doctor` to see what is wrong"
    )


def _channel(address: str, certificate: bytes) -> grpc.aio.Channel:
    options = [
        *_OPTIONS,
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.min_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 500),
        ("grpc.enable_http_proxy", 0),
    ]
    if certificate:  # pinned: this one, whatever it calls itself
        options.append(("grpc.ssl_target_name_override", shown_name(certificate)))
        trusted: bytes | None = ssl.DER_cert_to_PEM_cert(certificate).encode("ascii")
    else:
        trusted = own_authorities()
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(trusted), options=options)


async def _ready(channel: grpc.aio.Channel, address: str, certificate: bytes) -> None:
    """Wait until TLS stands; where it does not come to, look at what is shown there."""
    looked = False
    while (state := channel.get_state(try_to_connect=True)) != grpc.ChannelConnectivity.READY:
        if state == grpc.ChannelConnectivity.TRANSIENT_FAILURE and not looked:
            with contextlib.suppress(LinkError):
                shown = await look_at(address, timeout_seconds=2.0, vouched=not certificate)
                looked = True
                if certificate and shown != certificate:
                    raise changed_certificate(address, certificate, shown)
        await channel.wait_for_state_change(state)


class _GatewayLink:
    """The gateway's end of a device's stream."""

    def __init__(self, context: Any, address: str) -> None:
        self.address = address
        self._context = context
        self._handler = asyncio.current_task()
        self._closed = False

    async def send(self, packet: bytes) -> None:
        """Write one packet."""
        if self._closed:
            raise LinkError(f"the link from {self.address} is closed")
        try:
            await self._context.write(packet)
        except (
            grpc.RpcError,
            asyncio.InvalidStateError,
            grpc.aio.UsageError,
            grpc.aio.InternalError,
        ) as error:
            raise LinkError(f"the link from {self.address} broke: {_reason(error)}") from None

    async def receive(self) -> bytes | None:
        """Read one packet."""
        try:
            packet = await self._context.read()
        except (grpc.RpcError, asyncio.InvalidStateError, grpc.aio.UsageError, grpc.aio.InternalError):
            return None
        return None if packet is grpc.aio.EOF else packet

    async def close(self, reason: str = "") -> None:
        """End the stream: its handler is cancelled, which hangs up."""
        if not self._closed:
            self._closed = True
            if self._handler is not None and self._handler is not asyncio.current_task():
                self._handler.cancel()


class RelayListener:
    """A gRPC server that hands every device's stream to ``accept``."""

    def __init__(self, server: grpc.aio.Server, address: str) -> None:
        self._server = server
        self.address = address

    async def close(self, grace_seconds: float = 0.5) -> None:
        """Take no more streams; end those there are after the grace."""
        await self._server.stop(grace_seconds)


async def listen(
    host: str, port: int, accept: Accept, take_enrollment: TakeEnrollment, *, key: bytes, chain: bytes
) -> RelayListener:
    """Serve ``easyremote.v1.Gateway`` on this address under TLS, with gRPC's health and reflection services.

    Args:
        host: The address; ``""`` for all interfaces.
        port: The port; 0 lets the system choose.
        accept: Serves each link.
        take_enrollment: Answers devices that ask to become members.
        key: The private key, in PEM.
        chain: The certificate and those above it, in PEM.

    Raises:
        ListenError: The address is in use, or not ours.
    """
    host = host or _all_interfaces()
    _check_free(host, port)
    options = [
        *_OPTIONS,
        ("grpc.so_reuseport", 0),
        # Who connects and asks for nothing must not keep a connection from those who do.
        ("grpc.server_handshake_timeout_ms", 5_000),
        ("grpc.max_connection_idle_ms", 15_000),
    ]
    server = grpc.aio.server(options=options)

    async def serve(_: Any, context: Any) -> None:
        link = _GatewayLink(context, context.peer())
        with contextlib.suppress(asyncio.CancelledError):  # the device hung up
            await accept(link)

    handler = grpc.stream_stream_rpc_method_handler(
        serve, request_deserializer=_same, response_serializer=_same
    )

    async def answer(data: bytes, context: Any) -> bytes:
        try:
            request = decode_enroll_request(data)
        except RemoteProtocolError as error:
            return encode_enrollment(EnrollReply(code="refused", message=str(error)))
        return encode_enrollment(take_enrollment(request, peer_address(context.peer())))

    enrolling = grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=_same, response_serializer=_same
    )
    methods = {"Connect": handler, "Enroll": enrolling}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    await _add_standard_services(server)
    try:
        bound = server.add_secure_port(_join(host, port), grpc.ssl_server_credentials([(key, chain)]))
    except RuntimeError as error:
        raise ListenError(f"cannot listen on {_join(host, port)}: {error}") from None
    await server.start()
    return RelayListener(server, _join("127.0.0.1" if host in ("::", "0.0.0.0") else host, bound))


async def _add_standard_services(server: grpc.aio.Server) -> None:
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection

    from easyremote.wire.messages import load_descriptors

    load_descriptors()
    status = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    for name in ("", SERVICE):
        await status.set(name, health_pb2.HealthCheckResponse.SERVING)
    names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)


def peer_address(peer: str) -> str:
    """The network address in what gRPC calls a peer, without the port: ``ipv4:10.0.0.7:1234``."""
    return peer.partition(":")[2].rpartition(":")[0].strip("[]") or peer


def _all_interfaces() -> str:
    """``::`` where the system has IPv6, which takes IPv4 as well; else ``0.0.0.0``."""
    if socket.has_ipv6 and hasattr(socket, "AF_INET6"):
        try:
            with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
                probe.bind(("::", 0))
                return "::"
        except OSError:
            pass
    return "0.0.0.0"


def _check_free(host: str, port: int) -> None:
    """Fail early and clearly: gRPC's own words for a taken port do not name the reason."""
    if port == 0:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ListenError(
                    f"cannot listen on {_join(host, port)}: the port is in use by another program. Stop it, "
                    "or choose another port: Server(port=…) or easynet gateway --port"
                ) from None
            raise ListenError(f"cannot listen on {_join(host, port)}: {error.strerror}") from None


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _reason(error: BaseException) -> str:
    details = getattr(error, "details", None)
    return (details() if callable(details) else None) or str(error) or type(error).__name__
