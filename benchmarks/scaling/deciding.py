"""How long it takes to choose a node out of many; in this process, nothing else involved."""

from __future__ import annotations

import random
import statistics
import time

from easyremote.schedule.candidates import Candidate
from easyremote.schedule.decision import decide
from easyremote.schedule.requirements import Requirement
from scaling.programs import progress
from scaling.rows import Curve, Part, Row

SIZES = (10, 100, 1_000, 10_000)
RARE = 100
"""One node in so many has what the demanding call wants."""


def measure(*, rounds: int) -> Part:
    """Decide over and over, for a call that asks for nothing and for one that few nodes can take."""
    part = Part("choosing a node")
    kinds = {
        "any node will do": Requirement(function="summarize"),
        f"1 in {RARE} will do": Requirement(function="summarize", labels={"zone": "rare"}),
    }
    for kind, requirement in kinds.items():
        points = []
        for size in SIZES:
            p50, p99 = _decisions(requirement, _candidates(size), rounds)
            points.append((float(size), p50))
            if size == SIZES[-1]:
                what = f"one decision over {size:,} candidates, {kind}"
                part.rows += [Row(what, p50, "µs", 1000), Row(f"{what}: 99th percentile", p99, "µs")]
            progress(f"  {size} candidates, {kind}: {p50:.1f} µs")
        part.curves.append(Curve(f"One decision, {kind}", "candidates", "µs", points, wide=True))
    return part


def _candidates(size: int) -> list[Candidate]:
    dice = random.Random(0)
    made = []
    for number in range(size):
        zone = "rare" if number % RARE == RARE // 2 or size < RARE else "common"
        one = Candidate(
            endpoint=number.to_bytes(40, "big"),
            name=f"node-{number}",
            running=dice.randrange(8),
            capacity=16,
            labels={"zone": zone},
            latencies={},
        )
        for _ in range(4):
            load = one.sent()
            one.answered("summarize", dice.uniform(0.001, 0.1), load=load, now=1.0)
        made.append(one)
    return made


def _decisions(requirement: Requirement, candidates: list[Candidate], rounds: int) -> tuple[float, float]:
    """Median and 99th percentile, in microseconds."""
    entropy, clock = random.Random(1).random, time.perf_counter
    times = []
    for _ in range(rounds):
        began = clock()
        decide(requirement, candidates, now=2.0, entropy=entropy)
        times.append((clock() - began) * 1e6)
    times.sort()
    return statistics.median(times), times[len(times) * 99 // 100]
