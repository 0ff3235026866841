"""One hook: what happened, to which call, when.

Nothing here ever sees an argument or a result. ``subscribe`` gives events to a function; the
command line's ``--verbose`` is such a function, and the diary behind ``easynet trace`` another. Every reconnect, retry,
hedge, resume and refusal is an event; so are the frequent ones of every call, as long as somebody wants those. ``announce`` gives a program that serves one line for
each start, join and leave on standard error, unless the program has set up logging itself.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TypeAlias

import msgspec

log = logging.getLogger("easyremote")
log.addHandler(logging.NullHandler())


class TraceEvent(msgspec.Struct, frozen=True, gc=False):
    """Something that happened.

    Attributes:
        name: What, in the past tense: ``call started``, ``refused``, ``moved``.
        call_id: The call's id as text; empty if it was not about one call.
        detail: Names and numbers; never contents.
    """

    name: str
    call_id: str = ""
    detail: str = ""


Listener: TypeAlias = Callable[[TraceEvent], None]

FREQUENT = frozenset({"call requested", "call sent", "call started", "call ended"})
"""What happens to every call."""

_listeners: list[Listener] = []
_eager: list[Listener] = []


def subscribe(listener: Listener, *, frequent: bool = True) -> Callable[[], None]:
    """Have ``listener`` called with every event, or with all but the frequent ones; returns the function that ends it."""
    _listeners.append(listener)
    if frequent:
        _eager.append(listener)

    def end() -> None:
        _listeners.remove(listener)
        if frequent:
            _eager.remove(listener)

    return end


def watched() -> bool:
    """Whether anybody wants the frequent events; ask before making one."""
    return bool(_eager)


def emit(name: str, call_id: str = "", detail: str = "") -> None:
    """Tell those who listen."""
    for listener in list(_eager if name in FREQUENT else _listeners):
        try:
            listener(TraceEvent(name, call_id, detail))
        except Exception:
            log.exception("a trace listener failed on %r", name)


def announce(*, verbose: bool = False) -> None:
    """Show starts, joins and leaves on standard error; with ``verbose``, calls by id as well."""
    if not logging.getLogger().handlers and not any(
        isinstance(handler, logging.StreamHandler) for handler in log.handlers
    ):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
        log.addHandler(handler)
        log.propagate = False
    if log.level == logging.NOTSET or verbose:
        log.setLevel(logging.DEBUG if verbose else logging.INFO)
    if verbose and _to_log not in _listeners:
        subscribe(_to_log)


def _to_log(event: TraceEvent) -> None:
    log.debug("%s %s %s", event.call_id or "-", event.name, event.detail)
