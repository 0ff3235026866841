"""Tables and columns of pandas, Polars and PyArrow as values, as Arrow IPC streams.

A pandas index, its names and dtypes are kept; a DatetimeIndex loses its ``freq``. Every received stream
is checked before it is used, because Arrow reads offsets out of it: never compressed, never with
extension types (so no pandas Period or Interval), never more rows than its bytes can hold, never with the
same bytes in several columns. pandas makes an object of what may be a bit in Arrow, so before a table goes to
it what that would take is estimated. All of them need PyArrow where they arrive, Polars too.
"""

from __future__ import annotations

import io
from typing import Any

from easyremote.errors import DecodeError
from easyremote.wire import codes
from easyremote.wire.arrays import library
from easyremote.wire.arrow_ipc import check_pandas, check_stream
from easyremote.wire.codec import FINDERS, RAISE, Lower, Reader, Refused, Writer, brief
from easyremote.wire.scalars import lower_zone, raise_zone

_SAFE_PYARROW = (14, 0, 1)
_ROWS_BEYOND_BYTES = 65536
_UNFOLDED_PER_BYTE = 64  # what pandas may take for a byte of a stream, as estimated; more is spent

# What Python's objects take, in bytes, with what refers to them.
_REFERENCE, _NUMBER, _TEXT, _LIST, _TUPLE, _DICT, _DICT_FIELD = 8, 40, 64, 120, 72, 192, 32
_UNITS = ("s", "ms", "us", "ns")


# Arrow


def _stream_of(pyarrow: Any, table: Any) -> memoryview:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as stream:
        stream.write(table)
    return memoryview(sink.getvalue()).cast("B")


def _table_from(pyarrow: Any, memory: bytearray | memoryview) -> Any:
    """Read a stream, checked in full.

    Raises:
        DecodeError: It is not what it should be.
    """
    version = tuple(int(part) for part in pyarrow.__version__.split(".")[:3] if part.isdigit())
    if version < _SAFE_PYARROW:
        raise DecodeError("a value needs pyarrow 14.0.1 or newer. Run `pip install --upgrade pyarrow`")
    check_stream(memoryview(memory))
    table = pyarrow.ipc.open_stream(pyarrow.py_buffer(memory)).read_all()
    if table.num_rows > 8 * len(memory) + _ROWS_BEYOND_BYTES:
        raise DecodeError(f"a table claims {table.num_rows} rows in {len(memory)} bytes")
    for column in table.schema:
        _check_type(pyarrow, column.type, 0)
    table.validate(full=True)
    _check_sharing(pyarrow, table, len(memory))
    said = (table.schema.metadata or {}).get(b"pandas")
    if said is not None:
        check_pandas(said, table.column_names)
    return table


def _check_sharing(pyarrow: Any, table: Any, size_bytes: int) -> None:
    """Refuse a table whose columns are the same bytes; a dictionary may serve many batches of a column."""
    held = 0
    for column in table.columns:
        if not pyarrow.types.is_dictionary(column.type):
            held += column.nbytes
            continue
        seen = set()
        for chunk in column.chunks:
            held += chunk.indices.nbytes
            places = tuple(buffer and buffer.address for buffer in chunk.dictionary.buffers())
            if places not in seen:
                seen.add(places)
                held += chunk.dictionary.nbytes
    if held > size_bytes:
        raise DecodeError(
            f"a table's columns hold {held} bytes of a stream of {size_bytes}: they share what each wants alone"
        )


def _unfolded_bytes(pyarrow: Any, array: Any, place: str = "column") -> int:
    """About what pandas takes for an array: a column, the items of a ``list``, or parts of an ``object``."""
    types, kind, count = pyarrow.types, array.type, len(array)
    if types.is_null(kind) or types.is_boolean(kind):
        return _REFERENCE * count
    if types.is_dictionary(kind):
        entries = _unfolded_bytes(pyarrow, array.dictionary, "object")
        return _REFERENCE * count + (entries if place == "column" else entries * count)
    if types.is_struct(kind):
        each = _DICT + _DICT_FIELD * max(0, kind.num_fields - 5)
        fields = [array.field(index) for index in range(kind.num_fields)]
        return int(each * count) + sum(_unfolded_bytes(pyarrow, field, "object") for field in fields)
    if types.is_map(kind):
        keys, items = (_unfolded_bytes(pyarrow, part, "object") for part in (array.keys, array.items))
        return _LIST * count + _TUPLE * len(array.keys) + keys + items
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inside = "list" if place == "column" else place
        return _LIST * count + _unfolded_bytes(pyarrow, array.values, inside)
    if str(kind) in ("string_view", "binary_view"):
        return _TEXT * count + _viewed_bytes(array)
    if types.is_primitive(kind):
        return (_NUMBER if place == "object" or types.is_temporal(kind) else _REFERENCE) * count
    return _TEXT * count + int(array.nbytes)


def _viewed_bytes(array: Any) -> int:
    """The length of all texts that an array of views refers to: several may be the same bytes."""
    numpy = library("numpy")
    lengths = numpy.frombuffer(array.buffers()[1], "<i4")[::4][array.offset : array.offset + len(array)]
    return int(lengths.astype("i8").sum()) if len(lengths) else 0


def _check_type(pyarrow: Any, kind: Any, nesting: int) -> None:
    """Refuse the types through which few bytes make many items."""
    types = pyarrow.types
    if nesting > 32 or types.is_run_end_encoded(kind) or "list_view" in str(kind):
        raise DecodeError(f"a table's column has a type that is not taken: {str(kind)[:80]}")
    if types.is_fixed_size_list(kind) and (types.is_null(kind.value_type) or kind.value_type.num_fields):
        raise DecodeError(f"a table's column has a type that is not taken: {str(kind)[:80]}")
    for index in range(kind.num_fields):
        _check_type(pyarrow, kind.field(index).type, nesting + 1)


def _lower_pyarrow(writer: Writer, value: Any, depth: int) -> object:
    import pyarrow

    if isinstance(value, pyarrow.Table):
        kind, table = "table", value
    elif isinstance(value, pyarrow.RecordBatch):
        kind, table = "batch", pyarrow.Table.from_batches([value])
    else:
        kind = "chunked" if isinstance(value, pyarrow.ChunkedArray) else "array"
        table = pyarrow.table({"": value})
    return _store(writer, "arrow " + kind, _stream_of(pyarrow, table))


def _raise_pyarrow(reader: Reader, kind: str, memory: bytearray | memoryview, extra: object) -> object:
    pyarrow = library("pyarrow")
    table = _table_from(pyarrow, memory)
    if kind == "arrow table":
        return table
    if kind == "arrow batch":
        batches = table.to_batches()
        return batches[0] if len(batches) == 1 else pyarrow.RecordBatch.from_pylist([], schema=table.schema)
    column = table.column(0)
    if kind == "arrow chunked":
        return column
    return column.chunk(0) if column.num_chunks == 1 else pyarrow.array([], column.type)


# pandas


def _lower_pandas(writer: Writer, value: Any, depth: int) -> object:
    import pandas

    try:
        import pyarrow
    except ImportError as error:
        raise Refused("is a pandas table, which travels as Arrow. Run `pip install pyarrow`") from error
    extra: object = None
    if isinstance(value, pandas.RangeIndex):
        extra = writer.lower([value.start, value.stop, value.step, value.name], depth)
        return _store(writer, "pandas range", memoryview(b""), extra)
    if isinstance(value, pandas.Index):
        kind, extra = "pandas index", writer.lower(list(value.names), depth)
        names = [str(level) for level in range(value.nlevels)]
        frame = value.to_frame(index=False, name=names if value.nlevels > 1 else names[0])
    elif isinstance(value, pandas.Series):
        kind, extra, frame = "pandas series", writer.lower(value.name, depth), value.to_frame("")
    else:
        kind, frame = "pandas frame", value
    if type(value).__module__.partition(".")[0] != "pandas":
        raise Refused(f"is a {type(value).__qualname__}, a kind of table of its own. Pass a plain pandas one")
    if kind == "pandas frame" and len({type(label) for label in frame.columns}) > 1:
        raise Refused("is a pandas table whose column labels are of several types. Make them all text")
    try:
        table = _table_of(pyarrow, frame, None if kind != "pandas index" else False)
    except (pyarrow.ArrowException, ValueError, TypeError) as error:
        raise Refused(
            f"is a pandas table that Arrow cannot hold: {str(error)[:300]}. Give it other dtypes"
        ) from error
    return _store(writer, kind, _stream_of(pyarrow, table), extra, table.schema)


def _table_of(pyarrow: Any, frame: Any, index: bool | None) -> Any:
    table = pyarrow.Table.from_pandas(frame, preserve_index=index)
    if len(frame) or not any(pyarrow.types.is_dictionary(field.type) for field in table.schema):
        return table
    columns = []  # without rows Arrow leaves a column's categories out
    for field in table.schema:
        column = pyarrow.array([], type=getattr(field.type, "index_type", field.type))
        if pyarrow.types.is_dictionary(field.type):
            known = frame[field.name].cat.categories if field.name in frame.columns else []
            categories = pyarrow.array(known, type=field.type.value_type)
            column = pyarrow.DictionaryArray.from_arrays(column, categories, ordered=field.type.ordered)
        columns.append(column)
    return pyarrow.RecordBatch.from_arrays(columns, schema=table.schema)


def _raise_pandas(reader: Reader, kind: str, memory: bytearray | memoryview, extra: Any) -> object:
    pandas = library("pandas")
    if kind == "pandas range":
        start, stop, step, name = extra
        return pandas.RangeIndex(start, stop, step, name=name)
    pyarrow = library("pyarrow")
    table = _table_from(pyarrow, memory)
    unfolded = sum(_unfolded_bytes(pyarrow, chunk) for column in table.columns for chunk in column.chunks)
    reader.spend(unfolded - _UNFOLDED_PER_BYTE * len(memory))
    frame = table.to_pandas()
    if kind == "pandas frame":
        return frame
    if kind == "pandas series":
        return frame.iloc[:, 0].rename(extra)
    if len(frame.columns) == 1:
        return pandas.Index(frame.iloc[:, 0]).set_names(extra)
    return pandas.MultiIndex.from_frame(frame).set_names(extra)


def _lower_pandas_scalar(writer: Writer, value: Any, depth: int) -> object:
    name = type(value).__name__
    if name in ("NaTType", "NAType"):
        return writer.ext(codes.PANDAS_SCALAR, (name, None, None, None))
    zone = lower_zone(value.tzinfo, value.utcoffset()) if name == "Timestamp" else None
    return writer.ext(codes.PANDAS_SCALAR, (name, int(value.asm8.astype("int64")), value.unit, zone))


def _raise_pandas_scalar(reader: Reader, data: memoryview) -> object:
    name, number, unit, zone = reader.items(data, 4)
    pandas = library("pandas")
    if name == "NaTType":
        return pandas.NaT
    if name == "NAType":
        return pandas.NA
    if type(number) is not int or unit not in _UNITS:
        raise DecodeError(
            f"a pandas {brief(name)} wants a number and a unit, found {brief(number)} {brief(unit)}"
        )
    numpy = library("numpy")
    if name == "Timedelta":
        return pandas.Timedelta(numpy.timedelta64(number, unit))
    if name != "Timestamp":
        raise DecodeError(f"a pandas {brief(name)} is not known here")
    stamp = pandas.Timestamp(numpy.datetime64(number, unit))
    return stamp if zone is None else stamp.tz_localize("UTC").tz_convert(raise_zone(zone))


# Polars


def _lower_polars(writer: Writer, value: Any, depth: int) -> object:
    import polars

    kind = "polars frame" if isinstance(value, polars.DataFrame) else "polars series"
    frame = value if kind == "polars frame" else value.to_frame()
    for dtype in frame.dtypes:
        if _stays(polars, dtype):
            raise Refused(f"is a Polars table with a column of {dtype}, which cannot travel. Cast it first")
    stream = io.BytesIO()
    try:
        frame.write_ipc_stream(stream, compression="uncompressed")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in Rust is no Exception
        raise Refused(
            f"is a Polars table that Arrow cannot hold: {str(error)[:300]}. Cast it first"
        ) from None
    return _store(writer, kind, stream.getbuffer())


def _stays(polars: Any, dtype: Any) -> bool:
    """Whether a column cannot travel: of objects Polars would send the addresses; Arrow has no 128 bits."""
    if dtype == polars.Object or str(dtype) in ("Int128", "UInt128"):
        return True
    inner = [field.dtype for field in getattr(dtype, "fields", ())]
    if getattr(dtype, "inner", None) is not None:
        inner.append(dtype.inner)
    return any(_stays(polars, each) for each in inner)


def _raise_polars(reader: Reader, kind: str, memory: bytearray | memoryview, extra: object) -> object:
    polars = library("polars")
    # Not polars.read_ipc_stream: it takes lengths in the stream at their word, and ends the process.
    table = _table_from(library("pyarrow"), memory)
    try:
        frame = polars.DataFrame(table)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in Rust is no Exception
        raise DecodeError(f"a Polars table could not be read: {str(error)[:300]}") from None
    return frame if kind == "polars frame" else frame.to_series(0)


# All of them


def _store(writer: Writer, kind: str, stream: memoryview, extra: object = None, schema: Any = None) -> object:
    try:
        check_stream(stream)
        if schema is not None:
            check_pandas(schema.metadata[b"pandas"], schema.names)
    except DecodeError as error:
        raise Refused(f"cannot travel: {error}") from None
    return writer.ext(codes.ARROW, (kind, writer.store(stream), extra))


_READERS = {
    "arrow table": _raise_pyarrow,
    "arrow batch": _raise_pyarrow,
    "arrow chunked": _raise_pyarrow,
    "arrow array": _raise_pyarrow,
    "pandas frame": _raise_pandas,
    "pandas series": _raise_pandas,
    "pandas index": _raise_pandas,
    "pandas range": _raise_pandas,
    "polars frame": _raise_polars,
    "polars series": _raise_polars,
}


def _raise_table(reader: Reader, data: memoryview) -> object:
    kind, stored, extra = reader.items(data, 3)
    read = _READERS.get(kind) if type(kind) is str else None
    if read is None:
        raise DecodeError(f"a table of kind {brief(kind)} is not known here")
    return read(reader, kind, reader.fetch(stored), extra)


_LOWER: dict[tuple[str, str], Lower] = {
    ("pandas", "DataFrame"): _lower_pandas,
    ("pandas", "Series"): _lower_pandas,
    ("pandas", "Index"): _lower_pandas,
    ("pandas", "Timestamp"): _lower_pandas_scalar,
    ("pandas", "Timedelta"): _lower_pandas_scalar,
    ("pandas", "NaTType"): _lower_pandas_scalar,
    ("pandas", "NAType"): _lower_pandas_scalar,
    ("polars", "DataFrame"): _lower_polars,
    ("polars", "Series"): _lower_polars,
    ("pyarrow", "Table"): _lower_pyarrow,
    ("pyarrow", "RecordBatch"): _lower_pyarrow,
    ("pyarrow", "Array"): _lower_pyarrow,
    ("pyarrow", "ChunkedArray"): _lower_pyarrow,
}


def find(kind: type) -> Lower | None:
    """How tables, columns and the scalars of pandas are lowered."""
    if kind.__name__ == "LazyFrame":
        raise Refused("is a LazyFrame, which is not computed yet. Pass value.collect()")
    for base in kind.__mro__:
        lower = _LOWER.get((base.__module__.partition(".")[0], base.__name__))
        if lower is not None:
            return lower
    return None


FINDERS.append(find)
RAISE[codes.ARROW] = _raise_table
RAISE[codes.PANDAS_SCALAR] = _raise_pandas_scalar
