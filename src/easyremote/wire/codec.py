"""How a value is taken down to what msgpack holds, and brought back up.

``Writer`` and ``Reader`` live for one value. Which types they know is not their business: ``LOWER`` (by
type) and ``RAISE`` (by extension code) are filled by the files that know a kind of value, and gathered in
``values.py``. Nothing here imports, evaluates or trusts a length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from msgspec.msgpack import Ext

from easyremote.errors import DecodeError
from easyremote.wire.limits import INLINE_BYTES

MAX_DEPTH = 100
"""How deep containers may lie in each other."""

_encode = msgspec.msgpack.Encoder().encode

FLAT: frozenset[type] = frozenset((type(None), bool, int, float, str))
"""What msgpack holds as it is, nearly always."""

_SURELY_FLAT: frozenset[type] = frozenset((type(None), bool, float))
"""What msgpack holds as it is, always: not an int past 64 bits, not text with lone surrogates."""


class Refused(Exception):
    """A value has no form on the wire.

    Attributes:
        what: What it is, and what to pass instead, to follow the place where it lies.
        trail: Where it lies, innermost first, such as ``["[3]", "['x']"]``.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.trail: list[str] = []


class NotFlat(Exception):
    """An extension was met where none was expected."""


class Writer:
    """One value on its way down.

    Attributes:
        buffers: Large buffers, in order, that go after the head.
        flat: Types that need no look; fewer, once msgpack has refused an int or a text.
    """

    __slots__ = ("buffers", "flat")

    def __init__(self, *, careful: bool = False) -> None:
        self.buffers: list[memoryview] = []
        self.flat = _SURELY_FLAT if careful else FLAT

    def lower(self, value: object, depth: int) -> object:
        """Return what msgpack holds for ``value``, which lies ``depth`` containers down.

        Raises:
            Refused: It has no form on the wire.
        """
        kind = type(value)
        if kind in self.flat:
            return value
        lower = LOWER.get(kind)
        if lower is None:
            lower = find_lower(kind)
        if depth >= MAX_DEPTH:
            raise Refused(
                f"is nested more than {MAX_DEPTH} levels deep, or contains itself. "
                "Pass it flatter, for example as a list of records"
            )
        return lower(self, value, depth + 1)

    def lower_items(self, items: Sequence[object], depth: int) -> Sequence[object]:
        """Lower each item, or return ``items`` themselves where none needs it."""
        if self.flat.issuperset(map(type, items)):
            return items
        lowered: list[object] = []
        append, flat, lower = lowered.append, self.flat, self.lower
        try:
            for item in items:
                append(item if type(item) in flat else lower(item, depth))
        except Refused as refused:
            refused.trail.append(f"[{len(lowered)}]")
            raise
        return lowered

    def lower_fields(self, fields: dict[str, object], depth: int) -> dict[str, object]:
        """Lower the values of a class's fields."""
        if self.flat.issuperset(map(type, fields.values())):
            return fields
        lowered = {}
        name = ""
        try:
            for name, item in fields.items():
                lowered[name] = self.lower(item, depth)
        except Refused as refused:
            refused.trail.append(f".{name}")
            raise
        return lowered

    def store(self, buffer: memoryview) -> bytes | int:
        """Put a flat buffer of bytes aside if it is large; return it, or its number."""
        if len(buffer) <= INLINE_BYTES:
            return bytes(buffer)
        self.buffers.append(buffer)
        return len(self.buffers) - 1

    @staticmethod
    def ext(code: int, lowered: object) -> Ext:
        """An extension whose payload is ``lowered``."""
        return Ext(code, _encode(lowered))


class Reader:
    """One value on its way up.

    Attributes:
        known: Classes of the receiver's own that values may be rebuilt as.
        unpack: Decodes msgpack with extensions; nested payloads too.
    """

    __slots__ = ("_buffers", "_depth", "known", "unpack")

    def __init__(self, buffers: Sequence[memoryview], known: Sequence[type]) -> None:
        self._buffers: list[memoryview | None] = list(buffers)
        self._depth = 0
        self.known = known
        self.unpack: Callable[[Any], Any] = msgspec.msgpack.Decoder(ext_hook=self._raise).decode

    def _raise(self, code: int, data: memoryview) -> object:
        restore = RAISE.get(code)
        if restore is None:
            raise DecodeError(
                f"a value holds extension {code}, which this version of EasyRemote does not know"
            )
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise DecodeError(f"a value is nested more than {MAX_DEPTH} levels deep")
        value = restore(self, data)
        self._depth -= 1  # an error ends the whole decoding: no need to count down then
        return value

    def items(self, data: memoryview, count: int | None = None) -> list[Any]:
        """The payload as a list, of ``count`` items where that is fixed.

        Raises:
            DecodeError: It is something else.
        """
        found = self.unpack(data)
        if type(found) is not list or (count is not None and len(found) != count):
            raise DecodeError(f"an extension wants a list of {count or 'any'} items, found {found!r:.80}")
        return found

    def fetch(self, stored: object) -> bytearray | memoryview:
        """The writable memory of what ``Writer.store`` put aside; each buffer can be had once."""
        if type(stored) is bytes:
            return bytearray(stored)
        if type(stored) is not int or not 0 <= stored < len(self._buffers):
            raise DecodeError(f"a value wants buffer {stored!r:.80}, {len(self._buffers)} are there")
        buffer = self._buffers[stored]
        if buffer is None:
            raise DecodeError(f"a value uses buffer {stored} twice")
        self._buffers[stored] = None
        return bytearray(buffer) if buffer.readonly else buffer


Lower = Callable[[Writer, Any, int], object]
Raise = Callable[[Reader, memoryview], object]

LOWER: dict[type, Lower] = {}
RAISE: dict[int, Raise] = {}
FINDERS: list[Callable[[type], Lower | None]] = []
"""Asked in order, when ``LOWER`` does not know a type, how it is lowered."""

_found: WeakKeyDictionary[type, Lower] = WeakKeyDictionary()

_HINTS = {
    "generator": "Pass list(value), or make the function itself a generator and stream it",
    "async_generator": "Make the function itself an async generator and stream it",
    "coroutine": "Await it first",
    "function": "Code does not travel: register it on a node and pass its name",
    "builtin_function_or_method": "Code does not travel: register it on a node and pass its name",
    "method": "Code does not travel: register it on a node and pass its name",
    "type": "Pass its name",
    "module": "Pass its name",
    "TextIOWrapper": "Read it and pass its text",
    "BufferedReader": "Read it and pass its bytes",
    "dict_keys": "Pass list(value)",
    "dict_values": "Pass list(value)",
    "dict_items": "Pass list(value)",
    "map": "Pass list(value)",
    "filter": "Pass list(value)",
    "zip": "Pass list(value)",
}


def show(value: object) -> str:
    """A value as text for a message: short, and whatever its own ``repr`` does."""
    try:
        return f"{value!r:.60}"
    except Exception:
        return f"a {type(value).__name__}"


def find_lower(kind: type) -> Lower:
    """How a type outside ``LOWER`` is lowered.

    Raises:
        Refused: It cannot be.
    """
    lower = _found.get(kind)
    if lower is not None:
        return lower
    for find in FINDERS:
        lower = find(kind)
        if lower is not None:
            _found[kind] = lower
            return lower
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    for base in kind.__mro__[1:-1]:
        if base in LOWER or base in FLAT:
            raise Refused(
                f"is a {name}, a subclass of {base.__name__} that the other side may not have. "
                f"Pass {base.__name__}(value)"
            )
    hint = _HINTS.get(kind.__name__) or (
        "Pass plain values instead, or make it a dataclass, an Enum or a pydantic or attrs class, "
        "or decorate it with easyremote.register_type"
    )
    raise Refused(f"is a {name}, which has no form on the wire. {hint}")
