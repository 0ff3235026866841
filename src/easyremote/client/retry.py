"""Making a call again when it failed, or a second time while it is slow: only where that does no harm.

What has surely not run may be made again; what may have run only if its function is idempotent. What a function
raised is an answer, and never a reason. A budget keeps retries from making an outage worse.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from easyremote.errors import (
    CallCancelledError,
    CallTimeoutError,
    EasyRemoteError,
    LinkError,
    NodeLostError,
    RefusedError,
    ScheduleError,
    UsageError,
)
from easyremote.links.diary import AGAIN
from easyremote.protocol.effects import Value
from easyremote.protocol.events import CallRequested
from easyremote.trace import emit

if TYPE_CHECKING:
    from easyremote.client.asking import Options
    from easyremote.client.engine import Engine, Waiter

__all__ = ["Retry", "RetryBudget", "begin"]

TOKENS_MAX = 100.0
TOKENS_FOR_A_CALL = 0.1
"""A client may make so many calls again as a part of those it makes, and ``TOKENS_MAX`` at once."""

_dice = random.Random()


class Retry(Struct, frozen=True):
    """When, how often and how soon a call that failed is made again.

    ::

        client = Client("your-gateway:8080", retry=Retry(max_attempts=5))
        client.options(retry=Retry(backoff=1.0)).execute("resize", image)

    A call whose function is not ``idempotent`` is made again only if it has surely not run. Streams are not made again.

    Attributes:
        max_attempts: How often it is made in all.
        backoff: The longest pause before it is made the second time, in seconds; each further one may be twice as
            long, up to a minute. How long it really is is drawn anew each time, from 0 on ("full jitter": Brooker,
            AWS Architecture Blog, 2015).
        retry_on: The errors it is made again on. What a function raised is never one, whatever class it has.
    """

    max_attempts: int = 3
    backoff: float = 0.1
    retry_on: tuple[type[Exception], ...] = (NodeLostError, LinkError, RefusedError)

    def __post_init__(self) -> None:
        if (
            isinstance(self.max_attempts, bool)
            or not isinstance(self.max_attempts, int)
            or self.max_attempts < 1
        ):
            raise UsageError(f"Retry(max_attempts=) is a number of 1 or more, not {self.max_attempts!r}")
        if not isinstance(self.backoff, (int, float)) or not 0 <= self.backoff < float("inf"):
            raise UsageError(f"Retry(backoff=) is a number of seconds, 0 or more, not {self.backoff!r}")
        kinds = self.retry_on
        if not isinstance(kinds, tuple) or not all(
            isinstance(one, type) and issubclass(one, Exception) for one in kinds
        ):
            raise UsageError(f"Retry(retry_on=) is a tuple of exception classes, not {kinds!r}")

    def pause_seconds(self, attempts: int) -> float:
        """How long to wait when so many attempts have failed."""
        return _dice.uniform(0.0, min(self.backoff * 2.0 ** min(attempts - 1, 60), 60.0))


class RetryBudget:
    """How many more calls may be made again: a bucket that every call fills a little (gRPC, proposal A6).

    While most calls succeed, each may be made again as its ``Retry`` says. When nearly all fail, no more than one in
    ten is: retries must not add up to a storm.
    """

    __slots__ = ("_tokens",)

    def __init__(self) -> None:
        self._tokens = TOKENS_MAX

    def made(self) -> None:
        """A call is made for the first time."""
        self._tokens = min(self._tokens + TOKENS_FOR_A_CALL, TOKENS_MAX)

    def spend(self) -> bool:
        """Whether one may be made again now; it is counted."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def begin(engine: Engine, request: CallRequested, waiter: Waiter, options: Options) -> None:
    """Make a call, and see to it as its options say; from any thread."""
    if options.retry is None and options.hedge_after is None:
        engine.send(request, waiter)
    else:
        engine.persist(Persistence(engine, request, waiter, options))


class Persistence:
    """One call and all its attempts. Belongs to the engine's loop."""

    def __init__(self, engine: Engine, request: CallRequested, waiter: Waiter, options: Options) -> None:
        self.request = request
        self._engine, self._waiter = engine, waiter
        self._retry = options.retry or Retry(max_attempts=1)
        self._hedge_after = options.hedge_after
        self._open: dict[int, None] = {}
        self._attempts = 0
        self._over = False
        self._first_error: EasyRemoteError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._hedge: asyncio.TimerHandle | None = None
        self._give_up_at = float("inf")

    def begin(self) -> None:
        """The first attempt."""
        if self._over:
            return  # nobody waits any more
        loop, request = self._engine.loop, self.request
        if request.timeout is not None:
            self._give_up_at = loop.time() + request.timeout
        self._engine.budget.made()
        self._attempt(request)
        if self._hedge_after is not None:
            self._hedge = loop.call_later(self._hedge_after, self._ask_another)

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        self._finish(None, CallCancelledError())

    # ---- attempts

    def _attempt(self, request: CallRequested) -> None:
        self._attempts += 1
        self._open[request.call] = None
        self._engine.send(request, _Attempt(self, request.call))

    def _request(self, *, beside: int = 0) -> CallRequested | None:
        """The request for one more attempt, if there is time for it."""
        request, timeout = self.request, None
        if request.timeout is not None:
            timeout = self._give_up_at - self._engine.loop.time()
            if timeout <= 0.0:
                return None
        return structs.replace(request, call=self._engine.number(), timeout=timeout, beside=beside)

    def _ask_another(self) -> None:
        """It takes long: ask another node as well, and take whichever answers first."""
        self._hedge = None
        first = next(iter(self._open), 0)
        if not first or not self._engine.may_hedge(first):
            return
        request = self._request(beside=first)
        if request is not None and self._engine.budget.spend():
            emit("hedged", f"{self.request.call:016x}", f"{AGAIN}{request.call:016x}")
            self._attempt(request)

    def _again(self) -> None:
        self._timer = None
        request = self._request()
        if request is None:
            self._finish(None, CallTimeoutError(f"{self.request.function!r} was not answered in time"))
        else:
            emit("retried", f"{self.request.call:016x}", f"{AGAIN}{request.call:016x}")
            self._attempt(request)

    def settled(self, number: int, value: Value | None, error: EasyRemoteError | None) -> None:
        """An attempt has ended."""
        self._open.pop(number, None)
        if self._over:
            return
        if error is None or not isinstance(error, _ABOUT_THE_WAY):  # an answer, if a bad one
            self._finish(value, error)
            return
        if self._first_error is None or not isinstance(error, ScheduleError):
            self._first_error = (
                error  # that nobody is there yet to try it again says less than what it failed of
            )
        if (pause := self._pause_before_the_next(error)) is not None:
            self._timer = self._engine.loop.call_later(pause, self._again)
        elif not self._open and self._timer is None:  # no other attempt may still bring it
            self._finish(None, self._first_error)

    def _pause_before_the_next(self, error: EasyRemoteError) -> float | None:
        """How long to wait before the call is made again; None if it is not to be."""
        if self._open or self._timer is not None or self._attempts >= self._retry.max_attempts:
            return None
        wanted = isinstance(error, self._retry.retry_on) or (
            self._attempts > 1 and isinstance(error, ScheduleError)
        )
        if not wanted or not (error.may_repeat or _has_not_run(error)):
            return None
        pause = self._retry.pause_seconds(self._attempts)
        if self._engine.loop.time() + pause >= self._give_up_at or not self._engine.budget.spend():
            return None
        return pause

    def _finish(self, value: Value | None, error: EasyRemoteError | None) -> None:
        if self._over:
            return
        self._over = True
        for timer in (self._timer, self._hedge):
            if timer is not None:
                timer.cancel()
        self._engine.let_go(self)
        for number in list(self._open):
            self._engine.cancel(number)
        self._waiter.settle(value, error)


_ABOUT_THE_WAY = (NodeLostError, LinkError, RefusedError, ScheduleError, CallTimeoutError)
"""What another attempt may mend. All else is an answer, above all what the function raised."""


class _Attempt(Struct, eq=False):
    """Who waits for one attempt."""

    persistence: Persistence
    number: int

    def feed(self, value: Value, cost: int) -> None:
        """Plain calls have no items."""

    def settle(self, value: Value | None, error: EasyRemoteError | None) -> None:
        """It has ended."""
        self.persistence.settled(self.number, value, error)


def _has_not_run(error: EasyRemoteError) -> bool:
    """Whether the call has surely not run: no node was chosen, or it was refused, or it never left."""
    return isinstance(error, (RefusedError, ScheduleError)) or (
        isinstance(error, NodeLostError) and error.ran == "not sent"
    )
