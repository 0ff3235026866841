"""What a running function may ask of the call it runs for."""

from __future__ import annotations

from contextvars import ContextVar

from easyremote.protocol.effects import NOBODY
from easyremote.trust.rules import Caller

__all__ = ["Caller", "CurrentCall", "current", "current_call", "current_caller"]


class CurrentCall:
    """The call a function is running for.

    Attributes:
        function: The name the function was called by.
        caller: The caller's endpoint, 40 bytes; empty outside a call.
        identity: Who calls, as its membership says; see ``current_caller``.
        timeout_seconds: The time the call had when it arrived here; None if unlimited.
    """

    __slots__ = ("_number", "_stopped", "caller", "function", "identity", "timeout_seconds")

    def __init__(
        self,
        number: int | None,
        function: str,
        caller: bytes,
        timeout_seconds: float | None,
        identity: Caller = NOBODY,
    ) -> None:
        self.identity = identity
        self._number = number
        self.function = function
        self.caller = caller
        self.timeout_seconds = timeout_seconds
        self._stopped = ""

    @property
    def call_id(self) -> str:
        """The call's id as text, as the caller's errors show it; empty outside a call."""
        return "" if self._number is None else f"{self._number:016x}"

    def cancelled(self) -> bool:
        """Whether nobody waits for the result any more: the caller cancelled, left, or its time is up.

        A thread cannot be interrupted from outside. A plain function that runs long asks this now and
        then, and returns when it is true.
        """
        return self._stopped != ""

    def __repr__(self) -> str:
        return f"<CurrentCall {self.call_id or 'outside a call'} of {self.function!r}>"


current: ContextVar[CurrentCall] = ContextVar("easyremote.current_call")
"""Set by the executor around every call."""


def current_call() -> CurrentCall:
    """The call this code runs for.

    Outside a call, as when the function is called locally, it is an empty one that is never cancelled.
    """
    return current.get(None) or CurrentCall(None, "", b"", None)


def current_caller() -> Caller:
    """Who calls the function that this code runs in: device, name, account, roles, and the grant used.

    The caller proved its key to this node, and its membership is signed by the network's issuer; no gateway has
    a say in it. Outside a call all fields are empty.
    """
    return current_call().identity
