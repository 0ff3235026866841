"""Where a job's call stands instead of a session: nobody waits at the other end, and the answer goes into the mailbox.

To the worker a desk is one more channel. What is said over it is the job's outcome, which is handed to the node.
"""

from __future__ import annotations

from typing import Any, Final

from easyremote.errors import RemoteProtocolError
from easyremote.protocol.effects import Effect, JobEnded
from easyremote.protocol.events import CallKey, Encoded
from easyremote.protocol.machine import NEVER
from easyremote.wire.bundle import Fault, Message, Refuse, Result

__all__ = ["Desk"]


class _NoSession:
    """A job needs none to stay open."""

    id: Final = -1


class Desk:
    """One job's.

    Args:
        key: The call.
        as_of: When what its caller shows must have counted, in seconds since 1970.
        outcomes: Where its outcome is put.
    """

    __slots__ = ("_key", "_outcomes", "again", "as_of", "gone_since", "heard_at", "introduced", "peer")

    session: Final = _NoSession()
    quiet: Final = False

    def __init__(self, key: CallKey, as_of: float, outcomes: list[Effect]) -> None:
        self._key = key
        self._outcomes = outcomes
        self.as_of: float | None = as_of
        self.peer = key[0]
        self.introduced: Any = None
        self.again = key[1]  # its node has written down what ran, and asks again only for what may
        self.heard_at = self.gone_since = NEVER

    def say(self, message: Message, size: int = 32) -> None:
        """Something for the caller; what ends the call is the job's outcome."""
        if isinstance(message, (Fault, Refuse)):
            self._outcomes.append(JobEnded(self._key, message))
        elif isinstance(message, Result) and not message.body:
            self._outcomes.append(JobEnded(self._key, bytes(message.value)))

    def number_body(self) -> int:
        """A large result has a number like any other."""
        return 1

    def send_body(self, number: int, data: Encoded) -> None:
        """The large result itself."""
        self._outcomes.append(JobEnded(self._key, data))

    def probe(self) -> None:
        """There is nobody to ask."""

    def expect_body(self, number: int, size: int) -> None:
        """A job's arguments came whole.

        Raises:
            RemoteProtocolError: Always.
        """
        raise RemoteProtocolError("the arguments of a job are in its letter")

    def refuse_body(self, number: int) -> None:
        """There is none on its way."""
