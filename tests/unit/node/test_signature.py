"""Arguments fit the parameters, or the error says which does not and why."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import enum
import functools
import pathlib
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypedDict, TypeVar

import attrs
import msgspec
import numpy as np
import numpy.typing as npt
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from easyremote.errors import ArgumentError
from easyremote.node.signature import Binder

T = TypeVar("T")
UserId = typing.NewType("UserId", int)


@dataclasses.dataclass
class Point:
    x: float
    y: int = 0


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Line(msgspec.Struct):
    start: Point
    colour: Colour | None = None


class Model(pydantic.BaseModel):
    count: int


@attrs.define
class Box:
    size: int


class Options(TypedDict):
    depth: int


class Pair(NamedTuple):
    left: int


class Tree(msgspec.Struct):
    value: int
    children: list[Tree] = []


def taking(hint: Any) -> Binder:
    def function(value):
        raise AssertionError("never called")

    function.__annotations__["value"] = hint
    return Binder(function, name="function")


def fit(hint: Any, value: Any) -> Any:
    args, kwargs = taking(hint).bind([value], {})
    assert kwargs == {}
    return args[0]


def refusal(hint: Any, value: Any) -> str:
    with pytest.raises(ArgumentError) as caught:
        fit(hint, value)
    assert caught.value.function == "function"
    return str(caught.value)


class TestHints:
    @pytest.mark.parametrize(
        ("hint", "value"),
        [
            (int, 3),
            (int, True),
            (float, 1.5),
            (str, "a"),
            (bytes, b"a"),
            (bool, False),
            (Any, object),
            (T, 3),
            ("Missing", 3),
            (Callable[[int], int], 3),
            (list, [1]),
            (list[int], [1, 2]),
            (list[T], [1, "a"]),
            (typing.List[int], [1]),  # noqa: UP006
            (dict[str, int], {"a": 1}),
            (dict[str, Any], {"a": object}),
            (Mapping[str, float], {"a": 1.0}),
            (set[str], {"a"}),
            (Sequence[int], (1, 2)),
            (Iterable[int], range(3)),
            (int | None, None),
            (int | str, "a"),
            (float | int, 1),
            (Literal["a", 1], 1),
            (Annotated[int, msgspec.Meta(ge=0)], 5),
            (UserId, 4),
            (Point, Point(1.0)),
            (Colour, Colour.RED),
            (Model, Model(count=1)),
            (Box, Box(1)),
            (Pair, Pair(1)),
            (datetime.date, datetime.date(2024, 1, 1)),
            (range, range(2)),
        ],
    )
    def test_what_fits_is_passed_on_untouched(self, hint, value):
        assert fit(hint, value) is value

    def test_an_array_is_not_copied(self):
        array = np.zeros(3)
        assert fit(np.ndarray, array) is array
        assert fit(npt.NDArray[np.float64], array) is array
        assert fit(np.ndarray | None, array) is array

    @pytest.mark.parametrize(
        ("hint", "value", "wanted"),
        [
            (float, 1, 1.0),
            (float, np.float32(1.5), 1.5),
            (int, np.int64(3), 3),
            (bool, np.True_, True),
            (complex, 1, 1 + 0j),
            (bytes, bytearray(b"x"), b"x"),
            (list[float], [1, 2.5], [1.0, 2.5]),
            (dict[str, float], {"a": 1}, {"a": 1.0}),
            (tuple[int, str], [1, "a"], (1, "a")),
            (tuple[int, ...], [1, 2], (1, 2)),
            (set[int], [1, 2], {1, 2}),
            (pathlib.Path, "a/b", pathlib.Path("a/b")),
            (Point, {"x": 1}, Point(1.0)),
            (list[Point], [Point(2.0), {"x": 1}], [Point(2.0), Point(1.0)]),
            (Line, {"start": {"x": 1}, "colour": "red"}, Line(Point(1.0), Colour.RED)),
            (Colour, "blue", Colour.BLUE),
            (Model, {"count": 2}, Model(count=2)),
            (Box, {"size": 2}, Box(2)),
            (Options, {"depth": 2}, {"depth": 2}),
            (Pair, [1], Pair(1)),
            (Point | None, {"x": 1}, Point(1.0)),
            (datetime.date, "2024-01-01", datetime.date(2024, 1, 1)),
        ],
    )
    def test_what_can_be_made_to_fit_is_converted(self, hint, value, wanted):
        found = fit(hint, value)
        assert found == wanted
        assert type(found) is type(wanted)

    @pytest.mark.parametrize(
        ("hint", "value", "text"),
        [
            (int, "abc", "function() argument 'value': wanted int, found str 'abc'"),
            (int, 1.0, "function() argument 'value': wanted int, found float 1.0"),
            (str, None, "function() argument 'value': wanted str, found None"),
            (list[float], [1, "x"], "function() argument 'value'[1]: wanted float, found str 'x'"),
            (
                dict[str, list[int]],
                {"a": [1, "b"]},
                "function() argument 'value'['a'][1]: wanted int, found str 'b'",
            ),
            (int | None, "x", "function() argument 'value': wanted int | None, found str 'x'"),
            (Literal["a", 1], True, "function() argument 'value': wanted 'a' | 1, found bool True"),
            (
                tuple[int, str],
                [1],
                "function() argument 'value': wanted tuple[int, str], found list of 1 items",
            ),
            (np.ndarray, [1.0], "function() argument 'value': wanted ndarray, found list"),
            (Colour, "pink", "function() argument 'value': wanted Colour ('red' | 'blue'), found str 'pink'"),
            (bool, 1, "function() argument 'value': wanted bool, found int 1"),
        ],
    )
    def test_what_does_not_fit_is_named(self, hint, value, text):
        assert refusal(hint, value) == text

    def test_a_constraint_is_kept(self):
        assert ">= 0" in refusal(Annotated[int, msgspec.Meta(ge=0)], -1)

    def test_a_wrong_field_is_named(self):
        assert "$.start.x" in refusal(Line, {"start": {"x": "one"}})
        assert "count" in refusal(Model, {"count": "one"})

    def test_the_found_value_is_cut_short(self):
        assert len(refusal(int, "x" * 100_000)) < 200

    def test_a_default_of_none_lets_none_in(self):
        def function(value: int = None):  # noqa: RUF013
            pass

        assert Binder(function).bind([None], {}) == ([None], {})

    @given(
        st.recursive(
            st.none() | st.integers() | st.text() | st.floats(),
            lambda s: st.lists(s) | st.dictionaries(st.text(), s),
        )
    )
    def test_any_value_either_fits_or_is_an_argument_error(self, value):
        for hint in (int, list[float], dict[str, int | None], Line, Tree, Colour, tuple[int, str], set[str]):
            with contextlib.suppress(ArgumentError):
                fit(hint, value)


def resize(image: bytes, /, width: int, height: int = 100, *, mode: str = "fast", **rest: float) -> bytes:
    return image


def strict(width: int, height: int = 2):
    pass


class TestCalls:
    def test_positions_and_names_find_their_parameters(self):
        binder = Binder(resize)
        assert binder.bind([b"", 1], {}) == ([b"", 1], {})
        assert binder.bind([b""], {"width": 1, "mode": "slow"}) == ([b""], {"width": 1, "mode": "slow"})
        assert binder.bind([b"", 1], {"gamma": 1}) == ([b"", 1], {"gamma": 1.0})

    @pytest.mark.parametrize(
        ("args", "kwargs", "text"),
        [
            ([], {}, "strict() misses argument 'width'"),
            ([1, 2, 3], {}, "strict() takes at most 2 positional arguments, found 3"),
            ([1], {"width": 1}, "strict() found two values for argument 'width'"),
            ([1], {"heigth": 1}, "strict() has no argument 'heigth': did you mean 'height'?"),
            ([1], {"q": 1}, "strict() has no argument 'q': it takes 'width', 'height'"),
            ([], {"width": "a"}, "strict() argument 'width': wanted int, found str 'a'"),
        ],
    )
    def test_what_cannot_be_called_says_why(self, args, kwargs, text):
        with pytest.raises(ArgumentError) as caught:
            Binder(strict).bind(args, kwargs)
        assert str(caught.value) == text

    def test_a_positional_only_name_may_be_another_keyword(self):
        assert Binder(resize).bind([b"", 1], {"image": 2.0}) == ([b"", 1], {"image": 2.0})
        with pytest.raises(ArgumentError, match="misses argument 'image'"):
            Binder(resize).bind([], {"image": 2.0, "width": 1})

    def test_a_keyword_only_argument_may_be_required(self):
        def function(*, key: int):
            pass

        assert Binder(function).bind([], {"key": 1}) == ([], {"key": 1})
        with pytest.raises(ArgumentError, match="misses argument 'key'"):
            Binder(function).bind([], {})

    def test_each_of_many_is_checked(self):
        def function(*numbers: int):
            pass

        assert Binder(function).bind([1, 2], {}) == ([1, 2], {})
        with pytest.raises(ArgumentError, match="argument 2: wanted int, found str"):
            Binder(function).bind([1, "b"], {})

    def test_a_bound_method_has_no_self(self):
        class Scanner:
            def scan(self, page: int):
                pass

        assert Binder(Scanner().scan).bind([1], {}) == ([1], {})

    def test_a_partial_wants_the_rest(self):
        binder = Binder(functools.partial(strict, 1), name="one")
        assert binder.bind([5], {}) == ([5], {})
        with pytest.raises(ArgumentError, match=r"one\(\) argument 'height': wanted int"):
            binder.bind(["x"], {})

    def test_a_wrapped_function_keeps_its_hints(self):
        @functools.wraps(strict)
        def wrapper(*args, **kwargs):
            return strict(*args, **kwargs)

        with pytest.raises(ArgumentError, match="wanted int"):
            Binder(wrapper).bind(["x"], {})

    def test_an_object_is_called_by_its_call(self):
        class Doubler:
            def __call__(self, x: int) -> int:
                return 2 * x

        with pytest.raises(ArgumentError, match="wanted int"):
            Binder(Doubler(), name="double").bind(["x"], {})

    def test_one_hint_that_names_nothing_does_not_spoil_the_others(self):
        def function(a: Missing, b: int):  # noqa: F821
            pass

        assert Binder(function).bind(["anything", 1], {}) == (["anything", 1], {})
        with pytest.raises(ArgumentError, match="'b'"):
            Binder(function).bind(["anything", "x"], {})

    def test_a_function_written_in_c_takes_what_it_takes(self):
        binder = Binder(max)
        assert binder.bind([1, 2], {"key": 3}) == ([1, 2], {"key": 3})


def test_known_are_the_classes_in_the_hints_and_in_their_fields():
    def function(a: list[Line], b: Model | None, c: int, d: np.ndarray) -> Box:
        raise AssertionError

    assert set(Binder(function).known) == {Line, Point, Colour, Model}
