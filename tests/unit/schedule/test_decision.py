from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easyremote.errors import NoCandidateError, UsageError
from easyremote.schedule.candidates import Candidate
from easyremote.schedule.decision import decide
from easyremote.schedule.policies import POLICIES
from easyremote.schedule.requirements import Requirement


def candidates(many: int) -> list[Candidate]:
    return [Candidate(endpoint=place.to_bytes(40, "big"), name=f"node-{place}") for place in range(many)]


def test_the_errors_name_every_obstacle() -> None:
    studio, lab = candidates(2)
    studio.name, lab.name, lab.draining = "studio-mac", "lab-3", True
    wanted = Requirement(function="resize", capabilities=frozenset({"gpu"}))
    with pytest.raises(NoCandidateError) as caught:
        decide(wanted, [studio, lab], now=0.0, entropy=random.Random(1).random)
    assert str(caught.value) == (
        "no node can run 'resize' with capability 'gpu'\n"
        "  studio-mac  offers it, has no capability 'gpu'\n"
        "  lab-3       offers it, is draining\n"
        "Loosen the requirement, or run `easynet functions`."
    )


def test_nobody_offers_it() -> None:
    with pytest.raises(NoCandidateError, match="no node can run 'f': none offers it"):
        decide(Requirement(function="f"), [], now=0.0, entropy=random.Random(1).random)


def test_a_long_list_of_obstacles_is_cut() -> None:
    crowd = candidates(50)
    for candidate in crowd:
        candidate.draining = True
    with pytest.raises(NoCandidateError, match="and 30 more"):
        decide(Requirement(function="f"), crowd, now=0.0, entropy=random.Random(1).random)


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(UsageError, match="no scheduling policy is called 'best'"):
        decide(Requirement(), candidates(2), policy="best", now=0.0, entropy=random.Random(1).random)


def test_a_decision_explains_itself() -> None:
    quick, slow, old = candidates(3)
    old.draining = True
    slow.capacity = 4
    for _ in range(2):
        quick.answered("f", 0.1, load=quick.sent(), now=0.0)
    quick.in_flight, slow.in_flight = 1, 3
    made = decide(Requirement(function="f"), [quick, slow, old], now=0.0, entropy=random.Random(1).random)
    assert made.endpoint == quick.endpoint
    assert made.explain() == (
        "  node-0  chosen by prequal; could: load 1, about 200 ms\n"
        "  node-1  could: load 3 of 4, not measured yet\n"
        "  node-2  is draining"
    )


def test_names_of_version_2_still_decide() -> None:
    made = decide(
        Requirement(), candidates(2), policy="latency_based", now=0.0, entropy=random.Random(1).random
    )
    assert made.policy == "fastest"


@pytest.mark.parametrize("policy", POLICIES)
def test_a_crowd_is_shared(policy: str) -> None:
    crowd, dice = candidates(100), random.Random(11)
    for _ in range(2000):
        decide(Requirement(function="f"), crowd, policy=policy, now=0.0, entropy=dice.random).chosen.sent()
    counts = [candidate.in_flight for candidate in crowd]
    assert sum(counts) == 2000
    assert min(counts) > 0
    if policy != "random":
        assert max(counts) < 40


def test_the_few_who_can_are_found_in_a_crowd() -> None:
    crowd, dice = candidates(1000), random.Random(5)
    for candidate in crowd:
        candidate.draining = candidate.name not in ("node-7", "node-901")
    chosen = Counter(
        decide(Requirement(function="f"), crowd, now=0.0, entropy=dice.random).chosen.name for _ in range(40)
    )
    assert set(chosen) == {"node-7", "node-901"}


@pytest.mark.parametrize("many", [9, 10, 64, 997, 1000])
def test_the_one_who_can_is_found_wherever_it_stands(many: int) -> None:
    crowd, dice = candidates(many), random.Random(6)
    for place in {0, 1, many // 2, many - 1}:
        for candidate in crowd:
            candidate.draining = candidate is not crowd[place]
        for _ in range(5):
            chosen = decide(Requirement(function="f"), crowd, now=0.0, entropy=dice.random).chosen
            assert chosen is crowd[place]


def test_few_are_looked_at_where_enough_can() -> None:
    looked = 0

    class Counting(list[Candidate]):
        def __getitem__(self, place: Any) -> Any:
            nonlocal looked
            looked += 1
            return super().__getitem__(place)

    crowd, dice = Counting(candidates(10_000)), random.Random(7)
    for place, candidate in enumerate(crowd):
        candidate.draining = place % 100 != 0
    for _ in range(100):
        decide(Requirement(function="f"), crowd, now=0.0, entropy=dice.random)
    assert looked < 100 * 1_500


@given(
    policy=st.sampled_from(sorted(POLICIES)),
    states=st.lists(
        st.tuples(
            st.booleans(),
            st.integers(0, 50),
            st.integers(0, 50),
            st.integers(0, 8),
            st.lists(st.floats(0, 1e3), max_size=3),
        ),
        min_size=1,
        max_size=40,
    ),
    now=st.floats(0, 1e6),
    seed=st.integers(0, 2**32),
)
def test_only_who_can_is_chosen(
    policy: str, states: list[tuple[bool, int, int, int, list[float]]], now: float, seed: int
) -> None:
    crowd = candidates(len(states))
    for candidate, (draining, ours, running, capacity, history) in zip(crowd, states, strict=True):
        for seconds in history:
            candidate.answered("f", seconds, load=candidate.sent(), now=0.0)
        candidate.draining, candidate.in_flight = draining, ours
        candidate.running, candidate.capacity = running, capacity
    excluded = frozenset({crowd[0].endpoint})
    wanted = Requirement(function="f", exclude=excluded)
    able = [each for each in crowd if not each.draining and each.endpoint not in excluded]
    dice = random.Random(seed)
    if not able:
        with pytest.raises(NoCandidateError):
            decide(wanted, crowd, policy=policy, now=now, entropy=dice.random)
        return
    made = decide(wanted, crowd, policy=policy, now=now, entropy=dice.random)
    assert made.chosen in able
    cold = [each for each in able if not each.full]
    if policy == "prequal" and cold and len(crowd) <= 8:
        assert not made.chosen.full
    assert len(made.reasons()) == len(crowd)
