"""Links through the gateway: gRPC, ``easyremote.v1.Gateway``.

One bidirectional stream a device, ``Connect``. Packets are written and read as bytes: ``wire.frame`` is their
one reader and writer, so nothing is parsed twice.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

from easyremote.errors import LinkError, ListenError, RemoteProtocolError
from easyremote.links import rpc
from easyremote.links.certificates import changed_certificate, client_context, shown_name, unvouched
from easyremote.links.http2 import Connection
from easyremote.links.link import Link
from easyremote.links.services import standard_services
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
RETRY_SECONDS = 0.05
RETRY_SECONDS_MAX = 0.5

Accept: TypeAlias = Callable[[Link], Awaitable[None]]
"""Serves one link; the link lives as long as this runs."""
TakeEnrollment: TypeAlias = Callable[[EnrollRequest, str], EnrollReply]
"""Answers a request to enroll that came from this address."""


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
    return rpc.begin(await _connection(address, certificate, timeout_seconds), CONNECT, address)


async def clock_error(address: str, certificate: bytes, *, timeout_seconds: float) -> float | None:
    """By how many seconds the gateway's clock is ahead of this machine's, to the second; None if it does not say.

    Raises:
        LinkError: Nothing answers there within the time, or what answers is not a gateway.
        CertificateError: It shows another certificate.
    """
    call = rpc.begin(await _connection(address, certificate, timeout_seconds), CONNECT, address)
    try:
        async with asyncio.timeout(timeout_seconds):
            await call.receive()
        return None if call.date_seconds is None else call.date_seconds - time.time()
    except TimeoutError:
        raise unreachable(address, timeout_seconds) from None
    finally:
        await call.close()


async def enroll(
    address: str, certificate: bytes, request: EnrollRequest, *, timeout_seconds: float
) -> EnrollReply:
    """Ask the gateway to become a member of its network.

    Raises:
        LinkError: Nothing answers there within the time, or what answers is not a gateway.
        CertificateError: It shows another certificate.
        RemoteProtocolError: The reply is not one.
    """
    connection = await _connection(address, certificate, timeout_seconds)
    try:
        async with asyncio.timeout(timeout_seconds):
            reply = await rpc.ask(connection, ENROLL, address, encode_enrollment(request))
    except TimeoutError:
        raise unreachable(address, timeout_seconds) from None
    except LinkError as error:
        raise LinkError(f"the gateway at {address} does not enroll devices: {error}") from None
    finally:
        await connection.leave()
    return decode_enroll_reply(reply)


def unreachable(address: str, timeout_seconds: float) -> LinkError:
    """The error for a gateway that does not answer."""
    return LinkError(
        f"no gateway answers at {address} (tried for {timeout_seconds:g} s). Is it running? "
        "Start one with `easynet gateway`, or run `easynet doctor` to see what is wrong"
    )


async def _connection(address: str, certificate: bytes, timeout_seconds: float) -> Connection:
    """A connection to what shows this certificate; tried until the time is up."""
    context = client_context(vouched=not certificate)
    name = shown_name(certificate) if certificate else None
    pause = RETRY_SECONDS
    try:
        async with asyncio.timeout(timeout_seconds):
            while True:
                try:
                    connection = await rpc.connect(address, context, name)
                except ssl.SSLCertVerificationError as error:
                    raise unvouched(address, error) from None
                except (OSError, ssl.SSLError):
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, RETRY_SECONDS_MAX)
                else:
                    break
    except TimeoutError:
        raise unreachable(address, timeout_seconds) from None
    shown = connection.transport.get_extra_info("ssl_object").getpeercert(True)
    if certificate and shown != certificate:
        await connection.leave()
        raise changed_certificate(address, certificate, shown)
    return connection


class RelayListener:
    """A gRPC server that hands every device's stream to ``accept``."""

    def __init__(self, service: rpc.Service, address: str) -> None:
        self._service = service
        self.address = address

    async def close(self, grace_seconds: float = 0.5) -> None:
        """Take no more streams; end those there are after the grace."""
        await self._service.close(grace_seconds)


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
    listening = _listening(host, port)

    async def enrolling(call: rpc.Call) -> None:
        data = await rpc.asked(call)
        if data is None:
            return
        try:
            request = decode_enroll_request(data)
        except RemoteProtocolError as error:
            reply = EnrollReply(code="refused", message=str(error))
        else:
            reply = take_enrollment(request, peer_address(call.address))
        await call.send(encode_enrollment(reply))

    service = rpc.Service({CONNECT: accept, ENROLL: enrolling, **standard_services(SERVICE)})
    await service.listen(listening, _server_context(key, chain))
    bound = listening.getsockname()[1]
    return RelayListener(service, _join("127.0.0.1" if host in ("::", "0.0.0.0") else host, bound))


def _server_context(key: bytes, chain: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    with tempfile.TemporaryDirectory() as folder:  # the standard library takes keys from files alone
        place = Path(folder) / "gateway.pem"
        place.touch(mode=0o600)
        place.write_bytes(key + b"\n" + chain)
        context.load_cert_chain(place)
    return context


def peer_address(address: str) -> str:
    """The network address in ``host:port``, without the port; IPv4's as such also where it came over IPv6."""
    return address.rpartition(":")[0].strip("[]").removeprefix("::ffff:") or address


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


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server(
            (host, port), family=family, backlog=rpc.BACKLOG, dualstack_ipv6=host == "::"
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ListenError(
                f"cannot listen on {_join(host, port)}: the port is in use by another program. Stop it, "
                "or choose another port: Server(port=…) or easynet gateway --port"
            ) from None
        raise ListenError(f"cannot listen on {_join(host, port)}: {error.strerror or error}") from None


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
