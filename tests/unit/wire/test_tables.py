"""pandas, Polars and Arrow tables there and back, and streams that would do harm."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import struct

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easyremote.errors import DecodeError, EncodeError
from easyremote.wire.segments import Segments
from easyremote.wire.values import decode, encode

pa = pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")


def there_and_back(value):
    body = encode(value)
    return decode(bytearray(body.join() if isinstance(body, Segments) else body))


FRAME = pd.DataFrame(
    {
        "a": [1, 2, 3],
        "b": ["x", None, "z"],
        "c": pd.Categorical(["u", "v", "u"]),
        "t": pd.date_range("2020", periods=3, tz="Europe/Paris"),
    },
    index=pd.Index([5, 6, 7], name="i"),
)
LARGE = 30_000


@pytest.mark.parametrize(
    "frame",
    [
        FRAME,
        FRAME.reset_index(drop=True),
        FRAME.set_index("b", append=True),
        pd.DataFrame({1: [1], 2: [2.0]}),
        pd.DataFrame(),
        pd.DataFrame({"a": range(LARGE)}),
    ],
)
def test_a_pandas_frame_comes_back(frame):
    pd.testing.assert_frame_equal(there_and_back(frame), frame)


@pytest.mark.parametrize(
    "series", [FRAME["a"], FRAME["b"], pd.Series([1], name=("q", 1)), pd.Series([], dtype="f8")]
)
def test_a_pandas_series_comes_back(series):
    pd.testing.assert_series_equal(there_and_back(series), series)


@pytest.mark.parametrize(
    "index",
    [
        FRAME.index,
        pd.RangeIndex(3, name="e"),
        pd.MultiIndex.from_product([[1, 2], ["a"]], names=["x", None]),
        pd.date_range("2020", periods=2),
        pd.CategoricalIndex(["a", "b"]),
        pd.Index(["a"]),
    ],
)
def test_a_pandas_index_comes_back(index):
    pd.testing.assert_index_equal(there_and_back(index), index, check_freq=False)


@pytest.mark.parametrize(
    "scalar",
    [
        pd.Timestamp("2020-01-01 01:02:03.000000004"),
        pd.Timestamp("2020", tz="Asia/Tokyo"),
        pd.Timedelta("3s"),
        pd.NaT,
        pd.NA,
    ],
    ids=repr,
)
def test_a_pandas_scalar_comes_back(scalar):
    found = there_and_back([scalar])[0]
    assert type(found) is type(scalar)
    assert repr(found) == repr(scalar)


POLARS = pl.DataFrame(
    {
        "a": [1, None],
        "b": ["x", "y" * 30],
        "l": [[1], [2, 3]],
        "c": pl.Series(["q", "r"], dtype=pl.Categorical),
        "e": pl.Series(["q", "r"], dtype=pl.Enum(["q", "r"])),
        "d": [dt.date(2020, 1, 1)] * 2,
        "t": [dt.time(1)] * 2,
        "z": pl.Series([dt.datetime(2020, 1, 1)] * 2).dt.replace_time_zone("Europe/Paris"),
        "p": [dt.timedelta(1)] * 2,
        "n": pl.Series(["1.5", None]).cast(pl.Decimal(10, 2)),
        "v": pl.Series([[1, 2]] * 2, dtype=pl.Array(pl.Int8, 2)),
        "y": [b"x", None],
        "0": pl.Series([None, None]),
        "s": [{"x": 1}, {"x": 2}],
    }
)


@pytest.mark.parametrize("frame", [POLARS, pl.DataFrame(), pl.DataFrame({"a": range(LARGE)})])
def test_a_polars_frame_comes_back(frame):
    found = there_and_back(frame)
    assert found.schema == frame.schema
    assert found.equals(frame)


def test_a_polars_series_comes_back():
    found = there_and_back(POLARS["b"])
    assert found.name == "b"
    assert found.equals(POLARS["b"])


ARROW = pa.table({"a": [1, 2], "b": ["x", None], "d": pa.array(["x", "x"]).dictionary_encode()})


@pytest.mark.parametrize(
    "value",
    [
        ARROW,
        ARROW.slice(0, 0),
        ARROW.to_batches()[0],
        ARROW["b"],
        pa.chunked_array([[1], [2, 3]]),
        pa.array([1, 2]),
        pa.array([]),
    ],
)
def test_an_arrow_value_comes_back(value):
    found = there_and_back(value)
    assert type(found) is type(value)
    assert found.equals(value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (pd.DataFrame({"a": [1, "x"]}), "Arrow cannot hold"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "Duplicate"),
        (pd.DataFrame({"a": pd.period_range("2020", periods=2, freq="D")}), "extension type"),
        (pl.DataFrame({"a": [object()]}), "Object"),
        (pl.DataFrame({"a": [[1]]}, schema={"a": pl.List(pl.Int128)}), "Int128"),
        (pl.DataFrame({"a": [1]}).lazy(), "collect"),
    ],
)
def test_tables_that_cannot_travel_are_refused(value, words):
    with pytest.raises(EncodeError, match=words):
        encode([value])


def as_value(kind, stream):
    return msgspec.msgpack.encode(msgspec.msgpack.Ext(70, msgspec.msgpack.encode([kind, stream, None])))


def stream_of(table, **options):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as stream:
        stream.write(table)
    return sink.getvalue().to_pybytes()


KINDS = ["arrow table", "pandas frame", "polars frame"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (stream_of(ARROW, compression="lz4"), "compressed"),
        (
            stream_of(pa.table({"a": pa.array(["x"] * 9).dictionary_encode()}), compression="lz4"),
            "compressed",
        ),
        (stream_of(pa.table({"a": pa.array([bytes(16)], pa.uuid())})), "extension"),
        (stream_of(pa.table({"a": pa.nulls(10**9)})), "rows"),
        (stream_of(ARROW)[:100], "cut short"),
        (b"not a stream at all", "malformed"),
        (b"", r"\w"),
    ],
    ids=["compressed", "compressed dictionary", "extension", "rows", "short", "other bytes", "nothing"],
)
def test_harmful_streams_are_refused(kind, stream, words):
    with pytest.raises(DecodeError, match=words):
        decode(as_value(kind, stream))


def list_of(child):
    return pa.ListArray.from_arrays(pa.array([0, len(child)], pa.int32()), child)


WORD = pa.DictionaryArray.from_arrays(pa.array([0] * 9000, pa.int8()), pa.array(["x" * 9000]))
VIEWS = [None, pa.py_buffer(struct.pack("<i4sii", 9000, b"xxxx", 0, 0) * 9000), pa.py_buffer(b"x" * 9000)]


@pytest.mark.parametrize(
    "column",
    [
        list_of(pa.nulls(10**6)),
        list_of(pa.Array.from_buffers(pa.struct([]), 50_000, [None])),
        list_of(
            pa.Array.from_buffers(pa.struct([("x", pa.null())]), 50_000, [None], children=[pa.nulls(50_000)])
        ),
        pa.array([{"x": True}] * 50_000),
        list_of(WORD),
        pa.Array.from_buffers(pa.string_view(), 9000, VIEWS),
    ],
    ids=["nulls", "structs of nothing", "structs of nulls", "structs of bits", "dictionary", "views"],
)
def test_what_would_unfold_in_pandas_is_refused_there_alone(column):
    stream = stream_of(pa.table({"a": column}))
    with pytest.raises(DecodeError, match="unfolds too far"):
        decode(as_value("pandas frame", stream))
    assert decode(as_value("arrow table", stream)).num_rows == len(column)


def test_tables_of_one_value_share_what_they_may_take():
    one = msgspec.msgpack.Ext(
        70, msgspec.msgpack.encode(["pandas frame", stream_of(pa.table({"a": pa.nulls(65_536)})), None])
    )
    assert len(decode(msgspec.msgpack.encode([one] * 3))) == 3
    with pytest.raises(DecodeError, match="unfolds too far"):
        decode(msgspec.msgpack.encode([one] * 30))


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"a": [{"x": 1, "y": None, "z": "text"}] * LARGE}),
        pd.DataFrame({"a": [{"flag": True}] * 4000}),
        pd.DataFrame({"a": [dt.date(2020, 1, 1)] * LARGE, "b": [True, None] * (LARGE // 2)}),
        pd.DataFrame({"a": ["x"] * LARGE, "b": pd.Categorical(["u", "v"] * (LARGE // 2))}),
        pd.DataFrame({"a": pd.array([1, None], "Int64"), "b": pd.array([1, 2], "int64[pyarrow]")}),
        pd.DataFrame({"a": pd.array([True, None], "boolean"), "b": pd.array(["x", None], "string")}),
        pd.DataFrame({"a": pd.array([1, None], "Float32"), "b": pd.to_timedelta([1, 2])}),
        pd.DataFrame(
            [[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("b", "y")], names=["p", None])
        ),
        pd.DataFrame([[1, 2]], columns=pd.date_range("2020", periods=2, tz="Europe/Paris")),
        pd.DataFrame({"a": [None] * LARGE}),
    ],
)
def test_honest_frames_are_not_held_for_bombs(frame):
    pd.testing.assert_frame_equal(there_and_back(frame), frame, check_freq=False)


def test_batches_may_share_a_dictionary():
    batch = pa.array(["x" * 1000]).dictionary_encode()
    table = pa.table({"a": pa.chunked_array([batch] * 100)})
    assert there_and_back(table).equals(table)


def described(**said):
    fields = {"index_columns": [], "columns": [], "column_indexes": [], **said}
    return stream_of(pa.table({"a": [1]}).replace_schema_metadata({"pandas": json.dumps(fields)}))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (
            described(columns=[{"name": "a", "pandas_type": "int64", "numpy_type": "U100000000"}]),
            "U100000000",
        ),
        (described(columns=[{"name": "a", "pandas_type": "S9", "numpy_type": "int64"}]), "S9"),
        (described(column_indexes=[{"pandas_type": "(9,)i4", "numpy_type": "int64"}]), "dtype"),
        (described(columns=[{"name": "a", "pandas_type": "int64"}]), "numpy_type"),
        (described(index_columns=["a", "a"]), "index"),
        (described(index_columns=[{"kind": "else"}]), "malformed"),
    ],
)
def test_dtypes_that_pandas_does_not_write_are_refused(kind, stream, words):
    with pytest.raises(DecodeError, match=words):
        decode(as_value(kind, stream))


def test_a_dtype_that_would_not_arrive_is_refused_where_it_is():
    column = pd.Series([[1], [2]], dtype=pd.ArrowDtype(pa.list_(pa.int64())))
    with pytest.raises(EncodeError, match="list<item: int64>"):
        encode(pd.DataFrame({"a": column}))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KINDS), st.data())
def test_a_changed_stream_raises_nothing_but_decode_error(kind, data):
    stream = bytearray(stream_of(ARROW))
    for _ in range(data.draw(st.integers(1, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DecodeError):
        repr(decode(as_value(kind, bytes(stream))))
