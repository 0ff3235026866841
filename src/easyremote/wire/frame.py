"""Frames and packets: what a link carries. The hot path, written and walked by hand.

The bytes are protobuf (``schema/easyremote/v1/gateway.proto``) and equal to what generated code makes;
large bodies inside protobuf's own messages would be copied several times.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from easyremote.errors import RemoteProtocolError
from easyremote.wire.limits import ENDPOINT_BYTES

Pieces: TypeAlias = list[bytes | memoryview]
"""A frame ready for a packet, in pieces, so that a large body is copied once, into the packet."""

APART_BYTES = 32 << 10
"""Larger pieces than this are a part of their own, and are not copied."""
COPY_BYTES = 4096
"""Bodies up to this size are copied out of a packet; larger ones are views of it."""

_PACKET_FRAMES, _FRAME_CARRY, _CARRY_PEER, _CARRY_BODY = b"\x0a", b"\x52", b"\x0a", b"\x12"
_PEER = _CARRY_PEER + bytes([ENDPOINT_BYTES])
_LEAST_CARRY_BYTES = 8 + ENDPOINT_BYTES
_LAST_KIND = 22
"""The highest field number of a kind of frame; fields after it belong to a later version."""


class Carry(msgspec.Struct, frozen=True, gc=False):
    """A body for another device: ``peer`` is where to, going up; where from, coming down."""

    peer: bytes
    body: bytes | memoryview


class Control(msgspec.Struct, frozen=True, gc=False):
    """Any other frame, as bytes; ``messages.decode`` makes a record of it."""

    data: bytes


def varint(number: int) -> bytes:
    """A non-negative number as a protobuf varint."""
    if number < 0x80:
        return bytes((number,))
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data: bytes | bytearray | memoryview, position: int) -> tuple[int, int]:
    """The varint at ``position``, and the position after it.

    Raises:
        RemoteProtocolError: The data ends inside it, or it is longer than 64 bits.
    """
    try:
        byte = data[position]
        if byte < 0x80:
            return byte, position + 1
        number, position = byte & 0x7F, position + 1
        byte = data[position]
        if byte < 0x80:
            return number | byte << 7, position + 1
        number, shift = number | (byte & 0x7F) << 7, 14
        while True:
            position += 1
            byte = data[position]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                if number >= 1 << 64:
                    break
                return number, position + 1
            shift += 7
            if shift > 63:
                break
    except IndexError:
        raise RemoteProtocolError("a packet ends inside a number") from None
    raise RemoteProtocolError("a packet holds a number of more than 64 bits")


def carry(peer: bytes, *body: bytes | memoryview) -> Pieces:
    """A ``Carry`` frame for a packet."""
    size = 0
    for piece in body:
        size += len(piece)
    body_length = varint(size)
    inner = 2 + ENDPOINT_BYTES + 1 + len(body_length) + size
    inner_length = varint(inner)
    outer_length = varint(1 + len(inner_length) + inner)
    head = (
        _PACKET_FRAMES + outer_length + _FRAME_CARRY + inner_length + _PEER + peer + _CARRY_BODY + body_length
    )
    return [head, *body]


def redirect(frame: Carry, peer: bytes) -> Pieces:
    """The same body for a packet to someone else: what a gateway does."""
    return carry(peer, frame.body)


def control(data: bytes) -> Pieces:
    """Any other frame for a packet."""
    return [_PACKET_FRAMES + varint(len(data)) + data]


def join(frames: Iterable[Pieces]) -> bytes:
    """The packet of these frames."""
    return b"".join([piece for frame in frames for piece in frame])


def parts(frames: Iterable[Pieces]) -> list[bytes | memoryview]:
    """The packet of these frames in parts, to be written one after another: large pieces are not copied into it."""
    pieces = [piece for frame in frames for piece in frame]
    if max(map(len, pieces), default=0) <= APART_BYTES:
        return [b"".join(pieces)]
    made: list[bytes | memoryview] = []
    small: list[bytes | memoryview] = []
    for piece in pieces:
        if len(piece) <= APART_BYTES:
            small.append(piece)
            continue
        if small:
            made.append(b"".join(small))
            small = []
        made.append(piece)
    return [*made, b"".join(small)] if small else made


def walk(packet: bytes | bytearray) -> list[Carry | Control]:
    """The frames of a packet, in order; fields not known here are skipped. Large bodies are views of the packet.

    Raises:
        RemoteProtocolError: The bytes are not a packet.
    """
    end = len(packet)
    if end > _LEAST_CARRY_BYTES and packet[0] == 0x0A:
        single = _read_single(packet, end)
        if single is not None:
            return [single]
    frames: list[Carry | Control] = []
    position = 0
    while position < end:
        tag, position = read_varint(packet, position)
        if tag != 0x0A:
            position = _skip(packet, tag, position, end)
            continue
        length, position = read_varint(packet, position)
        start, position = position, position + length
        if position > end:
            raise RemoteProtocolError(f"a frame claims {length} bytes; its packet ends after {end - start}")
        if length and packet[start] == 0x52:
            inner, inside = read_varint(packet, start + 1)
            if inside + inner == position:
                frames.append(_read_carry(packet, inside, position))
                continue
        frames.append(_read_frame(packet, start, position))
    return frames


def _read_single(packet: bytes | bytearray, end: int) -> Carry | None:
    """The carried frame that is the whole packet, written as ``carry`` writes it; most packets are that."""
    length, position = read_varint(packet, 1)
    if position + length != end or packet[position] != 0x52:
        return None
    length, peer = read_varint(packet, position + 1)
    body = peer + len(_PEER) + ENDPOINT_BYTES
    if peer + length != end or body >= end or packet[peer : peer + 2] != _PEER or packet[body] != 0x12:
        return None
    length, start = read_varint(packet, body + 1)
    if start + length != end:
        return None
    found = bytes(packet[start:]) if length <= COPY_BYTES else memoryview(packet)[start:]
    return Carry(bytes(packet[peer + 2 : body]), found)


def _read_frame(packet: bytes | bytearray, start: int, end: int) -> Carry | Control:
    """A frame that is not just a carried body: as in all of protobuf, the last kind in it is its kind."""
    carried: list[tuple[int, int]] = []
    position = start
    while position < end:
        tag, position = read_varint(packet, position)
        if tag == 0x52:
            length, inside = read_varint(packet, position)
            position = inside + length
            if position > end:
                raise RemoteProtocolError("a carried frame is longer than its frame")
            carried.append((inside, position))
        else:
            if tag & 7 == 2 and tag >> 3 <= _LAST_KIND:
                carried.clear()
            position = _skip(packet, tag, position, end)
    if not carried:
        return Control(bytes(packet[start:end]))
    if len(carried) == 1:
        return _read_carry(packet, *carried[0])
    merged = b"".join([packet[first:last] for first, last in carried])  # protobuf merges what is repeated
    return _read_carry(merged, 0, len(merged))


def _read_carry(packet: bytes | bytearray, position: int, end: int) -> Carry:
    peer = b""
    found: bytes | memoryview = b""
    while position < end:
        tag, position = read_varint(packet, position)
        if tag != 0x0A and tag != 0x12:
            position = _skip(packet, tag, position, end)
            continue
        length, position = read_varint(packet, position)
        start, position = position, position + length
        if position > end:
            raise RemoteProtocolError("a field of a carried frame is longer than the frame")
        if tag == 0x0A:
            peer = bytes(packet[start:position])
        elif length <= COPY_BYTES:
            found = bytes(packet[start:position])
        else:
            found = memoryview(packet)[start:position]
    if len(peer) != ENDPOINT_BYTES:
        raise RemoteProtocolError(f"an endpoint has {ENDPOINT_BYTES} bytes, found {len(peer)}")
    return Carry(peer, found)


def _skip(data: bytes | bytearray | memoryview, tag: int, position: int, end: int) -> int:
    """The position after a field that means nothing here."""
    kind = tag & 7
    if not 8 <= tag < 1 << 32:
        raise RemoteProtocolError(
            f"a packet has a field numbered {tag >> 3}; they go from 1 to {(1 << 29) - 1}"
        )
    if kind == 0:
        _, position = read_varint(data, position)
    elif kind == 1:
        position += 8
    elif kind == 2:
        length, position = read_varint(data, position)
        position += length
    elif kind == 5:
        position += 4
    else:
        raise RemoteProtocolError(f"a packet has a field of wire type {kind}")
    if position > end:
        raise RemoteProtocolError("a packet ends inside a field")
    return position
