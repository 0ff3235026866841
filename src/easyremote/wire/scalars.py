"""Dates, exact numbers, paths and the standard collections as values.

Times keep their zone: a ``zoneinfo`` zone by its key where the other side knows it, any other as its
offset. A path comes back as a path of the receiving system where the flavours agree, else as a pure one.
"""

from __future__ import annotations

import datetime as dt
import re
import struct
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any
from zoneinfo import ZoneInfo

from msgspec.msgpack import Ext

from easyremote.errors import DecodeError
from easyremote.wire import codes
from easyremote.wire.codec import LOWER, RAISE, Reader, Refused, Writer, brief

_COMPLEX = struct.Struct("<dd")
_MICROSECOND = dt.timedelta(microseconds=1)
_ZONE_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_+\-]{0,31}(/[A-Za-z][A-Za-z0-9_+\-]{0,31}){0,4}")
_MAX_FRACTION_BITS = 65536  # a Fraction is reduced on arrival: the time for that grows with the square

_FACTORIES: dict[str, Any] = {c.__name__: c for c in (list, dict, set, int, float, str, bool, bytes, tuple)}
_FACTORY_NAMES = {factory: name for name, factory in _FACTORIES.items()}

_PATHS: dict[str, type[PurePath]] = {
    "pure posix": PurePosixPath,
    "pure windows": PureWindowsPath,
    "posix": PosixPath,
    "windows": WindowsPath,
}
_PATH_NAMES = {cls: name for name, cls in _PATHS.items()}


# A zone is nil, [key, offset now] for a zoneinfo zone, or [nil, offset, name or nil] for a fixed one;
# offsets are in microseconds.


def lower_zone(zone: dt.tzinfo | None, offset: dt.timedelta | None) -> object:
    """Take down a time zone that is at ``offset`` now.

    Raises:
        Refused: It is neither a ``zoneinfo`` zone nor has an offset.
    """
    if zone is None:
        return None
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key, None if offset is None else offset // _MICROSECOND
    if offset is None:
        raise Refused(
            f"has the time zone {zone!r:.80}, whose offset is not known. Use zoneinfo or datetime.timezone"
        )
    name = zone.tzname(None) if type(zone) is dt.timezone else None
    return None, offset // _MICROSECOND, None if name == dt.timezone(offset).tzname(None) else name


def raise_zone(found: object) -> dt.tzinfo | None:
    """Bring a time zone back up.

    Raises:
        DecodeError: It is malformed, or not known here and without an offset.
    """
    if found is None:
        return None
    if type(found) is not list or len(found) not in (2, 3):
        raise DecodeError(f"a time zone wants a key or an offset, found {brief(found)}")
    key, offset = found[0], found[1]
    if key is not None:
        if type(key) is not str or not _ZONE_KEY.fullmatch(key):
            raise DecodeError(f"{brief(key)} is no time zone's key")
        try:
            return ZoneInfo(key)
        except (OSError, ValueError, LookupError, ImportError):
            if offset is None:
                raise DecodeError(
                    f"the time zone {key!r} is not known here. Try `pip install tzdata`"
                ) from None
            return dt.timezone(dt.timedelta(microseconds=offset), key)
    delta = dt.timedelta(microseconds=offset)
    if found[-1] is None:
        return dt.UTC if not delta else dt.timezone(delta)
    return dt.timezone(delta, found[-1])


def _lower_datetime(writer: Writer, value: dt.datetime, depth: int) -> object:
    zone = None if value.tzinfo is None else lower_zone(value.tzinfo, value.utcoffset())
    return writer.ext(codes.DATETIME, (value.replace(tzinfo=None).isoformat(), value.fold, zone))


def _raise_datetime(reader: Reader, data: memoryview) -> object:
    text, fold, zone = reader.items(data, 3)
    return dt.datetime.fromisoformat(text).replace(tzinfo=raise_zone(zone), fold=fold)


def _lower_time(writer: Writer, value: dt.time, depth: int) -> object:
    zone = None if value.tzinfo is None else lower_zone(value.tzinfo, value.utcoffset())
    return writer.ext(codes.TIME, (value.replace(tzinfo=None).isoformat(), value.fold, zone))


def _raise_time(reader: Reader, data: memoryview) -> object:
    text, fold, zone = reader.items(data, 3)
    return dt.time.fromisoformat(text).replace(tzinfo=raise_zone(zone), fold=fold)


def _lower_date(writer: Writer, value: dt.date, depth: int) -> object:
    return Ext(codes.DATE, value.isoformat().encode())


def _lower_timedelta(writer: Writer, value: dt.timedelta, depth: int) -> object:
    return writer.ext(codes.TIMEDELTA, (value.days, value.seconds, value.microseconds))


def _lower_timezone(writer: Writer, value: dt.tzinfo, depth: int) -> object:
    return writer.ext(codes.ZONE, lower_zone(value, value.utcoffset(None)))


def _lower_decimal(writer: Writer, value: Decimal, depth: int) -> object:
    return Ext(codes.DECIMAL, str(value).encode())


def _lower_fraction(writer: Writer, value: Fraction, depth: int) -> object:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MAX_FRACTION_BITS:
        raise Refused(f"is a Fraction of more than {_MAX_FRACTION_BITS} bits. Pass its two integers")
    parts = [writer.lower(value.numerator, depth), writer.lower(value.denominator, depth)]
    return writer.ext(codes.FRACTION, parts)


def _raise_fraction(reader: Reader, data: memoryview) -> object:
    parts = reader.items(data, 2)
    if any(type(part) is not int or part.bit_length() > _MAX_FRACTION_BITS for part in parts):
        raise DecodeError(f"a Fraction wants two integers of at most {_MAX_FRACTION_BITS} bits")
    return Fraction(parts[0], parts[1])


def _lower_complex(writer: Writer, value: complex, depth: int) -> object:
    return Ext(codes.COMPLEX, _COMPLEX.pack(value.real, value.imag))


def _lower_path(writer: Writer, value: PurePath, depth: int) -> object:
    return writer.ext(codes.PATH, (_PATH_NAMES[type(value)], writer.lower(str(value), depth)))


def _raise_path(reader: Reader, data: memoryview) -> object:
    flavour, text = reader.items(data, 2)
    cls = _PATHS[flavour]
    if issubclass(cls, Path) and cls is not type(Path()):
        cls = _PATHS["pure " + flavour]
    if type(text) is not str:
        raise DecodeError(f"a path wants text, found {brief(text)}")
    return cls(text)


def _lower_range(writer: Writer, value: range, depth: int) -> object:
    return writer.ext(codes.RANGE, writer.lower_items((value.start, value.stop, value.step), depth))


def _lower_slice(writer: Writer, value: slice, depth: int) -> object:
    return writer.ext(codes.SLICE, writer.lower_items((value.start, value.stop, value.step), depth))


def _lower_pairs(writer: Writer, value: dict[object, object], depth: int) -> object:
    return writer.lower(dict(value), depth)


def _lower_ordered(writer: Writer, value: OrderedDict[object, object], depth: int) -> object:
    return writer.ext(codes.COLLECTION, ("ordered", _lower_pairs(writer, value, depth), None))


def _lower_counter(writer: Writer, value: Counter[object], depth: int) -> object:
    return writer.ext(codes.COLLECTION, ("counter", _lower_pairs(writer, dict(value), depth), None))


def _lower_default(writer: Writer, value: defaultdict[object, object], depth: int) -> object:
    factory: Any = value.default_factory
    if factory is not None and factory not in _FACTORY_NAMES:
        raise Refused(f"is a defaultdict with the factory {factory!r:.80}, which is code. Pass dict(value)")
    name = None if factory is None else _FACTORY_NAMES[factory]
    return writer.ext(codes.COLLECTION, ("default", _lower_pairs(writer, value, depth), name))


def _lower_deque(writer: Writer, value: deque[object], depth: int) -> object:
    return writer.ext(codes.COLLECTION, ("deque", writer.lower_items(list(value), depth), value.maxlen))


def _raise_collection(reader: Reader, data: memoryview) -> object:
    kind, items, extra = reader.items(data, 3)
    if type(items) is not (list if kind == "deque" else dict):
        raise DecodeError(f"a collection of kind {brief(kind)} holds {brief(items)}")
    if kind == "deque":
        return deque(items, extra)
    if kind == "ordered":
        return OrderedDict(items)
    if kind == "counter":
        counter: Counter[object] = Counter()
        dict.update(counter, items)
        return counter
    if kind == "default":
        return defaultdict(None if extra is None else _FACTORIES[extra], items)
    raise DecodeError(f"a collection of kind {brief(kind)} is not known here")


LOWER.update(
    {
        dt.datetime: _lower_datetime,
        dt.date: _lower_date,
        dt.time: _lower_time,
        dt.timedelta: _lower_timedelta,
        dt.timezone: _lower_timezone,
        ZoneInfo: _lower_timezone,
        Decimal: _lower_decimal,
        Fraction: _lower_fraction,
        complex: _lower_complex,
        range: _lower_range,
        slice: _lower_slice,
        OrderedDict: _lower_ordered,
        Counter: _lower_counter,
        defaultdict: _lower_default,
        deque: _lower_deque,
        **dict.fromkeys(_PATH_NAMES, _lower_path),
    }
)

RAISE.update(
    {
        codes.DATETIME: _raise_datetime,
        codes.DATE: lambda reader, data: dt.date.fromisoformat(str(data, "ascii")),
        codes.TIME: _raise_time,
        codes.TIMEDELTA: lambda reader, data: dt.timedelta(*reader.items(data, 3)),
        codes.ZONE: lambda reader, data: raise_zone(reader.unpack(data)),
        codes.DECIMAL: lambda reader, data: Decimal(str(data, "ascii")),
        codes.FRACTION: _raise_fraction,
        codes.COMPLEX: lambda reader, data: complex(*_COMPLEX.unpack(data)),
        codes.PATH: _raise_path,
        codes.RANGE: lambda reader, data: range(*reader.items(data, 3)),
        codes.SLICE: lambda reader, data: slice(*reader.items(data, 3)),
        codes.COLLECTION: _raise_collection,
    }
)
