"""Who is best, of those who can.

The default follows Prequal (Wydrowski, Kleinberg, Rumble, Archer: "Load is not what you should
balance", NSDI 2024): a node is *hot* when it is full or has more calls in flight than most; of the
nodes that are not hot, the one with the lowest estimated latency; if all are, the least loaded one.
What is ours: probes are the answers themselves, and the estimate already counts the calls ahead
(see ``predict``).

A policy takes the candidates that passed the filters, never none, and returns one of them. Equals are
told apart by chance, so that many callers who see the same do not all run to the same node.
"""
# ruff: noqa: B905  (lists zipped here were made together; checking that costs on every call)

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence

from easyremote.errors import UsageError
from easyremote.schedule.candidates import Candidate

Entropy = Callable[[], float]
"""Uniform numbers in [0, 1)."""
Policy = Callable[[Sequence[Candidate], str, float, Entropy], Candidate]
"""``policy(candidates, function, now, entropy)``."""

HOT_QUANTILE = 0.84
"""A node with more calls than this share of its peers is hot (Q_RIF in the paper)."""
ALIKE = 2.0
"""Paces within this factor of the best count as the best: that much is noise between equal nodes."""
LEAST_PACE_SECONDS = 0.002
"""Nobody is taken to be faster than this, for the same reason."""

FRESH_SECONDS = 1.0
"""A measurement is believed in full for this long."""
UNKNOWN = math.inf


def prequal(candidates: Sequence[Candidate], function: str, now: float, entropy: Entropy) -> Candidate:
    """Not hot first; of those the lowest predicted time."""
    loads = present_loads(candidates)
    for each, load in zip(candidates, loads):
        if load >= each.capacity > 0:
            return _among_full(candidates, loads, function, now, entropy)
    return _among_cold(candidates, loads, function, now, entropy)


def fastest(candidates: Sequence[Candidate], function: str, now: float, entropy: Entropy) -> Candidate:
    """The lowest predicted time."""
    return _least(candidates, predict(candidates, present_loads(candidates), function, now), entropy)


def least_loaded(candidates: Sequence[Candidate], function: str, now: float, entropy: Entropy) -> Candidate:
    """The fewest calls."""
    return _least(candidates, present_loads(candidates), entropy)


def power_of_two(candidates: Sequence[Candidate], function: str, now: float, entropy: Entropy) -> Candidate:
    """Two drawn at random; of those the one with fewer calls (Mitzenmacher 2001)."""
    many = len(candidates)
    if many == 1:
        return candidates[0]
    first = int(entropy() * many)
    second = (first + 1 + int(entropy() * (many - 1))) % many
    one, other = candidates[first], candidates[second]
    return other if other.load < one.load else one


def random(candidates: Sequence[Candidate], function: str, now: float, entropy: Entropy) -> Candidate:
    """Any, with equal chances."""
    return candidates[int(entropy() * len(candidates))]


def round_robin(candidates: Sequence[Candidate], function: str, now: float, entropy: Entropy) -> Candidate:
    """Each in turn: the one whose last turn is longest ago.

    Turns are marked on the candidates, so nodes may come and go: a new one is next, once.
    """
    turns = [candidate.turns.get(function, 0) for candidate in candidates]
    chosen = candidates[turns.index(min(turns))]
    chosen.turns[function] = max(turns) + 1
    return chosen


def present_loads(candidates: Sequence[Candidate]) -> list[int]:
    """Every candidate's ``load``, without a property call each: this runs for every call made."""
    return [
        reported if (reported := each.running + each.waiting) > each.in_flight else each.in_flight
        for each in candidates
    ]


def predict(candidates: Sequence[Candidate], loads: Sequence[int], function: str, now: float) -> list[float]:
    """How long each would take, in seconds, were the call sent there now.

    A node not measured yet is taken to be as fast as the fastest, so it gets its share of calls, and
    is measured; and towards that drifts one that was measured long ago.
    """
    paces = []
    best = UNKNOWN
    stale_before = now - FRESH_SECONDS
    stale = False
    for each in candidates:
        latency = each.latencies.get(function)
        if latency is None or latency.count < 2:
            paces.append(UNKNOWN)
            continue
        pace = latency.pace_seconds
        paces.append(pace)
        if pace < best:
            best = pace
        if latency.measured_at < stale_before:
            stale = True
    if best is UNKNOWN or best < LEAST_PACE_SECONDS:
        best = LEAST_PACE_SECONDS
    if stale:
        for place, each in enumerate(candidates):
            if best < paces[place] < UNKNOWN:
                paces[place] = best + (paces[place] - best) * each.latencies[function].trust(now)
    bar = best * ALIKE
    return [(pace if bar < pace < UNKNOWN else best) * (load + 1) for pace, load in zip(paces, loads)]


def _among_full(
    candidates: Sequence[Candidate], loads: Sequence[int], function: str, now: float, entropy: Entropy
) -> Candidate:
    places = [place for place, each in enumerate(candidates) if not 0 < each.capacity <= loads[place]]
    if places:
        cold, cold_loads = [candidates[place] for place in places], [loads[place] for place in places]
        return _among_cold(cold, cold_loads, function, now, entropy)
    shares = [loads[place] / each.capacity for place, each in enumerate(candidates)]
    return _least(candidates, shares, entropy)


def _among_cold(
    candidates: Sequence[Candidate], loads: Sequence[int], function: str, now: float, entropy: Entropy
) -> Candidate:
    many = len(candidates)
    rank = math.ceil(HOT_QUANTILE * many)
    if rank < many:
        ranked = sorted(loads)
        bar = ranked[rank - 1]
        if bar < ranked[-1]:
            places = [place for place, load in enumerate(loads) if load <= bar]
            candidates, loads = [candidates[place] for place in places], [loads[place] for place in places]
    return _least(candidates, predict(candidates, loads, function, now), entropy)


def _least(candidates: Sequence[Candidate], measures: Sequence[float], entropy: Entropy) -> Candidate:
    least = min(measures)
    if measures.count(least) == 1:
        return candidates[measures.index(least)]
    equals = [place for place, each in enumerate(measures) if each == least]
    return candidates[equals[int(entropy() * len(equals))]]


DEFAULT_POLICY = "prequal"

POLICIES: Mapping[str, Policy] = {
    "prequal": prequal,
    "fastest": fastest,
    "least_loaded": least_loaded,
    "power_of_two": power_of_two,
    "random": random,
    "round_robin": round_robin,
}

ALIASES: Mapping[str, str] = {
    "resource_aware": "least_loaded",
    "latency_based": "fastest",
    "cost_aware": "prequal",  # until functions have prices
    "smart_adaptive": "prequal",
    "dynamic": "prequal",
}
"""The names of version 2.0.2, and what is meant by them now."""


def policy_name(choice: object) -> str:
    """The policy meant by ``policy=`` or ``load_balancing=``.

    Args:
        choice: None or a bool (the default policy), a name, or ``{"strategy": name, …}``.

    Raises:
        UsageError: There is no such policy.
    """
    if isinstance(choice, Mapping):
        choice = choice.get("strategy")
    if choice is None or isinstance(choice, bool):
        return DEFAULT_POLICY
    # Names may come from 2.0.2's enum of strategies, whose members carried them as values.
    text = str(getattr(choice, "value", choice)).lower().replace("-", "_")
    name = ALIASES.get(text, text)
    if name in POLICIES:
        return name
    near = difflib.get_close_matches(text, [*POLICIES, *ALIASES], n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"no scheduling policy is called {choice!r}: {hint}There are {', '.join(POLICIES)}.")
