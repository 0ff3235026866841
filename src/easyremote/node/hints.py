"""Type hints: evaluating a function's, saying in words what one wants, finding the classes it names."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec

__all__ = ["describe_hint", "describe_value", "resolved_hints", "user_classes"]

SHOWN_CHARACTERS = 80


def describe_value(value: object) -> str:
    """A value's type and, where it is short, the value: ``str 'abc'``."""
    if value is None:
        return "None"
    name = type(value).__name__
    if isinstance(value, (bool, int, float, complex, str, bytes, enum.Enum)):
        try:
            text = repr(value)
        except ValueError:  # an int of more digits than Python turns into text
            return name
        return f"{name} {text}" if len(text) <= SHOWN_CHARACTERS else f"{name} {text[:SHOWN_CHARACTERS]}…"
    return name


def describe_hint(hint: Any) -> str:
    """A hint in the words people write it: ``list[int] | None``."""
    if hint is None or hint is type(None):
        return "None"
    if hint is ...:
        return "..."
    if isinstance(hint, str):
        return hint
    if isinstance(hint, typing.ForwardRef):
        return hint.__forward_arg__
    if isinstance(hint, list):
        return f"[{', '.join(describe_hint(part) for part in hint)}]"
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return describe_hint(args[0])
    if origin is Literal:
        return " | ".join(repr(value) for value in args)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(describe_hint(part) for part in args)
    name = getattr(origin or hint, "__name__", None) or str(hint).removeprefix("typing.")
    if origin is not None and args and not name.startswith("ndarray"):
        return f"{name}[{', '.join(describe_hint(part) for part in args)}]"
    return str(name)


def resolved_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """A function's hints, evaluated; those that name what does not exist are left out."""
    holder: Any = function
    if not hasattr(holder, "__annotations__") and not hasattr(holder, "__wrapped__"):
        holder = getattr(type(function), "__call__", function)  # noqa: B004
    try:
        return typing.get_type_hints(holder, include_extras=True)
    except Exception:
        pass
    inner = holder
    while hasattr(inner, "__wrapped__"):
        inner = inner.__wrapped__
    inner = getattr(inner, "__func__", inner)
    names = getattr(inner, "__globals__", {})
    code, cells = getattr(inner, "__code__", None), getattr(inner, "__closure__", None) or ()
    local = {}
    for name, cell in zip(getattr(code, "co_freevars", ()), cells, strict=False):
        try:
            local[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    hints = {}
    for name, hint in getattr(inner, "__annotations__", {}).items():
        lone = types.SimpleNamespace(__annotations__={name: hint})
        try:
            hints.update(typing.get_type_hints(lone, names, local, include_extras=True))
        except Exception:
            continue
    return hints


def user_classes(hints: typing.Iterable[Any]) -> tuple[type, ...]:
    """The classes in hints, and in the fields of those classes, that are made of named fields or members.

    They are what a decoder may rebuild when their names come over the wire.
    """
    found: dict[type, None] = {}
    waiting = list(hints)
    seen: set[int] = set()
    while waiting:
        hint = waiting.pop()
        if id(hint) in seen:
            continue
        seen.add(id(hint))
        waiting.extend(part for part in typing.get_args(hint) if not isinstance(part, (str, int, bytes)))
        hint = getattr(hint, "__supertype__", getattr(hint, "__value__", hint))
        if not isinstance(hint, type) or typing.get_origin(hint) is not None:
            origin = typing.get_origin(hint)
            if isinstance(origin, type):
                waiting.append(origin)
            continue
        if _is_made_of_fields(hint):
            found[hint] = None
        elif not typing.is_typeddict(hint):
            continue
        waiting.extend(_field_hints(hint))
    return tuple(found)


def _is_made_of_fields(cls: type) -> bool:
    if cls.__module__ in ("builtins", "typing", "enum"):
        return False
    return (
        issubclass(cls, (enum.Enum, msgspec.Struct))
        or dataclasses.is_dataclass(cls)
        or hasattr(cls, "__attrs_attrs__")
        or (issubclass(cls, tuple) and hasattr(cls, "_fields"))
        or hasattr(cls, "model_validate")
    )


def _field_hints(cls: type) -> list[Any]:
    try:
        return list(typing.get_type_hints(cls).values())
    except Exception:
        return list(getattr(cls, "__annotations__", {}).values())
