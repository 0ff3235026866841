"""A node's calls: taken or refused at once, run once, timed, answered once."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec
import pytest
from msgspec import Raw
from unit.protocol.talk import REALM, VALUE, channels, did, ended, pull, standing

from easyremote.errors import RemoteProtocolError
from easyremote.protocol.channel import Channel
from easyremote.protocol.effects import CallEnded, Effect, Grant, JobEnded, Start, Stop
from easyremote.protocol.events import (
    Answer,
    CallKey,
    Done,
    Ended,
    Failed,
    JobOpened,
    Offer,
    Stopped,
    Yielded,
)
from easyremote.protocol.guard import Guard
from easyremote.protocol.worker import GONE_SECONDS, QUEUE_MAX, Worker
from easyremote.testing.realm import EPOCH
from easyremote.trust.identity import device_text
from easyremote.trust.rules import Caller
from easyremote.wire.bundle import (
    EMPTY,
    Again,
    Cancel,
    End,
    Fault,
    Invoke,
    Item,
    Message,
    Present,
    Refuse,
    Result,
    Window,
)
from easyremote.wire.limits import AWAY_SECONDS, INLINE_BYTES

NODE, CALLER = bytes(32), bytes([1]) * 32  # the devices at the ends of ``channels()``
CREDENTIAL = REALM.credential(CALLER, "laptop")
LAPTOP = Caller(device_text(CALLER), "laptop", "owner", ("client", "node"))


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks agree to the second, so that ends can be told to the second."""
    monkeypatch.setattr("easyremote.protocol.standing.LEEWAY_SECONDS", 0.0)


class Closed:
    """The worker's door to its sessions: notes which were closed and reset."""

    def __init__(self) -> None:
        self.closed: list[Channel] = []
        self.told: list[int] = []

        self.known: list[Channel] = []

    def __iter__(self) -> Iterator[Channel]:
        return iter([channel for channel in self.known if channel not in self.closed])

    def close(self, channel: Channel) -> None:
        self.closed.append(channel)

    def reset(self, peer: bytes, session: int) -> None:
        self.told.append(session)


class Place:
    """A worker and one caller's session."""

    def __init__(self, *offers: Offer, capacity: int = 100, max_value_bytes: int = 1 << 20) -> None:
        self.sessions = Closed()
        self.standing = standing(NODE, "lab")
        self.worker = Worker(
            self.sessions,  # type: ignore[arg-type]
            Guard(self.standing, lambda: "lab"),
            max_value_bytes=max_value_bytes,
            capacity=capacity,
        )
        for offer in offers or (Offer("resize"),):
            self.worker.offer(offer)
        self.connects()

    def connects(self, *tokens: bytes) -> None:
        """The caller opens a session and says who it is."""
        _, self.channel = channels()
        self.sessions.known.append(self.channel)
        assert self.worker.take(self.channel, Present(list(tokens or (CREDENTIAL,))), 0.0) == []

    def key(self, call: int) -> CallKey:
        return self.channel.peer, call

    def asks(
        self, call: int = 1, function: str = "resize", *, now: float = 0.0, **fields: object
    ) -> list[Effect]:
        return did(self.asks_in_full(call, function, now=now, **fields))

    def asks_in_full(
        self, call: int = 1, function: str = "resize", *, now: float = 0.0, **fields: object
    ) -> list[Effect]:
        """Also what is to be told and written down."""
        invoke = Invoke(call, function, Raw(VALUE), **fields)  # type: ignore[arg-type]
        return self.worker.take(self.channel, invoke, now)

    def ran(self, answer: Answer, now: float) -> list[Effect]:
        """The code has news of a call."""
        return did(self.worker.answer(answer, now))

    def answers(self, now: float = 0.0) -> list[Message]:
        return said_by(self.channel, now)


def said_by(channel: Channel, now: float = 0.0) -> list[Message]:
    """What the channel sent, as it stands among what is not acknowledged."""
    before = len(channel._retained)
    pull(channel, now)
    return [message for one in list(channel._retained)[before:] for message in one.messages]


def refusal(place: Place) -> str:
    (message,) = place.answers()
    assert isinstance(message, Refuse)
    return message.reason


def test_a_call_is_run_and_answered() -> None:
    place = Place()
    (start,) = place.asks(5)
    assert start == Start(place.key(5), "resize", Raw(VALUE), 0, None, LAPTOP)
    assert start.call_id == "0000000000000005"
    assert place.worker.running == 1
    assert place.ran(Done(place.key(5), b"\x01"), 1.0) == []
    assert place.answers() == [Result(5, Raw(b"\x01"))]
    assert place.worker.running == 0
    assert not place.worker


def test_what_a_function_raises_is_an_answer() -> None:
    place = Place()
    place.asks()
    place.worker.answer(Failed(place.key(1), "error", "ValueError", "no", "Traceback …", "ValueError"), 1.0)
    assert place.answers() == [Fault(1, "error", "ValueError", "no", "Traceback …", "ValueError")]


def test_a_large_result_follows_its_announcement() -> None:
    place = Place()
    place.asks()
    place.worker.answer(Done(place.key(1), bytes(INLINE_BYTES + 1)), 1.0)
    announcement, part = place.answers()
    assert announcement == Result(1, EMPTY, body=1, size=INLINE_BYTES + 1)
    assert part.length == INLINE_BYTES + 1


def test_items_and_their_end_are_passed_on_and_credit_is_given() -> None:
    place = Place()
    (start,) = place.asks(window=1000)
    assert isinstance(start, Start)
    assert start.window == 1000
    place.worker.answer(Yielded(place.key(1), b"\x01"), 0.1)
    assert did(place.worker.take(place.channel, Window(1, 500), 0.2)) == [Grant(place.key(1), 500)]
    place.worker.answer(Ended(place.key(1)), 0.3)
    assert place.answers() == [Item(1, Raw(b"\x01")), End(1)]


# ---- once


def test_a_call_that_was_answered_is_not_run_again() -> None:
    place = Place()
    place.asks()
    place.worker.answer(Done(place.key(1), b"\x01"), 1.0)
    place.answers()
    assert place.asks() == []
    assert refusal(place) == "repeated"


def test_a_call_asked_again_in_another_session_is_answered_there_and_not_run_again() -> None:
    place = Place()
    place.asks()
    place.connects()
    assert place.asks() == []
    place.worker.answer(Done(place.key(1), b"\x01"), 1.0)
    assert place.answers() == [Result(1, Raw(b"\x01"))]


def test_a_stream_that_has_begun_is_not_continued_in_another_session() -> None:
    place = Place()
    place.asks(window=1000)
    place.worker.answer(Yielded(place.key(1), b"\x01"), 0.1)
    place.connects()
    assert place.asks(window=1000) == [Stop(place.key(1), "cancelled")]
    assert refusal(place) == "repeated"


def test_arguments_that_were_on_their_way_come_again_in_the_other_session() -> None:
    place = Place()
    assert place.asks(body=1, size=100_000) == []
    before = place.channel
    place.connects()
    assert place.asks(body=9, size=100_000) == []
    assert place.worker.take_body(before, 1, bytearray(100_000), 0.5) == []
    (start,) = did(place.worker.take_body(place.channel, 9, bytearray(100_000), 0.6))
    assert isinstance(start, Start)
    assert place.worker._incoming_bytes == 0
    assert not place.worker._bodies


def test_arguments_that_came_already_are_not_waited_for_again() -> None:
    place = Place(Offer("resize", max_concurrent=1))
    place.asks(1)
    place.asks(2, body=1, size=100_000)
    assert place.worker.take_body(place.channel, 1, bytearray(100_000), 0.1) == []  # waits for its place
    place.connects()
    place.asks(2, body=1, size=100_000)
    (start,) = place.ran(Done(place.key(1), b"\x01"), 0.2)
    assert isinstance(start, Start)
    assert len(start.arguments) == 100_000
    assert not place.worker._bodies


# ---- refused


@pytest.mark.parametrize(
    ("reason", "fields"),
    [("unknown", {"function": "resise"}), ("too_large", {"body": 1, "size": (1 << 20) + 1})],
)
def test_what_cannot_be_run_is_refused_at_once(reason: str, fields: dict[str, object]) -> None:
    place = Place()
    assert place.asks(**fields) == []  # type: ignore[arg-type]
    assert refusal(place) == reason
    assert not place.worker


@pytest.mark.parametrize(
    ("tokens", "why"),
    [
        ([], "it has shown no membership"),
        ([b""], "showed no membership"),
        ([b"nonsense"], "not a membership"),
        ([REALM.credential(bytes([2]) * 32, "somebody")], "shown by device"),
        ([REALM.credential(CALLER, "laptop", seconds=-1.0)], "has expired"),
    ],
)
def test_who_is_no_member_is_refused_and_told_how_to_become_one(tokens: list[bytes], why: str) -> None:
    place = Place()
    place.worker.take(place.channel, Present(tokens), 0.0)
    assert place.asks() == []
    (message,) = place.answers()
    assert isinstance(message, Refuse)
    assert message.reason == "not_allowed"
    assert why in message.message
    assert "easynet join" in message.message
    assert not place.worker


def test_who_has_not_said_who_it_is_is_refused_also_for_what_is_not_there() -> None:
    for function in ("resize", "resise"):
        place = Place()
        _, place.channel = channels()
        assert place.asks(function=function) == []
        assert refusal(place) == "not_allowed", "a stranger does not learn what is served here"


def test_a_call_that_was_refused_may_be_asked_again_once_it_is_allowed() -> None:
    place = Place()
    _, place.channel = channels()
    place.asks(1)
    assert refusal(place) == "not_allowed"
    place.worker.take(place.channel, Present([CREDENTIAL]), 0.1)
    (start,) = place.asks(1)
    assert isinstance(start, Start)


def test_the_rule_of_an_offer_is_kept_and_a_later_one_takes_its_place() -> None:
    place = Place(Offer("resize", rule=frozenset({"desktop"})))
    assert place.asks(1) == []
    assert refusal(place) == "not_allowed"
    place.worker.offer(Offer("resize", rule=frozenset({"laptop"})))
    assert len(place.asks(2)) == 1
    place.worker.offer(Offer("resize", rule=lambda caller: caller.name != "laptop"))
    assert place.asks(3) == []


def test_a_caller_that_is_revoked_is_out_with_its_calls_and_the_others_stay() -> None:
    place = Place(Offer("resize", max_concurrent=1))
    place.asks(1)
    place.asks(2)
    revoked = place.channel
    other, device = Channel(channels()[1].session, bytes([7]) * 40, 0.0), bytes([7]) * 32
    place.sessions.known.append(other)
    place.worker.take(other, Present([REALM.credential(device, "desktop")]), 0.0)
    place.worker.take(other, Invoke(1, "resize", Raw(VALUE)), 0.0)
    assert place.standing.take_revocations(REALM.revocations(CALLER))
    effects = place.worker.cast_out()
    assert did(effects) == [Stop(place.key(1), "cancelled")]
    assert [(one.caller.name, one.outcome) for one in ended(effects)] == [("laptop", "cancelled")] * 2
    assert place.sessions.closed == [revoked]
    assert place.sessions.told == [revoked.session.id]
    (start,) = place.ran(Stopped(place.key(1)), 0.1)
    assert isinstance(start, Start)
    assert start.key == (other.peer, 1)


def test_a_caller_that_is_revoked_is_out_also_where_it_has_not_said_who_it_is() -> None:
    place = Place()
    place.asks(1)
    _, place.channel = channels()
    place.sessions.known.append(place.channel)
    assert place.asks(1) == [], "asked again in another session, it goes on"
    assert place.standing.take_revocations(REALM.revocations(CALLER))
    assert did(place.worker.cast_out()) == [Stop(place.key(1), "cancelled")]


def test_a_full_node_refuses_at_once() -> None:
    place = Place(capacity=2)
    assert len(place.asks(1) + place.asks(2)) == 2
    assert place.asks(3) == []
    assert refusal(place) == "busy"


def test_a_node_that_drains_refuses_but_answers_what_it_has() -> None:
    place = Place()
    place.asks(1)
    place.worker.draining = True
    assert place.asks(2) == []
    place.worker.answer(Done(place.key(1), b"\x01"), 1.0)
    refused, answered = place.answers()
    assert isinstance(refused, Refuse)
    assert isinstance(answered, Result)


def test_a_function_that_is_withdrawn_refuses_those_who_wait() -> None:
    place = Place(Offer("resize", max_concurrent=1))
    place.asks(1)
    place.asks(2)
    place.asks(3)
    place.worker.take(place.channel, Cancel(3), 0.0)
    place.worker.withdraw("resize")
    assert refusal(place) == "unknown"
    place.worker.answer(Done(place.key(1), b"\x01"), 1.0)
    assert place.answers() == [Result(1, Raw(b"\x01"))]


@pytest.mark.parametrize(
    "fields", [{"body": 1, "size": -5}, {"body": 1}, {"timeout": math.nan}, {"timeout": -1.0}]
)
def test_numbers_that_mean_nothing_break_the_protocol(fields: dict[str, object]) -> None:
    place = Place()
    with pytest.raises(RemoteProtocolError):
        place.asks(**fields)  # type: ignore[arg-type]
    assert place.worker._incoming_bytes == 0
    assert not math.isnan(place.worker.wake_at)


# ---- places


def test_more_calls_than_places_wait_for_their_turn() -> None:
    place = Place(Offer("resize", max_concurrent=2))
    assert [len(place.asks(call)) for call in (1, 2, 3)] == [1, 1, 0]
    assert (place.worker.running, place.worker.waiting) == (2, 1)
    (start,) = place.ran(Done(place.key(1), b"\x01"), 1.0)
    assert isinstance(start, Start)
    assert start.key == place.key(3)


def test_a_stopped_call_keeps_its_place_until_its_code_has_ended() -> None:
    place = Place(Offer("resize", max_concurrent=1))
    place.asks(1)
    place.asks(2)
    assert did(place.worker.take(place.channel, Cancel(1), 0.1)) == [Stop(place.key(1), "cancelled")]
    assert place.worker.running == 0
    (start,) = place.ran(Stopped(place.key(1)), 0.5)
    assert isinstance(start, Start)
    assert start.key == place.key(2)


def test_a_call_that_is_cancelled_while_it_waits_gives_its_place_in_the_queue_back() -> None:
    place = Place(Offer("resize", max_concurrent=1), capacity=1000)
    place.asks(1)
    for call in range(2, QUEUE_MAX + 2):
        place.asks(call)
        place.worker.take(place.channel, Cancel(call), 0.1)
    place.answers()
    assert place.asks(500) == []
    assert place.answers() == [], "it waits, and is not refused"
    (start,) = place.ran(Done(place.key(1), b"\x01"), 0.2)
    assert isinstance(start, Start)
    assert start.key == place.key(500)


@pytest.mark.parametrize("size", [2**62, 1 << 30, 100_001])
def test_a_call_that_is_asked_for_again_with_other_arguments_breaks_the_session(size: int) -> None:
    place = Place()
    place.asks(1, body=1, size=100_000)
    with pytest.raises(RemoteProtocolError, match="other arguments"):
        place.asks(1, body=2, size=size)


# ---- calls that may run twice


def test_a_call_that_was_cancelled_here_runs_again_where_that_does_no_harm() -> None:
    place = Place(Offer("resize", idempotent=True))
    place.asks(1)
    place.worker.take(place.channel, Cancel(1), 0.1)
    place.worker.take(place.channel, Again(1), 0.2)
    assert place.asks(1) == []
    assert refusal(place) == "busy", "its last run is still ending"
    place.ran(Stopped(place.key(1)), 0.2)
    place.worker.take(place.channel, Again(2), 0.2)
    assert place.asks(1) == []
    assert refusal(place) == "repeated", "nobody says that it is wanted again"
    place.worker.take(place.channel, Again(1), 0.2)
    (start,) = place.asks(1)
    assert isinstance(start, Start)


def test_a_call_whose_function_is_not_idempotent_runs_once_whatever_its_caller_says() -> None:
    place = Place()
    place.asks(1)
    place.ran(Done(place.key(1), b"\x01"), 0.1)
    place.answers()
    place.worker.take(place.channel, Again(1), 0.2)
    assert place.asks(1) == []
    assert refusal(place) == "repeated"


# ---- time


def test_the_shorter_of_both_times_counts_and_is_enforced_here() -> None:
    place = Place(Offer("resize", timeout_seconds=5.0))
    (start,) = place.asks(1, timeout=2.0)
    assert isinstance(start, Start)
    assert start.timeout == 2.0
    assert place.worker.wake(1.9) == []
    assert did(place.worker.wake(2.0)) == [Stop(place.key(1), "timeout")]
    (fault,) = place.answers()
    assert isinstance(fault, Fault)
    assert fault.kind == "timeout"
    assert place.worker.answer(Done(place.key(1), b"\x01"), 2.1) == []
    assert place.answers() == []


def test_a_caller_that_is_gone_is_not_worked_for() -> None:
    place = Place()
    place.asks()
    place.channel.undelivered(0.0, "closed")
    now, effects = 0.0, []
    while not effects:
        now = place.worker.wake_at
        effects = did(place.worker.wake(now))
    assert effects == [Stop(place.key(1), "cancelled")]
    assert GONE_SECONDS < now < 2 * GONE_SECONDS
    assert place.sessions.closed == [place.channel]
    assert place.sessions.told == [place.channel.session.id], "should it be there after all, it shall know"


def test_a_silent_caller_is_asked_first() -> None:
    place = Place()
    place.asks()
    place.answers()
    while place.channel.quiet:
        assert place.worker.wake(place.worker.wake_at) == []
    while place.worker:
        now = place.worker.wake_at
        place.worker.wake(now)
    assert now > AWAY_SECONDS


def test_the_calls_of_a_caller_that_fell_silent_go_on_for_ten_minutes() -> None:
    place = Place()
    place.asks()
    place.channel.undelivered(0.0)
    now = 0.0
    while place.worker:
        now = place.worker.wake_at
        effects = did(place.worker.wake(now))
    assert effects == [Stop(place.key(1), "cancelled")]
    assert AWAY_SECONDS < now < AWAY_SECONDS + 30.0


# ---- what is written down


def test_how_a_call_ended_is_written_down_with_its_sizes_and_never_what_it_said() -> None:
    secret = b"\xa6secret"
    place = Place(Offer("resize", timeout_seconds=60.0))
    for call in (1, 2, 3, 4):
        place.worker.take(place.channel, Invoke(call, "resize", Raw(secret), window=9), 1.0)
    place.worker.answer(Yielded(place.key(4), secret), 1.5)
    place.worker.answer(Yielded(place.key(4), bytes(INLINE_BYTES + 1)), 1.5)
    effects = [
        *place.worker.answer(Done(place.key(1), secret * 2), 3.0),
        *place.worker.answer(
            Failed(place.key(2), "error", "ValueError", "secret", "secret", "ValueError"), 3.5
        ),
        *place.worker.take(place.channel, Cancel(3), 4.0),
        *place.worker.answer(Ended(place.key(4)), 5.0),
    ]
    assert ended(effects) == [
        CallEnded(1, "resize", LAPTOP, "ok", 7, 14, 2.0),
        CallEnded(2, "resize", LAPTOP, "error ValueError", 7, 0, 2.5),
        CallEnded(3, "resize", LAPTOP, "cancelled", 7, 0, 3.0),
        CallEnded(4, "resize", LAPTOP, "ok", 7, 7 + INLINE_BYTES + 1, 4.0),
    ]
    assert b"secret" not in msgspec.msgpack.encode(ended(effects))


def test_a_call_whose_time_was_up_is_written_down_once() -> None:
    place = Place(Offer("resize", timeout_seconds=2.0))
    place.asks(1, body=1, size=100_000)
    place.asks(2)
    effects = place.worker.wake(2.0)
    assert ended(effects) == [
        CallEnded(1, "resize", LAPTOP, "timeout", 100_000, 0, 2.0),
        CallEnded(2, "resize", LAPTOP, "timeout", len(VALUE), 0, 2.0),
    ]
    assert place.worker.answer(Done(place.key(2), b"\x01"), 2.1) == []
    assert place.worker.answer(Stopped(place.key(2)), 2.2) == []


def test_who_was_refused_is_written_down_as_far_as_it_proved_who_it_is() -> None:
    place = Place(Offer("resize", rule=frozenset({"desktop"})))
    assert ended(place.asks_in_full(1)) == [CallEnded(1, "resize", LAPTOP, "refused not_allowed")]
    _, place.channel = channels()
    stranger = Caller(device_text(CALLER))
    assert ended(place.asks_in_full(2)) == [CallEnded(2, "resize", stranger, "refused not_allowed")]


def test_arguments_too_large_are_written_down() -> None:
    place = Place(max_value_bytes=1000)
    effects = place.asks_in_full(1, body=1, size=1001)
    assert ended(effects) == [CallEnded(1, "resize", LAPTOP, "refused too_large")]


# ---- jobs: calls that came in a letter


KEY: CallKey = (CALLER + b"jobjobjo", 77)


def opened(place: Place, function: str = "resize", **fields: object) -> list[Effect]:
    """A letter of the caller's was opened at the time 5."""
    given = {"arguments": b"\x90", "timeout": None, "tokens": [CREDENTIAL], "as_of": EPOCH} | fields
    return place.worker.open_job(JobOpened(KEY, function, **given), 5.0)  # type: ignore[arg-type]


def outcomes(place: Place) -> list[object]:
    """How jobs ended since the last look."""
    told = [one.outcome for one in place.worker.outcomes if isinstance(one, JobEnded) and one.key == KEY]
    place.worker.outcomes.clear()
    return told


@pytest.mark.parametrize("value", [b"\x05", bytes(INLINE_BYTES + 1)])
def test_a_job_is_run_like_any_call_and_its_value_is_its_outcome(value: bytes) -> None:
    place = Place()
    (start,) = opened(place)
    assert isinstance(start, Start)
    assert (start.key, start.function, start.caller) == (KEY, "resize", LAPTOP)
    assert len(place.worker) == 1
    effects: list[Effect] = []
    place.worker.done(Done(KEY, value), 6.0, effects)
    assert outcomes(place) == [value]
    assert [one.outcome for one in effects if isinstance(one, CallEnded)] == ["ok"]
    assert len(place.worker) == 0


def test_what_a_jobs_function_raises_and_what_is_refused_is_its_outcome_too() -> None:
    place = Place()
    opened(place)
    place.worker.answer(Failed(KEY, "error", "ValueError", "no"), 6.0)
    (fault,) = outcomes(place)
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.type_name) == ("error", "ValueError")
    for function, fields, reason in (
        ("unknown", {}, "unknown"),
        ("closed", {}, "not_allowed"),
        ("resize", {"tokens": []}, "not_allowed"),
        ("resize", {"arguments": bytes(2 << 20)}, "too_large"),
    ):
        place = Place(Offer("resize"), Offer("closed", rule=lambda caller: False))
        opened(place, function, **fields)
        (refusal,) = outcomes(place)
        assert isinstance(refusal, Refuse)
        assert refusal.reason == reason
    place.worker.draining = True
    opened(place)
    assert [one.reason for one in outcomes(place) if isinstance(one, Refuse)] == ["draining"]


def test_a_job_that_was_refused_for_want_of_room_may_come_again() -> None:
    place = Place(capacity=0)
    opened(place)
    (refusal,) = outcomes(place)
    assert isinstance(refusal, Refuse)
    assert (refusal.reason, refusal.retry_after_seconds > 0) == ("busy", True)
    place.worker._capacity = 1
    assert [type(one) for one in opened(place)] == [Start]


def test_a_job_whose_time_is_up_or_that_is_cancelled_is_stopped() -> None:
    place = Place()
    opened(place, timeout=2.0)
    effects = place.worker.wake(8.0)
    assert Stop(KEY, "timeout") in effects
    assert [one.kind for one in outcomes(place) if isinstance(one, Fault)] == ["timeout"]
    place.worker.answer(Stopped(KEY), 8.0)
    place = Place()
    opened(place)
    assert Stop(KEY, "cancelled") in place.worker.cancel_job(KEY)
    assert [one.kind for one in outcomes(place) if isinstance(one, Fault)] == ["cancelled"]
    assert place.worker.cancel_job(KEY) == []


def test_a_membership_must_have_counted_when_the_letter_was_made_and_revocations_count_as_they_are() -> None:
    place = Place()
    short = REALM.credential(CALLER, "laptop", seconds=10.0)
    place.standing.clock = lambda: EPOCH + 100.0
    assert [type(one) for one in opened(place, tokens=[short], as_of=EPOCH)] == [Start]
    place = Place()
    place.standing.clock = lambda: EPOCH + 100.0
    opened(place, tokens=[short], as_of=EPOCH + 50.0)
    (refusal,) = outcomes(place)
    assert isinstance(refusal, Refuse)
    assert "has expired" in refusal.message


def test_the_callers_silence_does_not_end_a_job_but_its_revocation_does() -> None:
    place = Place()
    opened(place)
    assert place.worker.wake(5.0 + 10 * AWAY_SECONDS) == []
    assert len(place.worker) == 1
    place.standing.take_revocations(REALM.revocations(CALLER))
    assert Stop(KEY, "cancelled") in place.worker.cast_out()
    assert [one.kind for one in outcomes(place) if isinstance(one, Fault)] == ["cancelled"]
