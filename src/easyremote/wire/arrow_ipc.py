"""What an Arrow IPC stream says about itself, read before any library is let at it.

A stream from a stranger may unfold to any size if it is compressed, and may hand its bytes to whatever
code some library registered for an extension type (there are those that unpickle, and those that take
them for pointers). We send neither, so both are refused here. Only the framing and two FlatBuffers tables
are read, all of it bounds checked:
https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc

A schema may also say how pandas had its columns, as JSON; pandas makes dtypes of that text, of whatever size
and nesting, so only the dtypes it writes itself are let through:
https://pandas.pydata.org/docs/development/developer.html#storing-pandas-dataframe-objects-in-apache-parquet-format
"""

from __future__ import annotations

import json
import re
import struct
from typing import Any, Literal

import msgspec

from easyremote.errors import DecodeError
from easyremote.wire.codec import brief

_CONTINUATION = 0xFFFFFFFF
_SCHEMA, _DICTIONARY_BATCH, _RECORD_BATCH = 1, 2, 3  # MessageHeader, a union
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3  # fields of Message
_DICTIONARY_DATA = 1  # field of DictionaryBatch
_COMPRESSION = 3  # field of RecordBatch
_EXTENSION = b"ARROW:extension:name"  # the key that makes a column one of an extension type
_PREFIX = struct.Struct("<II")

_PANDAS_TYPE = re.compile(
    r"""
    (?:list\[){0,8}
    (?: bool | boolean | [Uu]?[Ii]nt(?:8|16|32|64) | integer
      | [Ff]loat(?:16|32|64)? | halffloat | double | floating | decimal | complex
      | object | mixed (?:-integer (?:-float)?)? | empty | null | str | unicode
      | (?:large_)?(?:string|binary) (?:_view)? (?:\[(?:python|pyarrow_numpy)\])? | bytes
      | category | categorical
      | date (?:32\[day\] | 64\[ms\])? | datetime | datetimetz
      | time (?:delta | (?:32|64)\[(?:s|ms|us|ns)\])? | timedelta64 | datetime64
      | (?:datetime64 | timedelta64 | timestamp | duration)
        \[ (?:s|ms|us|ns) (?:,[ ](?:tz=)? [A-Za-z0-9_+:/\-]{1,64})? \]
    )
    (?:\[pyarrow\])? \]{0,8}
    """,
    re.VERBOSE,
)
_ZONE = re.compile(r"[A-Za-z0-9_+:/\-]{1,64}")
_LABEL_CHARACTERS_MAX = 4096  # of a label of several levels, which is read as Python's text of a tuple


class _Extra(msgspec.Struct):
    timezone: str | None = None


class _Column(msgspec.Struct):
    pandas_type: str
    numpy_type: str
    name: str | int | float | None = None
    field_name: str | None = None
    metadata: _Extra | None = None


class _Range(msgspec.Struct):
    kind: Literal["range"]
    start: int
    stop: int
    step: int
    name: str | int | float | None = None


class _Pandas(msgspec.Struct):
    index_columns: list[str | _Range]
    columns: list[_Column]
    column_indexes: list[_Column] = []


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


def check_pandas(metadata: bytes, columns: list[str]) -> None:
    """Look over what a schema's metadata has under ``pandas``, for a table of these columns.

    Raises:
        DecodeError: It is not what pandas writes, or names a dtype that it need not make.
    """
    try:
        # The parser that PyArrow uses, so that it cannot understand the text otherwise.
        said = msgspec.convert(json.loads(metadata.decode()), _Pandas)
    except (msgspec.ValidationError, ValueError, RecursionError) as error:
        raise DecodeError(f"a table's pandas metadata is malformed: {error!s:.200}") from error
    for column in (*said.columns, *said.column_indexes):
        for dtype in (column.pandas_type, column.numpy_type):
            if not _PANDAS_TYPE.fullmatch(dtype):
                raise DecodeError(
                    f"a table's pandas metadata gives column {brief(column.name)} the dtype {brief(dtype)}, "
                    "which is not taken. Give it another, such as one of NumPy"
                )
        zone = column.metadata.timezone if column.metadata else None
        if zone is not None and not _ZONE.fullmatch(zone):
            raise DecodeError(f"a table's pandas metadata has {brief(zone)} for a time zone")
    indexes = [name for name in said.index_columns if type(name) is str]
    if len(set(indexes)) != len(indexes) or len(said.index_columns) > len(columns) + 1:
        raise DecodeError(f"a table's pandas metadata makes an index of {brief(said.index_columns)}")
    if len(said.column_indexes) > 1:
        labels: list[Any] = [*columns, *(column.name for column in said.columns)]
        longest = max((len(label) for label in labels if type(label) is str), default=0)
        if longest > _LABEL_CHARACTERS_MAX:
            raise DecodeError(
                f"a table has a label of several levels of {longest} characters, "
                f"at most {_LABEL_CHARACTERS_MAX} are taken. Use shorter labels"
            )


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
