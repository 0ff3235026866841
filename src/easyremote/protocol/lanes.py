"""A node's calls while they are worked on, and the places that each function has for them."""

from __future__ import annotations

from collections import deque

from msgspec import Struct

from easyremote.protocol.effects import Start
from easyremote.protocol.events import CallKey, Offer
from easyremote.protocol.guard import Asker
from easyremote.protocol.machine import NEVER
from easyremote.trust.rules import Caller

__all__ = ["Lane", "Work"]


class Work(Struct, eq=False):
    """A call this node has taken."""

    key: CallKey
    channel: Asker
    function: str
    caller: Caller
    asked_at: float
    bytes_in: int
    start: Start | None = None
    lane: Lane | None = None
    bytes_out: int = 0
    size: int = 0
    deadline: float = NEVER
    limit_seconds: float = 0.0
    yielded: bool = False

    @property
    def running(self) -> bool:
        """Whether its function runs."""
        return self.lane is not None


class Lane:
    """A function's places: how many run, who waits."""

    __slots__ = ("offer", "running", "waiting")

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.running = 0
        self.waiting: deque[Work] = deque()

    @property
    def full(self) -> bool:
        """Whether no place is free."""
        limit = self.offer.max_concurrent
        return limit is not None and self.running >= limit
