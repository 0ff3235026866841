"""A gateway that is killed, or stands still, with a thousand calls in flight costs none of them, and runs none twice."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.network import Network
from chaos.crowd import COUNTER, Crowd, Plan
from chaos.lengths import CALLS, FULL, LEASE_SECONDS, LOST_AFTER_SECONDS, ROUNDS, SCALE, pass_time

pytestmark = pytest.mark.timeout(600)


def crowded(own: Network, tmp_path: Path, seed: int, *, longest_seconds: float) -> Crowd:
    ledger = tmp_path / "ledger"
    own.spawn_node(COUNTER, name="a", LEDGER=str(ledger))
    plan = Plan(
        address=own.address,
        calls=CALLS,
        seed=seed,
        longest_seconds=longest_seconds,
        lost_after=LOST_AFTER_SECONDS,
    )
    return Crowd(plan, ledger, own.environment)


@pytest.mark.parametrize("seed", ROUNDS)
def test_a_gateway_that_is_killed_and_restarted(
    own_network: Callable[..., Network], tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    own = own_network(heartbeat_timeout_seconds=LEASE_SECONDS)
    crowd = crowded(own, tmp_path, seed, longest_seconds=15.0 if FULL else 5.0)
    pass_time(chance.uniform(0.0, 3.0))
    own.gateway.kill()
    pass_time(chance.uniform(0.0, 9.0 * SCALE))
    own.restart_gateway()
    crowd.all_answered(within_seconds=120)


def test_a_gateway_that_is_killed_again_and_again(
    own_network: Callable[..., Network], tmp_path: Path
) -> None:
    own = own_network(heartbeat_timeout_seconds=LEASE_SECONDS)
    crowd = crowded(own, tmp_path, 77, longest_seconds=30.0 if FULL else 6.0)
    for _ in range(10 if FULL else 3):
        pass_time(1.0)
        own.gateway.kill()
        own.restart_gateway()
    crowd.all_answered(within_seconds=120)


def test_a_gateway_that_stands_still(own_network: Callable[..., Network], tmp_path: Path) -> None:
    own = own_network(heartbeat_timeout_seconds=LEASE_SECONDS)
    crowd = crowded(own, tmp_path, 15, longest_seconds=20.0 * SCALE)
    pass_time(2.0 * SCALE)
    own.gateway.freeze()
    pass_time(15.0 * SCALE)
    own.gateway.thaw()
    crowd.all_answered(within_seconds=120)
