"""Filter, rank, explain: the one call a caller makes of this room.

A decision takes microseconds and is made for every call; why it came out so is worked out only when
somebody asks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from easyremote.errors import NoCandidateError
from easyremote.schedule.candidates import Candidate
from easyremote.schedule.filters import eligible, obstacle
from easyremote.schedule.policies import (
    DEFAULT_POLICY,
    POLICIES,
    Entropy,
    policy_name,
    predict,
    present_loads,
)
from easyremote.schedule.requirements import Requirement

MOST_COMPARED = 8
"""Of more candidates than this, so many are drawn at random and compared.

The best of eight is nearly the best of all (power of d choices), and a decision stays cheap.
"""


class Decision(msgspec.Struct, frozen=True, eq=False):
    """Who it is; and, when asked, why.

    Attributes:
        chosen: The candidate the call goes to.
        policy: The name of the policy that chose.
    """

    chosen: Candidate
    policy: str
    requirement: Requirement
    candidates: Sequence[Candidate]
    now: float

    @property
    def endpoint(self) -> bytes:
        """The chosen node's endpoint."""
        return self.chosen.endpoint

    def reasons(self) -> list[tuple[str, str]]:
        """For each candidate, its name and why it was or was not chosen, by what is known now."""
        requirement = self.requirement
        able = eligible(requirement, self.candidates)
        times = predict(able, present_loads(able), requirement.function or "", self.now)
        time_of = dict(zip(map(id, able), times, strict=True))
        reasons = []
        for candidate in self.candidates:
            reason = obstacle(requirement, candidate)
            if reason is None:
                reason = f"could: load {candidate.load}"
                if candidate.capacity:
                    reason += f" of {candidate.capacity}"
                if candidate.latency_seconds(requirement.function or "") is None:
                    reason += ", not measured yet"
                else:
                    reason += f", about {time_of[id(candidate)] * 1e3:.3g} ms"
            if candidate is self.chosen:
                reason = f"chosen by {self.policy}; {reason}"
            reasons.append((candidate.name, reason))
        return reasons

    def explain(self) -> str:
        """The reasons as text, a line for each candidate."""
        return _table(self.reasons())


def decide(
    requirement: Requirement,
    candidates: Sequence[Candidate],
    *,
    policy: str = DEFAULT_POLICY,
    now: float,
    entropy: Entropy,
) -> Decision:
    """Choose the node that gets the call.

    Args:
        requirement: What the caller needs.
        candidates: The nodes that offer the function; not to be changed in place afterwards.
        policy: A policy's name, or one of version 2.0.2's.
        now: The time on the caller's monotonic clock, in seconds.
        entropy: Gives uniform numbers in [0, 1).

    Raises:
        NoCandidateError: None of them can take the call; the message says why for each.
        UsageError: There is no such policy.
    """
    choose = POLICIES.get(policy)
    if choose is None:
        policy = policy_name(policy)
        choose = POLICIES[policy]
    if len(candidates) > MOST_COMPARED and policy != "round_robin":
        able = _draw(requirement, candidates, entropy)
    else:
        able = eligible(requirement, candidates)
    if not able:
        raise _nobody(requirement, candidates)
    chosen = able[0] if len(able) == 1 else choose(able, requirement.function or "", now, entropy)
    return Decision(chosen, policy, requirement, candidates, now)


def _draw(requirement: Requirement, candidates: Sequence[Candidate], entropy: Entropy) -> list[Candidate]:
    """Some candidates that can: looked at in random order, until enough of them were found.

    The order is a random start and a random stride without a common divisor with their number, so that each
    comes once and two draws are all it costs. If few can, more are looked at; all of them only if hardly any can.
    """
    many = len(candidates)
    start, stride = int(entropy() * many), 1 + int(entropy() * (many - 1))
    while math.gcd(stride, many) != 1:
        stride = stride % (many - 1) + 1
    able: list[Candidate] = []
    looked, chunk = 0, MOST_COMPARED
    while looked < many and 2 * len(able) < MOST_COMPARED:
        places = range(looked, min(looked + chunk, many))
        able += eligible(requirement, [candidates[(start + stride * place) % many] for place in places])
        looked, chunk = looked + chunk, chunk * 2
    return able[:MOST_COMPARED]


def _nobody(requirement: Requirement, candidates: Sequence[Candidate]) -> NoCandidateError:
    head = f"no node can run {requirement}"
    if not candidates:
        return NoCandidateError(f"{head}: none offers it.\nRun `easynet functions` to see what is offered.")
    shown = candidates[:20]
    rows = [(each.name, f"offers it, {obstacle(requirement, each)}") for each in shown]
    more = f"\n  and {len(candidates) - len(shown)} more" if len(candidates) > len(shown) else ""
    return NoCandidateError(
        f"{head}\n{_table(rows)}{more}\nLoosen the requirement, or run `easynet functions`."
    )


def _table(rows: Iterable[tuple[str, str]]) -> str:
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in rows)
