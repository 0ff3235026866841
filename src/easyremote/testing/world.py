"""One clock, one seed, one queue: what a simulated network lives in.

Everything that happens in a world happens because an action in its queue was due, and everything that
is left to chance is drawn from its one generator. So a seed tells the whole story: run it again and
the same things happen at the same times. Virtual time costs nothing; an hour passes in an instant.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

START_SECONDS = 1_000.0
"""What the clock shows when a world begins; not 0, which would hide forgotten times."""


class SpinError(AssertionError):
    """Time stands still: actions keep being due at one instant."""


class Timer:
    """An action in the queue, until it has run or was cancelled."""

    __slots__ = ("_action", "at")

    def __init__(self, at: float, action: Callable[[], None]) -> None:
        self.at = at
        self._action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Do not act; nothing if it has acted."""
        self._action = None

    def act(self) -> None:
        """Act, once."""
        action, self._action = self._action, None
        if action is not None:
            action()


class World:
    """A virtual clock, a seeded generator and the queue of what will happen.

    Attributes:
        seed: What the world came from.
        now: Virtual seconds.
        random: The one source of chance.
        log: What happened, in order; equal for equal seeds, so it holds no ciphertext.
    """

    spin_max = 100_000
    """So many actions at one instant are taken for an endless loop."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now = START_SECONDS
        self.random = random.Random(seed)
        self.log: list[tuple[float, str, tuple[object, ...]]] = []
        self._queue: list[tuple[float, int, Timer]] = []
        self._count = 0

    def at(self, when: float, action: Callable[[], None]) -> Timer:
        """Act at this time, or now if it has passed; what is due together acts in the order it was asked for."""
        timer = Timer(max(when, self.now), action)
        self._count += 1
        heapq.heappush(self._queue, (timer.at, self._count, timer))
        return timer

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Act so many seconds from now."""
        return self.at(self.now + seconds, action)

    def soon(self, action: Callable[[], None]) -> Timer:
        """Act at this instant, after all that is already due."""
        return self.at(self.now, action)

    def note(self, kind: str, *facts: object) -> None:
        """Write down that something happened."""
        self.log.append((self.now, kind, facts))

    def run(self, until: float, *, enough: Callable[[], bool] | None = None) -> bool:
        """Let things happen until that time; or, if given, until it is enough.

        Returns:
            Whether it was enough, or, if nothing says what is, True.

        Raises:
            SpinError: Time stands still.
        """
        queue = self._queue
        at_this_instant = 0
        while queue and queue[0][0] <= until:
            if enough is not None and enough():
                return True
            when, _, timer = heapq.heappop(queue)
            at_this_instant = at_this_instant + 1 if when == self.now else 0
            if at_this_instant > self.spin_max:
                raise SpinError(f"{at_this_instant} actions at {when:.6f} s, and still more are due")
            self.now = when
            timer.act()
        if enough is not None and enough():
            return True
        self.now = max(self.now, until)
        return enough is None

    def run_for(self, seconds: float) -> None:
        """Let so much time pass."""
        self.run(self.now + seconds)
