"""Arrow streams that are small and want to be large; ``test_bombs.py`` sets them off."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from fuzz.targets import table_value

from easyremote.wire import arrow_ipc

numpy, pyarrow = pytest.importorskip("numpy"), pytest.importorskip("pyarrow")

MANY = 100_000


def stream_of(table: Any, **options: Any) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema, options=pyarrow.ipc.IpcWriteOptions(**options)) as stream:
        stream.write(table)
    return sink.getvalue().to_pybytes()


def table_values(kind: str, stream: bytes, count: int) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big") + table_value(kind, stream) * count


def list_of(child: Any) -> Any:
    """One row that holds all of a column."""
    return pyarrow.ListArray.from_arrays(pyarrow.array([0, len(child)], pyarrow.int32()), child)


def shared_buffer(columns: int, rows: int) -> bytes:
    """A stream whose columns are all the same bytes of its body."""
    names = [str(number) for number in range(columns)]
    batch = pyarrow.record_batch([pyarrow.array(numpy.zeros(8, "<i8"))] * columns, names=names)
    written = batch.serialize().to_pybytes()
    length = struct.unpack_from("<I", written, 4)[0]
    metadata = bytearray(written[8 : 8 + length])
    view = memoryview(metadata)
    message = arrow_ipc._u32(view, 0)
    struct.pack_into("<q", metadata, arrow_ipc._field(view, message, arrow_ipc._BODY_LENGTH), 8 * rows)
    header = arrow_ipc._table(view, message, arrow_ipc._HEADER)
    struct.pack_into("<q", metadata, arrow_ipc._field(view, header, 0), rows)
    nodes, buffers = arrow_ipc._table(view, header, 1) + 4, arrow_ipc._table(view, header, 2) + 4
    for column in range(columns):
        struct.pack_into("<qq", metadata, nodes + 16 * column, rows, 0)
        struct.pack_into("<qqqq", metadata, buffers + 32 * column, 0, 0, 0, 8 * rows)
    return batch.schema.serialize().to_pybytes() + written[:8] + bytes(metadata) + bytes(8 * rows)


def hidden_compression(rows: int) -> bytes:
    """A compressed batch that Arrow reads two bytes before the place where ``check_stream`` looks.

    A body of 30 bytes ends in the middle of a word. ``check_stream`` goes on at the next word, Arrow right
    after the body. What each takes for the next message overlaps with the other's.
    """
    small = pyarrow.record_batch([pyarrow.array([1, 2, 3])], names=["a"])
    large = pyarrow.table({"a": pyarrow.array(numpy.zeros(rows, "<i8"))})
    schema = small.schema.serialize().to_pybytes()
    written = small.serialize().to_pybytes()
    length = struct.unpack_from("<I", written, 4)[0]
    first = bytearray(written[: 8 + length])
    view = memoryview(first)[8:]
    at = 8 + arrow_ipc._field(view, arrow_ipc._u32(view, 0), arrow_ipc._BODY_LENGTH)
    struct.pack_into("<q", first, at, 30)
    stream = schema + bytes(first) + written[8 + length :].ljust(30, b"\0")
    batches = stream_of(large, compression="zstd")
    start = len(large.schema.serialize())
    length = struct.unpack_from("<I", batches, start + 4)[0]
    metadata = batches[start + 8 : start + 8 + length].ljust(0xFFFF, b"\0")
    looked_at = len(stream) + 2
    stream += b"\xff\xff\xff\xff\xff\xff\0\0" + metadata + batches[start + 8 + length :]
    claimed = struct.unpack_from("<I", stream, looked_at + 4)[0]
    return stream.ljust(looked_at + 8 + claimed, b"\0")


def with_metadata(column: str = "a", **metadata: object) -> bytes:
    fields = {"index_columns": [], "column_indexes": [], "columns": [], "pandas_version": "2", **metadata}
    table = pyarrow.table({column: [1]}).replace_schema_metadata({"pandas": json.dumps(fields)})
    return stream_of(table)


def labels(kind: str) -> dict[str, object]:
    return {"name": None, "field_name": None, "pandas_type": kind, "numpy_type": kind, "metadata": None}


def arrow_bombs() -> Iterator[tuple[str, bytes]]:
    """Names, and encoded values."""
    zeros = pyarrow.table({"a": pyarrow.array(numpy.zeros(2_000_000, "<i8"))})
    words = pyarrow.table({"a": pyarrow.array(["x" * 2_000_000]).dictionary_encode()})
    long, rows = "x" * 60_000, 2_000
    view = struct.pack("<i4sii", len(long), b"xxxx", 0, 0)
    buffers = [None, pyarrow.py_buffer(view * rows), pyarrow.py_buffer(long.encode())]
    views = pyarrow.Array.from_buffers(pyarrow.string_view(), rows, buffers)
    entries = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] * rows, pyarrow.int8()), pyarrow.array([long])
    )
    nothing = pyarrow.nulls(4_000_000)
    hollow = pyarrow.Array.from_buffers(pyarrow.struct([]), 100_000, [None])
    plain = stream_of(pyarrow.table({"a": [1, 2, 3]}))
    deep = pyarrow.int8()
    for _ in range(200):
        deep = pyarrow.list_(deep)
    body_length = bytearray(plain)
    start = len(pyarrow.schema([("a", pyarrow.int64())]).serialize())
    metadata = memoryview(plain)[start + 8 :]
    at = start + 8 + arrow_ipc._field(metadata, arrow_ipc._u32(metadata, 0), arrow_ipc._BODY_LENGTH)
    struct.pack_into("<q", body_length, at, 2**62)
    length_claim = plain[:start] + b"\xff\xff\xff\xff\xff\xff\xff\x7f" + plain[start + 8 :]

    for kind in ("arrow table", "arrow array", "pandas frame", "polars frame"):

        def table(name: str, stream: bytes, kind: str = kind) -> tuple[str, bytes]:
            return (f"{kind}: {name}", table_value(kind, stream))

        for codec in ("zstd", "lz4"):
            yield table(f"{codec} body", stream_of(zeros, compression=codec))
            yield table(f"{codec} dictionary", stream_of(words, compression=codec))
        yield table("body of 2^62 bytes", bytes(body_length))
        yield table("metadata of 2^31 bytes", length_claim)
        yield table("schema nested 200 deep", stream_of(pyarrow.schema([("a", deep)]).empty_table()))
        yield table("list of 4,000,000 nulls", stream_of(pyarrow.table({"a": list_of(nothing)})))
        yield table("list of 100,000 empty structs", stream_of(pyarrow.table({"a": list_of(hollow)})))
        yield table("4,000,000 nulls", stream_of(pyarrow.table({"a": nothing})))
        columns = {str(number): pyarrow.nulls(65_536) for number in range(100)}
        yield table("100 columns of nulls", stream_of(pyarrow.table(columns)))
        flags = pyarrow.array([{"x": True}] * 200_000)
        yield table("200,000 structs of a bit", stream_of(pyarrow.table({"a": flags})))
        hundred = pyarrow.table({"a": pyarrow.nulls(65_536)})
        yield (f"{kind}: nulls, in 100 tables", table_values(kind, stream_of(hundred), 100))
        yield table("60 KB, 2,000 times in a view", stream_of(pyarrow.table({"a": views})))
        yield table("60 KB, 2,000 times in a list", stream_of(pyarrow.table({"a": list_of(entries)})))
        yield table("400 columns in one buffer", shared_buffer(400, 30_000))
    hidden = table_value("arrow table", hidden_compression(20_000_000))
    yield ("arrow table: zstd hidden between words", hidden)
    yield from metadata_bombs()


def metadata_bombs() -> Iterator[tuple[str, bytes]]:
    """What pandas would make of a schema's metadata."""
    for name, stream in (
        ("labels of 10^8 characters", with_metadata(column_indexes=[labels("U100000000")])),
        ("labels of 10^8 items", with_metadata("1", column_indexes=[labels("(100000000,)i4")])),
        (
            "dtypes nested in a name",
            with_metadata(columns=[labels("interval[" * 1200) | {"name": "a", "field_name": "a"}]),
        ),
        ("labels as nested text", with_metadata("(" * MANY, column_indexes=[labels("unicode")] * 2)),
        ("an index named 1,000 times", with_metadata(index_columns=["a"] * 1000)),
        ("labels that negate", with_metadata("-" * 4000 + "1", column_indexes=[labels("unicode")] * 2)),
        (
            "a zone of 10^6",
            with_metadata(columns=[labels("datetimetz") | {"metadata": {"timezone": "x" * 10**6}}]),
        ),
        (
            "an index of 10^9",
            with_metadata(
                index_columns=[{"kind": "range", "name": None, "start": 0, "stop": 10**9, "step": 1}]
            ),
        ),
    ):
        yield (f"pandas metadata: {name}", table_value("pandas frame", stream))
    nested_json = pyarrow.table({"a": [1]}).replace_schema_metadata({"pandas": '{"a":' * MANY})
    yield ("pandas metadata: nested without end", table_value("pandas frame", stream_of(nested_json)))
