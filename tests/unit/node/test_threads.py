"""The pool: everything submitted is run, nothing waits behind what blocks, no thread dies."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

from easyremote.node.threads import QUICK_SECONDS, Pace, Threads


class Work:
    def __init__(self, run: Callable[[], object], pace: Pace | None = None) -> None:
        self.run = run
        self.pace = pace or Pace()


def quick() -> Pace:
    pace = Pace()
    for _ in range(16):
        pace.note(QUICK_SECONDS / 10)
    assert pace.quick
    return pace


def test_a_pace_forgives_one_slow_call_and_not_three():
    pace = quick()
    pace.note(1.0)
    assert pace.quick
    pace.note(1.0)
    pace.note(1.0)
    assert not pace.quick
    for _ in range(3):
        pace.note(0.0)
    assert pace.quick
    pace.doubt()
    assert not pace.quick


def test_a_job_that_blocks_unexpectedly_delays_no_other():
    async def main() -> None:
        pool = Threads(asyncio.get_running_loop(), 4)
        go, done, pace = threading.Event(), threading.Semaphore(0), quick()
        pool.submit(Work(lambda: go.wait(10), pace))
        for _ in range(20):
            pool.submit(Work(done.release, quick()))
        for _ in range(20):
            assert await asyncio.to_thread(done.acquire, timeout=10)
        go.set()
        pool.close()

    asyncio.run(main())


def test_it_grows_to_its_limit_and_no_further():
    async def main() -> None:
        pool = Threads(asyncio.get_running_loop(), 3)
        go, begun = threading.Event(), threading.Semaphore(0)

        def hold() -> None:
            begun.release()
            go.wait(10)

        for _ in range(10):
            pool.submit(Work(hold))
        for _ in range(3):
            assert await asyncio.to_thread(begun.acquire, timeout=10)
        assert (pool.count, pool.waiting) == (3, 7)
        go.set()
        for _ in range(7):
            assert await asyncio.to_thread(begun.acquire, timeout=10)
        assert pool.count == 3
        pool.close()

    asyncio.run(main())


def test_what_a_job_raises_is_logged_and_the_thread_lives_on(caplog):
    def fail() -> None:
        raise SystemExit(1)

    async def main() -> None:
        pool = Threads(asyncio.get_running_loop(), 1)
        done = threading.Event()
        pool.submit(Work(fail))
        pool.submit(Work(done.set))
        assert await asyncio.to_thread(done.wait, 10)
        assert pool.count == 1
        pool.close()

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert "a task in a worker thread raised" in caplog.text
