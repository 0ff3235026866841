"""What user code does to end its process does not end the node; Ctrl-C does, and kindly."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from acceptance.network import Network
from acceptance.processes import PROGRAMS, Program, until
from acceptance.programs.files import marks

from easyremote import Client, ComputeNode
from easyremote.errors import CallError, EasyRemoteError, RefusedError, RemoteError, ScheduleError

KINDS = {
    "exit": "SystemExit",
    "interrupt": "KeyboardInterrupt",
    "generator exit": "GeneratorExit",
    "cancelled": "CancelledError",
    "disaster": "Disaster",
}


@pytest.fixture(scope="module")
def rough(network: Network) -> Iterator[Program]:
    yield network.spawn_node("rough", name="rough")
    network.dismiss("rough")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("function", ["plainly", "asynchronously"])
def test_what_is_no_exception_is_an_error_for_the_caller_only(
    client: Client, rough: Program, function: str, kind: str
) -> None:
    with pytest.raises(RemoteError) as caught:
        client.execute(function, kind, timeout=5)
    assert caught.value.type_name.endswith(KINDS[kind])
    assert caught.value.node == "rough"
    assert client.execute("pid", timeout=5) == rough.pid
    assert rough.running


@pytest.mark.parametrize("kind", ["exit", "interrupt", "disaster"])
@pytest.mark.parametrize("function", ["midway", "midway_async"])
def test_what_is_no_exception_ends_only_its_stream(
    client: Client, rough: Program, function: str, kind: str
) -> None:
    items = client.stream(function, kind, timeout=5)
    assert next(items) == 1
    with pytest.raises(RemoteError) as caught:
        next(items)
    assert caught.value.type_name.endswith(KINDS[kind])
    assert client.execute("pid", timeout=5) == rough.pid


def test_many_exits_use_up_no_threads(client: Client, rough: Program) -> None:
    errors = list(client.map("plainly", ["exit"] * 200, return_exceptions=True))
    assert {type(error).__mro__[1] for error in errors} <= set(RemoteError.__mro__)
    assert client.execute("pid", timeout=5) == rough.pid


def test_a_child_process_that_leaves_hard_leaves_alone(client: Client, rough: Program) -> None:
    assert client.execute("child_exit", 7, timeout=10) == 7
    assert client.execute("pid", timeout=5) == rough.pid


def test_ctrl_c_ends_an_idle_node_with_exit_code_zero(
    network: Network, spawn_node: Callable[..., Program]
) -> None:
    node = spawn_node("holder", name="idle")
    node.interrupt()
    assert node.wait(within_seconds=5) == 0, node
    assert "Traceback" not in node.said
    network.wait_for_departure("idle", within_seconds=2)


def test_ctrl_c_lets_running_calls_finish_and_takes_no_new_ones(
    network: Network, spawn_node: Callable[..., Program], tmp_path: Path
) -> None:
    node = spawn_node("holder", name="drainer")
    client, started, gate = network.client, tmp_path / "started", tmp_path / "gate"
    calls = [client.submit("drainer.hold", str(started), str(gate)) for _ in range(3)]
    until(lambda: marks(started) == 3)
    node.interrupt()

    def refused() -> EasyRemoteError | None:
        try:
            client.execute("drainer.whoami", timeout=5)
        except EasyRemoteError as error:
            return error
        return None

    assert isinstance(until(refused, within_seconds=8), (RefusedError, ScheduleError))
    assert node.running
    assert not any(call.done() for call in calls)
    gate.touch()
    assert [call.result(5) for call in calls] == ["drainer"] * 3
    assert node.wait(within_seconds=5) == 0, node


def test_while_a_node_drains_its_calls_go_to_the_others(
    network: Network, spawn_node: Callable[..., Program], tmp_path: Path
) -> None:
    leaving = spawn_node("holder", name="leaving")
    spawn_node("holder", name="staying")
    client, started, gate = network.client, tmp_path / "started", tmp_path / "gate"
    call = client.submit("leaving.hold", str(started), str(gate))
    until(lambda: marks(started) == 1)
    leaving.interrupt()
    answers = [client.execute("whoami") for _ in range(50)]  # no error while it leaves
    assert answers[-10:] == ["staying"] * 10
    gate.touch()
    assert call.result(5) == "leaving"
    assert leaving.wait(within_seconds=5) == 0, leaving


def test_a_second_ctrl_c_ends_a_draining_node_at_once(
    network: Network, spawn_node: Callable[..., Program], tmp_path: Path
) -> None:
    node, started = spawn_node("holder", name="hasty"), tmp_path / "started"
    call = network.client.submit("hasty.hold", str(started), str(tmp_path / "gate"))
    until(lambda: marks(started) == 1)
    node.interrupt()
    node.wait_for("stopping", within_seconds=3)
    assert node.running
    node.interrupt()
    node.wait(within_seconds=3)
    with pytest.raises(EasyRemoteError):
        call.result(5)


def test_ctrl_c_ends_a_gateway_with_exit_code_zero(own_network: Callable[..., Network]) -> None:
    own = own_network()
    own.spawn_node("holder", name="a")
    assert own.client.execute("whoami") == "a"
    own.gateway.interrupt()
    assert own.gateway.wait(within_seconds=5) == 0, own.gateway
    assert "Traceback" not in own.gateway.said


@pytest.mark.parametrize(("verb", "function"), [("execute", "hold_async"), ("stream", "stalling")])
def test_ctrl_c_in_a_client_ends_it_at_once_and_its_call_too(
    network: Network, start: Callable[..., Program], tmp_path: Path, verb: str, function: str
) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    caller = start([str(PROGRAMS / "caller.py"), network.address, verb, function, str(started), str(ended)])
    until(lambda: marks(started) == 1)
    caller.interrupt()
    assert caller.wait(within_seconds=3) != 0
    assert "KeyboardInterrupt" in caller.said
    until(lambda: marks(ended) == 1, within_seconds=3, what="the call told that nobody waits")


def test_stopping_a_node_waits_only_as_long_as_asked(network: Network, tmp_path: Path) -> None:
    node, started, done = ComputeNode(network.address, "brief"), threading.Event(), threading.Event()

    @node.register
    def hold_here() -> bool:
        started.set()
        return done.wait(20)

    node.serve(blocking=False)
    assert node.wait_for_connection(10)
    network.wait_for_node("brief")
    call = network.client.submit("brief.hold_here")
    assert started.wait(5)
    began = time.perf_counter()
    node.stop(drain_seconds=0.3)
    assert 0.3 <= time.perf_counter() - began < 2.0
    with pytest.raises(CallError, match="brief"):
        call.result(5)
    done.set()
