"""Any value as JSON: what JSON has no form for is told as well as it can be, never refused."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any
from uuid import UUID

__all__ = ["to_json"]

MAX_DEPTH = 100
MAX_DECIMAL_BITS = 10_000
"""Python writes no longer integer in decimal unless told to."""

# What libraries call "give me plain Python", without importing any of them: (method, its arguments).
_PLAIN_METHODS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("model_dump", {}),  # pydantic
    ("to_dicts", {}),  # Polars tables
    ("to_pylist", {}),  # Arrow
    ("to_list", {}),  # Polars and pandas columns
    ("tolist", {}),  # NumPy, PyTorch
    ("to_dict", {"orient": "records"}),  # pandas tables
    ("isoformat", {}),  # dates and times
)


def to_json(value: object) -> str:
    """One line of JSON.

    Enums give their value, dataclasses and the like an object, sets and tuples an array, bytes
    ``{"base64": …}``, arrays and tables their lists, dates ISO 8601, decimals, paths and ids their
    text, integers of more than 3,000 digits a hexadecimal text; NaN and infinities are null.
    Anything else is ``{"type": …, "text": …}``.
    """
    return json.dumps(_plain(value, MAX_DEPTH), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _plain(value: object, depth: int) -> Any:
    if value is None or value is True or value is False:
        return value
    if isinstance(value, Enum):
        return _plain(value.value, depth - 1)
    if isinstance(value, int):
        return int(value) if value.bit_length() <= MAX_DECIMAL_BITS else hex(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str | Decimal | Fraction | UUID | PurePath):
        return str(value)
    if depth <= 0:
        return _told(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(value).decode("ascii")}
    return _container(value, depth - 1)


def _container(value: object, depth: int) -> Any:
    if isinstance(value, Mapping):
        return {_key(key): _plain(item, depth) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name, None), depth) for field in fields(value)}
    names = getattr(type(value), "__struct_fields__", None) or [
        attribute.name for attribute in getattr(type(value), "__attrs_attrs__", ())
    ]
    if names:
        return {name: _plain(getattr(value, name, None), depth) for name in names}
    return _by_method(value, depth)


def _by_method(value: object, depth: int) -> Any:
    for name, arguments in _PLAIN_METHODS:
        method = getattr(value, name, None)
        if callable(method) and not isinstance(value, type):
            try:
                return _plain(method(**arguments), depth)
            except Exception:  # another library's method of that name: tell the value instead
                break
    return _told(value)


def _key(key: object) -> str:
    plain = _plain(key, MAX_DEPTH)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _told(value: object) -> dict[str, str]:
    kind = type(value)
    try:
        text = str(value)
    except Exception:  # somebody else's __str__
        text = object.__repr__(value)
    return {"type": f"{kind.__module__}.{kind.__qualname__}", "text": text}
