"""How much and how fast: kept in virtual time."""

from __future__ import annotations

import pytest

from easyremote.protocol.limits import ALONE_SECONDS, Attempts, Limits, Pace, Traffic
from easyremote.wire.limits import WINDOW_BYTES

SLOW = Limits(packets_per_second=10.0, frames_per_second=100.0, bytes_per_second=1000.0, burst_seconds=1.0)


def send(pace: Pace, seconds: float, *, frames: int, size: int) -> tuple[int, float]:
    """Send such packets for so long, as fast as one may; how many went, and when the last did."""
    now, packets = 0.0, 0
    while now < seconds:
        packets += 1
        now += pace.count([None] * frames, size, 0, now)
    return packets, now


def test_who_keeps_the_pace_is_never_paused() -> None:
    pace = Pace(SLOW)
    assert all(pace.count([None] * 10, 100, 0, number / 10) == 0.0 for number in range(1000))


@pytest.mark.parametrize(
    ("frames", "size", "per_second"),
    [
        pytest.param(1, 1, 10.0, id="packets"),
        pytest.param(50, 1, 2.0, id="frames"),
        pytest.param(1, 500, 2.0, id="bytes"),
        pytest.param(50, 2000, 0.5, id="the slowest of them counts"),
    ],
)
def test_who_sends_faster_is_paused_to_the_pace(frames: int, size: int, per_second: float) -> None:
    packets, _ = send(Pace(SLOW), 100.0, frames=frames, size=size)
    most = per_second * (100.0 + SLOW.burst_seconds)
    assert per_second * 100.0 - 1 <= packets <= most + 1


def test_a_burst_goes_through_and_what_is_over_it_waits_as_long_as_it_takes() -> None:
    pace = Pace(SLOW)
    assert [pace.count([None], 1, 0, 5.0) for _ in range(10)] == [0.0] * 10
    assert pace.count([None], 1, 0, 5.0) == pytest.approx(0.1)
    assert pace.count([None], 1, 0, 5.0) == pytest.approx(0.2)


def test_one_large_packet_is_taken_and_paid_for_afterwards() -> None:
    pace = Pace(SLOW)
    assert pace.count([None], 5000, 0, 0.0) == pytest.approx(4.0)
    assert pace.count([None], 1, 0, 4.0) == pytest.approx(0.0, abs=0.01)


def test_silence_is_not_saved_up_beyond_a_burst() -> None:
    pace = Pace(SLOW)
    pace.count([None], 1, 0, 0.0)
    later = 1_000_000.0
    paused = [pace.count([None], 1, 0, later) for _ in range(12)]
    assert sum(one == 0.0 for one in paused) == 10


def test_an_address_may_try_so_often_a_minute() -> None:
    attempts = Attempts(30)
    at_once = sum(attempts.allow("a", 0.0) for _ in range(100))
    assert 30 <= at_once <= 31
    assert not attempts.allow("a", 1.0)
    later = sum(attempts.allow("a", 60.0 + second) for second in range(60) for _ in range(10))
    assert 59 <= later <= 61, "thirty of the minute before, and thirty of this"
    assert sum(attempts.allow("a", 1000.0) for _ in range(100)) == at_once, "all is forgiven in time"


def test_addresses_do_not_pay_for_each_other() -> None:
    attempts = Attempts(1)
    while attempts.allow("a", 0.0):
        pass
    assert attempts.allow("b", 0.0)


def test_an_attempt_that_is_refused_does_not_make_the_wait_longer() -> None:
    attempts = Attempts(30)
    while attempts.allow("a", 0.0):
        pass
    for tenth in range(19):
        assert not attempts.allow("a", tenth / 10)
    assert attempts.allow("a", 2.0)


def test_addresses_are_forgotten_so_that_many_take_no_memory() -> None:
    attempts = Attempts(30)
    for number in range(30_000):
        assert attempts.allow(str(number), float(number))
    assert len(attempts._free_at) <= 10_000
    while attempts.allow("last", 30_000.0):
        pass
    for number in range(10_000):
        attempts.allow(f"{number} again", 30_000.5)
    assert not attempts.allow("last", 30_001.0), "who has tried too often is not"


# ---- sharing


def test_a_client_and_its_node_have_the_gateway_to_themselves() -> None:
    traffic = Traffic()
    for number in range(10):
        assert traffic.share(1, "client", number / 100) == 0
        assert traffic.share(2, "node", number / 100) == 0


def test_who_is_not_alone_shares() -> None:
    traffic = Traffic()
    traffic.share(1, "client", 0.0)
    traffic.share(2, "node", 0.0)
    assert traffic.share(3, "client", 0.01) == 1
    assert traffic.share(1, "client", 0.02) == 1
    assert traffic.share(2, "node", 0.02) == 2, "a node answers both"
    assert traffic.share(4, "node", 0.03) == 2
    assert traffic.share(1, "client", 1.0) == 0, "the others have been quiet"


def test_a_share_slows_who_takes_much_and_not_who_takes_little() -> None:
    limits = Limits(shared_packets_per_second=100.0, packets_per_second=10_000.0, burst_seconds=0.02)
    greedy, modest = Pace(limits), Pace(limits)
    pauses = [greedy.count([None], 100, 1, number / 1000) for number in range(100)]
    assert pauses[-1] > 0.5
    assert all(modest.count([None], 100, 1, number / 50) == 0.0 for number in range(100))
    assert all(Pace(limits).count([None], 100, 0, number / 1000) == 0.0 for number in range(100))


def test_frames_that_went_to_nobody_are_paid_for() -> None:
    pace, honest = Pace(SLOW), Pace(SLOW)
    pace.wasted(50)
    assert pace.count([None], 1, 0, 0.0) > honest.count([None], 1, 0, 0.0)


def test_a_large_packet_holds_the_others_up_and_is_paid_for_by_its_square_while_there_are_others() -> None:
    limits = Limits(shared_bytes_per_second=1e6, shared_packet_bytes=1000, burst_seconds=0.001)
    assert Pace(limits).count([None], 1000, 1, 0.0) == 0.0, "a thousandth of a second's worth"
    pace = Pace(limits)
    pace.count(
        [None], WINDOW_BYTES, 1, 0.0
    )  # it was on its way before its sender could hear that it is large
    later = 2.0 * WINDOW_BYTES / 1e6
    assert pace.count([None], 4000, 1, later) == pytest.approx(4 * 16 * 0.001 - 0.001)
    assert Pace(limits).count([None], 4000, 0, 0.0) == 0.0, "who is alone holds up nobody"


def test_packets_are_to_be_small_from_the_first_that_held_somebody_up_until_nobody_is_there_for_long() -> (
    None
):
    pace, large = Pace(Limits(shared_packet_bytes=1000)), 2000
    pace.count([None], large, 0, 1.0)
    pace.count([None], 1000, 1, 2.0)
    assert pace.small_since is None
    pace.count([None], large, 1, 3.0)
    assert pace.small_since == 3.0
    pace.count([None], large, 0, 3.0 + ALONE_SECONDS)
    pace.count([None], large, 1, 3.5 + ALONE_SECONDS)
    pace.count([None], large, 0, 3.5 + 2 * ALONE_SECONDS)
    assert pace.small_since == 3.0
    pace.count([None], large, 0, 3.6 + 2 * ALONE_SECONDS)
    assert pace.small_since is None
