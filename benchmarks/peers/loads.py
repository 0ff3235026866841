"""The loads, the same for every peer: whoever is measured only says how one call is made.

No two calls send the same, and every answer is compared with what was sent: a peer that remembers answers, or
mixes them up, must not look quick.

All that takes long is bounded by time as well as by count, so that a slow peer costs patience and not the day.
Only the standard library at the top: it is imported in every peer's environment, also by ``first``.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Any, NamedTuple

PAYLOAD = b"x" * 64
IN_FLIGHT = 256
ARRAY_MIB = 16
PAUSE_SECONDS = 0.004
SETTLE_SECONDS = 2.0
"""Before many nodes are measured: by then a caller has met them all."""

Figures = dict[str, float]
Call = Callable[[Any], Any]
AsyncCall = Callable[[Any], Awaitable[Any]]


class Length(NamedTuple):
    """How long a measurement is."""

    seconds: float
    """Of a throughput."""
    calls: int
    """One after another."""
    items: int
    """Of a map or a stream."""
    arrays: int
    """There and back."""
    patience_seconds: float
    """After which what is bounded by count stops as well."""


LENGTHS = {
    "quick": Length(seconds=0.6, calls=200, items=10_000, arrays=3, patience_seconds=2.0),
    "full": Length(seconds=2.0, calls=1000, items=100_000, arrays=8, patience_seconds=10.0),
}


class WrongAnswerError(Exception):
    """The echo is not what was sent: nothing is worth measuring."""


def check(answer: Any, wanted: Any = PAYLOAD) -> None:
    """Raise if the answer is wrong."""
    if answer != wanted:
        raise WrongAnswerError(f"sent {wanted!r}, got back {answer!r:.80}")


def payload(number: int) -> bytes:
    """64 bytes that no other call sends."""
    return b"%064d" % number


def percentiles(times: list[float]) -> Figures:
    """Of times in seconds, in microseconds."""
    times.sort()
    return {"p50": times[len(times) // 2] * 1e6, "p99": times[len(times) * 99 // 100] * 1e6}


def sequential(call: Call, length: Length) -> Figures:
    """One call after another."""
    check(call(PAYLOAD))
    for number in range(length.calls // 10):
        call(payload(-1 - number))
    times: list[float] = []
    until = time.perf_counter() + length.patience_seconds
    while len(times) < length.calls and time.perf_counter() < until:
        sent = payload(len(times))
        began = time.perf_counter()
        answer = call(sent)
        times.append(time.perf_counter() - began)
        check(answer, sent)
    return percentiles(times)


async def sequential_async(call: AsyncCall, length: Length) -> Figures:
    """The same from a coroutine."""
    check(await call(PAYLOAD))
    for number in range(length.calls // 10):
        await call(payload(-1 - number))
    times: list[float] = []
    until = time.perf_counter() + length.patience_seconds
    while len(times) < length.calls and time.perf_counter() < until:
        sent = payload(len(times))
        began = time.perf_counter()
        answer = await call(sent)
        times.append(time.perf_counter() - began)
        check(answer, sent)
    return percentiles(times)


async def in_flight(
    call: AsyncCall, length: Length, *, pausing: bool = False, settle_seconds: float = 0.0
) -> float:
    """Calls a second of 256 callers, each one call after another.

    Args:
        call: How one is made.
        length: How long.
        pausing: Whether each caller rests for 0 to 4 ms before its next call, so that they fall out of step.
        settle_seconds: How long the load is on before it is measured; a quarter of the length if that is more.
    """
    import asyncio

    dice = random.Random(0)
    numbers = itertools.count()
    check(await call(PAYLOAD))

    async def load(seconds: float) -> float:
        done = 0
        began = time.perf_counter()
        until = began + seconds

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() < until:
                sent = payload(next(numbers))
                check(await call(sent), sent)
                done += 1
                if pausing:
                    await asyncio.sleep(dice.random() * PAUSE_SECONDS)

        await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
        return done / (time.perf_counter() - began)

    await load(max(settle_seconds, length.seconds / 4))
    return await load(length.seconds)


def batches(call_many: Callable[[list[Any]], list[Any]], length: Length) -> float:
    """Calls a second in batches of 256, for a peer that cannot have single calls in flight."""
    call_many([PAYLOAD])
    done = 0
    began = time.perf_counter()
    while time.perf_counter() < began + length.seconds:
        sent = [payload(number) for number in range(done, done + IN_FLIGHT)]
        check(call_many(sent), sent)
        done += IN_FLIGHT
    return done / (time.perf_counter() - began)


def threads(connect: Callable[[], Call], length: Length) -> float:
    """Calls a second of 256 threads, each one blocking call after another.

    Args:
        connect: Gives a thread its call; peers whose connections belong to a thread make one there.
        length: How long.
    """
    counts = [0] * IN_FLIGHT
    failures: list[BaseException] = []
    began = until = 0.0

    def start_together() -> None:
        nonlocal began, until
        began = time.perf_counter()
        until = began + length.seconds

    ready = threading.Barrier(IN_FLIGHT, start_together)

    def caller(number: int) -> None:
        try:
            call = connect()
            check(call(PAYLOAD))
            ready.wait(60)
            while time.perf_counter() < until:
                sent = payload(number * 1_000_000_000 + counts[number])
                check(call(sent), sent)
                counts[number] += 1
        except BaseException as error:
            failures.append(error)
            ready.abort()

    callers = [threading.Thread(target=caller, args=(number,), daemon=True) for number in range(IN_FLIGHT)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    if failures:
        raise next(
            (one for one in failures if not isinstance(one, threading.BrokenBarrierError)), failures[0]
        )
    return sum(counts) / (time.perf_counter() - began)


def make_array() -> Any:
    """16 MiB of float32."""
    import numpy as np

    return np.random.default_rng(0).random(ARRAY_MIB << 18, dtype=np.float32)


def array(call: Call, length: Length) -> float:
    """MiB a second, there and back; the call takes an array and gives one."""
    value = make_array()
    same_array(call(value), value)
    began = time.perf_counter()
    done = 0
    while done < length.arrays and time.perf_counter() < began + length.patience_seconds:
        value[0] = done
        check((call(value))[0], done)
        done += 1
    return 2 * ARRAY_MIB * done / (time.perf_counter() - began)


async def array_async(call: AsyncCall, length: Length) -> float:
    """The same from a coroutine."""
    value = make_array()
    same_array(await call(value), value)
    began = time.perf_counter()
    done = 0
    while done < length.arrays and time.perf_counter() < began + length.patience_seconds:
        value[0] = done
        check((await call(value))[0], done)
        done += 1
    return 2 * ARRAY_MIB * done / (time.perf_counter() - began)


def same_array(answer: Any, wanted: Any) -> None:
    """Raise unless it came back as it was."""
    import numpy as np

    if not (answer.dtype == wanted.dtype and np.array_equal(answer, wanted)):
        raise WrongAnswerError("the array did not come back as it was sent")


def from_bytes(data: Any) -> Any:
    """An array of the bytes in which a peer without arrays sent it, not copied."""
    import numpy as np

    return np.frombuffer(data, dtype=np.float32)


def counted(items: Iterable[Any], length: Length) -> float:
    """Items a second, of results 0, 1, 2, … as they come."""
    done = 0
    began = time.perf_counter()
    until = began + length.patience_seconds
    for item in items:
        if item != done:
            raise WrongAnswerError(f"item {done} came back as {item!r}")
        done += 1
        if done == length.items or time.perf_counter() > until:
            break
    return done / (time.perf_counter() - began)


async def counted_async(items: AsyncIterable[Any], length: Length) -> float:
    """The same from a coroutine."""
    done = 0
    began = time.perf_counter()
    until = began + length.patience_seconds
    async for item in items:
        if item != done:
            raise WrongAnswerError(f"item {done} came back as {item!r}")
        done += 1
        if done == length.items or time.perf_counter() > until:
            break
    return done / (time.perf_counter() - began)


def in_chunks(call_many: Callable[[list[int]], list[int]], length: Length, size: int) -> float:
    """Items a second of a peer that maps lists: chunk by chunk, only whole chunks count, so patience ends it between two."""
    done = 0
    began = time.perf_counter()
    while done < length.items and time.perf_counter() < began + length.patience_seconds:
        sent = list(range(done, min(done + size, length.items)))
        check(call_many(sent), sent)
        done += len(sent)
    return done / (time.perf_counter() - began)


async def mapped(call: AsyncCall, length: Length) -> float:
    """Items a second of a peer without a map: 256 callers share out the items."""
    import asyncio

    results: list[Any] = [None] * length.items
    numbers = iter(range(length.items))
    done = 0
    await call(0)
    began = time.perf_counter()
    until = began + length.patience_seconds

    async def caller() -> None:
        nonlocal done
        for number in numbers:
            results[number] = await call(number)
            done += 1
            if time.perf_counter() > until:
                return

    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    took = time.perf_counter() - began
    if any(result not in (None, number) for number, result in enumerate(results)):
        raise WrongAnswerError("a result of the map is not what was sent")
    return done / took
