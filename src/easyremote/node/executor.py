"""Runs functions and says what became of them.

``async def`` runs in tasks on the loop; plain functions run in worker threads. Arguments are decoded
and results encoded where the function runs, so that large ones do not hold up the loop. Each call ends
with exactly one of Done, Failed or Ended, or, if it was stopped, with Stopped when its code has really
ended. Answers of calls that end together are given together. Nothing a function raises gets past here. The executor keeps no clock and refuses nobody: deadlines and capacity are decided by
whoever calls ``start``.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, cast

import msgspec

from easyremote.node.answers import Answers
from easyremote.node.cache import MAX_CACHE_BYTES, ResultCache
from easyremote.node.calls import Reports, current, reports
from easyremote.node.credit import Credit
from easyremote.node.faults import describe, failed
from easyremote.node.registry import Entry, Registry
from easyremote.node.runners import Runners
from easyremote.node.running import Adopt, Chore, Running
from easyremote.node.threads import Pace, Threads
from easyremote.protocol.effects import Start, Value
from easyremote.protocol.events import Answer, CallKey, Done, Encoded, Ended, Failed, Stopped, Yielded
from easyremote.wire.mail import Progress
from easyremote.wire.values import Segments

__all__ = ["Executor"]

OFFLOAD_BYTES = 256 * 1024
"""Arguments of this size are decoded in a thread even for functions that run on the loop."""

CACHEABLE_BYTES = 1024 * 1024
"""Calls with larger arguments are not looked up in the cache."""

FAIR_ITEMS = 32
"""An async generator lets the loop turn after so many items."""

CLOSE_SECONDS = 5.0
"""How long ``close`` waits for tasks that clean up."""

log = logging.getLogger(__name__)

_LAZY = frozenset({GeneratorType, CoroutineType, AsyncGeneratorType})
_AWAITED = (CoroutineType, AsyncGeneratorType, AsyncIterator)


class Executor:
    """Runs the functions of a registry.

    All methods belong to the loop's thread, and so does ``post``, which gets the answers: all that there are at a
    moment, in order for each call, never from inside ``start`` or ``stop``, and none but Stopped once ``stop`` was
    called.

    Args:
        registry: Where functions are looked up, call by call.
        post: Takes answers. It must not raise.
        loop: The running loop.
        threads: How many plain functions may run at a time.
        tell: Takes what calls say of how far they are.
    """

    def __init__(
        self,
        registry: Registry,
        post: Callable[[list[Answer]], None],
        *,
        loop: asyncio.AbstractEventLoop,
        threads: int = 64,
        tell: Callable[[CallKey, Progress], None] | None = None,
    ) -> None:
        self._registry = registry
        self._answers = Answers(post)
        self._post = self._answers.add
        self._loop = loop
        self._threads = Threads(loop, threads)
        self._context = contextvars.copy_context()
        if tell is not None:
            self._context.run(reports.set, Reports(loop, tell))
        self._runners = Runners(loop, self._run_on_loop, self._left, self._context, self._answers)
        self._calls: dict[CallKey, Running] = {}
        self._instant: set[CallKey] = set()  # answered without running anything, on the loop's next turn
        self._lingering: set[asyncio.Task[None]] = set()  # stopped, still cleaning up
        self._cache = ResultCache()
        self._busy = 0
        self._closed = False
        self._handed_back: deque[tuple[Running, Answer | Adopt | None]] = deque()
        self._ringing = False  # a wake-up of the loop is on its way

    @property
    def running(self) -> int:
        """How many calls occupy the node, those included that were stopped and have not ended yet."""
        return self._busy - self._threads.waiting

    @property
    def waiting(self) -> int:
        """How many calls were started but wait for a thread."""
        return self._threads.waiting

    def start(self, start: Start) -> None:
        """Run a function. The answer comes through ``post``, at the earliest on the loop's next turn."""
        if self._closed:
            return
        entry = self._registry.get(start.function)
        if entry is None:
            message = f"this node has no function {start.function!r}"
            self._answer_soon(Failed(start.key, "unknown", "UnknownFunctionError", message))
            return
        if entry.cache_ttl_seconds is not None and not start.window:
            kept = self._kept(entry, start.arguments)
            if kept is not None:
                self._answer_soon(Done(start.key, kept))
                return
        call = self._calls[start.key] = Running(
            start,
            "",
            self._run_in_thread,
            entry,
            start.key,
            start.arguments,
            Pace() if start.window else entry.pace,  # a stream may wait for its reader
            Credit(start.window) if start.window else None,
        )
        self._busy += 1
        if entry.on_loop:
            self._runners.start(call)
        else:
            self._threads.submit(call)

    def stop(self, key: CallKey, reason: str = "cancelled") -> None:
        """Want no more answers for a call but Stopped, and end it as well as can be.

        A task is cancelled, a generator closed; a plain function in a thread is told through
        ``current_call().cancelled()``. For a call unknown here, Stopped comes too.

        Args:
            key: The call.
            reason: ``"cancelled"`` or ``"timeout"``.
        """
        self._instant.discard(key)
        call = self._calls.pop(key, None)
        if call is None:
            if not self._closed:
                self._loop.call_soon(self._post, Stopped(key))
            return
        call.stop(reason)
        if call.task is not None:
            self._lingering.add(call.task)
            call.task.add_done_callback(lambda task: self._outlived(call, task))
            call.task.cancel()

    def grant(self, key: CallKey, size: int) -> None:
        """Let a stream go on for so many more bytes. Unknown keys are ignored."""
        call = self._calls.get(key)
        if call is not None and call.credit is not None:
            call.credit.grant(size)

    async def close(self) -> None:
        """Stop every call, and give tasks a few seconds to clean up. Threads are told, not waited for."""
        self._closed = True
        self._instant.clear()
        for key in list(self._calls):
            self.stop(key)
        self._threads.close()
        self._runners.close()
        if self._lingering:
            await asyncio.wait(self._lingering, timeout=CLOSE_SECONDS)

    # Beginning and ending

    def _answer_soon(self, answer: Answer) -> None:
        self._instant.add(answer.key)
        self._loop.call_soon(self._answer_now, answer)

    def _answer_now(self, answer: Answer) -> None:
        if answer.key in self._instant:
            self._instant.remove(answer.key)
            self._post(answer)

    def _left(self, call: Running) -> None:
        """A stopped call's code has ended."""
        self._busy -= 1
        if not self._closed:
            self._post(Stopped(call.key))

    def _outlived(self, call: Running, task: asyncio.Task[None]) -> None:
        """A stopped call's task has ended."""
        self._lingering.discard(task)
        call.task = None
        if not task.cancelled() and task.exception() is not None:
            log.error("a stopped call of %r raised", call.function, exc_info=task.exception())
        self._left(call)

    def _settle(self, call: Running, answer: Answer) -> None:
        """The last answer of a call that ran. Of a stopped one, ``stop`` has taken care."""
        if call.stopped:
            return
        del self._calls[call.key]
        call.task = None  # a task knows its context, and that the call: large values must not wait for the gc
        if type(answer) is Done and call.entry.cache_ttl_seconds is not None and not call.pickled:
            self._keep(call, answer.value, call.entry.cache_ttl_seconds)
        self._busy -= 1
        self._post(answer)

    def _kept(self, entry: Entry, arguments: Value) -> bytes | None:
        view = memoryview(arguments)
        if view.nbytes > CACHEABLE_BYTES:
            return None
        return self._cache.get(entry, bytes(view), self._loop.time())

    def _keep(self, call: Running, value: Encoded, ttl_seconds: float) -> None:
        arguments = memoryview(call.arguments)
        if arguments.nbytes > CACHEABLE_BYTES:
            return
        if isinstance(value, Segments):
            if value.size > MAX_CACHE_BYTES:
                return
            value = bytes(value.slice(0, value.size))
        self._cache.put(call.entry, bytes(arguments), value, self._loop.time() + ttl_seconds)

    # On the loop

    async def _run_on_loop(self, call: Running) -> None:
        """The life of an ``async def`` or an async generator."""
        current.set(call)
        entry = call.entry
        try:
            if isinstance(call.arguments, memoryview) and len(call.arguments) > OFFLOAD_BYTES:
                args, kwargs = await self._unpack_aside(call)
            else:
                args, kwargs = call.unpack()
        except BaseException as error:
            self._fail(call, "argument", error)
            return
        if entry.cache_ttl_seconds is None:
            call.arguments = b""
        try:
            value = entry.function(*args, **kwargs)
            if type(value) is not AsyncGeneratorType:
                value = await value
        except BaseException as error:
            self._fail(call, "error", error)
            return
        if call.credit is None and type(value) not in _LAZY:
            try:
                answer = Done(call.key, call.pack(value))
            except BaseException as error:
                self._fail(call, "encoding", error)
                return
            self._settle(call, answer)
        else:
            del args, kwargs
            await self._go_on(call, value)

    async def _adopted(self, call: Running, work: Coroutine[Any, Any, Any] | AsyncIterator[Any]) -> None:
        """What a plain function returned turned out to need the loop."""
        value: Any = work
        try:
            if isinstance(work, CoroutineType):
                value = await work
        except BaseException as error:
            self._fail(call, "error", error)
            return
        await self._go_on(call, value)

    async def _go_on(self, call: Running, value: Any) -> None:
        """Deliver what is not simply one value for a caller who wants one."""
        if isinstance(value, AsyncIterator):
            await self._drive_on_loop(call, value)
        elif isinstance(value, GeneratorType):
            if not call.stopped:
                call.task, call.iterator = None, value
                self._threads.submit(call)
        else:
            self._settle_value(call, value)

    def _settle_value(self, call: Running, value: Any) -> None:
        try:
            encoded = call.pack(value)
        except BaseException as error:
            self._fail(call, "encoding", error)
            return
        if call.credit is None:
            self._settle(call, Done(call.key, encoded))
        elif not call.stopped:
            self._post(Yielded(call.key, encoded))
            self._settle(call, Ended(call.key))

    async def _drive_on_loop(self, call: Running, items: AsyncIterator[Any]) -> None:
        """Post an async iterator's items, or gather them for a caller who wants one value."""
        credit, gathered = call.credit, []
        kind, count = "error", 0
        try:
            while not call.stopped:
                if credit is not None and not credit.open:
                    await credit.wait()
                    continue
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    break
                if credit is None:
                    gathered.append(item)
                elif not call.stopped:
                    kind = "encoding"
                    encoded = call.pack(item)
                    kind = "error"
                    credit.spend(_size(encoded))
                    self._post(Yielded(call.key, encoded))
                count += 1
                if count % FAIR_ITEMS == 0:
                    await asyncio.sleep(0)
        except BaseException as error:
            await _close_on_loop(call, items)
            self._fail(call, kind, error)
            return
        if call.stopped:
            await _close_on_loop(call, items)
        elif credit is None:
            self._settle_value(call, gathered)
        else:
            self._settle(call, Ended(call.key))

    def _fail(self, call: Running, kind: str, error: BaseException) -> None:
        if isinstance(error, GeneratorExit) and asyncio.current_task(self._loop) is not call.task:
            raise error  # not raised by the function: the loop is gone and the task is being collected
        if not call.stopped:
            self._settle(call, _failed(call, kind, error))

    async def _unpack_aside(self, call: Running) -> tuple[list[Any], dict[str, Any]]:
        """Decode and bind large arguments in a thread."""
        done: asyncio.Future[tuple[list[Any], dict[str, Any]]] = self._loop.create_future()

        def settle(outcome: tuple[list[Any], dict[str, Any]] | BaseException) -> None:
            if done.done():
                return
            if isinstance(outcome, BaseException):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)

        def unpack() -> None:
            outcome: tuple[list[Any], dict[str, Any]] | BaseException
            try:
                outcome = call.unpack()
            except BaseException as error:
                outcome = error
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                self._loop.call_soon_threadsafe(settle, outcome)
            del outcome  # an exception's traceback leads back to this frame

        self._threads.submit(Chore(unpack))
        return await done

    # In threads

    def _run_in_thread(self, call: Running) -> None:
        """A worker thread's part of a call: it ends by handing back exactly one last answer."""
        answer: Answer | Adopt | None = None
        if not call.stopped:
            context = self._context.copy()
            answer = context.run(self._answer, call)
            if type(answer) is Adopt:
                call.context = context
        self._hand_back(call, answer)

    def _answer(self, call: Running) -> Answer | Adopt | None:
        current.set(call)
        entry = call.entry
        value: Any = call.iterator
        if value is None:
            try:
                args, kwargs = call.unpack()
            except BaseException as error:
                return _failed(call, "argument", error)
            if entry.cache_ttl_seconds is None:
                call.arguments = b""
            try:
                value = entry.function(*args, **kwargs)
            except BaseException as error:
                return _failed(call, "error", error)
            del args, kwargs
        if type(value) in _LAZY or (entry.streams and isinstance(value, Iterator)):
            if isinstance(value, _AWAITED):
                return Adopt(value)
            return self._drive_in_thread(call, value)
        return self._encoded(call, value)

    def _encoded(self, call: Running, value: Any) -> Answer:
        try:
            encoded = call.pack(value)
        except BaseException as error:
            return _failed(call, "encoding", error)
        if call.credit is None:
            return Done(call.key, encoded)
        self._hand_back(call, Yielded(call.key, encoded))
        return Ended(call.key)

    def _drive_in_thread(self, call: Running, items: Iterator[Any]) -> Answer | None:
        """Hand back an iterator's items, or gather them for a caller who wants one value."""
        credit, gathered = call.credit, []
        kind = "error"
        try:
            while not call.stopped:
                if credit is not None and not credit.open:
                    self._threads.park()
                    credit.wait_in_thread()
                    self._threads.unpark()
                    continue
                try:
                    item = next(items)
                except StopIteration:
                    break
                if credit is None:
                    gathered.append(item)
                    continue
                kind = "encoding"
                encoded = call.pack(item)
                kind = "error"
                credit.spend(_size(encoded))
                self._hand_back(call, Yielded(call.key, encoded))
        except BaseException as error:
            _close_in_thread(call, items)
            return _failed(call, kind, error)
        if call.stopped:
            _close_in_thread(call, items)
            return None
        return self._encoded(call, gathered) if credit is None else Ended(call.key)

    def _hand_back(self, call: Running, answer: Answer | Adopt | None) -> None:
        """From any thread: give an answer to the loop, with one wake-up for all that come meanwhile."""
        self._handed_back.append((call, answer))
        if not self._ringing:
            self._ringing = True
            try:
                self._loop.call_soon_threadsafe(self._take_back)
            except RuntimeError:
                log.debug("the loop was closed before %r ended", call.function)

    def _take_back(self) -> None:
        """On the loop: take what the threads handed back."""
        self._ringing = False  # before looking: what is appended from now on rings again
        handed_back = self._handed_back
        self._answers.hold()
        while handed_back:
            call, answer = handed_back.popleft()
            if call.stopped:
                if type(answer) is not Yielded:
                    _discard(answer)
                    self._left(call)
            elif type(answer) is Yielded:
                self._post(answer)
            elif type(answer) is Adopt:
                call.task = self._loop.create_task(self._adopted(call, answer.work), context=call.context)
            else:
                self._settle(call, cast("Answer", answer))
        self._answers.release()


def _size(encoded: Encoded) -> int:
    return len(encoded) if isinstance(encoded, bytes) else encoded.size


def _failed(call: Running, kind: str, error: BaseException) -> Failed:
    """The answer to an exception, saying which function it is about when the function did not raise it."""
    fault = failed(call.key, kind, error)
    if kind == "encoding":
        message = f"{call.function}() made a value that cannot cross the wire: {fault.message}"
        return msgspec.structs.replace(fault, message=message)
    return fault


def _discard(answer: Answer | Adopt | None) -> None:
    """A coroutine nobody will await is closed, so that Python does not warn of it."""
    if isinstance(answer, Adopt) and isinstance(answer.work, CoroutineType):
        answer.work.close()


def _close_in_thread(call: Running, items: Iterator[Any]) -> None:
    close = getattr(items, "close", None)
    try:
        if close is not None:
            close()
    except BaseException as error:
        log.warning("%r raised while its generator was closed: %s", call.function, describe(error))


async def _close_on_loop(call: Running, items: AsyncIterator[Any]) -> None:
    close = getattr(items, "aclose", None)
    try:
        if close is not None:
            await close()
    except BaseException as error:
        log.warning("%r raised while its generator was closed: %s", call.function, describe(error))
