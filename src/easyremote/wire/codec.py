"""How a value is taken down to what msgpack holds, and brought back up.

``Writer`` and ``Reader`` live for one value. Which types they know is not their business: ``LOWER`` (by
type) and ``RAISE`` (by extension code) are filled by the files that know a kind of value, and gathered in
``values.py``. Nothing here imports, evaluates or trusts a length.

Hashes of numbers and tuples are no secret, and keys made to collide would take time that grows with their
square: ``check_keys`` and ``check_hashes`` look before a map or a set is built.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from msgspec.msgpack import Ext

from easyremote.errors import DecodeError
from easyremote.wire import codes
from easyremote.wire.limits import INLINE_BYTES

MAX_DEPTH = 100
"""How deep containers may lie in each other."""

SMALL_BYTES = 2048
"""Maps in fewer bytes have so few keys that it does not matter how they collide."""

SPARE_BYTES = 2 << 20
"""What a value may take, all told, for parts whose size is not bound to the bytes that came."""

_PAIRS_PER_MEMBER = 32  # any 65 members pass; the powers of 2 from 2**-1074 to 2**1023, as floats, need 17

_encode = msgspec.msgpack.Encoder().encode
_decode_list = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_key: Any = None | bool | int | float | str
_decode_map = msgspec.msgpack.Decoder(dict[_key, msgspec.Raw]).decode
_LARGE_MAPS = {0xDE: 3, 0xDF: 5}  # the first byte of a map, and how many its header has
_LARGE_LISTS = (0xDC, 0xDD)
_KEY_HEADS = frozenset(
    (*range(0x80), *range(0xA0, 0xC1), *range(0xC2, 0xC7), *range(0xCA, 0xD4), *range(0xD9, 0xDC))
) | frozenset(range(0xE0, 0x100))  # all but of maps, arrays and extensions

PLAIN: Any = _key
for _ in range(6):
    PLAIN = _key | list[PLAIN] | dict[_key, PLAIN]
"""Plain values as a type, lists and maps nested no deeper than this, the keys of maps plain as well."""

decode_plain: Callable[[bytes | bytearray | memoryview], Any] = msgspec.msgpack.Decoder(PLAIN).decode
"""Decodes ``PLAIN`` without hesitation, whatever its size; msgspec checks the keys as it goes."""

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


def brief(found: object, level: int = 0) -> str:
    """What was found, for a message: its type and as much of it as fits, never all of it in between.

    Of what is neither plain nor a list or dict only the type is told: its ``repr`` is somebody's code.
    """
    kind = type(found)
    if kind is str or kind is bytes:
        text: Any = found
        return repr(text) if len(text) <= 60 else f"{text[:60]!r}… ({len(text)} long)"
    if isinstance(found, int) and kind in (int, bool):
        return repr(found) if found.bit_length() <= 128 else f"an int of {found.bit_length()} bits"
    if found is None or kind is float:
        return repr(found)
    if isinstance(found, (list, tuple, dict, set, frozenset)) and kind.__module__ == "builtins":
        name = f"a {kind.__name__} of {len(found)} items"
        if level or not isinstance(found, (list, tuple)) or not found:
            return name
        shown = ", ".join(brief(item, level + 1) for item in found[:3])
        return f"{name}: {shown}{', …' if len(found) > 3 else ''}"
    return f"a {kind.__qualname__:.60}"


def may_collide(data: memoryview) -> bool:
    """Whether a byte that opens a map of more than 15 keys is anywhere in ``data``: a quick look."""
    flat = bytes(data)
    return b"\xde" in flat or b"\xdf" in flat


def check_keys(data: memoryview) -> None:
    """Refuse msgpack with a map that has lists, maps or extensions for keys: ``Writer`` makes none.

    Only containers of over ``SMALL_BYTES`` are looked into, and of maps those of more than 15 keys. Each
    costs one pass over what is in it, so deep nesting is refused as well.

    Raises:
        DecodeError: There is such a map, or it is nested too deeply to know.
        msgspec.DecodeError: It is no msgpack.
    """
    waiting = [(data, 0)]
    while waiting:
        part, depth = waiting.pop()
        head = part[0] if len(part) else 0
        inner: Iterable[msgspec.Raw]
        if head in _LARGE_MAPS:
            inner = _values_of_map(part)
        elif 0x80 <= head < 0x90:
            inner = _as_list(part, 1, head & 15)
        elif 0x90 <= head < 0xA0 or head in _LARGE_LISTS:
            inner = _decode_list(part)
        else:
            continue
        if depth > MAX_DEPTH + 2:  # arguments are two containers more
            raise DecodeError(f"a value is nested more than {MAX_DEPTH} levels deep")
        waiting.extend((memoryview(raw), depth + 1) for raw in inner if len(raw) > SMALL_BYTES)


def _values_of_map(part: memoryview) -> Iterable[msgspec.Raw]:
    """The values of a large map, still encoded, once its keys are known to be plain."""
    header = _LARGE_MAPS[part[0]]
    count = int.from_bytes(part[1:header], "big")
    try:
        found = _decode_map(part)
        if len(found) == count:  # else a key came twice, and with it a value that is not in here
            return found.values()
    except msgspec.ValidationError:
        pass  # keys of bytes, or worse: msgspec cannot take both bytes and text
    both = _as_list(part, header, count)
    for key in both[::2]:
        if memoryview(key)[0] not in _KEY_HEADS:
            raise DecodeError(
                "a map wants numbers, text or bytes for keys, found a list, a map or an extension: "
                f"keys of other types travel as extension {codes.MAP}"
            )
    return both[1::2]


def _as_list(part: memoryview, header: int, count: int) -> list[msgspec.Raw]:
    """The keys and values of a map in turn, still encoded."""
    return _decode_list(b"\xdd" + (2 * count).to_bytes(5, "big")[1:] + part[header:])


def check_hashes(members: Sequence[object]) -> None:
    """Refuse members of a set, or keys of a map, too many of which share a hash.

    Raises:
        DecodeError: Comparing them would take time out of proportion to their number.
    """
    count = len(members)
    if count <= 2 * _PAIRS_PER_MEMBER + 1:
        return
    if len(set(map(hash, members))) == count:
        return
    alike = Counter(map(hash, members))
    pairs = sum(number * (number - 1) // 2 for number in alike.values())
    if pairs > _PAIRS_PER_MEMBER * count:
        raise DecodeError(
            f"a set or map has {count} members, up to {max(alike.values())} of them with the same hash: "
            "at most some tens may. Send them as a list"
        )


class Reader:
    """One value on its way up.

    Attributes:
        known: Classes of the receiver's own that values may be rebuilt as.
    """

    __slots__ = ("_buffers", "_decode", "_depth", "_spare_bytes", "_wary", "known")

    def __init__(self, buffers: Sequence[memoryview], known: Sequence[type]) -> None:
        self._buffers: list[memoryview | None] = list(buffers)
        self._depth = 0
        self._spare_bytes = SPARE_BYTES
        self._wary = False
        self.known = known
        self._decode: Callable[[Any], Any] = msgspec.msgpack.Decoder(ext_hook=self._raise).decode

    def unpack(self, data: memoryview) -> Any:
        """Decode msgpack with extensions; first the whole value, then nested payloads.

        Raises:
            DecodeError: It holds what no value may.
        """
        if len(data) > SMALL_BYTES:
            if not self._depth:  # a payload holds no byte that the whole does not
                self._wary = may_collide(data)
            if self._wary:
                if self._depth:
                    try:
                        return decode_plain(data)
                    except msgspec.MsgspecError:
                        pass
                check_keys(data)
        return self._decode(data)

    def spend(self, size_bytes: int) -> None:
        """Count memory that a part of the value takes beyond proportion to the bytes that came.

        Raises:
            DecodeError: The whole value has used up what it may.
        """
        self._spare_bytes -= max(size_bytes, 0)
        if self._spare_bytes < 0:
            raise DecodeError(
                f"a value unfolds too far: {size_bytes} bytes more than its own size allows, "
                f"of {SPARE_BYTES} for the whole value. Send it in a form that holds its items one by one"
            )

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
            wanted = "any" if count is None else count
            raise DecodeError(f"an extension wants a list of {wanted} items, found {brief(found)}")
        return found

    def members(self, data: memoryview) -> list[Any]:
        """The payload as the members of a set, looked over by ``check_hashes``."""
        found = self.items(data)
        check_hashes(found)
        return found

    def fetch(self, stored: object) -> bytearray | memoryview:
        """The writable memory of what ``Writer.store`` put aside; each buffer can be had once."""
        if type(stored) is bytes:
            return bytearray(stored)
        if type(stored) is not int or not 0 <= stored < len(self._buffers):
            raise DecodeError(f"a value wants buffer {brief(stored)}, {len(self._buffers)} are there")
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
