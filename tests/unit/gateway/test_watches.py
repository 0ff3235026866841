"""Questions that wait for news: each is answered once, when there is some, when its time is up, or never, its link being gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from easyremote.gateway.mailbox import Member
from easyremote.gateway.watches import Watch, Watches

ANNA, BEN = Member(b"a" * 32, "anna"), Member(b"b" * 32, "ben")
JOB, OTHER = b"j" * 16, b"o" * 16


def within(test: Callable[[Watches, list[int]], None]) -> Watches:
    """Run a test on a loop; what ended is noted by its number."""

    async def run() -> Watches:
        ended: list[int] = []
        watches = Watches(asyncio.get_running_loop(), lambda watch: ended.append(watch.number))
        test(watches, ended)
        return watches

    return asyncio.run(run())


def test_news_ends_those_of_its_job_once() -> None:
    def test(watches: Watches, ended: list[int]) -> None:
        for number, job in enumerate((JOB, JOB, OTHER)):
            assert watches.add(Watch(job, ANNA, 1, number), 60.0)
        watches.news(JOB)
        watches.news(JOB)
        assert sorted(ended) == [0, 1]
        assert len(watches) == 1

    within(test)


def test_those_of_a_closed_link_are_dropped() -> None:
    def test(watches: Watches, ended: list[int]) -> None:
        watches.add(Watch(JOB, ANNA, 1, 0), 60.0)
        watches.add(Watch(JOB, ANNA, 2, 1), 60.0)
        watches.left(1)
        watches.left(1)
        watches.news(JOB)
        assert ended == [1]
        watches.add(Watch(JOB, ANNA, 2, 2), 60.0)
        watches.close()
        assert (ended, len(watches)) == ([1], 0)

    watches = within(test)
    assert watches._by == {}  # nothing is left of any of them


def test_each_ends_when_its_time_is_up() -> None:
    async def run() -> list[int]:
        over = asyncio.Event()
        ended: list[int] = []

        def end(watch: Watch) -> None:
            ended.append(watch.number)
            over.set()

        watches = Watches(asyncio.get_running_loop(), end)
        watches.add(Watch(JOB, ANNA, 1, 0), 60.0)
        watches.add(Watch(JOB, ANNA, 1, 1), 0.001)
        await asyncio.wait_for(over.wait(), 10)
        return ended

    assert asyncio.run(run()) == [1]


def test_one_device_does_not_take_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("easyremote.gateway.watches.WATCHES_PER_DEVICE", 2)
    monkeypatch.setattr("easyremote.gateway.watches.WATCHES_MAX", 3)

    def test(watches: Watches, ended: list[int]) -> None:
        assert [watches.add(Watch(JOB, ANNA, 1, number), 60.0) for number in range(3)] == [True, True, False]
        assert [watches.add(Watch(JOB, BEN, 2, number), 60.0) for number in range(2)] == [True, False]
        watches.left(1)
        assert watches.add(Watch(JOB, BEN, 2, 5), 60.0)

    within(test)
