"""Connections byte by byte: frames that end anywhere, and peers that do not keep to the rules."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from hypothesis import given, settings
from hypothesis import strategies as st

from easyremote.errors import LinkError
from easyremote.links import http2
from easyremote.links.http2 import Connection, Headers
from easyremote.links.rpc import Call, begin
from easyremote.wire.limits import GRPC_MAX_MESSAGE_BYTES

REQUEST = [
    (":method", "POST"),
    (":scheme", "https"),
    (":path", "/a/b"),
    (":authority", "x"),
    ("te", "trailers"),
]


class Wire:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closing = False
        self.reading = True

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, parts: Any) -> None:
        for part in parts:
            self.written += part

    def take(self) -> bytes:
        data = bytes(self.written)
        self.written.clear()
        return data

    def close(self) -> None:
        self.closing = True

    abort = close

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_extra_info(self, name: str) -> Any:
        return ("10.0.0.7", 1234) if name == "peername" else None


class Listening:
    """Our listening end, and the calls that came."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.connection = Connection(self._opened)
        self.wire = Wire()
        self.connection.connection_made(self.wire)  # type: ignore[arg-type]

    def _opened(self, connection: Connection, number: int, headers: Headers) -> Call:
        self.calls.append(Call(connection, number, dict(headers)[":path"]))
        return self.calls[-1]

    def hear(self, data: bytes, every: int = 0) -> None:
        for start in range(0, len(data), every or len(data) or 1):
            self.connection.data_received(memoryview(data)[start : start + (every or len(data))])


def peer() -> H2Connection:
    """A client that has opened stream 1, as the ``h2`` library has it."""
    other = H2Connection(H2Configuration(client_side=True))
    other.initiate_connection()
    other.send_headers(1, REQUEST)
    return other


def message(body: bytes, compressed: int = 0) -> bytes:
    return bytes([compressed]) + len(body).to_bytes(4, "big") + body


def frame(kind: int, flags: int, number: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + number.to_bytes(4, "big") + body


async def messages(call: Call, count: int) -> list[bytes | None]:
    async with asyncio.timeout(10):
        return [await call.receive() for _ in range(count)]


def test_bytes_may_end_anywhere() -> None:
    async def play(every: int) -> None:
        other, ours = peer(), Listening()
        other.send_data(1, message(b"one") + message(b"two")[:3])
        other.send_data(1, message(b"two")[3:], pad_length=7)
        other.send_data(1, b"", pad_length=3)
        other.ping(b"12345678")
        other.send_data(1, message(b"") + message(b"x" * 1000), end_stream=True)
        ours.hear(other.data_to_send(), every)
        assert await messages(ours.calls[0], 5) == [b"one", b"two", b"", b"x" * 1000, None]
        assert frame(6, 1, 0, b"12345678") in ours.wire.take()

    for every in (1, 2, 3, 7, 8, 9, 10, 64, 0):
        asyncio.run(play(every))


@settings(max_examples=60, deadline=None)
@given(
    bodies=st.lists(st.binary(max_size=40), min_size=1, max_size=6),
    cuts=st.lists(st.integers(1, 60), min_size=1, max_size=40),
    pads=st.lists(st.integers(0, 9), min_size=1, max_size=5),
)
def test_any_cut_gives_the_same_messages(bodies: list[bytes], cuts: list[int], pads: list[int]) -> None:
    async def play() -> None:
        other, ours = peer(), Listening()
        said = b"".join(message(body) for body in bodies)
        for place, start in enumerate(range(0, len(said), 11)):
            pad = pads[place % len(pads)]
            other.send_data(1, said[start : start + 11], pad_length=pad or None)
        data, at, turn = other.data_to_send(), 0, 0
        while at < len(data):
            size = cuts[turn % len(cuts)]
            ours.hear(data[at : at + size])
            at, turn = at + size, turn + 1
        assert await messages(ours.calls[0], len(bodies)) == bodies

    asyncio.run(play())


def test_a_sender_keeps_to_the_windows_it_was_given() -> None:
    async def play() -> None:
        ours, other = Connection(), H2Connection(H2Configuration(client_side=False))
        wire = Wire()
        ours.connection_made(wire)  # type: ignore[arg-type]
        call = begin(ours, "/a/b", "x")
        body = bytes(range(256)) * 1000
        sending = asyncio.ensure_future(call.send(body))
        heard = bytearray()
        other.initiate_connection()
        for _ in range(50):
            await asyncio.sleep(0)
            for event in other.receive_data(wire.take()):  # h2 fails if a window is overrun
                if type(event).__name__ == "DataReceived":
                    heard += event.data
                    if len(event.data):
                        other.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            ours.data_received(memoryview(other.data_to_send()))
        await sending
        assert bytes(heard) == message(body)

    asyncio.run(play())


def test_windows_are_enlarged_by_what_each_stream_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "ENLARGE_BYTES", 100_000)

    async def play() -> None:
        ours, other = Listening(), peer()
        other.send_headers(3, REQUEST)
        ours.hear(other.data_to_send())
        other.receive_data(ours.wire.take())
        told = []
        for _ in range(
            40
        ):  # much on one stream, nothing on the other: h2 fails if a window passes its bounds
            other.send_data(1, message(bytes(8000)))
            ours.hear(other.data_to_send())
            await messages(ours.calls[0], 1)
            told += [event for event in other.receive_data(ours.wire.take()) if hasattr(event, "delta")]
        assert {event.stream_id for event in told} == {0, 1}
        assert sum(event.delta for event in told if event.stream_id == 1) >= 200_000
        assert other.local_flow_control_window(1) > (1 << 31) - 200_000

    asyncio.run(play())


def test_who_waits_for_a_window_hears_of_the_end() -> None:
    async def play() -> None:
        ours, wire = Connection(), Wire()
        ours.connection_made(wire)  # type: ignore[arg-type]
        call = begin(ours, "/a/b", "x")
        sending = asyncio.ensure_future(call.send(bytes(1 << 20)))
        await asyncio.sleep(0)
        ours.connection_lost(None)
        with pytest.raises(LinkError, match="closed"):
            await sending
        assert await call.receive() is None

    asyncio.run(play())


def test_who_is_not_read_is_read_no_further() -> None:
    async def play() -> None:
        ours = Listening()
        other = peer()
        ours.hear(other.data_to_send())
        ours.hear(frame(0, 0, 1, message(b"hello")))  # what comes first has to be small
        await messages(ours.calls[0], 1)
        piece = message(bytes(1 << 19))
        for _ in range(9):
            ours.hear(frame(0, 0, 1, piece))
        assert not ours.wire.reading
        await messages(ours.calls[0], 9)
        assert ours.wire.reading

    asyncio.run(play())


BROKEN = {
    "no preface": lambda: b"GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n",
    "data for a stream nobody opened": lambda: peer().data_to_send() + frame(0, 0, 5, b"x"),
    "data for no stream": lambda: peer().data_to_send() + frame(0, 0, 0, b"x"),
    "a stream of the server's": lambda: peer().data_to_send() + frame(1, 4, 2, b"\x82"),
    "a frame that is too large": lambda: peer().data_to_send() + b"\xff\xff\xff\x06\0\0\0\0\0",
    "data that is too large": lambda: peer().data_to_send() + b"\xff\xff\xff\0\0\0\0\0\1",
    "padding alone": lambda: peer().data_to_send() + frame(0, 8, 1, b"\x05abc"),
    "a window of nothing": lambda: peer().data_to_send() + frame(8, 0, 0, bytes(4)),
    "a window out of bounds": lambda: peer().data_to_send() + frame(8, 0, 1, b"\x7f\xff\xff\xff"),
    "a window of a wrong size": lambda: peer().data_to_send() + frame(8, 0, 0, bytes(5)),
    "headers that are none": lambda: peer().data_to_send() + frame(1, 4, 3, b"\xff" * 200),
    "a flood of pings": lambda: peer().data_to_send() + frame(6, 0, 0, bytes(8)) * (http2.CONTROLS_MAX + 1),
    "a flood of nothing": lambda: peer().data_to_send() + frame(0, 0, 1, b"") * (http2.CONTROLS_MAX + 1),
    "settings for ever": lambda: peer().data_to_send() + frame(4, 0, 0, b"") * (http2.CONTROLS_MAX + 1),
    "headers without end": lambda: (
        peer().data_to_send() + frame(1, 0, 3, b"\x82") + frame(9, 0, 3, b"") * (http2.CONTROLS_MAX + 1)
    ),
    "streams opened and broken off": lambda: _opened_and_reset(),
}


def _opened_and_reset() -> bytes:
    other = peer()
    for number in range(3, 2 * http2.CONTROLS_MAX, 2):
        other.send_headers(number, REQUEST)
        other.reset_stream(number)
    return other.data_to_send()


@pytest.mark.parametrize("what", BROKEN)
def test_who_breaks_the_protocol_is_hung_up_on(what: str) -> None:
    async def play(every: int) -> None:
        ours = Listening()
        ours.hear(BROKEN[what](), every)
        assert ours.wire.closing
        assert ours.connection.closed
        for call in ours.calls:
            assert await call.receive() is None

    asyncio.run(play(0))
    asyncio.run(play(1_000))


@pytest.mark.parametrize(
    ("said", "status"),
    [(message(b"x", compressed=1), b"12"), (b"\0" + (GRPC_MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"), b"8")],
)
def test_messages_that_are_not_taken_end_their_call(said: bytes, status: bytes) -> None:
    async def play() -> None:
        ours, other = Listening(), peer()
        other.send_data(1, said)
        ours.hear(other.data_to_send())
        trailers = [
            dict(event.headers)
            for event in other.receive_data(ours.wire.take())
            if type(event).__name__ in ("ResponseReceived", "TrailersReceived")
        ]
        assert trailers[-1][b"grpc-status"] == status
        assert not ours.connection.closed
        assert await ours.calls[0].receive() is None

    asyncio.run(play())
