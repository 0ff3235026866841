"""What the executor remembers of a call while it runs."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import msgspec

from easyremote.node.calls import CurrentCall
from easyremote.node.credit import Credit
from easyremote.node.registry import Entry
from easyremote.node.threads import Pace
from easyremote.protocol.effects import Value
from easyremote.protocol.events import CallKey, Encoded
from easyremote.wire import pickled
from easyremote.wire.values import encode

__all__ = ["Adopt", "Chore", "Running"]


class Adopt(msgspec.Struct, frozen=True):
    """A plain function returned something that must be awaited: it goes on as a task on the loop."""

    work: Coroutine[Any, Any, Any] | AsyncIterator[Any]


class Running(CurrentCall, eq=False):
    """A call from start to end.

    Attributes:
        run_in_thread: A worker thread's part of it.
        entry: The function.
        key: The call's name in every answer.
        arguments: As they came, until they are unpacked.
        pace: How quick it is believed to be.
        credit: What may still be produced of a stream; None when one value is wanted.
        pickled: Whether it was called with a pickle, and answers with pickles.
    """

    run_in_thread: Callable[[Running], None]
    entry: Entry
    key: CallKey
    arguments: Value | bytes
    pace: Pace
    credit: Credit | None = None
    pickled: bool = False
    task: asyncio.Task[None] | None = None
    context: contextvars.Context | None = None
    iterator: Iterator[Any] | None = None

    @property
    def stopped(self) -> bool:
        """Whether no answer is wanted any more."""
        return self._stopped != ""

    def unpack(self) -> tuple[list[Any], dict[str, Any]]:
        """The arguments, fitted into the function's parameters; pickled ones where this caller's are loaded.

        Raises:
            DecodeError: They are no arguments.
            ArgumentError: They do not fit, or are pickled and not to be loaded.
        """
        entry = self.entry
        if entry.pickle_from is None or not pickled.is_pickled(self.arguments):
            return entry.unpack(self.arguments)
        arguments = entry.unpack_pickled(self.arguments, self.identity)
        self.pickled = True
        return arguments

    def pack(self, value: object) -> Encoded:
        """A result or item as bytes.

        Raises:
            EncodeError: It cannot cross the wire.
        """
        return pickled.encode(value) if self.pickled else encode(value)

    def stop(self, reason: str) -> None:
        """Want no answer any more; a thread that asks is told."""
        self._stopped = reason
        if self.credit is not None:
            self.credit.end()

    def run(self) -> None:
        """A worker thread's part."""
        self.run_in_thread(self)


class Chore:
    """Something other than a call, done in a worker thread."""

    __slots__ = ("pace", "run")

    def __init__(self, run: Callable[[], None]) -> None:
        self.pace = Pace()
        self.run = run
