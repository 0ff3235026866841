"""How long a call will take, from how long the last ones took.

A node that works off a queue answers a call that found ``n`` others ahead of it after ``n + 1`` times
its own pace. So a measured time is divided by the place the call had in the queue, and what is
remembered is the *pace*: seconds for one call. Pace times the present queue is the prediction; it
follows the load at once, where an average of plain latencies would lag behind it.

Nothing here knows the time; ``now`` is an argument.
"""

from __future__ import annotations

import msgspec

MEMORY_SECONDS = 1.0
"""A measurement this much newer than the last one weighs as much as all before it."""
LEAST_WEIGHT = 1 / 64
"""What one more measurement weighs when they come thick and fast."""
WARM_COUNT = 66
"""Before so many measurements, all weigh the same."""
HALF_LIFE_SECONDS = 10.0
"""After this long without news, half of what we believed about a pace is given up."""


FORGETS = 1.0003
"""By how much the least pace seen is taken to have risen with each answer: it doubles in 2,300."""


class Latency(msgspec.Struct, eq=False, gc=False):
    """The pace of one function on one node: a moving average weighted by time.

    The first answer is counted but not believed: it carries the handshake, imports and warm-up.
    """

    pace_seconds: float = 0.0
    seconds: float = 0.0
    """The moving average of the plain round trip, for people to read."""
    quickest_seconds: float = 0.0
    """The least pace seen lately: what the node can do, when the way there is not crowded."""
    count: int = 0
    measured_at: float = 0.0

    @property
    def known(self) -> bool:
        """Whether there is enough to go by."""
        return self.count > 1

    def observe(self, seconds: float, *, load: int, now: float) -> None:
        """An answer came.

        Args:
            seconds: From sending the call to its answer.
            load: How many calls the node had, this one included, when it was sent.
            now: The time on the caller's monotonic clock, in seconds.
        """
        self.count = count = self.count + 1
        since = now - self.measured_at
        self.measured_at = now
        pace = seconds / load if load > 1 else seconds
        if count <= 2:
            self.pace_seconds, self.seconds, self.quickest_seconds = pace, seconds, pace
            return
        least = self.quickest_seconds * FORGETS
        self.quickest_seconds = least if least < pace else pace
        weight = since / (since + MEMORY_SECONDS) if since > 0.0 else 0.0
        if weight < LEAST_WEIGHT:
            weight = LEAST_WEIGHT
        if count < WARM_COUNT and weight < 1 / (count - 1):
            weight = 1 / (count - 1)
        self.pace_seconds += (pace - self.pace_seconds) * weight
        self.seconds += (seconds - self.seconds) * weight

    def trust(self, now: float) -> float:
        """How much of this is still believed, from 1 (fresh) down to 0 (long ago).

        Functions that take long are measured seldom, so their measurements also last longer.
        """
        half_life = max(HALF_LIFE_SECONDS, 10.0 * self.seconds)
        return float(0.5 ** max(0.0, (now - self.measured_at) / half_life))
