"""Worlds in which memberships run out and devices are put out while calls are made and links misbehave.

To see one again: its seed is in the failure's message.
"""

from __future__ import annotations

import pytest
from sim.playing import told
from sim.scenario import BUSY_SECONDS, HARMLESS, READY_SECONDS, Scenario

from easyremote.protocol.effects import Effect, Start
from easyremote.testing.actors import SimNode
from easyremote.testing.world import START_SECONDS
from easyremote.trust.identity import parse_device

WORLDS = 60
MEMBERSHIP_SECONDS = 3.0
HEARD_SECONDS = 2.0
"""By then a node that is connected has heard who is out."""
WAITED_SECONDS = 1.0
"""A call that was let in in time may still wait for its arguments or its turn."""


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks agree to the second, so that ends can be told to the second."""
    monkeypatch.setattr("easyremote.protocol.standing.LEEWAY_SECONDS", 0.0)


class Watched(Scenario):
    """A scenario with short memberships, in which one client is put out, and every start of a call is judged."""

    clock_errors_seconds = (0.0,)
    """Memberships of three seconds mean nothing to a clock that is an hour off."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.realm = self.network.gateway.realm
        self.realm.membership_seconds = MEMBERSHIP_SECONDS
        self.out_at = READY_SECONDS + self.chance.random() * (BUSY_SECONDS - READY_SECONDS)
        self.outcast = self.chance.choice(self.clients).machine.standing.device
        keep_link = seed % 3 == 0  # a gateway that goes on carrying what the outcast sends
        self.world.at(
            START_SECONDS + self.out_at,
            lambda: self.network.gateway.revoke(self.outcast, keep_link=keep_link),
        )

    def _start_node(self, line: object) -> None:
        super()._start_node(line)  # type: ignore[arg-type]
        if self.nodes:
            self._judge(self.nodes[-1])

    def _judge(self, node: SimNode) -> None:
        perform = node.perform

        def judged(effect: Effect) -> None:
            if isinstance(effect, Start):
                self._check(node, parse_device(effect.caller.device))
            perform(effect)

        if perform.__name__ != "judged":
            node.perform = judged  # type: ignore[method-assign]

    def _check(self, node: SimNode, caller: bytes) -> None:
        """A call begins: is its caller a member, as far as anybody could know?"""
        standing = node.machine.standing
        assert not standing.revoked(caller), "a node ran a call of a device that it knew to be out"
        introduced = [
            channel.introduced
            for channel in node.machine.sessions
            if channel.peer[:32] == caller and channel.introduced is not None
        ]
        ends = [one.membership.expires for one in introduced if one.membership is not None]
        assert ends, "a node ran a call of a device that had shown no membership"
        ended = standing.clock() - max(ends)
        assert ended < WAITED_SECONDS, "a node ran a call of a device whose membership was over"


@pytest.mark.parametrize("seed", range(WORLDS))
def test_nobody_acts_without_a_membership_that_holds(seed: int) -> None:
    scenario = Watched(seed)
    world = scenario.world
    try:
        while world.now < START_SECONDS + BUSY_SECONDS + 1.0:
            world.run_for(0.25)
            heard_by = START_SECONDS + scenario.out_at + HEARD_SECONDS
            if (
                scenario.kind in HARMLESS
                and scenario.kind not in ("snaps", "gateway", "partitions")
                and world.now > heard_by
            ):
                for node in scenario.nodes:
                    if node.alive and node.attached:
                        assert node.machine.standing.revoked(scenario.outcast), (
                            "a node has not heard who is out"
                        )
        world.run(world.now + 400.0, enough=lambda: not scenario.calls_are_open())
        assert not scenario.calls_are_open(), "calls end, also those of a device that is out"
        world.run_for(10.0)  # who was cut off for longer than a membership lasts has the next by then
        members = [one for one in scenario.clients if one.machine.standing.device != scenario.outcast]
        for client in members:
            if client.alive and client.attached:
                assert client.machine.standing.membership is not None, (
                    "who is in good standing stays a member"
                )
    except AssertionError as error:
        raise AssertionError(f"seed {seed} ({scenario.kind}): {error}\n{told(scenario)[-3000:]}") from error
