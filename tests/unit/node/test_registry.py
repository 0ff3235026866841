"""What may be registered, and how it is introduced."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Literal

import numpy as np
import pytest

from easyremote.errors import UsageError
from easyremote.node.registry import Registry
from easyremote.node.schema import read_docstring
from easyremote.wire.cards import FunctionCard


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


def shift(points: list[Point], by: float = 1.5, *, mode: str = "fast", **rest: int) -> Point:  # noqa: D417
    """Move points.

    All at once.

    Args:
        points: Where they are,
            in metres.
        by (float): How far.

    Returns:
        The first.
    """
    return points[0]


@pytest.fixture
def registry() -> Registry:
    return Registry()


def card_of(registry: Registry, function, **options) -> FunctionCard:
    return registry.add(function, **options).card


def test_a_card_says_what_hints_and_docstring_say(registry):
    card = card_of(
        registry, shift, tags=["geometry"], timeout_seconds=3, max_concurrent=2, resources={"gpu": 1}
    )
    assert card.name == "shift"
    assert card.description == "Move points.\n\nAll at once."
    assert (
        card.signature
        == "(points: list[Point], by: float = 1.5, *, mode: str = 'fast', **rest: int) -> Point"
    )
    assert card.accepts == ["points", "by", "mode"]
    assert card.var_keyword
    assert not card.stream
    assert (card.tags, card.timeout_seconds, card.max_concurrent) == (["geometry"], 3.0, 2)
    assert card.resources == {"gpu": 1}
    schema = card.parameters
    assert schema["required"] == ["points"]
    assert schema["additionalProperties"] is True
    assert schema["properties"]["points"] == {
        "type": "array",
        "items": {"$ref": "#/$defs/Point"},
        "description": "Where they are, in metres.",
    }
    assert schema["properties"]["by"] == {"type": "number", "description": "How far.", "default": 1.5}
    assert schema["$defs"]["Point"]["required"] == ["x"]
    assert card.returns["$ref"] == "#/$defs/Point"
    assert "Point" in card.returns["$defs"]


def test_a_type_without_a_schema_still_has_a_title(registry):
    def blur(image: np.ndarray, many: list[np.ndarray]) -> np.ndarray:
        return image

    card = card_of(registry, blur)
    assert card.parameters["properties"]["image"] == {"title": "ndarray"}
    assert card.parameters["properties"]["many"] == {"type": "array", "items": {"title": "ndarray"}}
    assert card.returns == {"title": "ndarray"}
    assert card.signature == "(image: ndarray, many: list[ndarray]) -> ndarray"


def test_without_hints_anything_goes(registry):
    card = card_of(registry, lambda prompt: prompt, name="ai")
    assert card.parameters["properties"] == {"prompt": {}}
    assert card.signature == "(prompt)"
    assert card.returns == {}


def test_a_default_without_a_plain_form_does_not_show_an_address(registry):
    def function(x=object()):  # noqa: B008
        pass

    assert card_of(registry, function).signature == "(x=...)"


def test_the_owner_may_describe_it_in_other_words(registry):
    assert card_of(registry, shift, description="Shifts.").description == "Shifts."


def numbers(n: int) -> Iterator[int]:
    yield from range(n)


async def later(n: int) -> AsyncIterator[str]:
    yield "a"


async def soon(n: int) -> str:
    return "a"


def test_kinds_are_told_apart(registry):
    entries = [registry.add(f) for f in (numbers, later, soon, shift)]
    assert [e.streams for e in entries] == [True, True, False, False]
    assert [e.on_loop for e in entries] == [False, True, True, False]
    assert entries[0].card.returns == {"type": "integer"}
    assert entries[1].card.returns == {"type": "string"}


def test_partials_and_objects_need_a_name_and_keep_their_kind(registry):
    class Service:
        async def __call__(self, x: int) -> int:
            return x

    with pytest.raises(UsageError, match=r"functools.partial.*pass name="):
        registry.add(functools.partial(soon, 1))
    with pytest.raises(UsageError, match=r"'Service'.*pass name="):
        registry.add(Service())
    with pytest.raises(UsageError, match=r"a lambda.*pass name="):
        registry.add(lambda: 1)
    assert registry.add(functools.partial(soon, 1), name="one").on_loop
    assert registry.add(functools.partial(numbers, 1), name="two").streams
    assert registry.add(Service(), name="three").on_loop
    assert registry.add(len).name == "len"
    assert registry.add(max).card.signature == "(...)"


@pytest.mark.parametrize("name", ["", "node.fn", "two words", "1st", "x" * 129, "a/b", "é\n"])
def test_bad_names_are_refused(registry, name):
    with pytest.raises(UsageError, match="wanted a name"):
        registry.add(shift, name=name)


@pytest.mark.parametrize("name", ["image-classify", "_private", "识别", "f2"])
def test_good_names_are_taken(registry, name):
    assert registry.add(shift, name=name).name == name
    assert name in registry


def test_what_cannot_be_called_or_is_a_class_is_refused(registry):
    with pytest.raises(UsageError, match="wanted a function to register, found 3"):
        registry.add(3)
    with pytest.raises(UsageError, match="the class 'Point'"):
        registry.add(Point)


@pytest.mark.parametrize(
    "options",
    [{"timeout_seconds": 0}, {"max_concurrent": -1}, {"cache_ttl": "long"}, {"max_concurrent": True}],
)
def test_numbers_must_be_above_zero(registry, options):
    with pytest.raises(UsageError, match="above 0"):
        registry.add(shift, **options)


@pytest.mark.parametrize(
    "options", [{"resources": {"gpu": object()}}, {"tags": ["x" * 200]}, {"resources": {"n": 2**70}}]
)
def test_what_cannot_be_advertised_is_refused_at_once(registry, options):
    with pytest.raises(UsageError, match="cannot be introduced"):
        registry.add(shift, **options)
    assert len(registry) == 0


def test_hints_and_defaults_of_any_size_make_a_card(registry):
    def function(a: Literal[tuple(f"choice {n}" for n in range(2000))], b=2**80, c="x" * 10_000):
        """Described at length."""

    function.__doc__ = "word " * 10_000
    card = card_of(registry, function)
    assert card.signature == "(...)"
    assert len(card.description) < 10_000
    assert "default" not in card.parameters["properties"]["c"]


def test_a_name_is_taken_once_unless_replaced(registry):
    first = registry.add(shift)
    with pytest.raises(UsageError, match=r"'shift' is registered already.*test_registry.py.*replace=True"):
        registry.add(shift)
    second = registry.add(shift, replace=True)
    assert registry.get("shift") is second is not first


def test_entries_come_in_the_order_they_were_added(registry):
    added = [registry.add(f) for f in (shift, numbers, soon)]
    assert registry.entries() == added


def test_removing_takes_it_off_the_list(registry):
    registry.add(shift)
    registry.add(numbers, listed=False)
    assert [card.name for card in registry.cards()] == ["shift"]
    before = registry.revision
    assert registry.remove("shift")
    assert not registry.remove("shift")
    assert registry.revision == before + 1
    assert registry.cards() == []
    assert registry.get("shift") is None
    assert registry.get("numbers") is not None


def test_threads_may_register_at_once(registry):
    def add(number: int) -> None:
        for index in range(50):
            registry.add(shift, name=f"f{number}_{index}")

    threads = [threading.Thread(target=add, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(registry) == 200
    assert registry.revision == 200


def test_sphinx_docstrings_are_read_too():
    summary, notes = read_docstring("Do.\n\n:param int x: The x,\n    longer.\n:param y: The y.\n:returns: z")
    assert summary == "Do."
    assert notes["x"] == "The x, longer."
    assert notes["y"].startswith("The y.")
