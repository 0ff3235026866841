"""What an Arrow IPC stream says about itself, read before any library is let at it.

A stream from a stranger may unfold to any size if it is compressed, and may hand its bytes to whatever
code some library registered for an extension type (there are those that unpickle, and those that take
them for pointers). We send neither, so both are refused here. Only the framing and two FlatBuffers tables
are read, all of it bounds checked:
https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
"""

from __future__ import annotations

import struct

from easyremote.errors import DecodeError

_CONTINUATION = 0xFFFFFFFF
_SCHEMA, _DICTIONARY_BATCH, _RECORD_BATCH = 1, 2, 3  # MessageHeader, a union
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3  # fields of Message
_DICTIONARY_DATA = 1  # field of DictionaryBatch
_COMPRESSION = 3  # field of RecordBatch
_EXTENSION = b"ARROW:extension:name"  # the key that makes a column one of an extension type
_PREFIX = struct.Struct("<II")


def check_stream(stream: memoryview) -> None:
    """Walk the messages of a stream.

    Raises:
        DecodeError: A message is malformed, compressed, of a kind no table needs, or declares an extension
            type; or it does not end where a word of 8 bytes does, so that libraries may disagree where the
            next begins.
    """
    position = 0
    try:
        while position < len(stream):
            continuation, length = _PREFIX.unpack_from(stream, position)
            if continuation != _CONTINUATION:
                raise DecodeError("a table's Arrow stream is malformed, or older than Arrow 0.15")
            position += 8
            if length == 0:
                return
            if length > len(stream) - position:
                raise DecodeError("a table's Arrow stream is cut short")
            body_bytes = _check_message(stream[position : position + length])
            position += length
            if not 0 <= body_bytes <= len(stream) - position:
                raise DecodeError("a table's Arrow stream is cut short")
            if length % 8 or body_bytes % 8:
                raise DecodeError(
                    f"a table's Arrow stream has a message of {length} bytes with a body of {body_bytes}: "
                    "both want to be padded to a multiple of 8"
                )
            position += body_bytes
    except struct.error as error:
        raise DecodeError(f"a table's Arrow stream is malformed: {error}") from error


def _check_message(metadata: memoryview) -> int:
    """Refuse a compressed message; return the length of its body in bytes."""
    message = _u32(metadata, 0)
    kind_at = _field(metadata, message, _HEADER_TYPE)
    kind = metadata[kind_at] if kind_at and kind_at < len(metadata) else 0
    if kind in (_DICTIONARY_BATCH, _RECORD_BATCH):
        batch = _table(metadata, message, _HEADER)
        if kind == _DICTIONARY_BATCH:
            batch = _table(metadata, batch, _DICTIONARY_DATA)
        if _field(metadata, batch, _COMPRESSION):
            raise DecodeError("a table's Arrow stream is compressed: send it uncompressed")
    elif kind != _SCHEMA:
        raise DecodeError(f"a table's Arrow stream has a message of kind {kind}: send only a table's batches")
    elif _EXTENSION in bytes(metadata):
        raise DecodeError("a table has a column of an Arrow extension type: cast it to its storage type")
    length_at = _field(metadata, message, _BODY_LENGTH)
    return int(struct.unpack_from("<q", metadata, length_at)[0]) if length_at else 0


def _field(data: memoryview, table: int, index: int) -> int:
    """Where a field of a FlatBuffers table is; 0 if it is not there."""
    vtable = table - int(struct.unpack_from("<i", data, table)[0])
    if vtable < 0:
        raise DecodeError("a table's Arrow stream is malformed")
    size = int(struct.unpack_from("<H", data, vtable)[0])
    if 4 + 2 * index + 2 > size:
        return 0
    offset = int(struct.unpack_from("<H", data, vtable + 4 + 2 * index)[0])
    return table + offset if offset else 0


def _table(data: memoryview, table: int, index: int) -> int:
    """Where the table that a field refers to is."""
    at = _field(data, table, index)
    if not at:
        raise DecodeError("a table's Arrow stream is malformed")
    return at + _u32(data, at)


def _u32(data: memoryview, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])
