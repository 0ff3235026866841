"""Tasks that run coroutines one after another, so that a call which never waits costs no task of its own.

Making an asyncio task, having it scheduled and collecting it costs as much as a small call does. A runner is
a task that takes calls from a queue and drives each until it ends or first waits for something. Only then does
the task become that call's alone, until the call has ended, and the next runner goes on with the queue. A call
sees no difference: it runs in a real task from its first step to its last, and in a context of its own.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any

from easyremote.node.answers import Answers

if TYPE_CHECKING:
    from easyremote.node.running import Running

IDLE_MAX = 64
"""How many runners wait for work; further ones end when they have none."""
SURE = 4
"""So many calls more that waited than that did not, and the next is expected to wait."""
SWEEP = 128
"""How many calls one runner begins before the loop has its turn."""


class Waiting:
    """Whether calls of a function have lately waited for something; then each gets a task at once."""

    __slots__ = ("_score", "_tick")

    def __init__(self) -> None:
        self._score = self._tick = 0

    @property
    def likely(self) -> bool:
        """Whether the next call will wait; one in sixteen is tried all the same."""
        if self._score < SURE:
            return False
        self._tick += 1
        return self._tick % 16 != 0

    def note(self, *, waited: bool) -> None:
        """Learn from one call."""
        self._score = min(self._score + 1, 2 * SURE) if waited else max(self._score - 1, 0)


class _Rest:
    """What is left of a coroutine that has begun, to be awaited in the task in which it began."""

    __slots__ = ("_context", "_coroutine", "_waits_for")

    def __init__(
        self, coroutine: Coroutine[Any, Any, None], context: contextvars.Context, waits_for: Any
    ) -> None:
        self._coroutine, self._context, self._waits_for = coroutine, context, waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        """As ``yield from`` would, but with every step in the coroutine's own context."""
        run, coroutine, waits_for = self._context.run, self._coroutine, self._waits_for
        while True:
            try:
                try:
                    sent = yield waits_for
                except GeneratorExit:
                    coroutine.close()
                    raise
                except BaseException as error:
                    waits_for = run(coroutine.throw, error)
                else:
                    waits_for = run(coroutine.send, sent)
            except StopIteration:
                return


class Runners:
    """Runs calls on the loop.

    Args:
        loop: The loop.
        life: A call's life, as a coroutine that raises nothing.
        left: Told of a call that was stopped before it began.
        context: What calls' contexts are copies of.
        answers: Held while several calls are begun.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        life: Callable[[Running], Coroutine[Any, Any, None]],
        left: Callable[[Running], None],
        context: contextvars.Context,
        answers: Answers,
    ) -> None:
        self._loop = loop
        self._answers = answers
        self._life, self._left = life, left
        self._context = context
        self._queue: deque[Running] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._awake = False  # a runner is about to look at the queue

    def start(self, call: Running) -> None:
        """Run a call, on the loop's next turn."""
        if call.entry.waiting.likely:
            call.task = self._loop.create_task(self._life(call), context=self._context.copy())
            return
        self._queue.append(call)
        if not self._awake:
            self._awake = True
            self._wake()

    def close(self) -> None:
        """Let runners that wait for work end."""
        idle, self._idle = self._idle, []
        for bell in idle:
            bell.cancel()

    def _wake(self) -> None:
        while self._idle:
            bell = self._idle.pop()
            if not bell.done():  # somebody may have cancelled whoever listened
                bell.set_result(None)
                return
        task = self._loop.create_task(self._work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        task, queue, answers = asyncio.current_task(), self._queue, self._answers
        while True:
            rest: _Rest | None = None
            answers.hold()
            try:
                for _ in range(SWEEP):
                    if not queue:
                        break
                    call = queue.popleft()
                    if call.stopped:
                        self._left(call)
                    elif (rest := self._begin(call, task)) is not None:
                        break
            finally:
                answers.release()
            if rest is not None:
                if queue:
                    self._wake()
                    self._wake()  # two: if all that wait in the queue will wait again, they begin soon all the same
                else:
                    self._awake = False
                await rest
                if call.stopped:
                    return  # who stopped it waits for this task to end
                del call, rest
            elif queue:
                await asyncio.sleep(0)
                continue
            else:
                self._awake = False
            if len(self._idle) >= IDLE_MAX:
                return
            bell = self._loop.create_future()
            self._idle.append(bell)
            await bell

    def _begin(self, call: Running, task: asyncio.Task[None] | None) -> _Rest | None:
        """Drive a call until it ends, or first waits: what is left of it then."""
        call.task = task
        coroutine, context = self._life(call), self._context.copy()
        try:
            waits_for = context.run(coroutine.send, None)
        except StopIteration:
            call.entry.waiting.note(waited=False)
            return None
        call.entry.waiting.note(waited=True)
        return _Rest(coroutine, context, waits_for)
