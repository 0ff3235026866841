"""Calls that are made again, and calls that are made twice, over real nodes that die or stand still."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import pytest
from acceptance.network import Network
from acceptance.processes import until
from acceptance.programs.files import marks

from easyremote import AsyncClient, Client, Retry, remote
from easyremote.errors import NodeLostError, ScheduleError

PATIENT = Retry(max_attempts=50, backoff=0.2, retry_on=(NodeLostError, ScheduleError))


def test_an_idempotent_call_outlives_its_only_node(
    own_network: Callable[..., Network], tmp_path: Path
) -> None:
    own = own_network()
    own.spawn_node("holder", name="a")
    started, gate = tmp_path / "started", tmp_path / "gate"
    with Client(own.address, retry=PATIENT) as client:
        call = client.submit("hold_repeatable", str(started), str(gate))
        until(lambda: marks(started) == 1)
        own.nodes["a"].kill()
        own.launch_node("holder", name="b")
        until(lambda: marks(started) == 2, what="the call on the next node")
        gate.touch()
        assert call.result(10) == "b"


def test_a_call_that_may_not_run_twice_is_not_made_again(
    own_network: Callable[..., Network], tmp_path: Path
) -> None:
    own = own_network()
    own.spawn_node("holder", name="a")
    started, gate = tmp_path / "started", tmp_path / "gate"
    with Client(own.address, retry=PATIENT) as client:
        call = client.submit("hold", str(started), str(gate))
        until(lambda: marks(started) == 1)
        own.nodes["a"].kill()
        own.spawn_node("holder", name="b")
        gate.touch()
        with pytest.raises(NodeLostError) as caught:
            call.result(10)
        assert caught.value.ran in ("accepted", "unconfirmed"), (
            "whether it was confirmed in time is a matter of luck"
        )
        assert marks(started) == 1


def test_a_node_that_stands_still_is_not_waited_for(
    own_network: Callable[..., Network], tmp_path: Path
) -> None:
    own = own_network()
    for name in ("a", "b"):
        own.spawn_node("holder", name=name)
    started, gate = tmp_path / "started", tmp_path / "gate"
    gate.touch()
    with Client(own.address, hedge_after=0.2) as client:
        assert {client.execute("hold_repeatable", str(started), str(gate)) for _ in range(20)} <= {"a", "b"}
        own.nodes["a"].freeze()
        began = time.perf_counter()
        answers = [client.execute("hold_repeatable", str(started), str(gate)) for _ in range(20)]
        assert time.perf_counter() - began < 9.0, "the lease is 10 s"
        assert answers == ["b"] * 20
    own.nodes["a"].thaw()


@pytest.mark.parametrize("kind", ["options", "coroutine", "map", "decorator"])
def test_every_way_to_call_takes_the_options(
    own_network: Callable[..., Network], tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_network()
    own.spawn_node("holder", name="a")
    patient = own.client.options(retry=PATIENT)
    started, gate = tmp_path / "started", tmp_path / "gate"
    where = [str(started), str(gate)]
    monkeypatch.setenv("EASYREMOTE_GATEWAY", own.address)

    @remote(function_name="hold_repeatable", retry=PATIENT)
    def decorated(started: str, gate: str) -> str:
        raise AssertionError("it runs on a node")

    async def in_a_coroutine() -> str:
        async with AsyncClient(own.address) as client:
            return str(await client.execute("hold_repeatable", *where, retry=PATIENT))

    ways: dict[str, Callable[[], object]] = {
        "options": lambda: patient.execute("hold_repeatable", *where),
        "coroutine": lambda: asyncio.run(in_a_coroutine()),
        "map": lambda: next(patient.map("hold_repeatable_at", [where])),
        "decorator": lambda: decorated(*where),
    }
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(ways[kind])
        until(lambda: marks(started) == 1)
        own.nodes["a"].kill()
        own.launch_node("holder", name="b")
        gate.touch()
        assert found.result(20) == "b"


def test_a_call_that_waits_to_be_made_again_can_be_cancelled(own_network: Callable[..., Network]) -> None:
    own = own_network()
    with Client(own.address, retry=Retry(max_attempts=5, backoff=60.0, retry_on=(ScheduleError,))) as client:
        call = client.submit("nothing_there")
        with pytest.raises(TimeoutError):
            call.result(0.5)
        assert call.cancel()
        with pytest.raises(CancelledError):
            call.result(5)
        until(lambda: not client._connection.engine._persistent, what="nothing left of it")
