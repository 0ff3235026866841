"""A function's card, from its hints and its docstring."""

from __future__ import annotations

import collections.abc
import inspect
import re
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from easyremote.node.hints import describe_hint
from easyremote.node.signature import Binder, Parameter
from easyremote.wire.cards import FunctionCard

__all__ = ["describe_function", "read_docstring"]

MAX_DESCRIPTION_CHARACTERS = 8192
MAX_DEFAULT_BYTES = 256
MAX_SIGNATURE_CHARACTERS = 4096

_ITERATORS = (
    collections.abc.Iterator,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncGenerator,
)
_SECTION = re.compile(
    r"^(Args|Arguments|Parameters|Returns?|Yields?|Raises|Examples?|Notes?|Attributes):\s*$"
)
_GOOGLE = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")
_SPHINX = re.compile(r"^:param\s+(?:[^:]*\s)?\*{0,2}(\w+):\s*(.*)$")


def describe_function(
    function: Callable[..., Any],
    binder: Binder,
    *,
    description: str | None = None,
    **fields: Any,
) -> FunctionCard:
    """Introduce a function; ``fields`` are those of the card its owner decides on."""
    summary, notes = read_docstring(inspect.getdoc(function) if _has_own_docstring(function) else None)
    streams = (
        _yields(function) or typing.get_origin(binder.returns) in _ITERATORS or binder.returns in _ITERATORS
    )
    result = binder.returns
    if streams:
        result = (typing.get_args(result) or (inspect.Parameter.empty,))[0]
    return FunctionCard(
        name=binder.name,
        description=(summary if description is None else description)[:MAX_DESCRIPTION_CHARACTERS],
        parameters=_parameters_schema(binder, notes),
        returns=_schemas({"": result})[0][""],
        signature=signature_text(binder),
        stream=streams,
        accepts=[p.name for p in binder.parameters if p.kind is not inspect.Parameter.POSITIONAL_ONLY],
        var_keyword=binder.var_keyword is not None or not binder.introspectable,
        **fields,
    )


def read_docstring(text: str | None) -> tuple[str, dict[str, str]]:
    """What a docstring says of the function, and what of each parameter (Google or Sphinx style)."""
    summary: list[str] = []
    notes: dict[str, str] = {}
    section, name, margin = "", "", 0
    for line in (text or "").splitlines():
        stripped, indent = line.strip(), len(line) - len(line.lstrip())
        heading, sphinx = _SECTION.match(line), _SPHINX.match(stripped)
        if heading:
            section, name, margin = heading[1], "", 0
        elif sphinx:
            section, name, margin = "Sphinx", sphinx[1], indent
            notes[name] = sphinx[2]
        elif section in ("Args", "Arguments", "Parameters"):
            entry = _GOOGLE.match(stripped)
            margin = margin or indent
            if entry and indent == margin:
                name = entry[1]
                notes[name] = entry[2]
            elif name and stripped:
                notes[name] = f"{notes[name]} {stripped}".strip()
        elif section == "Sphinx":
            if name and stripped and indent > margin:
                notes[name] = f"{notes[name]} {stripped}".strip()
        elif not section:
            summary.append(line)
    return "\n".join(summary).strip(), notes


def signature_text(binder: Binder) -> str:
    """The signature as a person reads it; defaults without a short plain form are written ``...``."""
    if not binder.introspectable:
        return "(...)"
    parts: list[str] = []
    positional_only = [p for p in binder.parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY]
    for parameter in binder.parameters:
        if parameter.index < 0 and "*" not in parts and not any(part.startswith("*") for part in parts):
            parts.append(f"*{_one(binder.var_positional)}" if binder.var_positional else "*")
        parts.append(_one(parameter))
        if positional_only and parameter is positional_only[-1]:
            parts.append("/")
    if binder.var_positional and not any(part.startswith("*") for part in parts):
        parts.append(f"*{_one(binder.var_positional)}")
    if binder.var_keyword:
        parts.append(f"**{_one(binder.var_keyword)}")
    returns = "" if binder.returns is inspect.Parameter.empty else f" -> {describe_hint(binder.returns)}"
    text = f"({', '.join(parts)}){returns}"
    return text if len(text) <= MAX_SIGNATURE_CHARACTERS else "(...)"


def _one(parameter: Parameter) -> str:
    text = parameter.name
    hinted = parameter.hint is not inspect.Parameter.empty
    if hinted:
        text += f": {describe_hint(parameter.hint)}"
    if not parameter.required:
        default = _plain_text(parameter.default)
        text += f" = {default}" if hinted else f"={default}"
    return text


def _plain_text(value: Any) -> str:
    if value is None or isinstance(value, (bool, int, float, str, bytes, tuple, list, dict)):
        try:
            text = repr(value)
        except Exception:
            return "..."
        if len(text) <= 64 and " at 0x" not in text:
            return text
    return "..."


def _parameters_schema(binder: Binder, notes: dict[str, str]) -> dict[str, Any]:
    hints = {p.name: p.hint for p in binder.parameters}
    schemas, definitions = _schemas(hints)
    for parameter in binder.parameters:
        schema = schemas[parameter.name] = dict(schemas[parameter.name])
        if parameter.name in notes:
            schema.setdefault("description", notes[parameter.name])
        if not parameter.required:
            _note_default(schema, parameter.default)
    made: dict[str, Any] = {"type": "object", "properties": schemas}
    required = [p.name for p in binder.parameters if p.required]
    if required:
        made["required"] = required
    made["additionalProperties"] = binder.var_keyword is not None or not binder.introspectable
    if definitions:
        made["$defs"] = definitions
    return made


def _schemas(hints: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The JSON Schemas of named hints, and the definitions they refer to.

    For a single hint named ``""`` the definitions are put into its schema.
    """
    made: dict[str, dict[str, Any]] = {}
    definitions: dict[str, Any] = {}
    for name, hint in hints.items():
        schema: dict[str, Any] = {}
        if hint is not inspect.Parameter.empty:
            try:
                (schema,), parts = msgspec.json.schema_components(
                    [hint], schema_hook=_titled, ref_template="#/$defs/{name}"
                )
                schema, parts = msgspec.to_builtins(schema), msgspec.to_builtins(parts)
            except Exception:
                schema, parts = _titled(hint), {}
            for part, definition in parts.items():
                definitions.setdefault(part, definition)
        made[name] = schema
    if "" in made and definitions:
        made[""] = {**made[""], "$defs": definitions}
    return made, definitions


def _titled(hint: Any) -> dict[str, Any]:
    return {"title": describe_hint(hint)}


def _note_default(schema: dict[str, Any], default: Any) -> None:
    try:
        plain = msgspec.to_builtins(default)
        if len(msgspec.msgpack.encode(plain)) <= MAX_DEFAULT_BYTES:
            schema["default"] = plain
    except Exception:
        return


def _yields(function: Callable[..., Any]) -> bool:
    while hasattr(function, "func") and not hasattr(function, "__wrapped__"):
        function = function.func
    candidates = (function, getattr(function, "__call__", None))  # noqa: B004
    return any(inspect.isgeneratorfunction(f) or inspect.isasyncgenfunction(f) for f in candidates)


def _has_own_docstring(function: Callable[..., Any]) -> bool:
    """A partial and an object with ``__call__`` would give their class's docstring."""
    return inspect.isroutine(function) or hasattr(function, "__wrapped__")
