"""Calls that take their time do not stand in each other's way."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from acceptance.network import Network
from acceptance.processes import until
from acceptance.programs.files import marks

from easyremote import AsyncClient, Client


def seconds_of_eight_naps(client: Client) -> float:
    started = time.perf_counter()
    calls = [client.submit("nap", 0.5) for _ in range(8)]
    assert [call.result(10) for call in calls] == ["rested"] * 8
    return time.perf_counter() - started


def test_eight_sleeping_calls_take_as_long_as_one(client: Client) -> None:
    assert min(seconds_of_eight_naps(client) for _ in range(2)) < 0.8


def test_short_calls_pass_a_sleeping_one(client: Client, tmp_path: Path) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"
    slow = client.submit("gated", str(gate), started=str(started))
    until(lambda: marks(started) == 1)
    assert client.execute("echo", "first") == "first"
    assert client.execute("add_async", 1, 2) == 3
    assert not slow.done()
    gate.touch()
    assert slow.result(5) == "through"


def test_without_max_concurrent_many_run_at_once(client: Client) -> None:
    assert max(client.map("crowd", [0.2] * 8)) == 8


def test_max_concurrent_is_never_passed_and_all_calls_get_their_turn(client: Client) -> None:
    seen = list(client.map("pair", [0.05] * 10))
    assert len(seen) == 10
    assert max(seen) == 2


def test_one_client_serves_many_threads(client: Client) -> None:
    def ask(n: int) -> list[int]:
        return [client.execute("add", n, k) for k in range(10)]

    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(ask, range(32))) == [[n + k for k in range(10)] for n in range(32)]


def test_a_thousand_calls_in_flight_each_get_their_own_answer(network: Network) -> None:
    async def ask() -> list[int]:
        async with AsyncClient(network.address) as own:
            return await asyncio.gather(*(own.execute("add_async", n, 1) for n in range(1000)))

    assert asyncio.run(ask()) == [n + 1 for n in range(1000)]
