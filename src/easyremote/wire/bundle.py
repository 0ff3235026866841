"""What two devices say to each other, many messages at a time.

A ``Sealed`` is the body of a ``Carry``: what a gateway forwards and cannot read. Opened, it is a
``Bundle``: messages that were waiting for the same peer together, written and sealed in one pass.
A bundle may bring one bulk segment along: a part of a large body, sealed apart so that it can be
opened straight into the place it belongs.

The records are msgpack arrays (see docs/decisions), headed by a number that says which they are.
Fields may be added at the end; a reader ignores those it does not know, and messages it does not know.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Raw

from easyremote.errors import RemoteProtocolError
from easyremote.wire.frame import read_varint, varint
from easyremote.wire.limits import GRANTS_MAX, TOKEN_BYTES_MAX

ORDERED, LOOSE, RESET = 0, 1, 2
"""The spaces a sealed frame counts in: ordered and resent until acknowledged; loose; and the one
frame that is not sealed, by which a device says that it does not know a session."""


Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]
"""Neither below 0 nor NaN: a peer's numbers become sizes and timers."""
FunctionName: TypeAlias = Annotated[str, msgspec.Meta(max_length=256)]
Token: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=2 * TOKEN_BYTES_MAX)]


class Invoke(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """Run this function, once.

    ``arguments`` is the encoded value; when it is large, ``body`` numbers the large body that follows
    and ``size`` is its length in bytes. ``timeout`` is what is left of the caller's time, in seconds.
    ``window`` is the credit, in bytes, for the items of a stream; 0 when no stream is wanted.
    """

    call: Count
    function: FunctionName
    arguments: Raw
    body: Count = 0
    size: Count = 0
    timeout: Seconds | None = None
    window: Count = 0


class Result(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=2):
    """The value a call came to; large ones as in ``Invoke``."""

    call: Count
    value: Raw
    body: Count = 0
    size: Count = 0


class Fault(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=3):
    """The call ended without a value: the function raised, or could not be run, or its time was up.

    ``kind`` is one of ``error argument encoding timeout unknown cancelled``; ``builtin`` is the nearest
    exception class of Python's own, such as ``ValueError`` for a subclass of it.
    """

    call: Count
    kind: str
    type_name: str
    message: str
    traceback: str = ""
    builtin: str = ""


class Item(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=4):
    """One value of a stream; large ones as in ``Invoke``."""

    call: Count
    value: Raw
    body: Count = 0
    size: Count = 0


class End(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=5):
    """The stream is over; every item was sent before this."""

    call: Count


class Refuse(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=6):
    """The node will not run this call, and has not.

    ``reason`` is one of ``busy unknown draining too_large not_allowed repeated``.
    """

    call: Count
    reason: str
    message: str = ""
    retry_after_seconds: Seconds = 0.0
    limit_bytes: Count = 0


class Cancel(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=7):
    """The caller no longer wants the answer: stop what can be stopped."""

    call: Count


class Window(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=8):
    """The consumer took items: this many more bytes of the stream may be sent."""

    call: Count
    size: Count


class Part(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=9):
    """The bulk segment of this frame is this part of that body. Always the last message."""

    body: Count
    offset: Count
    length: Count


class Present(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=10):
    """Who I am, in tokens: my membership, then grants. The first message of a caller's session."""

    tokens: Annotated[list[Token], msgspec.Meta(max_length=GRANTS_MAX + 1)]


class Again(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=11):
    """The call of this number, asked for next, may have run here, and may run once more: its function is idempotent."""

    call: Count


Message = Invoke | Result | Fault | Item | End | Refuse | Cancel | Window | Part | Present | Again


class Bundle(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """``ack``: the ordered counter expected next. ``load``: calls the sender has running or waiting."""

    ack: Count
    load: Count
    messages: list[Message]


class _Unread(msgspec.Struct, frozen=True, gc=False, array_like=True):
    ack: Count
    load: Count
    messages: list[Raw]


class _Headed(msgspec.Struct, frozen=True, gc=False, array_like=True):
    kind: int


EMPTY = Raw(b"\xc0")
"""Stands where a value would, when the value follows as a large body."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Bundle)
_unread = msgspec.msgpack.Decoder(_Unread)
_message = msgspec.msgpack.Decoder(Message)
_headed = msgspec.msgpack.Decoder(_Headed)
_KNOWN_TAGS = range(1, 12)


def encode_bundle(ack: int, load: int, messages: list[Message]) -> bytes:
    """A bundle as bytes, ready to be sealed."""
    return _encoder.encode(Bundle(ack, load, messages))


def decode_bundle(data: bytes | memoryview) -> Bundle:
    """The bundle in these bytes; messages of kinds not known here are left out.

    Raises:
        RemoteProtocolError: The bytes are not a bundle, or a message breaks its form.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _decode_leniently(data)


def _decode_leniently(data: bytes | memoryview) -> Bundle:
    try:
        unread = _unread.decode(data)
        known = [raw for raw in unread.messages if _headed.decode(raw).kind in _KNOWN_TAGS]
        return Bundle(unread.ack, unread.load, [_message.decode(raw) for raw in known])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteProtocolError(f"a sealed frame does not hold a bundle: {error}") from None


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """One sealed frame between two devices: which session, which number, and what is sealed."""

    session: int
    counter: int
    space: int
    bundle: bytes | memoryview
    bulk: bytes | memoryview | None = None
    handshake: bytes | None = None


_SESSION, _COUNTER, _SPACE, _BUNDLE, _BULK, _HANDSHAKE = 0x09, 0x10, 0x18, 0x22, 0x2A, 0x32


def write_sealed(
    session: int,
    counter: int,
    space: int,
    bundle: bytes,
    bulk: bytes | memoryview | None = None,
    handshake: bytes | None = None,
) -> list[bytes | memoryview]:
    """The protobuf form of ``Sealed``, in pieces, so that bulk is not copied here."""
    head = b"\x09" + session.to_bytes(8, "little") + b"\x10" + varint(counter)
    if space:
        head += b"\x18" + varint(space)
    if handshake is not None:
        head += b"\x32" + varint(len(handshake)) + handshake
    head += b'"' + varint(len(bundle))
    if bulk is None:
        return [head + bundle]
    return [head + bundle + b"\x2a" + varint(len(bulk)), bulk]


def read_sealed(data: bytes | memoryview) -> Sealed:
    """The sealed frame in a ``Carry``'s body.

    Raises:
        RemoteProtocolError: The bytes are not a sealed frame.
    """
    end = len(data)
    if end > 12 and data[0] == _SESSION and data[9] == _COUNTER:  # as most are: session, counter, bundle
        counter, position = read_varint(data, 10)
        if position < end and data[position] == _BUNDLE:
            length, position = read_varint(data, position + 1)
            if position + length == end:
                return Sealed(int.from_bytes(data[1:9], "little"), counter, 0, data[position:])
    session = counter = space = 0
    bundle: bytes | memoryview = b""
    bulk: bytes | memoryview | None = None
    handshake: bytes | None = None
    position = 0
    while position < end:
        tag, position = read_varint(data, position)
        kind = tag & 7
        if kind == 2:
            length, position = read_varint(data, position)
            start, position = position, position + length
            if position > end:
                break
            if tag == _BUNDLE:
                bundle = data[start:position]
            elif tag == _BULK:
                bulk = data[start:position]
            elif tag == _HANDSHAKE:
                handshake = bytes(data[start:position])
            else:
                _check_unknown(tag)
        elif kind == 0:
            value, position = read_varint(data, position)
            if tag == _COUNTER:
                counter = value
            elif tag == _SPACE:
                space = value & 0xFFFFFFFF
            else:
                _check_unknown(tag)
        elif kind == 1 or kind == 5:
            start, position = position, position + (8 if kind == 1 else 4)
            if tag != _SESSION:
                _check_unknown(tag)
            elif position <= end:
                session = int.from_bytes(data[start:position], "little")
        else:
            raise RemoteProtocolError(f"a sealed frame has a field of wire type {kind}; none has one here")
    if position != end:
        raise RemoteProtocolError(f"a sealed frame ends {position - end} bytes before its last field does")
    return Sealed(session, counter, space, bundle, bulk, handshake)


def _check_unknown(tag: int) -> None:
    if not 8 <= tag < 1 << 32:
        raise RemoteProtocolError(
            f"a sealed frame has a field numbered {tag >> 3}; they go from 1 to {(1 << 29) - 1}"
        )


def read_head(head: bytes) -> tuple[int, int, int] | None:
    """Session, counter and space from the first bytes of a sealed frame, as ``Undeliverable`` returns them."""
    try:
        if head[:1] != b"\x09" or head[9:10] != b"\x10":
            return None
        counter, position = read_varint(head, 10)
        space = 0
        if head[position : position + 1] == b"\x18":
            space, _ = read_varint(head, position + 1)
    except RemoteProtocolError:
        return None
    return int.from_bytes(head[1:9], "little"), counter, space
