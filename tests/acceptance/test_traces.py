"""``easynet trace``: what went wrong on a call's way is written down where it happened, and told to whom it concerns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.commands import easynet
from acceptance.members import Club
from acceptance.network import Network
from acceptance.processes import Program, run, until
from acceptance.programs.files import marks

from easyremote import Client, NodeLostError, NotAllowedError, RemoteError, Retry
from easyremote.cli.exits import Exit


def story(own: Network, call: str, *words: str) -> list[dict[str, str]]:
    """What the command tells of a call, once it tells anything."""
    command: list[Program] = []

    def told() -> bool:
        command[:] = [
            run(
                easynet("trace", call, "--json", *words),
                environment={**own.environment, "EASYREMOTE_GATEWAY": own.address},
            )
        ]
        return command[0].wait() == Exit.OK

    until(told)
    return [json.loads(line) for line in command[0].output]


def diary(own: Network) -> list[dict[str, str]]:
    """What the programs of this home have written down."""
    path = own.home / "trace.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def whats(found: list[dict[str, str]]) -> list[str]:
    return [one["what"] for one in found]


def test_a_call_that_moved_from_a_node_that_died(own_network: Callable[..., Network], tmp_path: Path) -> None:
    own = own_network()
    for name in ("a", "b"):
        own.spawn_node("holder", name=name)
    started, gate = tmp_path / "started", tmp_path / "gate"
    client = Client(own.address)
    with client:
        calls = [client.submit("hold_repeatable", str(started), str(gate)) for _ in range(4)]
        until(lambda: marks(started) == 4)
        own.nodes["a"].kill()
        gate.touch()
        assert [call.result(20) for call in calls].count("b") >= 1
    moved = until(lambda: [one for one in diary(own) if one["name"] == "moved"])
    told = story(own, moved[0]["call"])
    assert "moved" in whats(told)
    assert "node lost" in whats(told)
    (ended,) = [one for one in told if one["what"] == "call ended"]
    assert ended["where"] == "node b"
    assert ended["detail"].startswith("ok, after ")


def test_retries_are_told_with_the_attempts_they_led_to(
    own_network: Callable[..., Network], tmp_path: Path
) -> None:
    own = own_network()
    own.spawn_node("holder", name="a")
    started, gate = tmp_path / "started", tmp_path / "gate"
    with Client(own.address, retry=Retry(max_attempts=3, backoff=0.01)) as client:
        call = client.submit("a.hold_repeatable", str(started), str(gate))
        until(lambda: marks(started) == 1)
        own.nodes["a"].kill()
        with pytest.raises(NodeLostError) as caught:
            call.result(20)
    assert caught.value.call_id is not None
    told = story(own, caught.value.call_id)
    assert {"node lost", "call failed", "retried"} <= set(whats(told))
    again = [one["detail"].rpartition(" ")[2] for one in told if one["what"] == "retried"]
    assert {one["call"] for one in told} >= set(again)


def test_hedges_refusals_and_calls_that_go_on_after_a_reconnect_are_events_of_their_own(
    own_network: Callable[..., Network], tmp_path: Path
) -> None:
    own = own_network()
    for name in ("a", "b"):
        own.spawn_node("holder", name=name)
    started, gate = tmp_path / "started", tmp_path / "gate"
    with Client(own.address, hedge_after=0.05) as client:
        call = client.submit("hold_repeatable", str(started), str(gate))
        until(lambda: marks(started) == 2)
        gate.touch()
        assert call.result(10) in ("a", "b")
    hedged = until(lambda: [one for one in diary(own) if one["name"] == "hedged"])
    assert "hedged" in whats(story(own, hedged[0]["call"]))
    with Client(own.address) as client:
        held = client.submit("a.hold", str(tmp_path / "held"), str(tmp_path / "later"))
        until(lambda: marks(tmp_path / "held") == 1)
        own.gateway.kill()
        own.restart_gateway()
        until(lambda: any(one["name"] == "resumed" for one in diary(own)))
        (tmp_path / "later").touch()
        assert held.result(20) == "a"
    resumed = next(one for one in diary(own) if one["name"] == "resumed")
    told = whats(story(own, resumed["call"]))
    told = told[told.index("link lost") :]  # the link was up before as well
    assert told.index("link up") < told.index("resumed") < told.index("call ended")
    own.spawn_node("patient", name="desk")
    with Client(own.address, patience=0.0) as client:
        one_place = [client.submit("desk.hold_alone", str(tmp_path / "alone"), str(tmp_path / "open"))]
        until(lambda: marks(tmp_path / "alone") == 1)
        one_place += [
            client.submit("desk.hold_alone", str(tmp_path / "alone"), str(tmp_path / "open"))
            for _ in range(66)
        ]
        refused = until(lambda: [one for one in diary(own) if one["name"] == "refused"])
        (tmp_path / "open").touch()
    assert "refused" in whats(story(own, refused[0]["call"]))


def test_a_node_tells_its_caller_and_its_owner_and_nobody_else(clubs: Callable[..., Club]) -> None:
    club = clubs()
    owner, anna, ben = club.member("owner", "node"), club.member("anna"), club.member("ben")
    node = owner.node("desk")

    @node.register
    def fail() -> None:
        raise ValueError("no")

    node.serve(blocking=False)
    assert node.wait_for_connection(10)
    client = anna.client()
    until(lambda: any(one.name == "desk" for one in client.list_nodes()))
    with pytest.raises(RemoteError) as caught:
        client.execute("desk.fail")
    call = caught.value.call_id
    assert call is not None

    def told(member_client: Client) -> list[str]:
        return [what for _, _, what, _ in member_client.execute("desk.easynet-trace", [call])]

    until(lambda: told(client) == ["call ended"])
    assert told(ben.client()) == []
    with pytest.raises(NotAllowedError):
        ben.client().execute("desk.easynet-drain")
    shown = anna.easynet("trace", call)
    assert shown.wait() == Exit.OK, shown
    assert any("node desk\tcall ended\t\terror ValueError" in line for line in shown.output)


def test_a_job_is_traced_by_its_id(own_network: Callable[..., Network], tmp_path: Path) -> None:
    own = own_network()
    own.spawn_node("patient", name="desk")
    job = own.client.submit("count", str(tmp_path / "ledger"), 1, durable=True)
    assert job.result(10) == 1
    assert {"job fetched", "job began", "job delivered", "call ended"} <= set(whats(story(own, job.id)))


def test_all_calls_are_written_down_where_that_is_wanted(own_network: Callable[..., Network]) -> None:
    own = own_network()
    own.spawn_node("holder", name="a")
    command = run(
        [*easynet("call", "whoami")],
        environment={**own.environment, "EASYREMOTE_GATEWAY": own.address, "EASYREMOTE_TRACE": "on"},
    )
    assert command.wait() == Exit.OK, command
    call = next(one["call"] for one in diary(own) if one["name"] == "call requested")
    assert {"call requested", "call sent", "call ended"} <= set(whats(story(own, call)))


def test_what_nobody_knows_is_said(own_network: Callable[..., Network]) -> None:
    own = own_network()
    environment = {**own.environment, "EASYREMOTE_GATEWAY": own.address}
    unknown = run(easynet("trace", "0123456789abcdef"), environment=environment)
    assert unknown.wait() == Exit.USAGE, unknown
    assert "nothing is known of call 0123456789abcdef" in unknown.errors[0]
    no_id = run(easynet("trace", "yesterday"), environment=environment)
    assert no_id.wait() == Exit.USAGE, no_id
    assert "16 hexadecimal digits" in no_id.errors[0]
