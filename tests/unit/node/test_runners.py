"""Calls that share tasks see no difference: a real task, a context of their own, a cancel of their own."""

from __future__ import annotations

import asyncio
import contextvars

from unit.node.test_executor import Desk, at_the_desk

from easyremote.node.calls import current_call
from easyremote.protocol.events import Done, Failed, Stopped

setting: contextvars.ContextVar[str] = contextvars.ContextVar("setting", default="unset")


def tasks_made(desk: Desk) -> list[object]:
    loop = asyncio.get_running_loop()
    made: list[object] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine: object, **more: object) -> asyncio.Task[object]:
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **more)  # type: ignore[arg-type]

    loop.set_task_factory(factory)  # type: ignore[arg-type]
    return made


@at_the_desk
async def test_a_thousand_calls_that_wait_for_nothing_take_one_task(desk: Desk) -> None:
    async def add(a: int, b: int) -> int:
        return a + b

    desk.registry.add(add)
    made = tasks_made(desk)
    for key in range(1000):
        desk.start("add", key, 1, key=key)
    await desk.until(lambda: len(desk.answers) == 1000)
    assert all(isinstance(one[-1], Done) for one in desk.answers.values())
    assert len(made) == 1


@at_the_desk
async def test_calls_that_wait_do_not_keep_others_waiting(desk: Desk) -> None:
    gate = asyncio.Event()

    async def hold() -> None:
        await gate.wait()

    async def quick() -> str:
        return "here"

    desk.registry.add(hold)
    desk.registry.add(quick)
    for key in range(50):
        desk.start("hold", key=key)
        desk.start("quick", key=100 + key)
    await desk.until(lambda: len(desk.answers) == 50)
    assert all(key >= 100 for key in desk.answers)
    gate.set()
    await desk.until(lambda: len(desk.answers) == 100)


@at_the_desk
async def test_what_one_call_sets_the_next_does_not_see(desk: Desk) -> None:
    async def mark(value: str, wait: bool) -> list[str]:
        before = setting.get()
        setting.set(value)
        if wait:
            await asyncio.sleep(0)
        return [before, setting.get(), current_call().function]

    desk.registry.add(mark)
    for key in range(40):
        desk.start("mark", f"value {key}", key % 3 == 0, key=key)
    await desk.until(lambda: len(desk.answers) == 40)
    from unit.node.test_executor import plain

    for key, (answer,) in desk.answers.items():
        assert isinstance(answer, Done)
        assert plain(answer.value) == ["unset", f"value {key}", "mark"]
    assert setting.get() == "unset"


@at_the_desk
async def test_a_call_has_one_task_from_its_first_step_to_its_last(desk: Desk) -> None:
    seen: list[tuple[object, object]] = []

    async def look() -> None:
        before = asyncio.current_task()
        async with asyncio.timeout(5):
            await asyncio.sleep(0.001)
        seen.append((before, asyncio.current_task()))

    async def late() -> str:
        async with asyncio.timeout(0.001):
            await asyncio.sleep(10)
        return "never"

    desk.registry.add(look)
    desk.registry.add(late)
    for key in range(10):
        desk.start("look", key=key)
    desk.start("late", key="late")
    await desk.until(lambda: len(desk.answers) == 11)
    assert all(before is after and before is not None for before, after in seen)
    assert len({before for before, _ in seen}) == 10, (
        "calls that wait at the same time have tasks of their own"
    )
    (answer,) = desk.answers["late"]
    assert isinstance(answer, Failed)
    assert answer.type_name == "TimeoutError"


@at_the_desk
async def test_a_stop_ends_the_one_call_and_no_other(desk: Desk) -> None:
    gate = asyncio.Event()
    ended: list[str] = []

    async def hold(name: str) -> str:
        try:
            await gate.wait()
        finally:
            ended.append(name)
        return name

    desk.registry.add(hold)
    for name in ("a", "b", "c"):
        desk.start("hold", name, key=name)
    desk.start("hold", "not begun", key="d")
    desk.stop("d")
    await asyncio.sleep(0.01)
    desk.stop("b")
    await desk.until(lambda: {"b", "d"} <= desk.answers.keys())
    assert ended == ["b"], "one was stopped, one had not begun"
    assert all(isinstance(desk.answers[key][-1], Stopped) for key in "bd")
    gate.set()
    await desk.until(lambda: len(desk.answers) == 4)
    assert [type(desk.answers[key][-1]) for key in "ac"] == [Done, Done]
    assert desk.executor.running == 0


@at_the_desk
async def test_functions_that_wait_as_a_rule_get_tasks_at_once(desk: Desk) -> None:
    """And go on being tried, in case they no longer do."""
    waits = True

    async def sometimes() -> None:
        if waits:
            await asyncio.sleep(0)

    desk.registry.add(sometimes)
    for key in range(100):
        desk.start("sometimes", key=key)
        await desk.until(lambda key=key: key in desk.answers)  # type: ignore[misc]
    made = tasks_made(desk)
    for key in range(100, 132):
        desk.start("sometimes", key=key)
        await desk.until(lambda key=key: key in desk.answers)  # type: ignore[misc]
    assert 28 <= len(made) <= 33
    waits = False
    for key in range(132, 400):
        desk.start("sometimes", key=key)
        await desk.until(lambda key=key: key in desk.answers)  # type: ignore[misc]
    made.clear()
    for key in range(400, 500):
        desk.start("sometimes", key=key)
        await desk.until(lambda key=key: key in desk.answers)  # type: ignore[misc]
    assert len(made) == 0
