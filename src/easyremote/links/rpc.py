"""gRPC over HTTP/2: calls with their messages, as clients make them and as servers take them.

What any gRPC library speaks (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md), without
compression. Messages are bytes: who uses this knows what they mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate, parsedate_to_datetime
from typing import TypeAlias, cast
from urllib.parse import quote, unquote
from weakref import WeakSet

from easyremote.errors import LinkError, RemoteProtocolError
from easyremote.links.http2 import Connection, Headers, Stream
from easyremote.links.reading import Messages
from easyremote.trace import log
from easyremote.wire.limits import GRPC_MAX_MESSAGE_BYTES, MAX_PACKET_BYTES

PREFIX_BYTES = 5
FIRST_BYTES = 64 << 10
"""The largest first message a server takes: who has not said who they are must not fill its memory."""
UNREAD_BYTES = 4 * MAX_PACKET_BYTES
"""What may wait here to be read, before the other end is made to wait."""
HANDSHAKE_SECONDS = 5.0
BACKLOG = 1024
"""Connections the system takes for us before we look at them."""
ARRIVING_SECONDS = 0.2
"""How long a server that closes waits for TLS that is under way."""
IDLE_SECONDS = 15.0
"""Who connects and asks for nothing is hung up on after so long."""
ANSWER: Headers = [(":status", "200"), ("content-type", "application/grpc")]
OK, CANCELLED, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 0, 1, 3, 8, 12, 13


class Call(Stream):
    """One call, at either end; also a link, if its messages are packets."""

    __slots__ = (
        "_answered",
        "_coming",
        "_holding",
        "_messages",
        "_reason",
        "_said_all",
        "_unread",
        "_waiter",
        "address",
        "date_seconds",
        "path",
        "status",
    )

    def __init__(self, connection: Connection, number: int, path: str = "") -> None:
        super().__init__(connection, number)
        self.address = connection.address
        self.path = path
        self.status = -1
        """gRPC's code for how it ended, once a client knows."""
        self.date_seconds: float | None = None
        """What time it was at the server when it answered, as far as it says (RFC 9110, section 6.6.1)."""
        self._reason = ""
        self._answered = False
        self._messages: deque[bytes | bytearray] = deque()
        self._unread = 0
        self._holding = False
        self._said_all = False
        self._waiter: asyncio.Future[None] | None = None
        # of the five bytes before a message, the first says whether it is compressed: then it is too large
        first_most = FIRST_BYTES if path else GRPC_MAX_MESSAGE_BYTES
        self._coming = Messages(PREFIX_BYTES, first_most, GRPC_MAX_MESSAGE_BYTES)

    # ---- a link's verbs

    async def send(self, *packet: bytes | memoryview) -> None:
        """Send one message; waits while the other end does not keep up."""
        if self.over:
            raise LinkError(self._broken())
        size = sum(map(len, packet))
        await self.connection.send(self, b"\x00" + size.to_bytes(4, "big"), packet, PREFIX_BYTES + size)
        if self.over:
            raise LinkError(self._broken())

    async def receive(self) -> bytes | bytearray | None:
        """The next message; None when the other end has ended, however it did."""
        messages = self._messages
        while not messages:
            if self.over or self._said_all:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        message = messages.popleft()
        self._unread -= len(message)
        if self._holding and self._unread <= UNREAD_BYTES // 2:
            self._holding = False
            self.connection.release(self)
        return message

    async def gone(self) -> None:
        """Wait until the other end is gone, whatever it says until then."""
        while not self.over:
            if await self.receive() is None and not self.over:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter

    async def close(self, reason: str = "") -> None:
        """End the call, and its connection with it."""
        self.finish()
        if self.path:
            self.connection.close()
        else:
            await self.connection.leave()

    def answer(self) -> None:
        """A server takes the call up: its messages can come."""
        self._answered = True
        self.connection.say(self, [*ANSWER, ("date", formatdate(usegmt=True))])

    def finish(self, status: int = OK, message: str = "") -> None:
        """Say how it ended, at a server's end; break it off at a client's."""
        if not self.over:
            self.over = True
            if self.path:
                trailers = [*([] if self._answered else ANSWER), ("grpc-status", str(status))]
                if message:
                    trailers.append(("grpc-message", quote(message, safe=" ")))
                self.connection.say(self, trailers, end=True)
            self.connection.reset(self, done=bool(self.path))
        self._wake()

    @property
    def reason(self) -> str:
        """Why it ended, as far as this end knows."""
        return self._reason

    def _broken(self) -> str:
        why = f": {self._reason}" if self._reason else ""
        return f"the link to {self.address} is closed{why}"

    # ---- what the connection tells

    def headers_came(self, headers: Headers) -> None:
        """A client learns whether this is gRPC, and at the end how it went."""
        said = dict(headers)
        if "date" in said:
            with contextlib.suppress(ValueError, OverflowError):
                self.date_seconds = parsedate_to_datetime(said["date"]).timestamp()
        if said.get(":status", "200") != "200":
            self._reason = f"HTTP status {said[':status']}"
        if "grpc-status" in said:
            status = said["grpc-status"]
            self.status = int(status) if status.isdecimal() and len(status) < 4 else INTERNAL
            self._reason = unquote(said.get("grpc-message", "")) or (
                f"gRPC status {self.status}" if self.status else ""
            )

    def data_came(self, piece: memoryview) -> None:
        """Some bytes; they end anywhere."""
        coming = self._coming
        for message in coming.feed(piece):
            self._take(message)
        if coming.refused >= 0 and not self.over:
            self._refuse(coming)

    def _take(self, message: bytes | bytearray) -> None:
        if self.over:
            return
        self._messages.append(message)
        self._unread += len(message)
        if not self._holding and self._unread > UNREAD_BYTES:
            self._holding = True
            self.connection.hold(self)
        self._wake()

    def _refuse(self, coming: Messages) -> None:
        self._reason = "a message that is not taken here"
        if coming.refused >> 32:
            self.finish(UNIMPLEMENTED, "compressed messages are not taken here")
        else:
            self.finish(RESOURCE_EXHAUSTED, f"the largest message taken here has {coming.most} bytes")

    def ended(self, reason: str) -> None:
        """The other end says no more."""
        self._said_all = True
        if not self.path:  # a server that has said all listens to nothing more
            self.over = True
            self.connection.reset(self)
        if reason and not self._reason:
            self._reason = reason
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


# ---- clients


async def connect(address: str, context: ssl.SSLContext, name: str | None) -> Connection:
    """A connection to ``host:port`` under TLS; ``name`` is the one the certificate must be for, if the context asks.

    Raises:
        OSError, ssl.SSLError, ValueError: It does not come about.
    """
    host, _, port = address.rpartition(":")
    _, connection = await asyncio.get_running_loop().create_connection(
        Connection, host.strip("[]"), int(port), ssl=context, server_hostname=name
    )
    return connection


def begin(connection: Connection, path: str, authority: str) -> Call:
    """Call a method; its messages are sent and received on what is returned."""
    headers = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", path),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "easyremote"),
    ]
    return cast(Call, connection.open(Call, headers))


async def ask(connection: Connection, path: str, authority: str, message: bytes) -> bytes:
    """Call a method with one message, for one message.

    Raises:
        LinkError: It ended without one.
    """
    call = begin(connection, path, authority)
    await call.send(message)
    connection.end(call)
    reply = await call.receive()
    if reply is None:
        raise LinkError(call.reason or "it hung up")
    return bytes(reply)


# ---- servers

ASK_SECONDS = 5.0
"""How long a call that wants one message may take to bring it."""

Serve: TypeAlias = Callable[[Call], Awaitable[None]]
"""Serves one call. It lives as long as this runs; errors of ours end it with their words."""


async def asked(call: Call) -> bytes | None:
    """The one message of a call that brings one; None if it does not, or not soon."""
    try:
        async with asyncio.timeout(ASK_SECONDS):
            message = await call.receive()
            return bytes(message) if message is not None else None
    except TimeoutError:
        return None


class Service:
    """Takes connections, and runs for each call the method that its path names.

    Args:
        methods: By path: ``/package.Service/Method``.
    """

    def __init__(self, methods: Mapping[str, Serve]) -> None:
        self._methods = dict(methods)
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._arriving: WeakSet[Connection] = WeakSet()
        """Connections whose TLS has not come about yet; nobody is told of those with which it never does."""
        self._tasks: dict[Call, asyncio.Task[None]] = {}

    async def listen(self, listening: socket.socket, context: ssl.SSLContext) -> None:
        """Take connections from this socket."""
        self._server = await self._loop.create_server(
            self._arrive,
            sock=listening,
            ssl=context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            backlog=BACKLOG,
        )

    def _arrive(self) -> Connection:
        connection = Connection(self._opened, self._made, self._connections.discard)
        self._arriving.add(connection)
        return connection

    async def close(self, grace_seconds: float) -> None:
        """Take no more calls; end those there are after the grace."""
        if self._server is not None:
            self._server.close()
        until = self._loop.time() + ARRIVING_SECONDS
        while self._arriving and self._loop.time() < until:  # in the middle of TLS they cannot be hung up on
            await asyncio.sleep(0.005)
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=grace_seconds)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await asyncio.gather(*(connection.leave() for connection in list(self._connections)))

    def _made(self, connection: Connection) -> None:
        self._arriving.discard(connection)
        self._connections.add(connection)
        self._idle(connection)

    def _idle(self, connection: Connection) -> None:
        self._loop.call_later(IDLE_SECONDS, self._close_if_idle, connection)

    def _close_if_idle(self, connection: Connection) -> None:
        if not connection.closed and not connection.streams:
            connection.close()

    def _opened(self, connection: Connection, number: int, headers: Headers) -> Call:
        said = dict(headers)
        call = Call(connection, number, said.get(":path", "") or "/")
        task = self._tasks[call] = self._loop.create_task(self._run(call, said))
        task.add_done_callback(lambda _: self._tasks.pop(call, None))
        return call

    async def _run(self, call: Call, said: dict[str, str]) -> None:
        serve = self._methods.get(call.path)
        connection = call.connection
        if not said.get("content-type", "").startswith("application/grpc"):
            connection.say(call, [(":status", "415")], end=True)
            connection.reset(call, done=True)
            return
        call.answer()
        if serve is None:
            call.finish(UNIMPLEMENTED, f"there is no method {call.path} here")
        else:
            try:
                await serve(call)
            except RemoteProtocolError as error:
                call.finish(INVALID_ARGUMENT, str(error))
            except LinkError:
                call.finish(CANCELLED)
            except asyncio.CancelledError:
                call.finish(CANCELLED, "the server is closing it")
            except Exception:
                log.exception("serving %s broke; please report this", call.path)
                call.finish(INTERNAL)
            else:
                call.finish()
        if not connection.streams:
            self._idle(connection)
