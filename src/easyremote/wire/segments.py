"""An encoded value whose large buffers were not copied.

The body is the byte 0xC1, the length of a head as a varint, the head, and then the buffers, each at a
multiple of 64 bytes from the start of the body, so that what a decoder maps onto it is aligned. The head
is msgpack: ``[value, [length of each buffer in bytes]]``. Nothing here knows what the value is.

This file never allocates what a length only claims.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from easyremote.errors import DecodeError
from easyremote.wire import codes

ALIGNMENT_BYTES = 64
_ZEROS = bytes(ALIGNMENT_BYTES)
_VARINT_BYTES = 10

_encode = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(tuple[msgspec.Raw, list[int]]).decode


class Segments:
    """An encoded value as a row of buffers that were not copied.

    The buffers are the caller's own memory: a value changed before its bytes are sent is sent changed.

    Attributes:
        size: Bytes on the wire, all told.
    """

    __slots__ = ("_pieces", "_starts", "size")

    def __init__(self, pieces: Sequence[bytes | memoryview]) -> None:
        self._pieces = [piece for piece in pieces if len(piece)]
        self._starts: list[int] = []
        self.size = 0
        for piece in self._pieces:
            self._starts.append(self.size)
            self.size += len(piece)

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return f"Segments(size={self.size}, pieces={len(self._pieces)})"

    def slice(self, offset: int, length: int) -> bytes | memoryview:
        """Return the bytes from ``offset``: a view where one buffer holds them all, else one copy.

        What lies past the end is left out, as in any Python slice.
        """
        end = min(offset + length, self.size)
        if offset >= end:
            return b""
        index = bisect_right(self._starts, offset) - 1
        start = self._starts[index]
        piece = self._pieces[index]
        if end <= start + len(piece):
            return memoryview(piece)[offset - start : end - start]
        parts = []
        while offset < end:
            start, piece = self._starts[index], self._pieces[index]
            part = memoryview(piece)[offset - start : end - start]
            parts.append(part)
            offset += len(part)
            index += 1
        return b"".join(parts)

    def join(self) -> bytes:
        """Return the whole body in one piece (a copy)."""
        return b"".join(self._pieces)


def build(lowered: object, buffers: Sequence[memoryview]) -> Segments:
    """Lay out a body: the head with ``lowered`` in it, then the buffers, aligned."""
    head = _encode((lowered, [len(buffer) for buffer in buffers]))
    pieces: list[bytes | memoryview] = [bytes((codes.NEVER_MSGPACK,)) + _varint(len(head)) + head]
    position = len(pieces[0])
    for buffer in buffers:
        padding = -position % ALIGNMENT_BYTES
        pieces.append(_ZEROS[:padding])
        pieces.append(buffer)
        position += padding + len(buffer)
    return Segments(pieces)


def take_apart(body: memoryview) -> tuple[msgspec.Raw, list[memoryview]]:
    """Return a body's value, still encoded, and views of its buffers.

    Raises:
        DecodeError: The lengths do not add up to the body.
    """
    length, position = _read_varint(body)
    if length > len(body) - position:
        raise DecodeError(f"the head of a value claims {length} bytes, {len(body) - position} are there")
    try:
        value, lengths = _decode_head(body[position : position + length])
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DecodeError(f"the head of a value is malformed: {error}") from error
    position += length
    buffers = []
    for length in lengths:
        position += -position % ALIGNMENT_BYTES
        if not length:  # it would cost one byte here and a view of 184 there; no encoder makes one
            raise DecodeError("a buffer of a value wants at least 1 byte, found 0: it belongs in the head")
        if not 0 < length <= len(body) - position:
            raise DecodeError(f"a buffer claims {length} bytes, {len(body) - position} are there")
        buffers.append(body[position : position + length])
        position += length
    if position != len(body):
        raise DecodeError(f"{len(body) - position} bytes follow the last buffer of a value")
    return value, buffers


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(body: memoryview) -> tuple[int, int]:
    """The varint after the first byte, and where it ends."""
    number = 0
    for index, byte in enumerate(body[1 : 1 + _VARINT_BYTES]):
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, index + 2
    raise DecodeError("the head of a value has no length")
