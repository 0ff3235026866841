"""Nodes that die or fall silent with calls in their hands."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from acceptance.network import Network
from acceptance.processes import settled, until
from acceptance.programs.files import marks
from acceptance.tap import Tap

from easyremote import Client
from easyremote.errors import CallError, NodeLostError, ScheduleError

LEASE_SECONDS = 2.0


@pytest.fixture(scope="module")
def pair(home: Path) -> Iterator[Network]:
    """A gateway with a short lease and the node ``b``, which stays; tests bring ``a`` and take it away."""
    made = Network(home, heartbeat_timeout_seconds=LEASE_SECONDS)
    try:
        made.spawn_node("holder", name="b")
        yield made
    finally:
        made.close()


@pytest.fixture
def with_a(pair: Network) -> Iterator[Network]:
    pair.spawn_node("holder", name="a")
    yield pair
    pair.dismiss("a")


def seconds_until_lost(wait: Callable[[], object]) -> float:
    began = time.perf_counter()
    with pytest.raises(NodeLostError) as caught:
        wait()
    assert caught.value.node == "a"
    assert caught.value.call_id
    assert "'a'" in str(caught.value)
    return time.perf_counter() - began


def test_a_killed_node_fails_its_running_call_within_two_seconds(with_a: Network, tmp_path: Path) -> None:
    started = tmp_path / "started"
    call = with_a.client.submit("a.hold", str(started), str(tmp_path / "gate"))
    until(lambda: marks(started) == 1)
    with_a.nodes["a"].kill()
    assert seconds_until_lost(lambda: call.result(10)) < 2.0
    began = time.perf_counter()
    assert [with_a.client.execute("whoami") for _ in range(10)] == ["b"] * 10
    assert time.perf_counter() - began < 1.0, "later calls go to the other node at once"
    assert settled(lambda: marks(started)) == 1, "what may have run is not run again"


def test_a_killed_node_fails_its_running_stream(with_a: Network) -> None:
    items = with_a.client.stream("a.drip")
    assert next(items) == "a"
    with_a.nodes["a"].kill()
    assert seconds_until_lost(lambda: list(items)) < 2.0


def test_an_idempotent_call_is_run_again_on_the_other_node(with_a: Network, tmp_path: Path) -> None:
    """Calls enough that both nodes hold some; those of the lost one move over."""
    started, gate = tmp_path / "started", tmp_path / "gate"
    calls = [with_a.client.submit("hold_repeatable", str(started), str(gate)) for _ in range(6)]
    until(lambda: marks(started) == 6)
    with_a.nodes["a"].kill()
    until(lambda: marks(started) > 6, within_seconds=3, what="a call started once more")
    gate.touch()
    assert [call.result(10) for call in calls] == ["b"] * 6


def test_calls_that_never_started_move_over_without_an_error(with_a: Network) -> None:
    """A plain stream of calls over a death: only those in the dead node's hands may fail, as lost."""
    answers: list[object] = []
    for n, answer in enumerate(with_a.client.map("share", range(600), return_exceptions=True)):
        answers.append(answer)
        if n == 100:
            with_a.nodes["a"].kill()
    assert len(answers) == 600
    assert {type(answer) for answer in answers} <= {str, NodeLostError}
    assert answers[-50:] == ["b"] * 50


def test_a_call_in_flight_outlives_a_silence_of_its_node(with_a: Network, tmp_path: Path) -> None:
    started, gate = tmp_path / "started", tmp_path / "gate"
    call = with_a.client.submit("a.hold", str(started), str(gate))
    until(lambda: marks(started) == 1)
    with_a.nodes["a"].freeze()
    with_a.wait_for_departure("a")
    began = time.perf_counter()
    assert [with_a.client.execute("whoami") for _ in range(10)] == ["b"] * 10
    assert time.perf_counter() - began < 1.0, "later calls go to the other node at once"
    with pytest.raises(ScheduleError, match="'a'"):
        with_a.client.execute("a.whoami")
    with_a.nodes["a"].thaw()
    with_a.wait_for_node("a")  # it comes back by itself
    assert not call.done()
    gate.touch()
    assert call.result(10) == "a"
    assert marks(started) == 1


def test_who_does_not_want_to_wait_for_a_silent_node_knows_within_the_lease(
    with_a: Network, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    with Client(with_a.address, lost_after=0.0) as hasty:
        call = hasty.submit("a.hold", str(started), str(tmp_path / "gate"))
        until(lambda: marks(started) == 1)
        with_a.nodes["a"].freeze()
        assert seconds_until_lost(lambda: call.result(10)) < LEASE_SECONDS + 1.0
    with_a.nodes["a"].thaw()


def test_what_may_run_twice_does_not_wait_for_a_silent_node(with_a: Network, tmp_path: Path) -> None:
    started, gate = tmp_path / "started", tmp_path / "gate"
    calls = [with_a.client.submit("hold_repeatable", str(started), str(gate)) for _ in range(6)]
    until(lambda: marks(started) == 6)
    with_a.nodes["a"].freeze()
    until(lambda: marks(started) > 6, within_seconds=LEASE_SECONDS + 2.0, what="a call started once more")
    gate.touch()
    assert [call.result(10) for call in calls] == ["b"] * 6
    with_a.nodes["a"].thaw()


def test_a_network_that_stays_silent_fails_the_running_call_in_the_end(pair: Network, tmp_path: Path) -> None:
    started = tmp_path / "started"
    with Tap(pair.address) as tap, Client(pair.address, lost_after=1.0) as client:
        pair.spawn_node("holder", name="a", address=tap.address)
        until(lambda: any(record.name == "a" for record in client.list_nodes()))
        call = client.submit("a.hold", str(started), str(tmp_path / "gate"))
        until(lambda: marks(started) == 1)
        tap.hush()
        assert LEASE_SECONDS < seconds_until_lost(lambda: call.result(10)) < LEASE_SECONDS + 3.0
        assert pair.client.execute("whoami") == "b"
    pair.dismiss("a")


def test_a_call_to_a_node_that_is_gone_says_so(with_a: Network) -> None:
    with_a.nodes["a"].kill()
    with_a.wait_for_departure("a")
    with pytest.raises((ScheduleError, CallError), match="'a'"):
        with_a.client.execute("a.whoami")
    with_a.spawn_node("holder", name="a")
    assert with_a.client.execute("a.whoami") == "a"
