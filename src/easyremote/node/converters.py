"""Fitting a value into a type hint.

``converter(hint)`` is compiled once, when a function is registered. It gives None for hints that want
nothing in particular or cannot be checked, so that such arguments cost nothing per call. What fits
already is passed on as it is, without a copy.
"""

from __future__ import annotations

import collections
import collections.abc
import enum
import numbers
import operator
import pathlib
import types
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from easyremote.node.hints import describe_hint, describe_value

__all__ = ["Converter", "Mismatch", "converter"]

Converter: TypeAlias = Callable[[Any], Any]
"""Takes a value, gives the value as the hint wants it, or raises Mismatch."""

MAX_DEPTH = 16
"""Hints nested deeper than this are not looked into."""


class Mismatch(Exception):
    """A value does not fit. ``path`` leads to the part of it that does not: ``[2]['x']``."""

    def __init__(self, wanted: str, value: object, *, path: str = "", found: str = "") -> None:
        super().__init__(wanted)
        self.wanted = wanted
        self.found = found or describe_value(value)
        self.path = path


def converter(hint: Any, depth: int = 0) -> Converter | None:
    """What fits a value into a hint, or None where any value will do."""
    if depth > MAX_DEPTH:
        return None
    hint = getattr(hint, "__supertype__", hint)  # NewType
    if isinstance(hint, getattr(typing, "TypeAliasType", ())):
        return converter(typing.cast("Any", hint).__value__, depth + 1)
    if hint is None or hint is type(None):
        return _none
    if hint is Any or hint is object or isinstance(hint, (str, typing.TypeVar, typing.ForwardRef)):
        return None
    if hint in (typing.LiteralString if hasattr(typing, "LiteralString") else str, str):
        return _string
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is None:
        return _class_converter(hint) if isinstance(hint, type) else _bare_converter(hint)
    if origin is Annotated:
        return _annotated(hint, args, depth)
    if origin is Literal:
        return _literal(args, describe_hint(hint))
    if origin in (typing.Union, types.UnionType):
        return _union(args, describe_hint(hint), depth)
    return _generic(hint, origin, args, depth)


def _none(value: Any) -> Any:
    if value is None:
        return None
    raise Mismatch("None", value)


def _integer(value: Any) -> Any:
    if isinstance(value, int):
        return value
    if isinstance(value, numbers.Integral):  # NumPy's integers
        return operator.index(value)
    raise Mismatch("int", value)


def _float(value: Any) -> Any:
    if isinstance(value, float):
        return value
    if isinstance(value, numbers.Real):  # int, and NumPy's integers and floats
        return float(value)
    raise Mismatch("float", value)


def _complex(value: Any) -> Any:
    if isinstance(value, complex):
        return value
    if isinstance(value, numbers.Complex):
        return complex(value)
    raise Mismatch("complex", value)


def _boolean(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    raise Mismatch("bool", value)


def _string(value: Any) -> Any:
    if isinstance(value, str):
        return value
    raise Mismatch("str", value)


def _bytes(value: Any) -> Any:
    if isinstance(value, bytes):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    raise Mismatch("bytes", value)


_SCALARS: dict[Any, Converter] = {
    int: _integer,
    float: _float,
    complex: _complex,
    bool: _boolean,
    str: _string,
    bytes: _bytes,
}

_LISTS = (list, tuple, set, frozenset, collections.deque)


def _class_converter(hint: Any) -> Converter | None:
    scalar = _SCALARS.get(hint)
    if scalar is not None:
        return scalar
    if typing.is_typeddict(hint):
        return _made_by_msgspec(hint, describe_hint(hint))
    try:
        isinstance(None, hint)
    except TypeError:  # a Protocol that cannot be asked
        return None
    if hint is collections.abc.Callable or (
        issubclass(hint, typing.Generic) and getattr(hint, "_is_protocol", False)
    ):
        return None
    wanted = describe_hint(hint)
    if hint in _LISTS:
        return _collection(hint, None, wanted)
    if issubclass(hint, pathlib.PurePath):
        return _path(hint, wanted)
    if hasattr(hint, "model_validate"):
        return _from_mapping(hint, hint.model_validate, wanted)
    if hint is dict or not _msgspec_can_make(hint):
        return _instance(hint, wanted)
    if issubclass(hint, enum.Enum) and 0 < len(hint) <= 8:
        wanted += f" ({' | '.join(repr(member.value) for member in hint)})"
    make = _made_by_msgspec(hint, wanted)

    def convert(value: Any) -> Any:
        return value if isinstance(value, hint) else make(value)

    return convert


def _bare_converter(hint: Any) -> Converter | None:
    """Unsubscripted names of the typing module, such as ``List``; others are left alone."""
    origin = getattr(hint, "__origin__", None)
    return converter(origin) if isinstance(origin, type) else None


def _instance(hint: type, wanted: str) -> Converter:
    def convert(value: Any) -> Any:
        if isinstance(value, hint):
            return value
        raise Mismatch(wanted, value)

    return convert


def _path(hint: type, wanted: str) -> Converter:
    def convert(value: Any) -> Any:
        if isinstance(value, hint):
            return value
        if isinstance(value, (str, pathlib.PurePath)):
            return hint(value)
        raise Mismatch(wanted, value)

    return convert


def _from_mapping(hint: type, make: Converter, wanted: str) -> Converter:
    def convert(value: Any) -> Any:
        if isinstance(value, hint):
            return value
        if not isinstance(value, dict):
            raise Mismatch(wanted, value)
        try:
            return make(value)
        except Exception as error:
            raise Mismatch(wanted, value, found=f"a dict that does not fit: {error}") from error

    return convert


def _msgspec_can_make(hint: type) -> bool:
    """Whether msgspec builds this class from plain values, such as a dataclass from a dict."""
    try:
        kind = msgspec.inspect.type_info(hint)
    except Exception:
        return False
    return not isinstance(kind, msgspec.inspect.CustomType)


def _made_by_msgspec(hint: Any, wanted: str) -> Converter:
    def convert(value: Any) -> Any:
        try:
            return msgspec.convert(value, hint, dec_hook=_as_instance)
        except Exception as error:
            plain = describe_value(value)
            reason = str(error)
            if isinstance(value, (dict, list, tuple)) or "`$" in reason:
                raise Mismatch(wanted, value, found=f"{plain} ({reason})") from error
            raise Mismatch(wanted, value) from error

    return convert


def _as_instance(hint: type, value: Any) -> Any:
    """Msgspec's question about classes it does not know."""
    made = converter(hint)
    try:
        return value if made is None else made(value)
    except Mismatch as error:
        raise ValueError(f"wanted {error.wanted}, found {error.found}") from None


def _annotated(hint: Any, args: tuple[Any, ...], depth: int) -> Converter | None:
    base = converter(args[0], depth + 1)
    metas = [extra for extra in args[1:] if isinstance(extra, msgspec.Meta)]
    if not metas:
        return base
    try:
        msgspec.convert(None, hint | None if not isinstance(hint, type) else hint, dec_hook=_as_instance)
    except msgspec.ValidationError:
        pass
    except Exception:  # a constraint on a type msgspec does not know
        return base

    def convert(value: Any) -> Any:
        if base is not None:
            value = base(value)
        try:
            msgspec.convert(value, hint, dec_hook=_as_instance)
        except msgspec.ValidationError as error:
            raise Mismatch(f"{describe_hint(hint)} ({error})", value) from error
        return value

    return convert


def _literal(values: tuple[Any, ...], wanted: str) -> Converter:
    def convert(value: Any) -> Any:
        for allowed in values:
            if type(allowed) is type(value) and allowed == value:
                return value
        raise Mismatch(wanted, value)

    return convert


def _union(parts: tuple[Any, ...], wanted: str, depth: int) -> Converter | None:
    converters: list[Converter] = []
    for part in parts:
        made = converter(part, depth + 1)
        if made is None:
            return None
        converters.append(made)
    exact = frozenset(part for part in parts if isinstance(part, type) and not typing.get_origin(part))

    def convert(value: Any) -> Any:
        if type(value) in exact:
            return value
        deepest: Mismatch | None = None
        for made in converters:
            try:
                return made(value)
            except Mismatch as error:
                if error.path:
                    deepest = error
        raise deepest or Mismatch(wanted, value)

    return convert


def _generic(hint: Any, origin: Any, args: tuple[Any, ...], depth: int) -> Converter | None:
    if not isinstance(origin, type) or origin in (type, collections.abc.Callable):
        return None
    wanted = describe_hint(hint)
    if origin is tuple and not (len(args) == 2 and args[1] is ...):
        return _fixed_tuple([converter(part, depth + 1) for part in args if part != ()], wanted)
    if issubclass(origin, collections.abc.Mapping) and len(args) == 2:
        return _mapping(origin, converter(args[0], depth + 1), converter(args[1], depth + 1), wanted, args)
    is_collection = origin in _LISTS or (
        issubclass(origin, collections.abc.Iterable) and origin.__module__ == "collections.abc"
    )
    if is_collection and args:
        return _collection(origin, args[0], wanted, depth)
    return _class_converter(origin)


def _collection(origin: type, item: Any, wanted: str, depth: int = 0) -> Converter:
    """A list, tuple of any length, set, or one of the abstract collections.

    A list is taken for any of the concrete ones, since other languages and JSON have nothing else.
    """
    fit = None if item is None else converter(item, depth + 1)
    plain = frozenset({item}) if item in _SCALARS else None
    concrete = origin in _LISTS

    def convert(value: Any) -> Any:
        if not isinstance(value, origin):
            if not concrete or not isinstance(value, (list, tuple)):
                raise Mismatch(wanted, value)
            try:
                value = origin(value)
            except TypeError as error:  # a set of what cannot be hashed
                raise Mismatch(wanted, value) from error
        if fit is None or not isinstance(value, _LISTS):
            return value
        if plain is not None and plain.issuperset(map(type, value)):
            return value
        fitted = [_fit_item(fit, part, index) for index, part in enumerate(value)]
        if all(map(operator.is_, fitted, value)):
            return value
        return type(value)(fitted) if type(value) in _LISTS else fitted

    return convert


def _fit_item(fit: Converter, value: Any, key: object) -> Any:
    try:
        return fit(value)
    except Mismatch as error:
        error.path = f"[{key!r}]{error.path}"
        raise


def _fixed_tuple(fits: list[Converter | None], wanted: str) -> Converter:
    def convert(value: Any) -> Any:
        if not isinstance(value, (tuple, list)):
            raise Mismatch(wanted, value)
        if len(value) != len(fits):
            raise Mismatch(wanted, value, found=f"{type(value).__name__} of {len(value)} items")
        return tuple(
            part if fit is None else _fit_item(fit, part, index)
            for index, (fit, part) in enumerate(zip(fits, value, strict=True))
        )

    return convert


def _mapping(
    origin: Any, key: Converter | None, item: Converter | None, wanted: str, args: tuple[Any, ...]
) -> Converter:
    plain_key = frozenset({args[0]}) if args[0] in _SCALARS else None
    plain_item = frozenset({args[1]}) if args[1] in _SCALARS else None

    def convert(value: Any) -> Any:
        if not isinstance(value, origin):
            raise Mismatch(wanted, value)
        keys_fit = key is None or (plain_key is not None and plain_key.issuperset(map(type, value)))
        items_fit = item is None or (
            plain_item is not None and plain_item.issuperset(map(type, value.values()))
        )
        if keys_fit and items_fit:
            return value
        fitted = {
            (name if key is None else _fit_item(key, name, name)): (
                part if item is None else _fit_item(item, part, name)
            )
            for name, part in value.items()
        }
        if type(value) is not dict or _same(value, fitted):
            return value
        return fitted

    return convert


def _same(before: dict[Any, Any], after: dict[Any, Any]) -> bool:
    """Whether fitting changed nothing."""
    pairs: Iterator[tuple[Any, Any]] = zip(before.items(), after.items(), strict=False)
    return len(before) == len(after) and all(k is n and v is w for (k, v), (n, w) in pairs)
