"""A fleet of first-come-first-served nodes in virtual time, and one caller who keeps it busy."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence

from easyremote.schedule.candidates import Candidate
from easyremote.schedule.decision import decide
from easyremote.schedule.requirements import Requirement


class Fleet:
    """Nodes with one worker each; ``speeds`` are seconds for one call."""

    def __init__(self, speeds: Sequence[float], *, seed: int) -> None:
        self.dice = random.Random(seed)
        self.speeds = list(speeds)
        self.candidates = [
            Candidate(endpoint=place.to_bytes(40, "big"), name=f"node-{place}")
            for place in range(len(speeds))
        ]
        self.latencies: list[float] = []

    def run(self, calls: int, *, at_once: int, policy: str) -> float:
        """Make so many calls, so many at a time; returns the seconds it took."""
        free_at = [0.0] * len(self.speeds)
        answers: list[tuple[float, int, int, float, int]] = []
        now, made = 0.0, 0
        while made < calls or answers:
            while made < calls and len(answers) < at_once:
                decision = decide(
                    Requirement(function="f"),
                    self.candidates,
                    policy=policy,
                    now=now,
                    entropy=self.dice.random,
                )
                place = self.candidates.index(decision.chosen)
                work = self.speeds[place] * self.dice.uniform(0.8, 1.2)
                free_at[place] = max(now, free_at[place]) + work
                heapq.heappush(answers, (free_at[place], made, place, now, decision.chosen.sent()))
                made += 1
            now, _, place, sent_at, load = heapq.heappop(answers)
            self.latencies.append(now - sent_at)
            self.candidates[place].answered("f", now - sent_at, load=load, now=now)
        return now
