"""What calls cost, in counts that do not depend on the clock: a change that makes them dearer is seen here.

Times are measured by the benchmarks; docs/performance.md says what each of these is worth.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from acceptance.processes import PROGRAMS, run

Found = dict[str, dict[str, int]]
SPARE = 12
"""Acknowledgements, pulses and timers that may fall into a measurement, in all."""


@pytest.fixture(scope="module", params=["relay", "direct"])
def counted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Found]:
    home: Path = tmp_path_factory.mktemp("counting")
    words = [str(PROGRAMS / "counting.py"), request.param]
    ended = run(words, environment={"EASYREMOTE_HOME": str(home)}, within_seconds=90)
    assert ended.wait() == 0, ended
    found: Found = json.loads(ended.output[-1])
    return request.param, found


def cost(counted: tuple[str, Found], situation: str, what: str) -> int:
    return counted[1][situation].get(what, 0)


@pytest.mark.parametrize("function", ["at_once", "later", "in_thread"])
def test_one_call_is_sealed_twice_and_opened_twice(counted: tuple[str, Found], function: str) -> None:
    for what in ("seals", "opens"):
        assert 200 <= cost(counted, f"100 one by one, {function}", what) <= 200 + SPARE


@pytest.mark.parametrize("function", ["at_once", "later", "in_thread"])
def test_one_call_is_a_packet_each_way_on_each_link(counted: tuple[str, Found], function: str) -> None:
    links = 2 if counted[0] == "relay" else 1
    assert cost(counted, f"100 one by one, {function}", "packets") <= links * (200 + SPARE)


@pytest.mark.parametrize("function", ["at_once", "later", "in_thread"])
def test_calls_in_flight_share_frames_and_packets(counted: tuple[str, Found], function: str) -> None:
    situation, links = f"1024 by 256, {function}", 2 if counted[0] == "relay" else 1
    assert cost(counted, situation, "seals") <= 1024 // 16
    assert cost(counted, situation, "packets") <= links * 1024 // 16


def test_a_call_that_never_waits_has_no_task_of_its_own(counted: tuple[str, Found]) -> None:
    assert cost(counted, "100 one by one, at_once", "tasks") <= SPARE
    own = 1024  # the program's, for its coroutines
    assert cost(counted, "1024 by 256, at_once", "tasks") <= own + SPARE
    assert cost(counted, "1024 by 256, in_thread", "tasks") <= own + SPARE


def test_a_call_that_waits_has_one(counted: tuple[str, Found]) -> None:
    assert cost(counted, "100 one by one, later", "tasks") <= 100 + SPARE


def test_threads_are_crossed_where_somebody_waits_in_one(counted: tuple[str, Found]) -> None:
    assert cost(counted, "100 one by one, at_once", "thread hops") <= SPARE
    assert cost(counted, "100 one by one, in_thread", "thread hops") <= 100 + SPARE, (
        "back from the worker thread"
    )
    assert cost(counted, "100 blocking, at_once", "thread hops") <= 100 + SPARE, "over to the loop"
    assert cost(counted, "100 blocking, in_thread", "thread hops") <= 200 + SPARE
    assert cost(counted, "1024 by 256, in_thread", "thread hops") <= 1024 // 16, "answers come back together"


def test_a_large_array_is_never_copied_as_a_whole(counted: tuple[str, Found]) -> None:
    """64 MiB go there and back; what Python took beside the arrays is what was under way."""
    assert cost(counted, "large", "peak bytes") < 32 << 20
    assert cost(counted, "large", "owns its memory") == 0, "the result is a view of what was opened"
