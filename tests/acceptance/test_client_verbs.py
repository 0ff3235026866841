"""The verbs of a client, blocking and async: execute, submit, map, stream, options."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import itertools
import os
import queue
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from acceptance.memory import MIB, PeakGrowth, needs_proc
from acceptance.network import Network
from acceptance.processes import PROGRAMS, run, until

from easyremote import AsyncClient, Client
from easyremote.errors import (
    CallCancelledError,
    EasyRemoteError,
    RemoteError,
    UnknownFunctionError,
    UsageError,
)

# ---- execute


def test_positional_and_keyword_arguments_arrive_as_given(client: Client) -> None:
    assert client.execute("resize", 10) == [10, 100, 3]
    assert client.execute("resize", 10, mode="fill", height=20) == [10, 20, 4]
    assert client.execute("resize", width=10) == [10, 100, 3]


def test_a_node_can_be_named_before_the_function(client: Client) -> None:
    assert client.execute("workshop.add", 1, b=2) == 3
    assert client.options(node="workshop").execute("add", 1, 2) == 3


@pytest.mark.parametrize("verb", ["execute", "submit"])
def test_any_keyword_name_can_be_used(client: Client, verb: str) -> None:
    names = [
        "function",
        "self",
        "args",
        "kwargs",
        "name",
        "key",
        "client",
        "call",
        "options",
        "call_id",
        "deadline",
        "cls",
        "items",
        "stream",
    ]
    given = {name: n for n, name in enumerate(names)}
    got = getattr(client, verb)("echo_all", 1, **given)
    assert (got.result(5) if verb == "submit" else got) == [[1], given]


def test_no_arguments_and_many_arguments(client: Client) -> None:
    assert client.execute("echo_all") == [[], {}]
    assert client.execute("echo_all", *range(1000)) == [list(range(1000)), {}]


# ---- submit


def test_submit_gives_a_future_of_the_standard_library(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    call = client.submit("gated", str(gate), "value")
    assert isinstance(call, concurrent.futures.Future)
    assert not call.done()
    with pytest.raises(concurrent.futures.TimeoutError):
        call.result(0.05)
    gate.touch()
    assert call.result(5) == "value"
    quick = [client.submit("add", n, n) for n in range(50)]
    assert {future.result(5) for future in concurrent.futures.as_completed(quick, 10)} == set(
        range(0, 100, 2)
    )


def test_a_submitted_call_keeps_its_error(client: Client) -> None:
    call = client.submit("fail", "ValueError", "bad 5")
    assert isinstance(call.exception(5), ValueError)
    with pytest.raises(RemoteError, match="bad 5"):
        call.result(5)
    with pytest.raises(UnknownFunctionError):
        client.submit("no_such_thing").result(5)


def test_a_cancelled_call_is_done_for_whoever_waits_for_it(client: Client) -> None:
    calls = [client.submit("nap", 30.0), client.submit("add", 1, 2)]
    assert calls[0].cancel()
    assert not concurrent.futures.wait(calls, timeout=5).not_done
    assert set(concurrent.futures.as_completed(calls, timeout=5)) == set(calls)


def test_a_callback_may_submit_the_next_call_and_may_not_wait_for_it(client: Client) -> None:
    heard: queue.SimpleQueue[object] = queue.SimpleQueue()

    def go_on(first: concurrent.futures.Future[int]) -> None:
        try:
            client.execute("add", 1, 1)
        except UsageError as error:
            heard.put(error)
        client.submit("add", first.result(), 10).add_done_callback(lambda then: heard.put(then.result()))

    client.submit("add", 1, 2).add_done_callback(go_on)
    assert isinstance(heard.get(timeout=5), UsageError)
    assert heard.get(timeout=5) == 13


def test_what_was_begun_goes_on_although_its_client_is_dropped(network: Network) -> None:
    assert Client(network.address).submit("nap", 0.1).result(5) == "rested"
    assert list(Client(network.address).map("add_one", range(300))) == list(range(1, 301))
    assert list(Client(network.address).stream("countdown", 3)) == [3, 2, 1]

    async def dropped() -> tuple[list[int], list[int]]:
        streamed = [n async for n in AsyncClient(network.address).stream("countdown_async", 3)]
        return streamed, [n async for n in AsyncClient(network.address).map("add_one", range(300))]

    assert asyncio.run(dropped()) == ([3, 2, 1], list(range(1, 301)))


# ---- map


def test_map_keeps_the_order_of_its_items(client: Client) -> None:
    assert list(client.map("add_one", range(300))) == list(range(1, 301))
    assert list(client.map("echo", [])) == []


def test_map_brings_the_first_result_while_later_calls_still_run(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    results = iter(client.map("pass_or_wait", [{"value": "quick"}, {"value": "slow", "gate": str(gate)}]))
    assert next(results) == "quick"
    gate.touch()
    assert list(results) == ["slow"]


def test_an_unordered_map_brings_results_as_they_come(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    items = [{"value": "slow", "gate": str(gate)}, {"value": "quick"}]
    results = iter(client.map("pass_or_wait", items, ordered=False))
    assert next(results) == "quick"
    gate.touch()
    assert list(results) == ["slow"]
    assert sorted(client.map("echo", range(500), ordered=False)) == list(range(500))


def test_map_raises_an_error_in_its_place(client: Client) -> None:
    results = iter(client.map("percent", [1, 2, 300, 4]))
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(EasyRemoteError, match="100"):
        next(results)


def test_map_can_return_errors_as_results(client: Client) -> None:
    results = list(client.map("percent", [1, 300, 3], return_exceptions=True))
    assert [results[0], results[2]] == [1, 3]
    assert isinstance(results[1], TypeError)
    assert isinstance(results[1], EasyRemoteError)


def test_map_takes_from_an_endless_source_only_what_it_needs(client: Client) -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for n in itertools.count():
            taken.append(n)
            yield n

    results = client.map("echo", source(), max_in_flight=8)
    assert list(itertools.islice(results, 20)) == list(range(20))
    results.close()  # type: ignore[attr-defined]
    assert len(taken) <= 20 + 8 + 8


def test_map_keeps_no_more_calls_in_flight_than_allowed(client: Client) -> None:
    assert max(client.map("crowd_of_map", [0.02] * 24, max_in_flight=3)) <= 3


@needs_proc
def test_a_map_over_a_hundred_thousand_items_keeps_memory_flat(network: Network) -> None:
    """100 MiB each way in all; what the node remembers of answered calls is bounded by their number."""
    growth = {
        "gateway": PeakGrowth(network.gateway.pid),
        "node": PeakGrowth(network.nodes["workshop"].pid),
        "client": PeakGrowth(os.getpid()),
    }
    item = b"x" * 1024
    results = network.client.map("echo", (b"%d " % number + item for number in range(100_000)))
    assert sum(result == b"%d " % number + item for number, result in enumerate(results)) == 100_000
    assert {name: peak.bytes // MIB for name, peak in growth.items() if peak.bytes > 48 * MIB} == {}


def test_a_source_that_raises_ends_the_map_with_its_error(client: Client) -> None:
    def source() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    results = iter(client.map("echo", source()))

    def rest() -> list[object]:
        return list(results)

    with pytest.raises(OSError, match="the disk is gone"):
        rest()


# ---- stream


def test_a_stream_is_an_iterator(client: Client) -> None:
    items = client.stream("countdown", 3)
    assert iter(items) is items
    assert [next(items), next(items), next(items)] == [3, 2, 1]
    assert next(items, "over") == "over"
    assert next(items, "over") == "over"


def test_closing_a_stream_wakes_the_thread_that_waits_for_an_item(client: Client, tmp_path: Path) -> None:
    items = client.stream("gated_stream", str(tmp_path / "never"))
    next(items)
    ended: queue.SimpleQueue[object] = queue.SimpleQueue()

    def consume() -> None:
        try:
            ended.put(next(items, "over"))
        except EasyRemoteError as error:
            ended.put(error)

    threading.Thread(target=consume, daemon=True).start()
    with pytest.raises(queue.Empty):
        ended.get(timeout=0.2)
    items.close()
    assert isinstance(ended.get(timeout=5), CallCancelledError)


# ---- the life of a client


def test_both_clients_are_context_managers_and_refuse_work_when_closed(network: Network) -> None:
    with Client(network.address) as own:
        assert own.execute("add", 1, 2) == 3
    with pytest.raises(EasyRemoteError, match="closed"):
        own.execute("add", 1, 2)
    own.close()  # twice is no error

    async def calls() -> None:
        async with AsyncClient(network.address) as other:
            assert await other.execute("add", 1, 2) == 3
        with pytest.raises(EasyRemoteError, match="closed"):
            await other.execute("add", 1, 2)

    asyncio.run(calls())


def test_closing_a_client_ends_its_waiting_calls(network: Network, tmp_path: Path) -> None:
    own = Client(network.address)
    call = own.submit("gated", str(tmp_path / "gate"))
    assert own.execute("add", 1, 2) == 3
    own.close()
    assert call.exception(5) is not None
    (tmp_path / "gate").touch()


def test_a_closed_client_leaves_no_thread_behind(network: Network) -> None:
    before = set(threading.enumerate())
    for _ in range(3):
        with Client(network.address) as own:
            assert own.execute("add", 1, 2) == 3
    until(
        lambda: not [thread for thread in set(threading.enumerate()) - before if not thread.daemon],
        within_seconds=3,
    )


def test_the_blocking_client_works_inside_a_running_loop(client: Client) -> None:
    async def inside() -> list[object]:
        return [
            client.execute("add", 1, 2),
            list(client.stream("countdown", 2)),
            list(client.map("echo", [1])),
        ]

    assert asyncio.run(inside()) == [3, [2, 1], [1]]


# ---- AsyncClient


def test_the_async_client_has_the_same_verbs(network: Network) -> None:
    async def numbers() -> AsyncIterator[int]:
        for n in range(5):
            yield n

    async def calls() -> None:
        async with AsyncClient(network.address) as own:
            assert await own.execute("workshop.resize", 1, mode="fill") == [1, 100, 4]
            assert await own.submit("add", 1, 2) == 3
            assert [n async for n in own.map("echo", range(100))] == list(range(100))
            assert sorted([n async for n in own.map("echo", range(100), ordered=False)]) == list(range(100))
            outcomes = [n async for n in own.map("percent", [1, 300], return_exceptions=True)]
            assert outcomes[0] == 1
            assert isinstance(outcomes[1], TypeError)
            assert [n async for n in own.map("echo", numbers())] == list(range(5))
            assert [n async for n in own.stream("countdown", 3)] == [3, 2, 1]
            assert await own.options(timeout=5, node="workshop").execute("add", 1, 2) == 3
            assert "echo" in {record.name for record in await own.functions()}
            assert [record.name for record in await own.list_nodes()] == ["workshop"]
            with pytest.raises(ValueError, match="bad 5"):
                await own.execute("fail", "ValueError", "bad 5")

    asyncio.run(calls())


def test_an_async_client_leaves_the_loop_free(network: Network, tmp_path: Path) -> None:
    async def calls() -> int:
        gate, ticks = tmp_path / "gate", 0
        async with AsyncClient(network.address) as own:
            waiting = asyncio.ensure_future(own.execute("gated", str(gate)))
            while ticks < 20:
                await asyncio.sleep(0.005)
                ticks += 1
            assert not waiting.done()
            gate.touch()
            await waiting
        return ticks

    assert asyncio.run(calls()) == 20


def test_an_async_map_brings_results_while_its_source_has_no_next_item(network: Network) -> None:
    async def calls() -> list[int]:
        given: asyncio.Queue[int] = asyncio.Queue()
        given.put_nowait(1)
        results: list[int] = []

        async def source() -> AsyncIterator[int]:
            while True:
                yield await given.get()

        async with AsyncClient(network.address) as own, asyncio.timeout(10):
            async for result in own.map("add_one", source()):
                results.append(result)
                if result == 4:
                    return results
                given.put_nowait(result)  # what is asked next depends on the last answer
        return results

    assert asyncio.run(calls()) == [2, 3, 4]


def test_a_source_that_raises_ends_an_async_map_with_its_error(network: Network) -> None:
    async def source() -> AsyncIterator[int]:
        yield 1
        raise OSError("the disk is gone")

    async def calls() -> list[int]:
        async with AsyncClient(network.address) as own:
            return [n async for n in own.map("echo", source())]

    with pytest.raises(OSError, match="the disk is gone"):
        asyncio.run(calls())


def test_an_event_loop_that_ended_is_not_kept(network: Network) -> None:
    own = AsyncClient(network.address)

    async def call() -> weakref.ref[asyncio.AbstractEventLoop]:
        assert await own.execute("add", 1, 2) == 3
        return weakref.ref(asyncio.get_running_loop())

    loops = [asyncio.run(call()) for _ in range(3)]
    asyncio.run(own.close())

    def kept() -> int:
        gc.collect()
        return sum(loop() is not None for loop in loops)

    until(lambda: kept() == 0, what="the loops to be freed")


def test_event_loops_may_come_and_go_in_one_process(network: Network) -> None:
    ended = run([str(PROGRAMS / "two_loops.py"), network.address], environment=network.environment)
    assert ended.wait() == 0, ended
    assert ended.output == ["42"], ended
    assert ended.errors == [], ended
    network.wait_for_departure("two-loops")
