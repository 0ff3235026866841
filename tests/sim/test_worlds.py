"""Hundreds of worlds: networks in virtual time, each from a seed, with something going wrong in most.

To see one world again: ``WORLD=17 python -m pytest tests/sim/test_worlds.py -k one_world -s``.
"""

from __future__ import annotations

import os

import pytest
from sim.playing import play, told

WORLDS = int(os.environ.get("WORLDS", "480"))
BATCH = 40


@pytest.mark.parametrize("first", range(0, WORLDS, BATCH))
def test_worlds(first: int) -> None:
    for seed in range(first, first + BATCH):
        play(seed)


@pytest.mark.skipif("WORLD" not in os.environ, reason="WORLD names the seed of a world to see again")
def test_one_world() -> None:
    print(told(play(int(os.environ["WORLD"]))))


@pytest.mark.parametrize("seed", range(24))
def test_the_same_seed_tells_the_same_story(seed: int) -> None:
    assert play(seed).world.log == play(seed).world.log
