"""A thousand worlds: networks in virtual time, each from a seed, with something going wrong in most.

To see one world again: ``WORLD=17 python -m pytest tests/sim/test_worlds.py -k one_world``.
"""

from __future__ import annotations

import os

import pytest
from sim.invariants import check
from sim.scenario import Scenario

WORLDS = 1_040
BATCH = 40


def play(seed: int) -> Scenario:
    """Play a world and judge it; a world that fails says how to see it again."""
    scenario = Scenario(seed)
    try:
        scenario.play()
        check(scenario)
    except Exception as error:
        tail = "\n".join(f"  {when:12.6f}  {kind}  {facts}" for when, kind, facts in scenario.world.log[-40:])
        raise AssertionError(
            f"world {seed} ({scenario.kind}), at {scenario.world.now:.3f} s: {error!r}\n"
            f"Run it again: WORLD={seed} python -m pytest tests/sim/test_worlds.py -k one_world\n{tail}"
        ) from error
    return scenario


@pytest.mark.parametrize("first", range(0, WORLDS, BATCH))
def test_worlds(first: int) -> None:
    for seed in range(first, first + BATCH):
        play(seed)


@pytest.mark.skipif("WORLD" not in os.environ, reason="no WORLD was asked for")
def test_one_world() -> None:
    scenario = play(int(os.environ["WORLD"]))
    for when, kind, facts in scenario.world.log:
        print(f"{when:12.6f}  {kind:14}  {' '.join(map(str, facts))}")


@pytest.mark.parametrize("seed", range(24))
def test_the_same_seed_tells_the_same_story(seed: int) -> None:
    assert play(seed).world.log == play(seed).world.log
