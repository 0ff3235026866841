"""What a node offers: functions by name, and the cards that introduce them."""

from __future__ import annotations

import functools
import inspect
import itertools
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from easyremote.errors import ArgumentError, UsageError
from easyremote.node.household import RESERVED
from easyremote.node.runners import Waiting
from easyremote.node.schema import describe_function
from easyremote.node.signature import Binder
from easyremote.node.threads import Pace
from easyremote.trace import log
from easyremote.trust.rules import Caller, Rule, make_rule
from easyremote.wire import pickled
from easyremote.wire.cards import FunctionCard
from easyremote.wire.values import decode_arguments

__all__ = ["Entry", "Registry"]

_NAME = re.compile(r"[^\W\d][\w-]{0,127}")

_pickles = itertools.count()
"""Counts pickled calls, so that the first can be told of."""


class Entry:
    """A registered function, with everything worked out that every call of it needs.

    Attributes:
        name: What it is called by.
        function: What is called.
        card: How it is introduced.
        binder: What fits arguments into its parameters.
        on_loop: Whether it runs on the event loop rather than in a thread.
        streams: Whether it yields items.
        timeout_seconds: How long a call may take unless the caller says otherwise.
        max_concurrent: How many calls of it run at a time; whoever admits calls sees to it.
        idempotent: Whether running it twice does no harm.
        cache_ttl_seconds: How long a result holds for equal arguments; None: results are never kept.
        listed: Whether it is advertised. An unlisted function can be called by who knows its name.
        rule: Who may call it; None for what is usual in the network.
        pickle_from: Whose pickled arguments are loaded; None: nobody's.
        pace: How quick it has been.
        waiting: Whether its calls wait for something.
    """

    __slots__ = (
        "binder",
        "cache_ttl_seconds",
        "card",
        "function",
        "idempotent",
        "known",
        "listed",
        "max_concurrent",
        "name",
        "on_loop",
        "pace",
        "pickle_from",
        "rule",
        "streams",
        "timeout_seconds",
        "waiting",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        card: FunctionCard,
        binder: Binder,
        *,
        on_loop: bool,
        cache_ttl_seconds: float | None,
        listed: bool,
        rule: Rule | None = None,
        pickle_from: frozenset[str] | None = None,
    ) -> None:
        self.name = card.name
        self.function = function
        self.card = card
        self.binder = binder
        self.known = binder.known
        self.on_loop = on_loop
        self.streams = card.stream
        self.timeout_seconds = card.timeout_seconds
        self.max_concurrent = card.max_concurrent
        self.idempotent = card.idempotent
        self.cache_ttl_seconds = cache_ttl_seconds
        self.listed = listed
        self.rule = rule
        self.pickle_from = pickle_from
        self.pace = Pace()
        self.waiting = Waiting()

    def unpack(self, data: msgspec.Raw | memoryview | bytes) -> tuple[list[Any], dict[str, Any]]:
        """Decode a call's arguments and fit them into the function's parameters.

        Raises:
            DecodeError: The bytes are not arguments, or hold a type unknown here.
            ArgumentError: The arguments do not fit.
        """
        view = memoryview(data) if isinstance(data, msgspec.Raw) else data
        args, kwargs = decode_arguments(view, known=self.known)
        return self.binder.bind(args, kwargs)

    def unpack_pickled(
        self, data: msgspec.Raw | memoryview | bytes, caller: Caller
    ) -> tuple[list[Any], dict[str, Any]]:
        """The same for pickled arguments, which are loaded only if this caller may run any code here.

        Raises:
            ArgumentError: This caller's are not loaded, or the arguments do not fit.
            DecodeError: They are no pickled arguments, or cannot be loaded here.
        """
        if not self.pickle_from or self.pickle_from.isdisjoint((caller.name, caller.account, caller.device)):
            raise ArgumentError(
                f"{self.name}() was sent pickled arguments, which were not loaded: neither {caller.name!r} nor "
                f"its account {caller.account!r} is in the pickle_from= it is registered with",
                function=self.name,
            )
        if next(_pickles) == 0:
            log.warning(
                "%s() takes its first pickled call, from %s (account %s): whoever is in its pickle_from= "
                "can run any code on this machine as this user",
                self.name,
                caller.name,
                caller.account,
            )
        consent = pickled.Consent(caller.name or caller.device, f"pickle_from= of {self.name}()")
        args, kwargs = pickled.decode_arguments(data, consent)
        return self.binder.bind(args, kwargs)

    def __repr__(self) -> str:
        return f"<Entry {self.name}{self.card.signature}>"


class Registry:
    """Functions by name. Any thread may use it.

    Attributes:
        revision: Grows whenever what is offered changes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._own: dict[str, Entry] = {}
        self.revision = 0

    def add(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        tags: Iterable[str] = (),
        version: str = "1.0.0",
        timeout_seconds: float | None = None,
        max_concurrent: int | None = None,
        idempotent: bool = False,
        resources: Mapping[str, Any] | None = None,
        cache_ttl: float | None = None,
        listed: bool = True,
        allow: object = None,
        codec: str = pickled.MSGPACK,
        pickle_from: Iterable[str] | None = None,
        replace: bool = False,
    ) -> Entry:
        """Offer a function.

        Args:
            function: A function, a coroutine function, a generator, an async generator, a bound method,
                or, with a name given, a lambda, a ``functools.partial`` or an object with ``__call__``.
            name: What callers call it; its own name by default. Letters, digits, ``_`` and ``-``.
            description: What it does; its docstring by default.
            tags: Words to find it by.
            version: The function's own version.
            timeout_seconds: How long a call may take unless the caller says otherwise.
            max_concurrent: How many calls of it run at a time.
            idempotent: Whether running it twice does no harm.
            resources: What it needs of the machine.
            cache_ttl: Seconds for which a result holds for equal arguments. Without it nothing is kept.
            listed: Whether to advertise it.
            allow: Who may call it; None for what is usual in the network.
            codec: ``"pickle"`` takes pickled calls too, from those in ``pickle_from`` alone; others are plain.
            pickle_from: Devices or accounts, by name or device id, each of which may run any code here.
            replace: Whether it may take the place of a function of the same name.

        Raises:
            UsageError: It cannot be called, has no usable name, or the name is taken.
        """
        name = _checked_name(function, name)
        if name.startswith(RESERVED):
            raise UsageError(
                f"names that begin with {RESERVED!r} are the node's own, found {name!r}: take another"
            )
        _check_positive("timeout_seconds", timeout_seconds)
        _check_positive("max_concurrent", max_concurrent)
        _check_positive("cache_ttl", cache_ttl)
        trusted = _checked_codec(name, codec, pickle_from)
        binder = Binder(function, name=name)
        card = describe_function(
            function,
            binder,
            description=description,
            tags=[tags] if isinstance(tags, str) else [str(tag) for tag in tags],
            version=str(version),
            timeout_seconds=None if timeout_seconds is None else float(timeout_seconds),
            max_concurrent=max_concurrent,
            idempotent=bool(idempotent),
            resources=dict(resources or {}),
        )
        try:
            msgspec.msgpack.decode(msgspec.msgpack.encode(card), type=FunctionCard)
        except Exception as error:
            raise UsageError(
                f"{name!r} cannot be introduced to others: {error}; "
                f"give plain values for tags=, version= and resources="
            ) from error
        entry = Entry(
            function,
            card,
            binder,
            on_loop=_runs_on_loop(function),
            cache_ttl_seconds=cache_ttl,
            listed=listed,
            rule=None if allow is None else make_rule(allow),
            pickle_from=trusted,
        )
        with self._lock:
            taken = self._entries.get(name)
            if taken is not None and not replace:
                raise UsageError(
                    f"a function {name!r} is registered already, found {_whereabouts(taken.function)}: "
                    f"give this one another name=, or replace=True to take its place"
                )
            self._entries[name] = entry
            self.revision += 1
        return entry

    def add_own(self, functions: Iterable[tuple[str, Callable[..., Any], Rule]]) -> None:
        """Offer what may be asked of the node itself, unlisted, each under its rule."""
        with self._lock:
            for name, function, rule in functions:
                binder = Binder(function, name=name)
                self._own[name] = Entry(
                    function,
                    describe_function(function, binder),
                    binder,
                    on_loop=_runs_on_loop(function),
                    cache_ttl_seconds=None,
                    listed=False,
                    rule=rule,
                )

    def own(self) -> list[Entry]:
        """What may be asked of the node itself."""
        return list(self._own.values())

    def remove(self, name: str) -> bool:
        """Offer it no longer; whether it was offered. Calls that run go on."""
        with self._lock:
            if self._entries.pop(name, None) is None:
                return False
            self.revision += 1
            return True

    def get(self, name: str) -> Entry | None:
        """The function of that name."""
        return self._entries.get(name) or self._own.get(name)

    def entries(self) -> list[Entry]:
        """All functions, in the order they were added."""
        with self._lock:
            return list(self._entries.values())

    def cards(self) -> list[FunctionCard]:
        """The cards of all listed functions, in the order they were added."""
        with self._lock:
            return [entry.card for entry in self._entries.values() if entry.listed]

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries


def _checked_name(function: Callable[..., Any], name: str | None) -> str:
    """The name to register under."""
    if not callable(function):
        raise UsageError(f"wanted a function to register, found {function!r}")
    if inspect.isclass(function):
        raise UsageError(
            f"wanted a function to register, found the class {function.__name__!r}: "
            f"make an object of it and register its methods"
        )
    if name is None:
        name = getattr(function, "__name__", None)
        if name is None or name == "<lambda>":
            raise UsageError(f"{_kind(function)} has no name of its own: pass name='…'")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(
            f"wanted a name of at most 128 letters, digits, '_' and '-', beginning with a letter or '_', "
            f"found {name!r}: a dot separates the node from the function, as in 'studio-mac.resize'"
        )
    return name


def _kind(function: Callable[..., Any]) -> str:
    if isinstance(function, functools.partial):
        return "a functools.partial"
    if getattr(function, "__name__", "") == "<lambda>":
        return "a lambda"
    return f"an object of class {type(function).__name__!r}"


def _whereabouts(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return repr(function)
    return f"in {code.co_filename}, line {code.co_firstlineno}"


def _check_positive(what: str, value: float | None) -> None:
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0
    ):
        raise UsageError(f"wanted a number above 0 for {what}, found {value!r}")


def _checked_codec(name: str, codec: object, pickle_from: object) -> frozenset[str] | None:
    """Whose pickles the function loads; None for nobody's."""
    if codec not in pickled.CODECS:
        raise UsageError(f"codec= is 'msgpack' or 'pickle', not {codec!r}")
    if codec == pickled.MSGPACK:
        if pickle_from is not None:
            raise UsageError(f"register({name!r}) has pickle_from= without codec='pickle'")
        return None
    trusted = frozenset[str]()
    if pickle_from is not None:
        trusted = pickled.peers("pickle_from", pickle_from, "names of devices or accounts")
    if not trusted:
        raise UsageError(
            f"register({name!r}, codec='pickle') wants pickle_from=[names of devices or accounts]: whoever may send a "
            "pickle runs any code on this machine as you, so say who may. Without codec= the function takes "
            "plain values and NumPy, pandas, dataclasses and the like, from anyone who may call it"
        )
    return trusted


def _runs_on_loop(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine or an async generator."""
    while isinstance(function, functools.partial):
        function = function.func
    candidates = (function, getattr(function, "__call__", None))  # noqa: B004
    return any(inspect.iscoroutinefunction(f) or inspect.isasyncgenfunction(f) for f in candidates)
