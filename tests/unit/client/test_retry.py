"""Calls that are made again: only where that does no harm, not for ever, and never in a storm."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Raw

from easyremote import AsyncClient, Client
from easyremote.client.asking import Options
from easyremote.client.retry import TOKENS_MAX, Persistence, Retry, RetryBudget
from easyremote.errors import (
    BusyError,
    CallCancelledError,
    EasyRemoteError,
    EncodeError,
    LinkError,
    NodeLostError,
    UnknownFunctionError,
    UsageError,
    remote_error,
)
from easyremote.protocol.effects import Value
from easyremote.protocol.events import CallRequested

VALUE = Raw(b"\x01")
LOST = NodeLostError("gone", ran="accepted")
LOST.may_repeat = True  # the node that had the call said that its function is idempotent


class Loop:
    """A loop in virtual time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._cancelled: set[int] = set()

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, action: Callable[[], None]) -> Any:
        number = next(self._count)
        heapq.heappush(self._due, (self.now + seconds, number, action))
        cancelled = self._cancelled

        class Handle:
            def cancel(self) -> None:
                cancelled.add(number)

        return Handle()

    def run(self, until: float) -> None:
        while self._due and self._due[0][0] <= until:
            self.now, number, action = heapq.heappop(self._due)
            if number not in self._cancelled:
                action()
        self.now = until


class Desk:
    """An engine whose nodes are played by the test, and the one who waits."""

    def __init__(self, *, others: bool = True, **options: Any) -> None:
        self.loop = Loop()
        self.budget = RetryBudget()
        self.sent: list[CallRequested] = []
        self.cancelled: list[int] = []
        self.outcome: list[tuple[Value | None, EasyRemoteError | None]] = []
        self.number = itertools.count(100).__next__
        self._waiters: dict[int, Any] = {}
        self._others = others
        timeout = options.pop("timeout", None)
        request = CallRequested(1, "resize", b"", timeout=timeout)
        self.persistence = Persistence(self, request, self, Options(**options))  # type: ignore[arg-type]
        self.persistence.begin()

    def send(self, request: CallRequested, waiter: Any) -> None:
        self.sent.append(request)
        self._waiters[request.call] = waiter

    def cancel(self, number: int) -> None:
        self.cancelled.append(number)
        self.ends(number, CallCancelledError())

    def may_hedge(self, number: int) -> bool:
        return self._others

    def let_go(self, persistence: Persistence) -> None:
        assert persistence is self.persistence

    def settle(self, value: Value | None, error: EasyRemoteError | None) -> None:
        self.outcome.append((value, error))

    def ends(self, number: int, error: EasyRemoteError | None = None) -> None:
        self._waiters.pop(number).settle(VALUE if error is None else None, error)

    @property
    def error(self) -> EasyRemoteError:
        ((value, error),) = self.outcome
        assert value is None
        assert error is not None
        return error


def test_a_call_that_may_run_twice_is_made_again_until_it_is_answered() -> None:
    desk = Desk(retry=Retry(max_attempts=3, backoff=1.0))
    desk.ends(1, LOST)
    assert desk.outcome == []
    desk.loop.run(1.0)
    assert len(desk.sent) == 2
    desk.ends(desk.sent[1].call)
    assert desk.outcome == [(VALUE, None)]


def test_the_last_error_is_told_when_all_attempts_have_failed() -> None:
    desk = Desk(retry=Retry(max_attempts=3, backoff=1.0))
    for attempt in range(3):
        desk.ends(desk.sent[attempt].call, LOST)
        desk.loop.run(desk.loop.now + 10.0)
    assert desk.error is LOST
    assert len(desk.sent) == 3


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (NodeLostError("gone", ran="accepted"), False),
        (NodeLostError("gone", ran="unconfirmed"), False),
        (NodeLostError("gone", ran="not sent"), True),
        (BusyError("full"), True),
        (LinkError("the link was lost"), False),
    ],
)
def test_what_may_not_run_twice_is_made_again_only_if_it_has_surely_not_run(
    error: EasyRemoteError, again: bool
) -> None:
    desk = Desk(retry=Retry(backoff=1.0))
    desk.ends(1, error)
    desk.loop.run(1.0)
    assert (len(desk.sent) == 2) is again
    assert (desk.outcome == []) is again


def test_what_a_function_raises_is_an_answer() -> None:
    raised = remote_error(
        "ConnectionError", "no", "", function="resize", node="lab", call_id="1", builtin="ConnectionError"
    )
    assert isinstance(raised, ConnectionError)
    desk = Desk(retry=Retry(retry_on=(ConnectionError, EasyRemoteError)))
    desk.ends(1, raised)
    assert desk.error is raised


def test_all_attempts_share_the_calls_time() -> None:
    desk = Desk(timeout=5.0, retry=Retry(max_attempts=10, backoff=0.0))
    desk.loop.run(3.0)
    desk.ends(1, LOST)
    desk.loop.run(3.0)
    assert desk.sent[1].timeout == 2.0
    desk.loop.run(5.0)
    desk.ends(desk.sent[1].call, LOST)
    assert desk.error is LOST, "there is no time for another attempt, and the error says more than that"


def test_while_nobody_is_there_it_is_tried_again_and_the_first_error_is_what_is_told() -> None:
    nobody = UnknownFunctionError("no node offers it")
    desk = Desk(retry=Retry(max_attempts=3, backoff=0.0))
    desk.ends(1, LOST)
    desk.loop.run(0.0)
    desk.ends(desk.sent[1].call, nobody)
    desk.loop.run(0.0)
    assert len(desk.sent) == 3
    desk.ends(desk.sent[2].call, nobody)
    assert desk.error is LOST
    desk = Desk(retry=Retry(max_attempts=3, backoff=0.0))
    desk.ends(1, nobody)
    assert desk.error is nobody, "a name that is wrong from the beginning is told at once"


def test_a_pause_does_not_reach_beyond_the_calls_time() -> None:
    desk = Desk(timeout=1.0, retry=Retry(max_attempts=10, backoff=1e9))
    while not desk.outcome:
        desk.ends(desk.sent[-1].call, LOST)
        desk.loop.run(desk.loop.now + 0.5)
    assert desk.error is LOST
    assert desk.loop.now <= 1.5


def test_an_answer_that_is_no_value_is_not_waited_out() -> None:
    desk = Desk(hedge_after=0.5)
    desk.loop.run(0.5)
    error = EncodeError("its result cannot be sent")
    desk.ends(desk.sent[0].call, error)
    assert desk.error is error
    assert desk.cancelled == [desk.sent[1].call]


def test_a_call_that_was_cancelled_before_it_began_is_not_made() -> None:
    desk = Desk(retry=Retry())
    late = Persistence(desk, CallRequested(2, "resize", b""), desk, Options(retry=Retry()))  # type: ignore[arg-type]
    desk.let_go = lambda persistence: None  # type: ignore[method-assign, assignment]
    late.cancel()
    late.begin()
    assert [request.call for request in desk.sent] == [1]


def test_a_slow_call_is_made_on_another_node_and_the_first_answer_counts() -> None:
    desk = Desk(hedge_after=0.5)
    desk.loop.run(0.4)
    assert len(desk.sent) == 1
    desk.loop.run(0.5)
    first, second = desk.sent
    assert second.beside == first.call
    desk.ends(second.call)
    assert desk.outcome == [(VALUE, None)]
    assert desk.cancelled == [first.call]


def test_of_two_attempts_the_one_that_is_left_may_still_bring_it() -> None:
    desk = Desk(hedge_after=0.5)
    desk.loop.run(0.5)
    first, second = desk.sent
    desk.ends(first.call, LOST)
    assert desk.outcome == []
    desk.ends(second.call)
    assert desk.outcome == [(VALUE, None)]


@pytest.mark.parametrize("why", ["no other node may", "answered before"])
def test_a_call_is_not_made_twice_without_need_or_leave(why: str) -> None:
    desk = Desk(others=why != "no other node may", hedge_after=0.5)
    if why == "answered before":
        desk.ends(1)
    desk.loop.run(1.0)
    assert len(desk.sent) == 1


def test_who_waits_no_longer_ends_all_attempts() -> None:
    desk = Desk(hedge_after=0.5, retry=Retry())
    desk.loop.run(0.5)
    desk.persistence.cancel()
    assert desk.cancelled == [request.call for request in desk.sent]
    assert isinstance(desk.error, CallCancelledError)
    desk = Desk(retry=Retry(backoff=1.0))
    desk.ends(1, LOST)
    desk.persistence.cancel()
    desk.loop.run(10.0)
    assert len(desk.sent) == 1


def test_when_nearly_all_fails_one_in_ten_is_made_again() -> None:
    budget, again = RetryBudget(), 0
    for _ in range(10_000):
        budget.made()
        again += budget.spend()
    assert again <= TOKENS_MAX + 1000


def test_the_budget_is_the_clients() -> None:
    desk = Desk(retry=Retry(max_attempts=1000, backoff=0.0))
    while not desk.outcome:
        desk.ends(desk.sent[-1].call, LOST)
        desk.loop.run(desk.loop.now)
    assert len(desk.sent) == TOKENS_MAX + 1
    assert desk.error is LOST


def test_pauses_are_drawn_from_ever_longer_spans() -> None:
    retry = Retry(backoff=0.1)
    for attempts, longest in ((1, 0.1), (2, 0.2), (5, 1.6), (30, 60.0), (5000, 60.0)):
        pauses = [retry.pause_seconds(attempts) for _ in range(500)]
        assert max(pauses) <= longest
        assert max(pauses) > 0.8 * longest
        assert min(pauses) < 0.2 * longest


@pytest.mark.parametrize(
    "fields",
    [
        {"max_attempts": 0},
        {"max_attempts": True},
        {"backoff": -1},
        {"backoff": "1"},
        {"retry_on": ValueError},
    ],
)
def test_a_retry_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Retry(**fields)


@pytest.mark.parametrize("changes", [{"retry": 3}, {"hedge_after": 0}, {"hedge_after": "1"}])
def test_options_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Options().changed(changes)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    "wrong",
    [
        {"lost_after": -1},
        {"lost_after": "x"},
        {"lost_after": float("inf")},
        {"connect_timeout": 0},
        {"connect_timeout": "x"},
        {"patience": "long"},
    ],
)
def test_a_client_with_times_that_make_no_sense_is_refused(
    kind: type[Client | AsyncClient], wrong: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        kind("127.0.0.1:1", **wrong)
