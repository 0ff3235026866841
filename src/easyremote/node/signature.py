"""Fitting a call's arguments into a function's parameters, before any of its code runs.

A wrong argument is an error that says which, what was wanted and what was found. All that can be worked
out once is worked out when the function is registered; per call, an argument of exactly the hinted
builtin type costs one comparison.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from easyremote.errors import ArgumentError
from easyremote.node.converters import Converter, Mismatch, converter
from easyremote.node.hints import describe_hint, resolved_hints, user_classes

__all__ = ["Binder", "Parameter"]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_EXACT = frozenset({int, float, str, bool, bytes, list, dict})


class Parameter:
    """One parameter, and what fits a value into it.

    Attributes:
        name: Its name.
        kind: As ``inspect.Parameter`` has it.
        hint: Its hint, evaluated; ``inspect.Parameter.empty`` if it has none.
        default: Its default; ``inspect.Parameter.empty`` if it has none.
        index: Its place among the positional ones; -1 if it is given by keyword only.
        exact: The type of values that need no look at all.
        fit: What fits any other value; None if any will do.
    """

    __slots__ = ("default", "exact", "fit", "hint", "index", "kind", "name")

    def __init__(self, name: str, kind: Any, hint: Any, default: Any, index: int) -> None:
        self.name = name
        self.kind = kind
        self.hint = hint
        self.default = default
        self.index = index
        self.fit: Converter | None = None if hint is inspect.Parameter.empty else converter(hint)
        if self.fit is not None and default is None:
            self.fit = _or_none(self.fit)  # `x: int = None` is written a lot
        self.exact: type | None = hint if isinstance(hint, type) and hint in _EXACT else None

    @property
    def required(self) -> bool:
        """Whether a call must give it."""
        return self.default is inspect.Parameter.empty


class Binder:
    """What fits arguments into one function.

    Attributes:
        name: What the function is called in errors.
        known: The classes in its hints that a decoder may rebuild.
        parameters: Its parameters, without ``*args`` and ``**kwargs``.
        returns: Its return hint; ``inspect.Parameter.empty`` if it has none.
        var_positional: Its ``*args``, if it has one.
        var_keyword: Its ``**kwargs``, if it has one.
        introspectable: False for some functions written in C: they take what they take.
    """

    def __init__(self, function: Callable[..., Any], *, name: str | None = None) -> None:
        self.name: str = name or str(getattr(function, "__name__", type(function).__name__))
        self.parameters: list[Parameter] = []
        self.var_positional: Parameter | None = None
        self.var_keyword: Parameter | None = None
        self.introspectable = True
        hints = resolved_hints(_hinted(function))
        empty = inspect.Parameter.empty
        try:
            found: Iterable[inspect.Parameter] = inspect.signature(function).parameters.values()
        except (ValueError, TypeError):
            found, self.introspectable = (), False
        positional = 0
        for each in found:
            index = -1
            if each.kind in _POSITIONAL:
                index, positional = positional, positional + 1
            hint = hints.get(each.name, empty)
            if hint is empty and not isinstance(each.annotation, str):
                hint = each.annotation
            parameter = Parameter(each.name, each.kind, hint, each.default, index)
            if each.kind is inspect.Parameter.VAR_POSITIONAL:
                self.var_positional = parameter
            elif each.kind is inspect.Parameter.VAR_KEYWORD:
                self.var_keyword = parameter
            else:
                self.parameters.append(parameter)
        self.returns: Any = hints.get("return", empty)
        self._positional = [p for p in self.parameters if p.index >= 0]
        self._named = {p.name: p for p in self.parameters if p.kind is not inspect.Parameter.POSITIONAL_ONLY}
        self._required_keywords = [p for p in self.parameters if p.index < 0 and p.required]
        self._least = sum(1 for p in self._positional if p.required)
        self._most = len(self._positional)
        self._checks = [(p.index, p.exact, p) for p in self._positional if p.fit is not None]
        everything = [*self.parameters, self.var_positional, self.var_keyword]
        self.known = user_classes([p.hint for p in everything if p is not None and p.hint is not empty])

    def bind(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Check and convert arguments; the list and the dict may be changed in place.

        Raises:
            ArgumentError: They do not fit.
        """
        if not kwargs and self._least <= len(args) <= self._most and not self._required_keywords:
            given = len(args)
            for index, exact, parameter in self._checks:
                if index >= given:
                    break
                if type(args[index]) is not exact:
                    args[index] = self._fitted(parameter, args[index])
            return args, kwargs
        if not self.introspectable:
            return args, kwargs
        return self._bind_slowly(args, kwargs)

    def _bind_slowly(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        given = len(args)
        if given > self._most and self.var_positional is None:
            self._refuse(f"takes at most {_counted(self._most, 'positional argument')}, found {given}")
        for name in kwargs:
            parameter = self._named.get(name)
            if parameter is None:
                if self.var_keyword is None:
                    self._refuse_name(name)
            elif 0 <= parameter.index < given:
                self._refuse(f"found two values for argument {name!r}")
        missing = [
            p.name
            for p in self._positional[given:]
            if p.required and (p.name not in kwargs or p.name not in self._named)
        ]
        missing += [p.name for p in self._required_keywords if p.name not in kwargs]
        if missing:
            names = ", ".join(map(repr, missing))
            self._refuse(f"misses {'argument' if len(missing) == 1 else 'arguments'} {names}")
        for index, value in enumerate(args):
            positional = self._positional[index] if index < self._most else self.var_positional
            if positional is not None and positional.fit is not None and type(value) is not positional.exact:
                args[index] = self._fitted(
                    positional, value, f"argument {index + 1}" if index >= self._most else ""
                )
        for name, value in kwargs.items():
            named = self._named.get(name, self.var_keyword)
            if named is not None and named.fit is not None and type(value) is not named.exact:
                kwargs[name] = self._fitted(named, value, f"argument {name!r}")
        return args, kwargs

    def _fitted(self, parameter: Parameter, value: Any, called: str = "") -> Any:
        fit = parameter.fit
        if fit is None:
            return value
        try:
            return fit(value)
        except Mismatch as error:
            place = f"{called or f'argument {parameter.name!r}'}{error.path}"
            self._refuse(f"{place}: wanted {error.wanted}, found {error.found}")
        except RecursionError:
            self._refuse(
                f"argument {parameter.name!r}: wanted {describe_hint(parameter.hint)}, found it nested too deep"
            )

    def _refuse(self, what: str) -> NoReturn:
        raise ArgumentError(f"{self.name}() {what}", function=self.name)

    def _refuse_name(self, name: str) -> NoReturn:
        near = difflib.get_close_matches(name[:100], self._named, n=1)
        if near:
            advice = f": did you mean {near[0]!r}?"
        elif self._named:
            advice = f": it takes {', '.join(map(repr, self._named))}"
        else:
            advice = ": it takes none by name"
        self._refuse(f"has no argument {name[:100]!r}{advice}")


def _hinted(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that carries the hints: behind ``functools.partial`` and wrappers."""
    while hasattr(function, "func") and not hasattr(function, "__wrapped__"):
        function = function.func
    return function


def _or_none(fit: Converter) -> Converter:
    def convert(value: Any) -> Any:
        return None if value is None else fit(value)

    return convert


def _counted(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
