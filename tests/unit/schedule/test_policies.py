from __future__ import annotations

import random
from collections import Counter

import pytest
from unit.schedule.fleet import Fleet

from easyremote.errors import UsageError
from easyremote.schedule.candidates import Candidate
from easyremote.schedule.policies import ALIASES, POLICIES, policy_name


def nodes(*loads: int, capacity: int = 0) -> list[Candidate]:
    return [
        Candidate(endpoint=place.to_bytes(40, "big"), name=str(place), in_flight=load, capacity=capacity)
        for place, load in enumerate(loads)
    ]


def measured(candidate: Candidate, seconds: float, *, now: float = 0.0) -> Candidate:
    for _ in range(3):
        candidate.in_flight += 1
        candidate.answered("f", seconds, load=1, now=now)
    return candidate


def picks(policy: str, candidates: list[Candidate], *, now: float = 0.0, times: int = 300) -> Counter[str]:
    dice = random.Random(7)
    return Counter(POLICIES[policy](candidates, "f", now, dice.random).name for _ in range(times))


@pytest.mark.parametrize("policy", POLICIES)
def test_equals_share(policy: str) -> None:
    chosen = picks(policy, nodes(0, 0, 0))
    assert set(chosen) == {"0", "1", "2"}
    assert min(chosen.values()) > 60


@pytest.mark.parametrize("policy", POLICIES)
def test_one_candidate_is_the_choice(policy: str) -> None:
    assert set(picks(policy, nodes(9), times=3)) == {"0"}


@pytest.mark.parametrize("policy", ["prequal", "fastest", "least_loaded"])
def test_the_less_loaded_of_equals(policy: str) -> None:
    assert set(picks(policy, nodes(3, 1, 2))) == {"1"}


def test_power_of_two_never_takes_the_worst() -> None:
    assert "0" not in picks("power_of_two", nodes(9, 1, 2))


def test_round_robin_takes_turns_and_welcomes_a_new_node_once() -> None:
    dice = random.Random(1)
    candidates = nodes(0, 5)
    names = [POLICIES["round_robin"](candidates, "f", 0.0, dice.random).name for _ in range(4)]
    assert names == ["0", "1", "0", "1"]
    candidates.append(Candidate(endpoint=b"n" * 40, name="new"))
    names = [POLICIES["round_robin"](candidates, "f", 0.0, dice.random).name for _ in range(6)]
    assert names == ["new", "0", "1", "new", "0", "1"]


def test_prequal_takes_the_faster_until_its_queue_costs_more() -> None:
    quick, slow = nodes(0, 0)
    measured(quick, 0.1)
    measured(slow, 1.0)
    assert set(picks("prequal", [quick, slow])) == {"0"}
    quick.in_flight = 20
    assert set(picks("prequal", [quick, slow])) == {"1"}


def test_prequal_tries_a_node_it_does_not_know() -> None:
    known, new = nodes(0, 0)
    measured(known, 0.5)
    assert picks("prequal", [known, new])["1"] > 100
    new.in_flight = 2  # its answers are still out: no stampede
    assert set(picks("prequal", [known, new])) == {"0"}


def test_prequal_tries_again_a_node_that_once_was_slow() -> None:
    quick, slow = nodes(0, 0)
    measured(quick, 0.01)
    measured(slow, 0.05)
    assert set(picks("prequal", [quick, slow])) == {"0"}
    assert picks("prequal", [quick, slow], now=120.0)["1"] > 100


def test_differences_in_the_noise_do_not_matter() -> None:
    one, other = nodes(0, 0)
    measured(one, 0.0005)
    measured(other, 0.0035)
    assert min(picks("prequal", [one, other]).values()) > 100
    measured(one, 1.0, now=9.0)
    measured(other, 1.8, now=9.0)
    assert min(picks("prequal", [one, other], now=9.0).values()) > 100


def test_prequal_avoids_full_nodes_whatever_their_pace() -> None:
    quick, slow = nodes(8, 0, capacity=8)
    measured(quick, 0.001)
    measured(slow, 9.0)
    assert set(picks("prequal", [quick, slow])) == {"1"}


def test_prequal_takes_the_least_overfull_when_all_are_full() -> None:
    small, large = nodes(8, 16)
    small.capacity, large.capacity = 4, 16
    assert set(picks("prequal", [small, large])) == {"1"}


def test_prequal_calls_the_most_loaded_of_many_hot() -> None:
    candidates = nodes(0, 0, 0, 0, 0, 0, 0, 5)
    for candidate in candidates:
        measured(candidate, 0.01 if candidate.in_flight else 10.0)
    assert "7" not in picks("prequal", candidates)
    assert set(picks("fastest", candidates)) == {"7"}


@pytest.mark.parametrize("policy", ["prequal", "fastest"])
@pytest.mark.parametrize("speeds", [[0.01] * 4, [0.01, 0.02, 0.05, 0.1], [0.001, 0.1]])
def test_a_skewed_fleet_is_kept_busy(policy: str, speeds: list[float]) -> None:
    fleet = Fleet(speeds, seed=3)
    seconds = fleet.run(1500, at_once=4 * len(speeds), policy=policy)
    all_busy = 1500 / sum(1 / speed for speed in speeds)
    assert all_busy / seconds > 0.85


def test_a_skewed_fleet_has_shorter_tails_than_with_round_robin() -> None:
    tails = {}
    for policy in ("prequal", "round_robin"):
        fleet = Fleet([0.01, 0.02, 0.05, 0.1], seed=5)
        fleet.run(1000, at_once=16, policy=policy)
        tails[policy] = sorted(fleet.latencies)[990]
    assert tails["prequal"] < tails["round_robin"] / 2


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        (None, "prequal"),
        (True, "prequal"),
        (False, "prequal"),
        ("Round-Robin", "round_robin"),
        ({"strategy": "latency_based", "requirements": {}}, "fastest"),
        ({}, "prequal"),
        *ALIASES.items(),
    ],
)
def test_policies_by_name(choice: object, name: str) -> None:
    assert policy_name(choice) == name


def test_an_unknown_policy_names_a_near_one() -> None:
    with pytest.raises(UsageError, match="'least_load': did you mean 'least_loaded'"):
        policy_name("least_load")
    with pytest.raises(UsageError, match="called 42: There are prequal, fastest"):
        policy_name({"strategy": 42})
