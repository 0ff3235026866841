import json
from collections import namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from easyremote.cli.jsonable import to_json


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


@dataclass
class Point:
    x: int
    y: object


class Record(msgspec.Struct):
    name: str
    parts: list[int]


class Stubborn:
    def __str__(self) -> str:
        raise RuntimeError("no")


Pair = namedtuple("Pair", "left right")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_what_json_has_a_form_for_comes_back_the_same_from_one_line(value: Any) -> None:
    line = to_json(value)
    assert "\n" not in line
    assert json.loads(line) == value


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (Colour.RED, "red"),
        (Level.LOW, 1),
        (Point(1, Point(2, Colour.RED)), {"x": 1, "y": {"x": 2, "y": "red"}}),
        (Record("a", [1]), {"name": "a", "parts": [1]}),
        (Pair(1, (2, 3)), [1, [2, 3]]),
        ({1: "a", None: "b", (2, 3): "c"}, {"1": "a", "null": "b", "[2, 3]": "c"}),
        ({frozenset([7])}, [[7]]),
        (b"\x00\xff", {"base64": "AP8="}),
        ([float("nan"), float("inf"), 0.5], [None, None, 0.5]),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        (Decimal("1.50"), "1.50"),
        (PurePosixPath("/a/b"), "/a/b"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (timedelta(seconds=90), {"type": "datetime.timedelta", "text": "0:01:30"}),
        (1j, {"type": "builtins.complex", "text": "1j"}),
        pytest.param(10**5000, hex(10**5000), id="long integer"),
    ],
)
def test_what_json_has_no_form_for_is_told_as_well_as_can_be(value: object, wanted: object) -> None:
    assert json.loads(to_json(value)) == wanted


def test_arrays_and_tables_become_lists() -> None:
    np = pytest.importorskip("numpy")
    assert json.loads(to_json({"a": np.arange(4).reshape(2, 2), "b": np.float32(0.5)})) == {
        "a": [[0, 1], [2, 3]],
        "b": 0.5,
    }
    pd = pytest.importorskip("pandas")
    assert json.loads(to_json(pd.DataFrame({"x": [1, 2], "y": ["a", "b"]}))) == [
        {"x": 1, "y": "a"},
        {"x": 2, "y": "b"},
    ]
    pl = pytest.importorskip("polars")
    assert json.loads(to_json(pl.DataFrame({"x": [1]}))) == [{"x": 1}]
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Model", when=(date, ...))
    assert json.loads(to_json(model(when=date(2026, 1, 2)))) == {"when": "2026-01-02"}


def test_the_hardest_values_still_give_a_line() -> None:
    nested: list[Any] = []
    for _ in range(1_000):
        nested = [nested]
    assert json.loads(to_json(nested))
    assert json.loads(to_json(Stubborn()))["type"].endswith("Stubborn")
