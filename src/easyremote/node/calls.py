"""What a running function may ask of the call it runs for."""

from __future__ import annotations

from contextvars import ContextVar

import msgspec

from easyremote.protocol.effects import Start
from easyremote.trust.rules import Caller

__all__ = ["Caller", "CurrentCall", "current", "current_call", "current_caller"]


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
