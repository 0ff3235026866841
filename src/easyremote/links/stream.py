"""Direct links: packets over a TLS 1.3 stream between two devices, each packet behind its length.

The certificate is made when the node starts, and gone when it ends; who dials knows its fingerprint from the
node's signed card and takes no other. Who is at the other end is settled above, see ``protocol.direct``.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ssl
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from easyremote.errors import LinkError, ListenError
from easyremote.links.link import Link
from easyremote.links.reading import Messages, buffer_of, taken_leave
from easyremote.trust.wallet import fingerprint
from easyremote.wire.limits import GRPC_MAX_MESSAGE_BYTES, MAX_PACKET_BYTES

LENGTH_BYTES = 4
JOIN_BYTES = 32 << 10
"""Smaller packets are written in one piece with their length."""
UNREAD_BYTES = 4 * MAX_PACKET_BYTES
"""What may wait here to be read, before the other end is made to wait."""
FIRST_BYTES = 64 << 10
"""The largest first packet taken of who dials: they have not said who they are."""
HANDSHAKE_SECONDS = 5.0

Accept: TypeAlias = Callable[[Link], Awaitable[None]]
"""Serves one link; the link lives as long as this runs."""


class _Stream(asyncio.BufferedProtocol):
    """One end of a direct link."""

    def __init__(self, accepted: Callable[[_Stream], None] | None = None) -> None:
        self.address = ""
        self._accepted = accepted
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._buffer = buffer_of(self._loop)
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._packets: deque[bytes | bytearray] = deque()
        self._unread = 0
        self._reading = True
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._over = False
        first_most = GRPC_MAX_MESSAGE_BYTES if accepted is None else FIRST_BYTES
        self._coming = Messages(LENGTH_BYTES, first_most, GRPC_MAX_MESSAGE_BYTES)

    # ---- the link's four verbs

    async def send(self, *packet: bytes | memoryview) -> None:
        """Write one packet; waits while the other end does not keep up."""
        transport = self._transport
        if self._over or transport is None or transport.is_closing():
            raise LinkError(f"the direct link to {self.address} is closed")
        size = sum(map(len, packet))
        head = size.to_bytes(LENGTH_BYTES, "big")
        if size < JOIN_BYTES:
            transport.write(b"".join((head, *packet)))
        else:
            transport.writelines((head, *packet))
        if self._room is not None:
            await self._room
            if self._over:
                raise LinkError(f"the direct link to {self.address} is closed")

    async def receive(self) -> bytes | bytearray | None:
        """The next packet; None when the link has ended and all is read."""
        while not self._packets:
            if self._over:
                return None
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        packet = self._packets.popleft()
        self._unread -= len(packet)
        if not self._reading and self._unread <= UNREAD_BYTES // 2 and self._transport is not None:
            self._reading = True
            self._transport.resume_reading()
        return packet

    async def close(self, reason: str = "") -> None:
        """End the link."""
        if self._transport is not None:
            if self._room is None:
                self._transport.close()
            else:
                self._transport.abort()  # who does not read what we write does not hear of the end either
        self._end()
        if self._transport is not None:
            await taken_leave(self._gone, self._transport)

    # ---- what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS stands."""
        if not isinstance(transport, asyncio.Transport) and not hasattr(transport, "write"):
            raise TypeError("a stream was wanted")
        self._transport = transport  # type: ignore[assignment]
        host, port = (transport.get_extra_info("peername") or ("", 0))[:2]
        self.address = f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
        if self._accepted is not None:
            self._accepted(self)

    def get_buffer(self, size: int) -> memoryview:
        """Where what comes is to be put."""
        return self._buffer

    def buffer_updated(self, size: int) -> None:
        """So many bytes have come; they end anywhere."""
        for packet in self._coming.feed(self._buffer[:size]):
            self._take(packet)
        if self._coming.refused >= 0:
            self._abort()

    def _take(self, packet: bytes | bytearray) -> None:
        self._packets.append(packet)
        self._unread += len(packet)
        if self._reading and self._unread > UNREAD_BYTES and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def pause_writing(self) -> None:
        """The other end does not keep up."""
        if self._room is None:
            self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        """It does again."""
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """It is over."""
        if not self._gone.done():
            self._gone.set_result(None)
        self._end()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._end()

    def _end(self) -> None:
        self._over = True
        self.resume_writing()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Certificate:
    """The certificate a node shows on its direct links, made afresh: the card that names it is signed."""

    def __init__(self, now: float) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "easyremote node")])
        start = datetime.datetime.fromtimestamp(now, datetime.UTC) - datetime.timedelta(days=2)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=3650))
            .sign(key, hashes.SHA256())
        )
        self.fingerprint = fingerprint(made.public_bytes(serialization.Encoding.DER))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        with tempfile.TemporaryDirectory() as folder:  # the standard library takes keys from files alone
            place = Path(folder) / "node.pem"
            place.touch(mode=0o600)
            place.write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
                + made.public_bytes(serialization.Encoding.PEM)
            )
            self.context.load_cert_chain(place)


class StreamListener:
    """Takes direct links, and hands each to ``accept``."""

    def __init__(self, server: asyncio.Server, address: str, tasks: set[asyncio.Task[None]]) -> None:
        self._server, self._tasks = server, tasks
        self.address = address

    async def close(self, grace_seconds: float = 0.0) -> None:
        """Take no more links, and end those there are."""
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def listen(host: str, port: int, accept: Accept, certificate: Certificate) -> StreamListener:
    """Take direct links at this address; port 0 lets the system choose.

    Raises:
        ListenError: The address is in use, or not ours.
    """
    tasks: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()

    async def serve(stream: _Stream) -> None:
        try:
            await accept(stream)
        finally:
            await stream.close()

    def accepted(stream: _Stream) -> None:
        task = loop.create_task(serve(stream))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    try:
        server = await loop.create_server(
            lambda: _Stream(accepted),
            host or None,
            port,
            ssl=certificate.context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
        )
    except OSError as error:
        raise ListenError(f"cannot listen for direct links at {host}:{port}: {error.strerror}") from None
    bound = server.sockets[0].getsockname()[1]
    return StreamListener(server, f"{host}:{bound}", tasks)


async def dial(address: str, known: bytes, *, timeout_seconds: float) -> Link:
    """A direct link to ``host:port``, where the certificate of this fingerprint must be shown.

    Raises:
        LinkError: Nothing answers there within the time, or it shows another certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the fingerprint is looked at below, before anything is said
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(timeout_seconds):
            transport, stream = await asyncio.get_running_loop().create_connection(
                _Stream, host.strip("[]"), int(port), ssl=context
            )
    except TimeoutError:
        raise LinkError(f"nothing answers at {address} within {timeout_seconds:g} s") from None
    except (OSError, ssl.SSLError, ValueError) as error:
        raise LinkError(f"nothing answers at {address}: {error}") from None
    shown = transport.get_extra_info("ssl_object").getpeercert(True)
    if not shown or fingerprint(shown) != known:
        with contextlib.suppress(LinkError):
            await stream.close()
        raise LinkError(f"what answers at {address} shows another certificate than the node's card names")
    return stream
