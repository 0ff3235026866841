"""A session as a pipe: in order, once, whatever happens to its frames; and never more than the window."""

from __future__ import annotations

import random

import pytest
from unit.protocol.talk import channels, give, heard, pull, said

from easyremote.errors import RemoteProtocolError
from easyremote.protocol.channel import ACK_DELAY_SECONDS, HELD_FRAMES_MAX, RESEND_SECONDS, Channel
from easyremote.protocol.machine import NEVER
from easyremote.wire.bundle import Cancel, Part, Window
from easyremote.wire.limits import LEASE_SECONDS, LOST_AFTER_SECONDS, PART_BYTES, WINDOW_BYTES


def say(channel: Channel, *numbers: int) -> None:
    for number in numbers:
        channel.say(Cancel(number))


def test_what_waits_together_is_sealed_together() -> None:
    one, other = channels()
    say(one, 1, 2, 3)
    frames = pull(one, 0.0)
    assert len(frames) == 1
    assert said(give(other, frames, 0.0)) == [Cancel(1), Cancel(2), Cancel(3)]


def test_frames_are_taken_in_order_once_however_they_come() -> None:
    one, other = channels()
    frames = []
    for number in range(40):
        say(one, number)
        frames += pull(one, 0.0)
    shuffled = frames * 2
    random.Random(5).shuffle(shuffled)
    assert said(give(other, shuffled, 0.0)) == [Cancel(number) for number in range(40)]
    assert other.held_frames == 0


def test_an_acknowledgement_waits_a_little_for_company() -> None:
    one, other = channels()
    say(one, 1)
    heard(one, other, 0.0)
    assert pull(other, 0.0) == []
    assert other.wake_at == ACK_DELAY_SECONDS
    other.wake(ACK_DELAY_SECONDS)
    give(one, pull(other, ACK_DELAY_SECONDS), 0.1)
    assert one.retained_bytes == 0
    assert one.quiet
    assert one.wake_at == NEVER


def test_an_answer_carries_the_acknowledgement() -> None:
    one, other = channels()
    say(one, 1)
    heard(one, other, 0.0)
    say(other, 2)
    assert heard(other, one, 0.001) == [Cancel(2)]
    assert one.retained_bytes == 0
    assert pull(other, 0.5) == []


def test_what_is_not_acknowledged_is_sent_again_ever_more_rarely() -> None:
    one, _ = channels()
    say(one, 1)
    (first,) = pull(one, 0.0)
    times = []
    for _ in range(4):
        times.append(one.wake_at)
        one.wake(one.wake_at)
        assert pull(one, times[-1]) == [first]
    assert times == [RESEND_SECONDS, 3.0, 7.0, 15.0]


def test_a_thousand_frames_that_were_lost_are_back_within_a_few_seconds() -> None:
    one, other = channels()
    for number in range(1000):
        say(one, number)
        pull(one, 0.0)  # and all of it is lost
    arrived, now, sent = [], 0.0, 0
    while len(arrived) < 1000:
        now = min(one.wake_at, other.wake_at)
        assert now < 5.0, f"only {len(arrived)} are back"
        one.wake(now)
        other.wake(now)
        while one.ready(now) or other.ready(now):
            frames = pull(one, now)
            sent += len(frames)
            arrived += said(give(other, frames, now))
            give(one, pull(other, now), now)
    assert arrived == [Cancel(number) for number in range(1000)]
    assert sent < 1200, "hardly any was sent more often than it had to be"


def test_a_frame_sent_again_does_not_stand_for_an_acknowledgement() -> None:
    one, other = channels()
    say(one, 1)
    lost = pull(one, 0.0)
    assert lost
    say(other, 2)
    heard(other, one, 0.999)
    one.wake(1.0)
    pull(one, 1.0)  # frame 0 again, as it was sealed before 2 came
    one.wake(1.1)
    give(other, pull(one, 1.1), 1.1)
    assert other.quiet


def test_an_acknowledgement_that_is_due_does_not_ask_to_be_woken_again() -> None:
    one, other = channels()
    say(one, 1)
    heard(one, other, 0.0)
    other.wake(ACK_DELAY_SECONDS)
    assert other.wake_at > ACK_DELAY_SECONDS, "while its link is busy it would be woken without end"
    assert other.ready(ACK_DELAY_SECONDS)


def test_a_body_waits_for_the_window_and_arrives_whole() -> None:
    one, other = channels()
    body = random.Random(1).randbytes(WINDOW_BYTES + 3 * PART_BYTES + 17)
    number = one.number_body()
    one.say(Window(0, 0))
    one.send_body(number, body)
    other.expect_body(number, len(body))
    now, arrived = 0.0, None
    while arrived is None:
        now += 0.01
        frames = pull(one, now)
        assert one.retained_bytes <= WINDOW_BYTES + 2 * PART_BYTES
        for opened in give(other, frames, now):
            for message in opened.messages:
                if isinstance(message, Part):
                    arrived = other.place(message, opened) or arrived
        if not frames:
            other.wake(now)
            give(one, pull(other, now), now)
    assert arrived == body


def test_a_part_never_overtakes_the_message_that_announces_its_body() -> None:
    one, other = channels()
    for number in range(20):
        one.say(Window(number, 0), 100_000)
    one.send_body(one.number_body(), bytes(100_000))
    messages = heard(one, other, 0.0)
    while not isinstance(messages[-1], Part):
        messages += heard(one, other, 0.0)
    assert [message for message in messages if isinstance(message, Part)] == messages[20:]


def test_a_body_that_there_is_no_room_for_breaks_the_session_and_nothing_else() -> None:
    _, other = channels()
    with pytest.raises(RemoteProtocolError, match="no room"):
        other.expect_body(1, 2**62)


@pytest.mark.parametrize(
    ("reason", "seconds"),
    [("closed", 0.0), ("left", 0.0), ("not connected", LEASE_SECONDS), ("silent", LOST_AFTER_SECONDS)],
)
def test_how_long_it_is_hoped_that_a_peer_still_takes_what_waits(reason: str, seconds: float) -> None:
    one, _ = channels()
    assert not one.outstanding(0.0)
    say(one, 1)
    pull(one, 0.0)
    assert one.outstanding(1.0)
    one.undelivered(1.0, reason)
    if seconds:
        assert one.outstanding(1.0 + seconds - 0.1)
    assert not one.outstanding(1.0 + seconds)
    one.resend_all(2.0)
    assert one.outstanding(1e6), "it is back"


def test_bodies_take_turns() -> None:
    one, other = channels()
    for number in (1, 2):
        one.send_body(number, bytes(3 * PART_BYTES))
    parts = heard(one, other, 0.0) + heard(one, other, 0.0)
    assert [part.body for part in parts if isinstance(part, Part)] == [1, 2, 1, 2]


def test_a_body_nobody_wants_is_not_sent() -> None:
    one, _ = channels()
    one.send_body(1, bytes(PART_BYTES))
    one.drop_body(1)
    assert pull(one, 0.0) == []


def test_what_never_left_is_told_from_what_may_have_arrived() -> None:
    one, _ = channels()
    for number in (1, 2):
        say(one, number)
        pull(one, 0.0)
    say(one, 3)
    assert one.unsent() == [Cancel(3)]
    assert one.unacknowledged() == [Cancel(1), Cancel(2)]


def test_what_is_acknowledged_is_neither() -> None:
    one, other = channels()
    say(one, 1)
    heard(one, other, 0.0)
    say(other, 9)
    heard(other, one, 0.1)
    assert one.unsent() == one.unacknowledged() == []


def test_a_gateway_is_not_believed_that_a_frame_never_came() -> None:
    one, _ = channels()
    say(one, 1)
    pull(one, 0.0)
    one.undelivered(0.1)
    assert one.unsent() == []
    assert one.unacknowledged() == [Cancel(1)]
    one.resend_all(0.2)
    pull(one, 0.2)
    assert one.unsent() == []
    assert one.unacknowledged() == [Cancel(1)], "told once, however often it was sent"


def test_all_is_sent_again_when_the_peer_is_back() -> None:
    one, other = channels()
    frames = []
    for number in range(3):
        say(one, number)
        frames += pull(one, 0.0)
    one.undelivered(0.1)
    say(other, 9)
    assert heard(other, one, 0.5) == [Cancel(9)]
    assert [b"".join(frame) for frame in pull(one, 0.5)] == [b"".join(frame) for frame in frames]


def test_frames_too_far_ahead_are_not_held() -> None:
    one, other = channels()
    frames = []
    for number in range(HELD_FRAMES_MAX + 10):
        say(one, number)
        frames += pull(one, 0.0)
    assert give(other, frames[1:], 0.0) == []
    assert other.held_frames == HELD_FRAMES_MAX
    assert len(said(give(other, frames[:1], 0.0))) == HELD_FRAMES_MAX + 1
    assert len(said(give(other, frames[HELD_FRAMES_MAX + 1 :], 0.0))) == 9, (
        "what was dropped is welcome later"
    )


def test_more_bytes_than_a_peer_may_have_under_way_are_not_held() -> None:
    one, other = channels()
    one.say(Cancel(0))
    frames = pull(one, 0.0)
    for number in range(40):
        one.send_body(number, bytes(PART_BYTES))
        frames += one.pull(0.0, 0, PART_BYTES)
        one._retained_bytes = 0  # a peer that keeps to no window
    give(other, frames[1:], 0.0)
    assert 0 < other.held_frames < 30


def test_to_acknowledge_what_was_not_sent_is_an_error() -> None:
    one, other = channels()
    other._expected = 5
    say(other, 1)
    with pytest.raises(RemoteProtocolError, match="only 0 were sent"):
        heard(other, one, 0.0)


@pytest.mark.parametrize(("offset", "length"), [(-1, 10), (0, 0), (95, 10), (0, 101)])
def test_a_part_outside_its_body_is_an_error(offset: int, length: int) -> None:
    one, other = channels()
    one.send_body(1, bytes(100))
    (opened,) = give(other, pull(one, 0.0), 0.0)
    other.expect_body(1, 100)
    with pytest.raises(RemoteProtocolError, match="a part claims bytes"):
        other.place(Part(1, offset, length), opened)


@pytest.mark.parametrize("size", [0, -1])
def test_a_body_without_size_is_an_error(size: int) -> None:
    with pytest.raises(RemoteProtocolError):
        channels()[0].expect_body(1, size)


def test_a_session_that_was_closed_says_nothing_more() -> None:
    one, _ = channels()
    route = one.route
    say(one, 1)
    assert one in route.channels
    one.close()
    say(one, 2)
    one.probe()
    one.resend_all(1.0)
    assert one not in route.channels
