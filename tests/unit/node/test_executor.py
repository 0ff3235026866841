"""Every call ends once, in order, whatever the function does."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import gc
import inspect
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from easyremote.node.calls import current_call
from easyremote.node.executor import Executor
from easyremote.node.registry import Registry
from easyremote.protocol.effects import Start
from easyremote.protocol.events import Answer, Done, Ended, Failed, Stopped, Yielded
from easyremote.wire.values import Segments, decode, encode_arguments

CALLER = b"c" * 40
WIDE = 1 << 20


def plain(encoded: bytes | Segments) -> Any:
    return decode(encoded if isinstance(encoded, bytes) else bytes(encoded.slice(0, encoded.size)))


class Desk:
    """An executor, and what it answered."""

    def __init__(self, threads: int = 8) -> None:
        self.registry = Registry()
        self.answers: dict[Any, list[Answer]] = {}
        self.changed = asyncio.Event()
        self.telling = False
        self.stopped: set[Any] = set()
        self.executor = Executor(self.registry, self.post, loop=asyncio.get_running_loop(), threads=threads)
        self.thread = threading.get_ident()

    def post(self, answers: list[Answer]) -> None:
        for answer in answers:
            self.note(answer)

    def note(self, answer: Answer) -> None:
        assert threading.get_ident() == self.thread
        assert not self.telling, "answered from inside start() or stop()"
        caller, key = answer.key
        assert caller == CALLER
        earlier = self.answers.setdefault(key, [])
        assert not earlier or type(earlier[-1]) is Yielded, "answered after the last answer"
        assert (key in self.stopped) == isinstance(answer, Stopped)
        earlier.append(answer)
        self.changed.set()

    def start(
        self, name: str, *args: Any, key: Any = 1, stream: bool = False, window: int = WIDE, **kwargs: Any
    ) -> None:
        data = encode_arguments(args, kwargs)
        body = (
            msgspec.Raw(data) if isinstance(data, bytes) else memoryview(bytearray(data.slice(0, data.size)))
        )
        self.telling = True
        self.executor.start(Start((CALLER, key), name, body, window if stream else 0, 9.0))
        self.telling = False

    def stop(self, key: Any, reason: str = "cancelled") -> None:
        self.telling = True
        self.stopped.add(key)
        self.executor.stop((CALLER, key), reason)
        self.telling = False

    def grant(self, key: Any, size: int) -> None:
        self.executor.grant((CALLER, key), size)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    async def last(self, key: Any = 1) -> Answer:
        await self.until(lambda: bool(self.answers.get(key)) and type(self.answers[key][-1]) is not Yielded)
        return self.answers[key][-1]

    async def call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Register, run, and give the result or the Failed."""
        number = len(self.registry)
        name = f"f{number}"
        self.registry.add(function, name=name)
        self.start(name, *args, key=1000 + number, **kwargs)
        answer = await self.last(1000 + number)
        return plain(answer.value) if isinstance(answer, Done) else answer

    def items(self, key: Any = 1) -> list[Any]:
        return [plain(a.value) for a in self.answers.get(key, []) if isinstance(a, Yielded)]


def at_the_desk(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on a loop of its own, and see that nothing is left."""

    @functools.wraps(test)
    def run(**kwargs: Any) -> None:
        async def main() -> None:
            desk = Desk()
            try:
                await test(desk, **kwargs)
            finally:
                await desk.executor.close()

        asyncio.run(main())

    parameters = list(inspect.signature(test).parameters.values())[1:]
    run.__signature__ = inspect.Signature(parameters)  # pytest would look for a fixture called desk
    return run


def double(x: int) -> int:
    return 2 * x


async def double_soon(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


def count(n: int) -> Iterator[int]:
    yield from range(n)


async def count_soon(n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield i


@at_the_desk
async def test_values_come_back(desk: Desk):
    assert await desk.call(double, 4) == 8
    assert await desk.call(double_soon, 4) == 8
    assert await desk.call(double, x=5) == 10
    assert await desk.call(lambda *a, **k: [list(a), k], 1, b=2) == [[1], {"b": 2}]
    assert desk.executor.running == desk.executor.waiting == 0


@at_the_desk
async def test_plain_functions_run_beside_the_loop_and_async_ones_on_it(desk: Desk):
    async def where() -> bool:
        return threading.current_thread() is threading.main_thread()

    assert await desk.call(lambda: threading.current_thread() is threading.main_thread()) is False
    assert await desk.call(where) is True


@at_the_desk
async def test_arrays_come_back_and_large_arguments_do_not_hold_up_the_loop(desk: Desk):
    async def total(a: np.ndarray) -> np.ndarray:
        a += 1
        return a

    array = np.arange(100_000, dtype=np.float64)
    found = await desk.call(total, array)
    assert np.array_equal(found, array + 1)
    failure = await desk.call(total, "x" * 1_000_000)
    assert failure.kind == "argument"


@at_the_desk
async def test_slow_functions_run_side_by_side(desk: Desk):
    together = threading.Barrier(8)
    desk.registry.add(lambda: together.wait(10) >= 0, name="meet")
    for key in range(8):
        desk.start("meet", key=key)
    for key in range(8):
        assert plain((await desk.last(key)).value) is True


@at_the_desk
async def test_a_function_that_was_quick_and_now_blocks_does_not_hold_up_others(desk: Desk):
    gate = threading.Event()
    desk.registry.add(lambda wait: wait and gate.wait(10), name="moody")
    for key in range(200):
        desk.start("moody", False, key=key)
    await desk.until(lambda: len(desk.answers) == 200)
    desk.start("moody", True, key="slow")
    for key in range(200, 300):
        desk.start("moody", False, key=key)
    await desk.until(lambda: len(desk.answers) == 300)
    assert "slow" not in desk.answers
    gate.set()
    assert plain((await desk.last("slow")).value) is True


@at_the_desk
async def test_more_calls_than_threads_wait_their_turn(desk: Desk):
    desk.registry.add(double)
    for key in range(500):
        desk.start("double", key, key=key)
    await desk.until(lambda: len(desk.answers) == 500)
    assert [plain(desk.answers[k][0].value) for k in range(500)] == [2 * k for k in range(500)]


@at_the_desk
async def test_an_unknown_function_is_an_answer(desk: Desk):
    desk.start("nope")
    answer = await desk.last()
    assert (answer.kind, answer.message) == ("unknown", "this node has no function 'nope'")


@at_the_desk
async def test_wrong_arguments_never_reach_the_function(desk: Desk):
    ran = []

    def function(x: int) -> None:
        ran.append(x)

    failure = await desk.call(function, "three")
    assert (failure.kind, failure.type_name, failure.builtin) == ("argument", "ArgumentError", "TypeError")
    assert "wanted int, found str 'three'" in failure.message
    desk.registry.add(function, name="again")
    desk.executor.start(Start((CALLER, "bytes"), "again", msgspec.Raw(b"\xff\xff")))
    assert (await desk.last("bytes")).kind == "argument"
    assert ran == []


@at_the_desk
async def test_an_exception_is_an_answer_with_the_users_frames_only(desk: Desk):
    class Broken(ValueError):
        pass

    def inner() -> None:
        raise Broken("it broke")

    async def outer() -> None:
        inner()

    for function in (inner, outer):
        failure = await desk.call(function)
        assert (failure.kind, failure.type_name, failure.builtin) == ("error", "Broken", "ValueError")
        assert failure.message == "it broke"
        assert "in inner" in failure.traceback
        assert "_run_" not in failure.traceback
        assert "/easyremote/node/executor.py" not in failure.traceback
        assert failure.traceback.startswith("Traceback")


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        asyncio.CancelledError(),
        StopIteration(1),
        MemoryError(),
    ],
)
@at_the_desk
async def test_nothing_escapes(desk: Desk, error: BaseException):
    def raises() -> None:
        raise error

    async def raises_soon() -> None:
        raise error

    def raises_midway() -> Iterator[int]:
        yield 1
        raise error

    async def raises_midway_soon() -> AsyncIterator[int]:
        yield 1
        raise error

    for function in (raises, raises_soon, raises_midway, raises_midway_soon):
        failure = await desk.call(function)
        assert isinstance(failure, Failed)
        assert failure.kind == "error"
        failure = await desk.call(function, stream=True)
        assert isinstance(failure, Failed)
    assert await desk.call(double, 1) == 2
    assert await desk.call(double_soon, 1) == 2
    assert desk.executor.running == 0


@at_the_desk
async def test_an_exception_that_cannot_be_shown_is_still_an_answer(desk: Desk):
    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    class Long(Exception):
        pass

    def deep(n: int) -> None:
        raise Long("x" * 1_000_000) if n == 0 else Rude()

    failure = await desk.call(deep, 1)
    assert failure.type_name == "Rude"
    assert "RuntimeError" in failure.message
    failure = await desk.call(deep, 0)
    assert len(failure.message) < 5000
    assert len(failure.traceback) < 20_000


@at_the_desk
async def test_endless_recursion_is_an_answer(desk: Desk):
    def again(n: int) -> int:
        return again(n + 1)

    failure = await desk.call(again, 0)
    assert failure.type_name == "RecursionError"
    assert len(failure.traceback) < 20_000


@at_the_desk
async def test_a_result_without_a_form_says_so(desk: Desk):
    async def lock_soon() -> object:
        return threading.Lock()

    for function in (threading.Lock, lock_soon):
        failure = await desk.call(function if function is lock_soon else lambda: threading.Lock())
        assert failure.kind == "encoding"
        assert "() made a value that cannot cross the wire" in failure.message
        assert failure.traceback == ""


@at_the_desk
async def test_a_stream_is_posted_item_by_item(desk: Desk):
    for function in (count, count_soon):
        name = function.__name__
        desk.registry.add(function)
        desk.start(name, 100, key=name, stream=True)
        assert isinstance(await desk.last(name), Ended)
        assert desk.items(name) == list(range(100))


@at_the_desk
async def test_without_stream_items_are_gathered(desk: Desk):
    assert await desk.call(count, 3) == [0, 1, 2]
    assert await desk.call(count_soon, 3) == [0, 1, 2]


@at_the_desk
async def test_a_plain_value_may_be_streamed(desk: Desk):
    for function in (double, double_soon):
        name = function.__name__
        desk.registry.add(function)
        desk.start(name, 2, key=name, stream=True)
        assert isinstance(await desk.last(name), Ended)
        assert desk.items(name) == [4]


@at_the_desk
async def test_what_a_wrapper_hides_is_found_out(desk: Desk):
    async def generator_soon() -> Any:
        return count(3)

    assert await desk.call(lambda x: double_soon(x), 4) == 8
    assert await desk.call(lambda n: count_soon(n), 3) == [0, 1, 2]
    assert await desk.call(lambda n: count(n), 3) == [0, 1, 2]
    assert await desk.call(generator_soon) == [0, 1, 2]

    def mapped(n: int) -> Iterator[int]:
        return map(double, range(n))

    desk.registry.add(mapped)
    desk.start("mapped", 3, stream=True)
    assert isinstance(await desk.last(), Ended)
    assert desk.items() == [0, 2, 4]


@pytest.mark.parametrize("function", [count, count_soon])
@at_the_desk
async def test_a_stream_stays_within_its_window(desk: Desk, function: Any):
    desk.registry.add(function, name="count")
    desk.start("count", 10, stream=True, window=130)  # items cost 65: the third goes over
    await desk.until(lambda: len(desk.items()) == 2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert desk.items() == [0, 1]
    desk.grant(1, 65)
    await desk.until(lambda: len(desk.items()) == 3)
    desk.grant("nobody", 65)
    desk.grant(1, WIDE)
    assert isinstance(await desk.last(), Ended)
    assert desk.items() == list(range(10))


@at_the_desk
async def test_slow_readers_do_not_keep_others_from_threads(desk: Desk):
    desk.registry.add(count)
    desk.registry.add(double)
    for key in range(20):  # more than there are threads
        desk.start("count", 5, key=key, stream=True, window=1)
    await desk.until(lambda: sum(len(desk.items(k)) for k in range(20)) == 20)
    desk.start("double", 1, key="d")
    assert plain((await desk.last("d")).value) == 2
    for key in range(20):
        desk.grant(key, WIDE)
    for key in range(20):
        await desk.last(key)
        assert desk.items(key) == [0, 1, 2, 3, 4]


@at_the_desk
async def test_when_stopped_a_task_is_cancelled_and_says_nothing_more(desk: Desk):
    began, cleaned = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    desk.registry.add(hang)
    desk.start("hang")
    await began.wait()
    assert desk.executor.running == 1
    desk.stop(1)
    assert isinstance(await desk.last(), Stopped)
    assert cleaned.is_set()
    assert desk.executor.running == 0


@at_the_desk
async def test_when_stopped_before_anything_ran(desk: Desk):
    desk.registry.add(double_soon)
    desk.registry.add(double)
    for key, name in enumerate(("double_soon", "double", "nope")):
        desk.start(name, 1, key=key)
        desk.stop(key, "timeout")
    desk.stop("never started")
    for key in (0, 1, 2, "never started"):
        assert isinstance(await desk.last(key), Stopped)
    await asyncio.sleep(0)
    assert all(len(answers) == 1 for answers in desk.answers.values())
    assert desk.executor.running == desk.executor.waiting == 0


@at_the_desk
async def test_when_stopped_a_thread_is_told(desk: Desk):
    began, ended = threading.Event(), threading.Event()
    step = threading.Event()

    def patient() -> str:
        call = current_call()
        began.set()
        while not call.cancelled():
            step.wait(0.001)
        ended.set()
        return "late"

    desk.registry.add(patient)
    desk.start("patient")
    await asyncio.to_thread(began.wait, 10)
    desk.stop(1)
    assert desk.executor.running == 1
    assert isinstance(await desk.last(), Stopped)
    assert ended.is_set()
    assert desk.executor.running == 0


@pytest.mark.parametrize("window", [WIDE, 1])
@at_the_desk
async def test_when_stopped_a_generator_is_closed(desk: Desk, window: int):
    closed: list[str] = []

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append("thread")

    async def endless_soon() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append("task")

    desk.registry.add(endless)
    desk.registry.add(endless_soon)
    desk.start("endless", key=1, stream=True, window=window)
    desk.start("endless_soon", key=2, stream=True, window=window)
    await desk.until(lambda: bool(desk.items(1)) and bool(desk.items(2)))
    desk.stop(1)
    desk.stop(2)
    seen = len(desk.items(1)), len(desk.items(2))
    assert isinstance(await desk.last(1), Stopped)
    assert isinstance(await desk.last(2), Stopped)
    assert sorted(closed) == ["task", "thread"]
    assert (len(desk.items(1)), len(desk.items(2))) == seen


@at_the_desk
async def test_when_stopped_a_task_that_will_not_be_cancelled_still_counts(desk: Desk):
    let_go, began = asyncio.Event(), asyncio.Event()

    async def stubborn() -> int:
        began.set()
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()
        return 1

    desk.registry.add(stubborn)
    desk.start("stubborn")
    await began.wait()
    desk.stop(1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert desk.executor.running == 1
    assert desk.answers == {}
    let_go.set()
    assert isinstance(await desk.last(), Stopped)
    assert desk.executor.running == 0


@at_the_desk
async def test_closing_stops_everything(desk: Desk):
    begun, cleaned = [], []

    async def hang() -> None:
        begun.append(1)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(1)

    desk.registry.add(hang)
    for key in range(3):
        desk.start("hang", key=key)
    while len(begun) < 3:
        await asyncio.sleep(0)
    await desk.executor.close()
    assert cleaned == [1, 1, 1]
    desk.start("hang", key="late")
    await asyncio.sleep(0)
    assert desk.answers == {}


@at_the_desk
async def test_results_are_kept_only_when_asked(desk: Desk):
    runs: list[int] = []

    def square(x: int) -> int:
        runs.append(x)
        return x * x

    desk.registry.add(square)
    desk.registry.add(square, name="kept", cache_ttl=60)
    for key, (name, x) in enumerate([("square", 3), ("square", 3), ("kept", 3), ("kept", 3), ("kept", 4)]):
        desk.start(name, x, key=key)
        assert plain((await desk.last(key)).value) == x * x
    assert runs == [3, 3, 3, 4]


@at_the_desk
async def test_errors_are_never_kept(desk: Desk):
    runs: list[int] = []

    def fails() -> None:
        runs.append(1)
        raise ValueError

    desk.registry.add(fails, cache_ttl=60)
    for key in range(2):
        desk.start("fails", key=key)
        assert isinstance(await desk.last(key), Failed)
    assert len(runs) == 2


@at_the_desk
async def test_a_function_may_ask_about_its_call(desk: Desk):
    def ask() -> list[Any]:
        call = current_call()
        return [call.call_id, call.function, call.caller, call.timeout_seconds, call.cancelled()]

    async def ask_soon() -> list[Any]:
        return ask()

    def ask_often() -> Iterator[list[Any]]:
        yield ask()

    assert await desk.call(ask) == [f"{1000:016x}", "f0", CALLER, 9.0, False]
    assert await desk.call(ask_soon) == [f"{1001:016x}", "f1", CALLER, 9.0, False]
    assert await desk.call(ask_often) == [[f"{1002:016x}", "f2", CALLER, 9.0, False]]
    assert await desk.call(lambda: ask_soon()) == [f"{1003:016x}", "f3", CALLER, 9.0, False]
    assert current_call().call_id == ""
    assert not current_call().cancelled()


@at_the_desk
async def test_calls_do_not_see_each_others_context(desk: Desk):
    mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="clean")

    def leave() -> str:
        found = mark.get()
        mark.set("dirty")
        return found

    async def leave_soon() -> str:
        return leave()

    for _ in range(3):
        assert await desk.call(leave) == "clean"
        assert await desk.call(leave_soon) == "clean"


@at_the_desk
async def test_large_values_are_let_go_when_the_call_is_over(desk: Desk):
    class Heavy:
        pass

    seen: list[weakref.ref[Heavy]] = []

    def work() -> int:
        heavy = Heavy()
        seen.append(weakref.ref(heavy))
        return 1

    async def work_soon() -> int:
        return work()

    gc.disable()
    try:
        assert await desk.call(work) == 1
        assert await desk.call(work_soon) == 1
        await asyncio.sleep(0)
        assert [ref() for ref in seen] == [None, None]
    finally:
        gc.enable()


@at_the_desk
async def test_a_removed_function_finishes_its_calls(desk: Desk):
    go = asyncio.Event()

    async def wait() -> int:
        await go.wait()
        return 1

    desk.registry.add(wait)
    desk.start("wait")
    desk.registry.remove("wait")
    go.set()
    assert plain((await desk.last()).value) == 1
    desk.start("wait", key=2)
    assert (await desk.last(2)).kind == "unknown"


def test_a_loop_closed_under_a_running_thread_harms_nobody():
    began, go = threading.Event(), threading.Event()

    def slow() -> None:
        began.set()
        go.wait(10)

    async def main() -> None:
        desk = Desk()
        desk.registry.add(slow)
        desk.start("slow")
        await asyncio.to_thread(began.wait, 10)

    asyncio.run(main())
    workers = [t for t in threading.enumerate() if t.name == "easyremote-worker"]
    go.set()
    assert all(t.daemon for t in workers)
    assert sys.exc_info() == (None, None, None)
