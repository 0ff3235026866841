"""A call's time is up when its caller or its function says so, and the node hears of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.network import Network
from acceptance.processes import settled, until
from acceptance.programs.files import marks

from easyremote import AsyncClient, Client
from easyremote.errors import CallError, CallTimeoutError


def seconds_until_timeout(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    with pytest.raises(CallTimeoutError):
        call()
    return time.perf_counter() - started


def test_a_timeout_of_one_second_ends_a_call_of_three(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "ran"
    assert 1.0 <= seconds_until_timeout(lambda: client.execute("slow_mark", str(path), 3.0, timeout=1)) < 1.3
    assert settled(lambda: marks(path)) == 1, "started once, and not again somewhere else"


def test_a_timeout_names_call_function_and_seconds(client: Client, tmp_path: Path) -> None:
    with pytest.raises(CallTimeoutError) as caught:
        client.options(timeout=0.25).execute("slow_mark", str(tmp_path / "ran"), 1.0)
    error = caught.value
    assert isinstance(error, TimeoutError)
    assert (error.function, error.node) == ("slow_mark", "workshop")
    assert error.call_id
    assert "0.25" in str(error)
    assert "slow_mark" in str(error)


# A loop reads its clock at the beginning of a turn: a limit may be kept some microseconds early.


def test_the_limit_of_the_function_holds_without_one_of_the_caller(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "ran"
    assert 0.49 <= seconds_until_timeout(lambda: client.execute("strict", str(path), 2.0)) < 0.8
    assert settled(lambda: marks(path)) == 1


def test_the_shorter_of_both_limits_holds(client: Client, tmp_path: Path) -> None:
    strict = client.options(timeout=5)
    assert 0.49 <= seconds_until_timeout(lambda: strict.execute("strict", str(tmp_path / "a"), 2.0)) < 0.8
    hasty = client.options(timeout=0.2)
    assert 0.2 <= seconds_until_timeout(lambda: hasty.execute("strict", str(tmp_path / "b"), 2.0)) < 0.5


def test_the_limit_of_the_function_is_kept_at_the_node(client: Client, tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    with pytest.raises(CallTimeoutError):
        client.execute("strict_async", str(ended))
    until(lambda: marks(ended) == 1, within_seconds=1, what="the coroutine cancelled on the node")


@pytest.mark.parametrize("function", ["hold_async", "hold_patiently"])
def test_a_timeout_reaches_the_running_code(client: Client, tmp_path: Path, function: str) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    with pytest.raises(CallTimeoutError):
        client.execute(function, str(started), str(ended), timeout=0.3)
    assert marks(started) == 1
    until(lambda: marks(ended) == 1, within_seconds=1, what="the running code told")


@pytest.mark.parametrize("function", ["hold_async", "hold_patiently"])
def test_cancelling_the_callers_task_reaches_the_running_code(
    network: Network, tmp_path: Path, function: str
) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"

    async def call() -> None:
        async with AsyncClient(network.address) as own:
            task = asyncio.create_task(own.execute(function, str(started), str(ended)))
            await asyncio.to_thread(until, lambda: marks(started) == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(until, lambda: marks(ended) == 1, within_seconds=2)

    asyncio.run(call())


def test_cancelling_a_future_reaches_the_running_code(client: Client, tmp_path: Path) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    call = client.submit("hold_async", str(started), str(ended))
    until(lambda: marks(started) == 1)
    assert call.cancel()
    assert call.cancelled()
    until(lambda: marks(ended) == 1, within_seconds=2, what="the coroutine cancelled on the node")


def test_a_timeout_ends_a_stream(client: Client, tmp_path: Path) -> None:
    ended, taken = tmp_path / "ended", []

    def consume() -> None:
        for item in client.stream("ticks", str(ended), timeout=0.5):
            taken.append(item)

    assert 0.49 <= seconds_until_timeout(consume) < 0.8
    assert taken
    assert taken == list(range(len(taken)))
    until(lambda: marks(ended) == 1, within_seconds=1, what="the generator's finally")


def test_the_limit_of_the_function_ends_a_stream(client: Client, tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    assert 0.49 <= seconds_until_timeout(lambda: list(client.stream("strict_ticks", str(ended)))) < 0.8
    until(lambda: marks(ended) == 1, within_seconds=1, what="the generator's finally")


def test_a_parameter_named_timeout_belongs_to_the_function(client: Client) -> None:
    assert client.execute("takes_timeout", timeout=0.25) == [0.25, "none", "none"]
    assert client.execute("takes_timeout", timeout=5.0, node="n", policy="p") == [5.0, "n", "p"]
    assert client.options(timeout=5).execute("takes_timeout", timeout=0.5) == [0.5, "none", "none"]


@pytest.mark.parametrize("wrong", [0, -1, "soon", float("nan")])
def test_a_timeout_that_cannot_be_is_refused_at_once(client: Client, tmp_path: Path, wrong: object) -> None:
    path = tmp_path / "ran"
    with pytest.raises((ValueError, TypeError, CallError)):
        client.options(timeout=wrong).execute("mark", str(path))  # type: ignore[arg-type]
    assert marks(path) == 0
