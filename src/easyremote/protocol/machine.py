"""The shape every machine has.

A machine is pure: it never awaits, reads a clock, rolls dice or logs. Time arrives as an argument,
in seconds of any monotonic clock; randomness as a function given at the start. Events are past tense,
effects are imperative. What a machine wants to send waits inside it until the link is free and
``pull`` is called: that is how messages for the same peer come to be sealed together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from easyremote.protocol.effects import Effect
from easyremote.protocol.events import Event
from easyremote.wire.frame import Pieces

Entropy: TypeAlias = Callable[[int], bytes]
"""Gives as many random bytes as asked; ``os.urandom`` outside, a seeded generator in a simulation."""

NEVER = float("inf")


class Machine(Protocol):
    """What a driver drives."""

    wake_at: float
    """When ``handle(Woken(), now)`` is wanted, if nothing else happens; ``NEVER`` if not at all."""

    def handle(self, event: Event, now: float) -> Sequence[Effect]:
        """Take one event; return what must be done about it."""

    def due(self, now: float) -> list[int]:
        """The links that ``pull`` would give something for, by their numbers; 0 is the gateway's."""

    def pull(self, now: float, link: int = 0) -> list[Pieces]:
        """The frames to put into the next packet; empty when there is nothing to send."""
