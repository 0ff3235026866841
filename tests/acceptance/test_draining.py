"""A node that drains finishes what it has, takes nothing new, and leaves; nothing is lost when all are started anew."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.commands import easynet
from acceptance.members import Club
from acceptance.network import Network
from acceptance.processes import Program, run, until
from acceptance.programs.files import marks

from easyremote import ComputeNode
from easyremote.cli.exits import Exit
from easyremote.errors import EasyRemoteError, UsageError


def drain(own: Network, name: str, *words: str) -> Program:
    return Program(
        [*easynet("drain", name), *words], environment={**own.environment, "EASYREMOTE_GATEWAY": own.address}
    )


def test_the_command_waits_until_the_node_has_finished_and_left(
    own_network: Callable[..., Network], tmp_path: Path
) -> None:
    own = own_network()
    leaving = own.spawn_node("holder", name="leaving")
    own.spawn_node("holder", name="staying")
    started, gate = tmp_path / "started", tmp_path / "gate"
    calls = [own.client.submit("leaving.hold", str(started), str(gate)) for _ in range(3)]
    until(lambda: marks(started) == 3)
    with drain(own, "leaving") as command:
        command.wait_for("leaving takes nothing new, and leaves when it has finished 3 calls")
        assert [own.client.execute("whoami") for _ in range(20)] == ["staying"] * 20
        assert leaving.running
        assert command.running
        gate.touch()
        assert [call.result(10) for call in calls] == ["leaving"] * 3
        assert command.wait() == Exit.OK, command
        assert command.output[-1] == "leaving has left"
    assert leaving.wait() == 0, leaving
    assert marks(started) == 3


def test_what_a_draining_node_still_has_outlives_a_restart_of_the_gateway(
    own_network: Callable[..., Network], tmp_path: Path
) -> None:
    own = own_network()
    leaving = own.spawn_node("holder", name="leaving")
    started, gate = tmp_path / "started", tmp_path / "gate"
    call = own.client.submit("hold", str(started), str(gate))
    until(lambda: marks(started) == 1)
    with drain(own, "leaving", "--no-wait") as command:
        assert command.wait() == Exit.OK, command
    leaving.wait_for("is stopping")
    own.gateway.kill()
    gate.touch()  # it is finished while nobody can be told
    own.restart_gateway()
    assert call.result(20) == "leaving"
    assert leaving.wait() == 0, leaving
    assert marks(started) == 1


def test_nodes_started_anew_one_after_the_other_lose_no_call(own_network: Callable[..., Network]) -> None:
    own = own_network()
    for name in ("a", "b"):
        own.spawn_node("holder", name=name)
    answers: list[str] = []
    errors: list[EasyRemoteError] = []
    over = threading.Event()

    def keep_calling() -> None:
        while not over.is_set():
            try:
                answers.append(own.client.execute("share", 1))
            except EasyRemoteError as error:
                errors.append(error)

    callers = [threading.Thread(target=keep_calling) for _ in range(8)]
    for caller in callers:
        caller.start()
    try:
        for name in ("a", "b"):
            with drain(own, name) as command:
                assert command.wait() == Exit.OK, command
            assert own.nodes[name].wait() == 0
            own.spawn_node("holder", name=name)
            before = answers.count(name)
            until(
                lambda name=name, before=before: answers.count(name) > before,
                what=f"an answer of the new {name}",
            )
    finally:
        over.set()
        for caller in callers:
            caller.join(10)
    assert errors == []


def test_only_its_owner_and_operators_may_drain_a_node(clubs: Callable[..., Club]) -> None:
    club = clubs()
    lab = club.member("lab", "node")
    lab.node("lab").serve(blocking=False)
    stranger = club.member("stranger", "client")
    until(lambda: [record.name for record in stranger.client().list_nodes()] == ["lab"])
    refused = stranger.easynet("drain", "lab")
    assert refused.wait() == Exit.DENIED, refused
    assert "account" in refused.said
    assert [record.name for record in stranger.client().list_nodes()] == ["lab"]


def test_a_node_that_is_not_there_is_an_error(own_network: Callable[..., Network]) -> None:
    own = own_network()
    ended = run(
        easynet("drain", "nobody"), environment={**own.environment, "EASYREMOTE_GATEWAY": own.address}
    )
    assert ended.wait() == Exit.NOBODY, ended
    assert "'nobody'" in ended.said


def test_a_program_cannot_register_what_is_the_nodes_own() -> None:
    with pytest.raises(UsageError, match="easynet-"):
        ComputeNode("127.0.0.1:1").register(lambda: 1, name="easynet-drain")
