"""What a running function may ask of the call it runs for."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar

import msgspec

from easyremote.errors import UsageError
from easyremote.protocol.effects import Start
from easyremote.protocol.events import CallKey
from easyremote.trust.rules import Caller
from easyremote.wire.mail import Progress

__all__ = [
    "Caller",
    "CurrentCall",
    "Reports",
    "current",
    "current_call",
    "current_caller",
    "report_progress",
    "reports",
]

REPORT_SECONDS = 0.05
"""How often at most a call's reports leave its thread."""
MESSAGE_CHARACTERS = 200


class CurrentCall(msgspec.Struct, eq=False):
    """The call a function is running for."""

    _start: Start
    _stopped: str

    @property
    def function(self) -> str:
        """The name the function was called by; empty outside a call."""
        return self._start.function

    @property
    def caller(self) -> bytes:
        """The caller's endpoint, 40 bytes; empty outside a call."""
        return self._start.key[0]

    @property
    def identity(self) -> Caller:
        """Who calls, as its membership says; see ``current_caller``."""
        return self._start.caller

    @property
    def timeout_seconds(self) -> float | None:
        """The time the call had when it arrived here; None if unlimited."""
        return self._start.timeout

    @property
    def call_id(self) -> str:
        """The call's id as text, as the caller's errors show it; empty outside a call."""
        return self._start.call_id if self._start.function else ""

    def cancelled(self) -> bool:
        """Whether nobody waits for the result any more: the caller cancelled, left, or its time is up.

        A thread cannot be interrupted from outside. A plain function that runs long asks this now and
        then, and returns when it is true.
        """
        return self._stopped != ""

    def __repr__(self) -> str:
        return f"<CurrentCall {self.call_id or 'outside a call'} of {self.function!r}>"


_NO_START = Start((b"", 0), "", msgspec.Raw(b""))

current: ContextVar[CurrentCall] = ContextVar("easyremote.current_call")
"""Set by the executor around every call."""


def current_call() -> CurrentCall:
    """The call this code runs for.

    Outside a call, as when the function is called locally, it is an empty one that is never cancelled.
    """
    return current.get(None) or CurrentCall(_NO_START, "")


def current_caller() -> Caller:
    """Who calls the function that this code runs in: device, name, account, roles, and the grant used.

    The caller proved its key to this node, and its membership is signed by the network's issuer; no gateway has
    a say in it. Outside a call all fields are empty.
    """
    return current_call().identity


class Reports:
    """What running calls say of how far they are, on its way to the loop; of each call only the newest.

    Args:
        loop: Where it is told.
        tell: Takes what a call says.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, tell: Callable[[CallKey, Progress], None]) -> None:
        self._loop, self._tell = loop, tell
        self._lock = threading.Lock()
        self._newest: dict[CallKey, Progress] = {}

    def put(self, key: CallKey, progress: Progress) -> None:
        """A call is so far; from any thread."""
        with self._lock:
            first = not self._newest
            self._newest[key] = progress
        if first:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._loop.call_later, REPORT_SECONDS, self._flush)

    def _flush(self) -> None:
        with self._lock:
            newest, self._newest = self._newest, {}
        for key, progress in newest.items():
            self._tell(key, progress)


reports: ContextVar[Reports] = ContextVar("easyremote.reports")
"""Set where calls run."""


def report_progress(done: float, total: float | None = None, message: str = "") -> None:
    """Say how far the call is that this code runs for; whoever follows it sees a bar.

    It may be called as often as one likes, from the function itself: only the newest word is sent on, a few times a
    second. Outside a call nothing happens. Of durable calls (``client.submit(…, durable=True)``) the callers hear.

    Args:
        done: How much is done, 0 or more, in whatever unit.
        total: How much there is in all, if that is known.
        message: What is being done, in up to 200 characters.

    Raises:
        UsageError: These are no numbers, or no text.
    """
    for name, number in (("done", done), ("total", total)):
        if number is None and name == "total":
            continue
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number < math.inf:
            raise UsageError(f"report_progress({name}=) is a number, 0 or more, not {number!r}")
    if not isinstance(message, str):
        raise UsageError(f"report_progress(message=) is text, not {message!r}")
    call, there = current.get(None), reports.get(None)
    if call is not None and there is not None:
        progress = Progress(
            float(done), None if total is None else float(total), message[:MESSAGE_CHARACTERS]
        )
        there.put(call._start.key, progress)
