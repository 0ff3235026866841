"""One HTTP/2 connection on asyncio (RFC 9113), made for streams that live long and carry much.

What comes seldom (headers, settings, pings, resets) is the ``h2`` library's, which knows the rules. What comes
all the time, DATA and the windows that govern it, is read and written here, in few steps: through the library a
message would cost more than all the rest of its way. The kernel is what holds back a sender that is too
fast: we stop reading. So the windows we give are as large as the protocol allows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from easyremote.links.reading import buffer_of, taken_leave

PREFACE_BYTES = 24
HEAD_BYTES = 9
DATA, HEADERS, WINDOW_UPDATE, CONTINUATION = 0x0, 0x1, 0x8, 0x9
END_STREAM, PADDED = 0x1, 0x8
LARGEST_WINDOW = 2**31 - 1
FIRST_WINDOW = 65_535
"""The window of a connection, and of a stream whose peer has not said otherwise (RFC 9113, 6.9.2)."""
ENLARGE_BYTES = LARGEST_WINDOW // 4
"""After so much was heard, the peer may send as much again."""
FRAME_BYTES = (8 << 20) + 64
"""The largest DATA frame we take, so that the largest message is one; a peer may send smaller ones."""
CONTROL_BYTES = 64 << 10
"""The largest other frame."""
CONTROLS_MAX = 2_000
CONTROLS_SECONDS = 10.0
"""Frames that carry nothing, in so many seconds: with more, the peer is at play and is hung up on."""
STREAMS_MAX = 16
"""Streams of one connection at a time."""
STREAMS_EVER = 10_000
"""And in all: a device opens one."""
JOIN_BYTES = 32 << 10
"""Smaller messages are written in one piece with their heads."""

Headers: TypeAlias = list[tuple[str, str]]


class Stream:
    """One stream of a connection; made by the connection, and told what comes."""

    __slots__ = ("connection", "heard", "number", "over", "window")

    def __init__(self, connection: Connection, number: int) -> None:
        self.connection, self.number = connection, number
        self.window = connection.first_window
        """What the peer still takes on this stream, in bytes."""
        self.heard = 0
        """What came since the peer's window was last enlarged, in bytes."""
        self.over = False
        """Whether nothing more comes and nothing more is taken."""

    def headers_came(self, headers: Headers) -> None:
        """The peer's headers, at the beginning or at the end."""

    def data_came(self, piece: memoryview) -> None:
        """Some of the peer's bytes; they end anywhere, and are gone when this returns."""

    def ended(self, reason: str) -> None:
        """The peer says no more; with a reason, because something broke."""


Opened: TypeAlias = Callable[["Connection", int, Headers], Stream | None]
"""Makes the stream a peer opens with these headers; None refuses it."""


class Connection(asyncio.BufferedProtocol):
    """One end of a connection.

    Args:
        opened: For the end that listens: what a peer's streams are.
        made: Told when the connection stands.
        lost: Told when it is gone.
    """

    def __init__(
        self,
        opened: Opened | None = None,
        made: Callable[[Connection], None] | None = None,
        lost: Callable[[Connection], None] | None = None,
    ) -> None:
        self._opened, self._made, self._lost = opened, made, lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        client = opened is None
        self._h2 = H2Connection(H2Configuration(client_side=client, header_encoding="utf-8"))
        values = {
            SettingCodes.INITIAL_WINDOW_SIZE: LARGEST_WINDOW,
            SettingCodes.MAX_FRAME_SIZE: FRAME_BYTES,
            SettingCodes.MAX_HEADER_LIST_SIZE: 16 << 10,
            SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS_MAX,
            SettingCodes.ENABLE_PUSH: 0,
        }
        if not client:
            del values[SettingCodes.ENABLE_PUSH]
        self._h2.local_settings = Settings(client=client, initial_values=values)
        self.streams: dict[int, Stream] = {}
        self.address = ""
        self.window = FIRST_WINDOW
        """What the peer still takes on all streams together."""
        self.first_window = FIRST_WINDOW
        self.frame_bytes = 16_384
        """The largest DATA frame the peer takes."""
        self.closed = False
        self._buffer = buffer_of(self._loop)
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._heard = 0  # what came since we last enlarged the peer's windows
        self._rest = b""  # a frame, or its head, that has come in part
        self._preface = 0 if client else PREFACE_BYTES
        # the DATA frame that is coming: how much more of it, how much of that is padding, and whose it is
        self._left = 0
        self._padding = 0
        self._into: Stream | None = None
        self._ends = 0
        self._ever = 0
        self._controls = 0
        self._controls_since = self._loop.time()
        self._holding: set[Stream] = set()
        self._full = False
        self._waiters: set[asyncio.Future[None]] = set()

    # ---- what streams do

    def open(self, make: Callable[[Connection, int], Stream], headers: Headers) -> Stream:
        """Open a stream of our own with these headers."""
        number = self._h2.get_next_available_stream_id()
        stream = self.streams[number] = make(self, number)
        self._h2.send_headers(number, headers)
        self._flush()
        return stream

    def say(self, stream: Stream, headers: Headers, *, end: bool = False) -> None:
        """Send headers, or with ``end`` the last ones."""
        if not self.closed and stream.number in self.streams:
            self._h2.send_headers(stream.number, headers, end_stream=end)
            self._flush()

    def end(self, stream: Stream) -> None:
        """Say no more on a stream."""
        if not self.closed and stream.number in self.streams:
            self._h2.end_stream(stream.number)
            self._flush()

    def reset(self, stream: Stream, *, done: bool = False) -> None:
        """Break a stream off; ``done`` when all was said, and the rest of the peer's is not wanted."""
        if self.streams.pop(stream.number, None) is not None and not self.closed:
            try:
                self._h2.reset_stream(stream.number, ErrorCodes.NO_ERROR if done else ErrorCodes.CANCEL)
            except ProtocolError:  # it had ended already
                return
            self._flush()

    async def send(self, stream: Stream, head: bytes, body: Sequence[bytes | memoryview], size: int) -> None:
        """Send a message of so many bytes, its head included; returns when the next one is welcome."""
        transport = self._transport
        if transport is None:
            return
        if size <= stream.window and size <= self.window and size <= self.frame_bytes:
            stream.window -= size
            self.window -= size
            head = b"%b\x00\x00%b%b" % (size.to_bytes(3, "big"), stream.number.to_bytes(4, "big"), head)
            if size < JOIN_BYTES:
                transport.write(b"".join((head, *body)))
            else:
                transport.writelines((head, *body))
        else:
            await self._send_in_frames(stream, memoryview(b"".join((head, *body))))
        while self._full and not self.closed and not stream.over:
            await self._wait()

    async def _send_in_frames(self, stream: Stream, rest: memoryview) -> None:
        while rest:
            if self.closed or stream.over or self._transport is None:
                return
            size = min(len(rest), self.frame_bytes, self.window, stream.window)
            if size <= 0 or self._full:
                await self._wait()
                continue
            stream.window -= size
            self.window -= size
            head = b"%b\x00\x00%b" % (size.to_bytes(3, "big"), stream.number.to_bytes(4, "big"))
            self._transport.writelines((head, rest[:size]))
            rest = rest[size:]

    @property
    def full(self) -> bool:
        """Whether the peer does not keep up with what we write."""
        return self._full

    def hold(self, stream: Stream) -> None:
        """So much of this stream waits to be read that nothing more should come."""
        if not self._holding and self._transport is not None and not self.closed:
            self._transport.pause_reading()
        self._holding.add(stream)

    def release(self, stream: Stream) -> None:
        """It has been read."""
        self._holding.discard(stream)
        if not self._holding and self._transport is not None and not self.closed:
            self._transport.resume_reading()

    def close(self) -> None:
        """Write what was said, and hang up."""
        if self._transport is not None and not self.closed:
            if self._full:
                self._transport.abort()  # who does not read what we write does not hear of the end either
            else:
                self._transport.close()
        self._over("")

    async def leave(self) -> None:
        """Hang up, and wait until that is done."""
        self.close()
        if self._transport is not None:
            await taken_leave(self._gone, self._transport)

    async def _wait(self) -> None:
        """Wait until the peer takes more."""
        waiter = self._loop.create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    # ---- what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS stands."""
        self._transport = transport  # type: ignore[assignment]
        host, port = (transport.get_extra_info("peername") or ("", 0))[:2]
        self.address = f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
        self._h2.initiate_connection()
        self._flush(_enlarge(0, LARGEST_WINDOW - FIRST_WINDOW))
        if self._made is not None:
            self._made(self)

    @property
    def transport(self) -> asyncio.Transport:
        """What carries it."""
        if self._transport is None:
            raise RuntimeError("the connection does not stand yet")
        return self._transport

    def get_buffer(self, size: int) -> memoryview:
        """Where what comes is to be put."""
        return self._buffer

    def buffer_updated(self, size: int) -> None:
        """So many bytes have come."""
        self.data_received(self._buffer[:size])

    def data_received(self, view: memoryview) -> None:
        """Some bytes; they end anywhere, and are gone when this returns."""
        if self._rest:
            view, self._rest = memoryview(self._rest + view), b""
        start, end = 0, len(view)
        try:
            if self._preface:
                if end < self._preface:
                    self._rest = bytes(view)
                    return
                self._events(self._h2.receive_data(bytes(view[: self._preface])))
                start, self._preface = self._preface, 0
            while not self.closed:
                if self._left:
                    if start == end:
                        return
                    start += self._data(view[start : start + self._left])
                    continue
                if end - start < HEAD_BYTES:
                    break
                size, kind, flags = (
                    int.from_bytes(view[start : start + 3], "big"),
                    view[start + 3],
                    view[start + 4],
                )
                number = int.from_bytes(view[start + 5 : start + 9], "big") & LARGEST_WINDOW
                if kind == DATA:
                    taken = self._data_begins(size, flags, number, view[start + HEAD_BYTES :])
                    if taken < 0:
                        break
                    start += HEAD_BYTES + taken
                    continue
                if size > CONTROL_BYTES:
                    raise ProtocolError(f"a frame of {size} bytes")
                if end - start < HEAD_BYTES + size:
                    break
                self._control(kind, size, number, bytes(view[start : start + HEAD_BYTES + size]))
                start += HEAD_BYTES + size
        except ProtocolError as error:
            self._break(str(error) or type(error).__name__)
            return
        if start < end:
            self._rest = bytes(view[start:])

    def eof_received(self) -> None:
        """The peer writes no more; then it is over."""

    def pause_writing(self) -> None:
        """The peer does not keep up."""
        self._full = True

    def resume_writing(self) -> None:
        """It does again."""
        self._full = False
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """It is over."""
        self._over(str(error) if error is not None else "")
        if not self._gone.done():
            self._gone.set_result(None)
        if self._lost is not None:
            self._lost(self)

    # ---- DATA

    def _data_begins(self, size: int, flags: int, number: int, rest: memoryview) -> int:
        """The head of a DATA frame has come; how much behind it is taken with it, or -1 if that is not there yet."""
        if size > FRAME_BYTES:
            raise ProtocolError(f"a frame of {size} bytes")
        taken, padding = 0, 0
        if flags & PADDED:
            if size and not rest:
                return -1
            if not size or rest[0] >= size:
                raise ProtocolError("a frame of padding alone")
            taken, padding = 1, rest[0]
        stream = self.streams.get(number)
        if stream is None and not 0 < number <= max(
            self._h2.highest_inbound_stream_id, self._h2.highest_outbound_stream_id
        ):
            raise ProtocolError(f"data for stream {number}, which nobody opened")
        self._into, self._left, self._padding = stream, size - taken, padding
        self._ends = number if flags & END_STREAM else 0
        self._heard += size
        if stream is not None:
            stream.heard += size
        if self._heard > ENLARGE_BYTES:
            self._enlarge_windows()
        if size <= taken + padding:
            self._count_control()  # it carries nothing
        if not self._left:
            self._data_ends()
        return taken

    def _data(self, piece: memoryview) -> int:
        """More of the DATA frame; how much of the piece was taken."""
        size = len(piece)
        payload = self._left - self._padding
        self._left -= size
        if self._into is not None and payload > 0:
            self._into.data_came(piece if payload >= size else piece[:payload])
        if payload < size:
            self._padding -= size - max(payload, 0)
        if not self._left:
            self._data_ends()
        return size

    def _data_ends(self) -> None:
        if number := self._ends:
            self._ends = 0
            head = b"\x00\x00\x00\x00\x01" + number.to_bytes(4, "big")
            self._events(self._h2.receive_data(head))

    def _enlarge_windows(self) -> None:
        """Let the peer send as much again as has come."""
        update = _enlarge(0, self._heard)
        self._heard = 0
        for stream in self.streams.values():
            if stream.heard:
                update += _enlarge(stream.number, stream.heard)
                stream.heard = 0
        self._flush(update)

    # ---- everything else

    def _control(self, kind: int, size: int, number: int, frame: bytes) -> None:
        self._count_control()
        if kind == WINDOW_UPDATE:
            if size != 4:
                raise ProtocolError("a window update of a wrong size")
            self._window_grows(number, int.from_bytes(frame[HEAD_BYTES:], "big") & LARGEST_WINDOW)
            return
        self._events(self._h2.receive_data(frame))

    def _window_grows(self, number: int, by: int) -> None:
        if not number:
            self.window += by
        elif (stream := self.streams.get(number)) is not None:
            stream.window += by
        if (
            not by
            or self.window > LARGEST_WINDOW
            or (number and stream is not None and stream.window > LARGEST_WINDOW)
        ):
            raise ProtocolError("a window out of bounds")
        self._wake()

    def _count_control(self) -> None:
        self._controls += 1
        if self._controls > CONTROLS_MAX:
            now = self._loop.time()
            if now - self._controls_since < CONTROLS_SECONDS:
                raise ProtocolError("too many frames that carry nothing")
            self._controls, self._controls_since = 0, now

    def _events(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, RequestReceived):
                self._stream_opens(event.stream_id, _texts(event.headers))
            elif isinstance(event, ResponseReceived | TrailersReceived):
                if (stream := self.streams.get(event.stream_id)) is not None:
                    stream.headers_came(_texts(event.headers))
            elif isinstance(event, StreamEnded):
                if (stream := self.streams.get(event.stream_id)) is not None:
                    stream.ended("")
            elif isinstance(event, StreamReset):
                if (stream := self.streams.pop(event.stream_id, None)) is not None:
                    stream.over = True
                    stream.ended("the other end broke it off")
                    self._wake()
            elif isinstance(event, RemoteSettingsChanged):
                self._settings_changed()
        self._flush()

    def _stream_opens(self, number: int, headers: Headers) -> None:
        if self._opened is None:
            raise ProtocolError("a stream nobody asked for")
        self._ever += 1
        if self._ever > STREAMS_EVER:
            raise ProtocolError("too many streams")
        stream = self._opened(self, number, headers)
        if stream is None:
            self._h2.reset_stream(number, ErrorCodes.REFUSED_STREAM)
        else:
            self.streams[number] = stream

    def _settings_changed(self) -> None:
        settings = self._h2.remote_settings
        self.frame_bytes = min(settings.max_frame_size, FRAME_BYTES)
        change = settings.initial_window_size - self.first_window
        self.first_window += change
        for stream in self.streams.values():
            stream.window += change
        self._wake()

    def _flush(self, more: bytes = b"") -> None:
        data = self._h2.data_to_send() + more
        if data and self._transport is not None and not self.closed:
            self._transport.write(data)

    def _break(self, reason: str) -> None:
        """The peer broke the protocol: tell it, and hang up."""
        self._flush()
        if self._transport is not None:
            self._transport.close()
        self._over(f"the other end broke the protocol: {reason}")

    def _over(self, reason: str) -> None:
        if self.closed:
            return
        self.closed = True
        self._wake()
        streams, self.streams = self.streams, {}
        for stream in streams.values():
            stream.over = True
            stream.ended(reason)


def _texts(headers: Iterable[Any]) -> Headers:
    return [(str(name), str(value)) for name, value in headers]


def _enlarge(number: int, by: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return b"\x00\x00\x04\x08\x00" + number.to_bytes(4, "big") + by.to_bytes(4, "big")
