"""A node as its caller sees it at one instant: what it has to do, and how fast it has been.

Whoever makes calls keeps one ``Candidate`` per node and tells it what happens (``sent``, ``answered``,
``dropped``); the directory writes what the node reports. A decision only reads.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from easyremote.schedule.predict import Latency


class Candidate(msgspec.Struct, kw_only=True, eq=False):
    """A node that could take the call; compared by identity."""

    endpoint: bytes
    name: str
    in_flight: int = 0
    """Our own calls sent there and not yet answered."""
    running: int = 0
    """Calls running there, everyone's, as last reported."""
    waiting: int = 0
    """Calls waiting there, everyone's, as last reported."""
    capacity: int = 0
    """Calls it can hold at once; 0 if it did not say."""
    draining: bool = False
    """Whether it finishes what it has and takes nothing new."""
    labels: Mapping[str, str] = {}
    capabilities: frozenset[str] = frozenset()
    latencies: dict[str, Latency] = {}
    """By function, what we measured."""
    turns: dict[str, int] = {}
    """By function, when it last had its turn; ``round_robin`` keeps this."""

    @property
    def load(self) -> int:
        """Calls it has now, as far as we know.

        A report is older than our own count but sees everyone's calls; the larger of both is
        the closer guess.
        """
        reported = self.running + self.waiting
        return reported if reported > self.in_flight else self.in_flight

    @property
    def full(self) -> bool:
        """Whether it would have to refuse one more call."""
        return 0 < self.capacity <= self.load

    def latency_seconds(self, function: str) -> float | None:
        """The usual round trip of this function's calls there; None if not known yet."""
        latency = self.latencies.get(function)
        return latency.seconds if latency is not None and latency.known else None

    def sent(self) -> int:
        """A call goes there; returns the node's load with it, to be given to ``answered``."""
        self.in_flight = mine = self.in_flight + 1
        reported = self.running + self.waiting
        return reported if reported > mine else mine

    def answered(self, function: str, seconds: float, *, load: int, now: float) -> None:
        """The function's call ended there after so many seconds; ``load`` is what ``sent`` gave."""
        self.in_flight -= 1
        latency = self.latencies.get(function)
        if latency is None:
            latency = self.latencies[function] = Latency()
        latency.observe(seconds, load=load, now=now)

    def dropped(self) -> None:
        """A call there ended without telling anything about its pace: refused, cancelled, lost."""
        self.in_flight -= 1
