"""Nodes that offer the same function share its calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from acceptance.network import Network

from easyremote.errors import UsageError


@pytest.fixture(scope="module")
def twins(network: Network) -> Iterator[Network]:
    for name in ("left", "right"):
        network.spawn_node("holder", name=name)
    yield network
    for name in ("left", "right"):
        network.dismiss(name)


@pytest.mark.parametrize("function", ["share", "share_in_thread"])
@pytest.mark.parametrize("in_flight", [256, 16])
def test_two_equal_nodes_share_two_hundred_calls(twins: Network, function: str, in_flight: int) -> None:
    answers = Counter(twins.client.map(function, range(200), max_in_flight=in_flight))
    assert set(answers) == {"left", "right"}
    assert min(answers.values()) >= 70, answers


def test_calls_one_after_another_are_shared_too(twins: Network) -> None:
    answers = Counter(twins.client.execute("whoami") for _ in range(200))
    assert set(answers) == {"left", "right"}


def test_a_named_node_gets_all_its_calls(twins: Network) -> None:
    assert {twins.client.execute("left.whoami") for _ in range(20)} == {"left"}
    assert {twins.client.options(node="right").execute("whoami") for _ in range(20)} == {"right"}
    assert set(twins.client.map("left.share", range(50))) == {"left"}


def test_round_robin_takes_turns(twins: Network) -> None:
    turns = twins.client.options(policy="round_robin")
    answers = [turns.execute("whoami") for _ in range(10)]
    assert Counter(answers) == {"left": 5, "right": 5}


def test_an_unknown_policy_is_refused_with_the_known_ones(twins: Network) -> None:
    with pytest.raises((UsageError, ValueError), match="round_robin"):
        twins.client.options(policy="fair_weather").execute("whoami")
