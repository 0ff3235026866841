"""Values come back equal, and of the type they left as, from a node in another process."""

from __future__ import annotations

import datetime
import decimal
import fractions
import math
import pathlib
import uuid
import warnings
import zoneinfo
from collections.abc import Callable
from typing import Any

import pytest
from acceptance.programs import shapes

from easyremote import Client
from easyremote.errors import EncodeError

UTC = datetime.UTC
PLAIN: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    2**63 - 1,
    2**64,
    -(2**200),
    7**5000,
    1.5,
    -0.0,
    math.inf,
    5e-324,
    "",
    "naïve 世界 🌍",
    "nul\0and\nnewline",
    b"",
    bytes(range(256)),
    bytearray(b"changeable"),
    [],
    [1, [2, [3, [None]]]],
    (),
    (1,),
    ((1, 2), [3, (4,)]),
    {1, 2, 3},
    set(),
    frozenset({"a", (1, 2)}),
    {},
    {"a": {"b": {"c": [1, {"d": (2,)}]}}},
    {1: "int", (1, 2): "tuple", None: "none", b"k": "bytes", 1.5: "float", frozenset({1}): "frozen"},
    1 + 2j,
    datetime.datetime(2024, 2, 29, 23, 59, 59, 999999),
    datetime.datetime(2024, 2, 29, 12, 0, tzinfo=UTC),
    datetime.datetime(2024, 7, 1, 12, 0, tzinfo=datetime.timezone(datetime.timedelta(hours=5, minutes=45))),
    datetime.datetime(2024, 7, 1, 12, 0, tzinfo=zoneinfo.ZoneInfo("Asia/Shanghai")),
    datetime.datetime(2024, 10, 27, 1, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/London")),
    datetime.date(1, 1, 1),
    datetime.time(12, 30, 15, 123456),
    datetime.timedelta(days=-999999999, microseconds=1),
    decimal.Decimal("1E+999"),
    decimal.Decimal("0.10"),
    fractions.Fraction(-3, 7),
    uuid.UUID("12345678-1234-5678-1234-567812345678"),
    pathlib.Path("/tmp/some file"),
    pathlib.PurePosixPath("a/b"),
    shapes.Colour.BLUE,
    shapes.Level.HIGH,
    shapes.Access.READ | shapes.Access.WRITE,
    shapes.Box(2, 3),
    shapes.Shelf("top", [shapes.Box(1, 2)], shapes.Colour.BLUE, {"n": [1]}),
    shapes.Slotted(1.0, 2.0),
    shapes.Point(3, 4),
    [shapes.Point(1, 2), {"box": shapes.Box(1, 1)}],
    shapes.Drawer("left", [b"1", b"2"]),
    shapes.Ticket(7, "me"),
    shapes.Person(name="Ada", address=shapes.Address(street="Row", number=3), tags=["x"]),
]


def same(left: object, right: object) -> bool:
    """Equal, and of equal types all the way down."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        assert isinstance(right, dict)
        return len(left) == len(right) and all(
            same(a, b)
            for pair in zip(left.items(), right.items(), strict=True)
            for a, b in zip(*pair, strict=True)
        )
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))  # type: ignore[arg-type]
    if isinstance(left, datetime.datetime):
        return (left, str(left.tzinfo), left.fold) == (right, str(right.tzinfo), right.fold)  # type: ignore[attr-defined]
    return repr(left) == repr(right) if isinstance(left, (float, decimal.Decimal)) else left == right


def named(value: object) -> str:
    """A test's name, the same in every process: a set shows its members in any order."""
    kind = type(value).__name__
    return kind if isinstance(value, (set, frozenset)) else f"{kind}-{repr(value)[:24]}"


@pytest.mark.parametrize("value", PLAIN, ids=named)
def test_a_value_comes_back_as_it_left(client: Client, value: object) -> None:
    back = client.execute("echo", value)
    assert same(back, value), f"sent {value!r}, came back {back!r}"


def test_not_a_number_comes_back(client: Client) -> None:
    assert math.isnan(client.execute("echo", math.nan))


def test_all_of_them_at_once_in_one_list(client: Client) -> None:
    back = client.execute("echo", PLAIN)
    assert [sent for sent, got in zip(PLAIN, back, strict=True) if not same(sent, got)] == []


def test_all_of_them_as_items_of_a_map(client: Client) -> None:
    back = list(client.map("echo", PLAIN))
    assert [sent for sent, got in zip(PLAIN, back, strict=True) if not same(sent, got)] == []


@pytest.mark.parametrize(
    "value",
    [
        shapes.Box(2, 3),
        shapes.Colour.RED,
        shapes.Point(1, 2),
        shapes.Ticket(1),
        uuid.UUID(int=5),
        (1, 2),
        2**70,
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_function_sees_the_type_that_was_sent(client: Client, value: object) -> None:
    assert client.execute("type_name", value) == f"{type(value).__module__}.{type(value).__qualname__}"


def test_a_dict_becomes_the_dataclass_of_the_hint(client: Client) -> None:
    assert client.execute("area", shapes.Box(3, 4)) == 12
    assert client.execute("area", {"width": 3, "height": 5}) == 15


def test_a_long_text_and_a_long_list_come_back(client: Client) -> None:
    text, numbers = "é" * 1_000_000, list(range(200_000))
    assert client.execute("echo", text) == text
    assert client.execute("echo", numbers) == numbers


# ---- NumPy


def test_arrays_come_back_with_their_dtype_and_shape(client: Client) -> None:
    np = pytest.importorskip("numpy")
    dtypes = [
        "?",
        "i1",
        "u1",
        "i2",
        "u2",
        "i4",
        "u4",
        "i8",
        "u8",
        "f2",
        "f4",
        "f8",
        "c8",
        "c16",
        ">i4",
        ">f8",
        "M8[ns]",
        "m8[us]",
        "S5",
        "U5",
    ]
    arrays = [np.arange(24).reshape(2, 3, 4).astype(dtype) for dtype in dtypes]
    arrays += [
        np.array(5.0),
        np.zeros((0, 3), dtype="f4"),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(100)[::7],
        np.arange(100).reshape(10, 10)[2:5, ::-2],
        np.array([(1, 2.5, "x")], dtype=[("a", "i4"), ("b", "f8"), ("c", "U3")]),
        np.arange(200_000, dtype="f4").reshape(1000, 200),
        np.asfortranarray(np.arange(90_000.0).reshape(300, 300)),
    ]
    for array in arrays:
        back = client.execute("echo", array)
        assert type(back) is np.ndarray
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(back, array)
        back[...] = back  # it belongs to the caller


def test_array_scalars_come_back_as_themselves(client: Client) -> None:
    np = pytest.importorskip("numpy")
    for scalar in (
        np.float32(1.5),
        np.int8(-3),
        np.bool_(True),
        np.complex64(1j),
        np.datetime64("2024-01-01"),
    ):
        back = client.execute("echo", scalar)
        assert type(back) is type(scalar)
        assert back == scalar


def test_arrays_inside_containers_come_back(client: Client) -> None:
    np = pytest.importorskip("numpy")
    sent = {"big": np.ones((512, 512)), "small": [np.arange(3), (np.eye(2), "text")], "n": 1}
    back = client.execute("echo", sent)
    np.testing.assert_array_equal(back["big"], sent["big"])
    np.testing.assert_array_equal(back["small"][1][0], np.eye(2))
    assert type(back["small"][1]) is tuple
    assert (back["small"][1][1], back["n"]) == ("text", 1)


# ---- tables, tensors, pictures


def test_tensors_come_back(client: Client) -> None:
    torch = pytest.importorskip("torch")
    for tensor in (
        torch.arange(12).reshape(3, 4),
        torch.randn(300, 300),
        torch.randn(4, 4).to(torch.bfloat16),
        torch.tensor(True),
        torch.randn(6, 6).T[::2],
    ):
        back = client.execute("echo", tensor)
        assert type(back) is type(tensor)
        assert back.dtype == tensor.dtype
        assert torch.equal(back, tensor)


def test_pandas_tables_come_back(client: Client) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "number": [1, 2, 3],
            "share": [0.5, None, 1.5],
            "word": ["a", None, "ç"],
            "when": pd.to_datetime(["2024-01-01", "2024-06-01", None]),
            "kind": pd.Categorical(["x", "y", "x"]),
        },
        index=pd.Index(["r1", "r2", "r3"], name="row"),
    )
    pd.testing.assert_frame_equal(client.execute("echo", frame), frame)
    pd.testing.assert_series_equal(client.execute("echo", frame["share"]), frame["share"])
    pd.testing.assert_index_equal(client.execute("echo", frame.index), frame.index)
    long = pd.DataFrame({"x": range(100_000), "y": [0.5] * 100_000})
    pd.testing.assert_frame_equal(client.execute("echo", long), long)


@pytest.mark.parametrize(
    "change",
    [
        lambda pd, frame: frame.iloc[:0],
        lambda pd, frame: frame[[]],
        lambda pd, frame: frame.iloc[::-1],
        lambda pd, frame: frame.set_index(["n", "word"]),
        lambda pd, frame: pd.DataFrame(
            [[1, 2.5]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])
        ),
        lambda pd, frame: frame.set_index(pd.DatetimeIndex(["2024-01-01", "2024-06-01"], tz="Asia/Tokyo")),
    ],
    ids=["empty", "no columns", "reversed", "two-level index", "two-level labels", "times"],
)
def test_pandas_tables_of_any_shape_come_back(client: Client, change: Callable[..., Any]) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"n": [1, 2], "word": ["a", "b"], "kind": pd.Categorical(["x", "y"])})
    table = change(pd, frame)
    pd.testing.assert_frame_equal(client.execute("echo", table), table)


def test_a_pandas_table_that_would_change_on_its_way_is_refused(client: Client) -> None:
    """Arrow names columns with text; a table with a column named 0 beside one named "word" is no such."""
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({0: [1, 2], "word": ["a", "b"]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in a program that does not make errors of warnings
        try:
            back = client.execute("echo", table)
        except EncodeError:
            return
    pd.testing.assert_frame_equal(back, table)


def test_polars_tables_come_back(client: Client) -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"n": [1, 2, None], "w": ["a", "b", "ç"], "l": [[1], [], [2, 3]]})
    back = client.execute("echo", frame)
    assert type(back) is pl.DataFrame
    assert back.schema == frame.schema
    assert back.equals(frame)
    column = client.execute("echo", frame["w"])
    assert type(column) is pl.Series
    assert (column.name, column.to_list()) == ("w", ["a", "b", "ç"])


def test_arrow_tables_come_back(client: Client) -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"n": [1, None, 3], "w": ["a", "b", None]}).replace_schema_metadata({"k": "v"})
    for value in (table, table.to_batches()[0], pa.array([1, 2, None]), pa.array([["a"], []])):
        back = client.execute("echo", value)
        assert type(back) is type(value)
        assert back.equals(value)
    assert client.execute("echo", table).schema.equals(table.schema, check_metadata=True)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F"])
def test_pictures_come_back(client: Client, mode: str) -> None:
    image = pytest.importorskip("PIL.Image")
    picture = image.linear_gradient("L").resize((33, 21)).convert("RGB").convert(mode)
    back = client.execute("echo", picture)
    assert isinstance(back, image.Image)
    assert (back.mode, back.size) == (picture.mode, picture.size)
    assert back.tobytes() == picture.tobytes()
    assert back.getpalette() == picture.getpalette()


def test_a_picture_opened_from_a_file_comes_back(client: Client, tmp_path: pathlib.Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.linear_gradient("L").convert("RGB").save(tmp_path / "picture.png")
    with image.open(tmp_path / "picture.png") as picture:
        assert client.execute("echo", picture).tobytes() == picture.tobytes()


@pytest.mark.parametrize("make", [lambda: object(), lambda: (x for x in "a"), lambda: open, lambda: type])
def test_what_has_no_form_is_refused_not_pickled(client: Client, make: Callable[[], object]) -> None:
    with pytest.raises(TypeError):
        client.execute("echo", make())
