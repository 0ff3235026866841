"""Play a world to its end, and judge it."""

from __future__ import annotations

from sim.invariants import at_rest, check, check_bounds
from sim.scenario import BUSY_SECONDS, Scenario

from easyremote.testing.world import START_SECONDS
from easyremote.wire.limits import LEASE_SECONDS

ENDING_SECONDS = 400.0
"""Every call ends within this time once nothing goes wrong any more."""
RESTING_SECONDS = 2_000.0
SHOWN = 40
"""Lines of the log that are shown of a world that fails."""


def play(seed: int) -> Scenario:
    """Play and judge a world; one that fails says how to see it again."""
    scenario = Scenario(seed)
    try:
        play_to_the_end(scenario)
        check(scenario)
    except Exception as error:
        last_lines = "\n".join(told(scenario).splitlines()[-SHOWN:])
        raise AssertionError(
            f"world {seed} ({scenario.kind}), at {scenario.world.now:.3f} s: {error!r}\n"
            f"{last_lines}\n"
            f"Run it again: WORLD={seed} python -m pytest tests/sim/test_worlds.py -k one_world -s"
        ) from error
    return scenario


def play_to_the_end(scenario: Scenario) -> None:
    """Let it all happen, then let everything come to rest."""
    world = scenario.world
    while world.now < START_SECONDS + BUSY_SECONDS + 1.0:
        world.run_for(0.5)
        check_bounds(scenario)
    world.run(world.now + ENDING_SECONDS, enough=lambda: not scenario.calls_are_open())
    check_bounds(scenario)
    if scenario.kind in ("silences", "storm"):
        world.run(world.now + 60.0, enough=lambda: not any(line.cut for line in scenario.network.lines))
        world.run_for(LEASE_SECONDS + 1.0)  # links that are dead and do not know it
    rested = 0
    while world.now < START_SECONDS + RESTING_SECONDS and rested < 2:
        world.run_for(2.0)
        rested = rested + 1 if at_rest(scenario) else 0
    world.note("end", scenario.network.packets, sum(scenario.runs().values()))


def told(scenario: Scenario) -> str:
    """The world's log, as text."""
    return "\n".join(
        f"{when:12.6f}  {kind:14}  {' '.join(map(str, facts))}" for when, kind, facts in scenario.world.log
    )
