"""Objects of classes: who may be rebuilt, and what never runs."""

from __future__ import annotations

import dataclasses
import enum
import sys
import types
from typing import NamedTuple

import msgspec
import pytest

from easyremote.errors import DecodeError, EncodeError, UsageError
from easyremote.wire.values import decode, encode, register_type

attrs = pytest.importorskip("attrs")
pydantic = pytest.importorskip("pydantic")


class Colour(enum.Enum):
    RED = 1
    GREEN = (2, object)


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    YES = "yes"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Point:
    x: int
    y: object = None
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    start: Point
    end: Point


@attrs.frozen
class Box:
    size: int
    _secret: str = "s"


class Record(msgspec.Struct):
    name: str
    inner: object = None


class Pair(NamedTuple):
    left: object
    right: object


class Model(pydantic.BaseModel):
    name: str = pydantic.Field(alias="Name")
    count: int = 0


class Many(pydantic.RootModel[list[int]]):
    pass


@register_type
class Plain:
    __slots__ = ("__dict__", "__hidden", "slot")

    def __init__(self):
        raise AssertionError("a rebuilt object's __init__ must not run")


def plain():
    made = object.__new__(Plain)
    made.slot, made.free, made._Plain__hidden = 1, (2,), 3
    return made


def named(kind, module, qualname, fields):
    """The bytes of an object as a stranger may write them."""
    payload = msgspec.msgpack.encode([kind, module, qualname, fields])
    return msgspec.msgpack.encode(msgspec.msgpack.Ext(32, payload))


@pytest.mark.parametrize(
    "value",
    [
        Colour.RED,
        Colour.GREEN,
        Level.LOW,
        Word.YES,
        Access.READ,
        Access.READ | Access.WRITE,
        Access(0),
        Point(1, (2,), ["x"]),
        Line(Point(1), Point(2, {3})),
        Box(5),
        Record("n", Pair(1, [Colour.RED])),
        Pair(1, (2,)),
        Model(Name="x"),
        Many([1, 2]),
        {Colour.RED: 1, Pair(1, 2): 2},
    ],
    ids=lambda value: type(value).__name__,
)
def test_objects_come_back_as_their_class(value):
    found = decode(encode(value))
    assert found == value
    assert type(found) is type(value)
    if isinstance(value, enum.Enum):
        assert found is value


def test_a_model_remembers_which_fields_were_set():
    assert decode(encode(Model(Name="x"))).model_fields_set == {"name"}


def test_an_ordinary_class_travels_once_registered():
    found = decode(encode(plain()))
    assert type(found) is Plain
    assert (found.slot, found.free, found._Plain__hidden) == (1, (2,), 3)


def test_an_ordinary_class_not_registered_is_refused():
    with pytest.raises(EncodeError, match="register_type"):
        encode([types.SimpleNamespace()])


def test_a_hint_names_a_class_whatever_its_module():
    body = named("dataclass", "__main__", "Point", {"x": 1})
    found = decode(body, known=[Point])
    assert found == Point(1)
    assert found.tags == []


def test_classes_beside_a_hint_are_found():
    point = msgspec.msgpack.Ext(32, msgspec.msgpack.encode(["dataclass", "theirs", "Point", {"x": 1}]))
    body = named("dataclass", "theirs", "Line", {"start": point, "end": point})
    assert decode(body, known=[Line]) == Line(Point(1), Point(1))


def test_a_class_in_an_imported_module_is_found_and_nothing_is_imported():
    assert decode(named("flag", "re", "RegexFlag", ["ASCII"]))
    unused = "this" if "this" not in sys.modules else "antigravity"
    with pytest.raises(DecodeError, match=r"has not met.*register_type"):
        decode(named("dataclass", unused, "Anything", {}))
    assert unused not in sys.modules


@pytest.mark.parametrize(
    "body",
    [
        named("object", "subprocess", "Popen", {"args": "id"}),
        named("dataclass", "subprocess", "Popen", {"args": "id"}),
        named("object", "builtins", "object", {}),
        named("namedtuple", "builtins", "eval", {}),
        named("dataclass", __name__, "Point", {"x": 1, "__class__": 2}),
        named("dataclass", __name__, "Point", {"x": 1, "z": 2}),
        named("dataclass", __name__, "Point", {"y": 1}),
        named("dataclass", __name__, "Point", [1]),
        named("dataclass", __name__, "Point", {1: 1}),
        named("struct", __name__, "Point", {"x": 1}),
        named("struct", __name__, "Record", {"nome": 1}),
        named("enum", __name__, "Colour", "BLUE"),
        named("enum", __name__, "Colour", "__init__"),
        named("enum", __name__, "Colour", ["RED"]),
        named("flag", __name__, "Access", ["__or__"]),
        named("namedtuple", __name__, "Pair", [1]),
        named("pydantic", __name__, "Model", [{"name": []}, []]),
        named("pydantic", __name__, "Model", {}),
        named(1, 2, 3, 4),
        named("object", __name__, "Plain.__init__", {}),
        named("object", __name__, "", {}),
    ],
)
def test_what_is_no_object_is_a_decode_error(body):
    decode(encode([Point(1), Record("n"), Colour.RED, Access.READ, Pair(1, 2), Model(Name="x"), plain()]))
    with pytest.raises(DecodeError):
        decode(body)


def test_a_module_is_not_asked_for_names_it_makes_up():
    module = types.ModuleType("lazy_module")
    module.__getattr__ = lambda name: pytest.fail("a module's code ran")
    sys.modules["lazy_module"] = module
    try:
        with pytest.raises(DecodeError):
            decode(named("dataclass", "lazy_module", "Thing", {}))
    finally:
        del sys.modules["lazy_module"]


def test_a_class_with_a_destructor_is_refused():
    @dataclasses.dataclass
    class Doomed:
        x: int = 1

        def __del__(self): ...

    with pytest.raises(EncodeError, match="__del__"):
        encode(Doomed())
    with pytest.raises(UsageError, match="__del__"):
        register_type(Doomed)
    with pytest.raises(DecodeError, match="__del__"):
        decode(named("dataclass", "m", Doomed.__qualname__, {"x": 1}), known=[Doomed])


def test_a_dataclass_that_is_also_a_dict_is_refused():
    @dataclasses.dataclass
    class Both(dict):
        x: int = 1

    with pytest.raises(EncodeError, match="builds on dict"):
        encode(Both())


def test_a_place_inside_an_object_is_named():
    with pytest.raises(EncodeError, match=r"the value\[0\]\.start\.y\['a'\] is a "):
        encode([Line(Point(1, {"a": object()}), Point(2))])


def test_a_namedtuple_of_an_unknown_class_is_a_tuple():
    assert decode(named("namedtuple", "elsewhere", "Row", [1, 2])) == (1, 2)


def test_register_type_wants_a_class():
    with pytest.raises(UsageError, match="class"):
        register_type(3)
