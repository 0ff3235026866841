"""Types of a user's own, imported by the node and by the caller."""

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

import attrs
import msgspec
import pydantic


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 9


class Access(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


@dataclass
class Box:
    width: int
    height: int


@dataclass(frozen=True)
class Shelf:
    label: str
    boxes: list[Box]
    colour: Colour = Colour.RED
    notes: dict[str, list[int]] = field(default_factory=dict)


@dataclass(slots=True)
class Slotted:
    x: float
    y: float


class Point(NamedTuple):
    x: int
    y: int


@attrs.define
class Drawer:
    name: str
    contents: list[bytes]


class Ticket(msgspec.Struct):
    number: int
    holder: str | None = None


class Address(pydantic.BaseModel):
    street: str
    number: int


class Person(pydantic.BaseModel):
    name: str
    address: Address
    tags: list[str] = []
