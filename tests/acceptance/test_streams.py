"""Streams: items come when they are yielded, no faster than they are taken, and end when either side ends."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.memory import MIB, PeakGrowth, needs_proc
from acceptance.network import Network
from acceptance.processes import settled, until
from acceptance.programs.files import marks

from easyremote import AsyncClient, Client
from easyremote.errors import RemoteError


@pytest.mark.parametrize("function", ["countdown", "countdown_async"])
def test_a_stream_brings_all_items_in_order_and_ends(client: Client, function: str) -> None:
    assert list(client.stream(function, 500)) == list(range(500, 0, -1))
    assert list(client.stream(function, 0)) == []


@pytest.mark.parametrize("function", ["gated_stream", "gated_stream_async"])
def test_the_first_item_arrives_when_it_is_yielded(client: Client, tmp_path: Path, function: str) -> None:
    gate = tmp_path / "gate"
    items = iter(client.stream(function, str(gate)))
    assert next(items) == "first"
    gate.touch()  # the generator waits for this before it yields again
    assert next(items) == "second"
    with pytest.raises(StopIteration):
        next(items)


def test_executing_a_generator_collects_its_items(client: Client) -> None:
    assert client.execute("countdown", 3) == [3, 2, 1]
    assert client.execute("countdown_async", 3) == [3, 2, 1]


def test_streaming_a_plain_function_brings_its_one_result(client: Client) -> None:
    assert list(client.stream("add", 1, 2)) == [3]


@pytest.mark.parametrize("function", ["endless", "endless_async"])
def test_leaving_the_loop_early_stops_the_generator(client: Client, tmp_path: Path, function: str) -> None:
    ended = tmp_path / "ended"
    for item in client.stream(function, str(ended)):
        if item == 10:
            break
    until(lambda: marks(ended) == 1, within_seconds=3, what="the generator's finally")


@pytest.mark.parametrize("function", ["endless", "endless_async"])
def test_closing_a_stream_stops_the_generator(client: Client, tmp_path: Path, function: str) -> None:
    ended = tmp_path / "ended"
    items = client.stream(function, str(ended))
    assert next(items) == 0
    items.close()
    until(lambda: marks(ended) == 1, within_seconds=3, what="the generator's finally")
    with pytest.raises(StopIteration):
        next(items)


def test_a_generator_that_is_busy_inside_can_see_that_nobody_listens(client: Client, tmp_path: Path) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    items = client.stream("stalling", str(started), str(ended))
    assert next(items) == 0
    until(lambda: marks(started) == 1)
    items.close()
    until(lambda: marks(ended) == 1, within_seconds=3, what="the cancelled flag seen")


def test_an_async_stream_closed_early_stops_the_generator(network: Network, tmp_path: Path) -> None:
    ended = tmp_path / "ended"

    async def take_three() -> list[int]:
        async with AsyncClient(network.address) as own:
            items = own.stream("endless", str(ended))
            taken = [await anext(items) for _ in range(3)]
            await items.aclose()
            await asyncio.to_thread(until, lambda: marks(ended) == 1)
            return taken

    assert asyncio.run(take_three()) == [0, 1, 2]


@pytest.mark.parametrize("function", ["endless", "endless_async"])
def test_leaving_an_async_loop_early_stops_the_generator(
    network: Network, tmp_path: Path, function: str
) -> None:
    ended = tmp_path / "ended"

    async def take_some() -> None:
        async with AsyncClient(network.address) as own:
            async for item in own.stream(function, str(ended)):
                if item == 10:
                    break
            await asyncio.to_thread(until, lambda: marks(ended) == 1, within_seconds=3)

    asyncio.run(take_some())


@pytest.mark.parametrize("function", ["fail_after", "fail_after_async"])
def test_an_error_in_mid_stream_arrives_after_the_items_before_it(client: Client, function: str) -> None:
    taken: list[int] = []

    def take() -> None:
        for item in client.stream(function, 3, "snapped"):
            taken.append(item)

    with pytest.raises(ValueError, match="snapped") as caught:
        take()
    assert taken == [0, 1, 2]
    assert isinstance(caught.value, RemoteError)
    assert caught.value.function == function


def test_two_hundred_streams_at_once_keep_their_items_apart(network: Network) -> None:
    async def one(own: AsyncClient, n: int) -> list[int]:
        return [item async for item in own.stream("countdown_async", n)]

    async def all_of_them() -> list[list[int]]:
        async with AsyncClient(network.address) as own:
            return await asyncio.gather(*(one(own, n) for n in range(200)))

    assert asyncio.run(all_of_them()) == [list(range(n, 0, -1)) for n in range(200)]


@needs_proc
@pytest.mark.parametrize("function", ["parcels", "parcels_async"])
def test_a_slow_consumer_slows_the_producer_and_memory_stays_flat(
    network: Network, tmp_path: Path, function: str
) -> None:
    made, size, count = tmp_path / "made", 128 * 1024, 768  # 96 MiB in all
    client = network.client
    growth = {
        "gateway": PeakGrowth(network.gateway.pid),
        "node": PeakGrowth(network.nodes["workshop"].pid),
        "client": PeakGrowth(os.getpid()),
    }
    items = client.stream(function, str(made), count, size)
    for _ in range(3):
        assert len(next(items)) == size
    ahead = settled(lambda: marks(made))
    assert ahead * size < 8 * MIB, "the producer ran on although nobody took its items"
    assert client.execute("echo", "meanwhile") == "meanwhile"  # a stalled stream blocks nobody else
    for _ in range(60):
        next(items)
    assert settled(lambda: marks(made)) * size < (63 * size) + 8 * MIB
    assert sum(len(item) for item in items) == (count - 63) * size
    assert marks(made) == count
    assert {name: peak.bytes // MIB for name, peak in growth.items() if peak.bytes > 24 * MIB} == {}


def test_items_larger_than_the_window_pass(client: Client, tmp_path: Path) -> None:
    sizes = [len(item) for item in client.stream("parcels", str(tmp_path / "made"), 4, 3 * MIB)]
    assert sizes == [3 * MIB] * 4


def test_small_items_are_fast(client: Client) -> None:
    def seconds_for_five_thousand() -> float:
        started = time.perf_counter()
        assert sum(1 for _ in client.stream("countdown", 5000)) == 5000
        return time.perf_counter() - started

    assert best_of(3, seconds_for_five_thousand) < 2.0


def best_of(times: int, measure: Callable[[], float]) -> float:
    return min(measure() for _ in range(times))
