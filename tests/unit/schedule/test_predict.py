from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easyremote.schedule.predict import HALF_LIFE_SECONDS, Latency


def test_the_first_answer_is_not_believed() -> None:
    latency = Latency()
    latency.observe(9.0, load=1, now=1.0)
    assert not latency.known
    latency.observe(0.5, load=1, now=2.0)
    assert latency.known
    assert latency.pace_seconds == 0.5


def test_the_queue_is_not_held_against_the_node() -> None:
    """A call that waited for nine others took ten times as long, on a node of the same pace."""
    alone, queued = Latency(), Latency()
    for now in (1.0, 2.0, 3.0):
        alone.observe(0.1, load=1, now=now)
        queued.observe(1.0, load=10, now=now)
    assert queued.pace_seconds == pytest.approx(alone.pace_seconds)
    assert queued.seconds == pytest.approx(1.0)


def test_a_new_measurement_outweighs_old_ones() -> None:
    latency = Latency()
    for now in range(10):
        latency.observe(0.1, load=1, now=float(now) / 100)
    latency.observe(1.0, load=1, now=60.0)
    assert latency.seconds > 0.9


def test_one_slow_answer_among_many_moves_little() -> None:
    latency = Latency()
    for count in range(200):
        latency.observe(0.01, load=1, now=count * 0.001)
    latency.observe(1.0, load=1, now=0.2)
    assert latency.seconds < 0.05


def test_trust_halves_and_lasts_longer_for_long_calls() -> None:
    quick, slow = Latency(), Latency()
    for now in (0.0, 0.0):
        quick.observe(0.01, load=1, now=now)
        slow.observe(60.0, load=1, now=now)
    assert quick.trust(0.0) == 1.0
    assert quick.trust(HALF_LIFE_SECONDS) == pytest.approx(0.5)
    assert slow.trust(600.0) == pytest.approx(0.5)
    assert quick.trust(-5.0) == 1.0


@given(
    st.lists(
        st.tuples(st.floats(0, 1e4), st.integers(-2, 1000), st.floats(0, 1e9)),
        min_size=2,
    )
)
def test_averages_stay_between_what_was_measured(seen: list[tuple[float, int, float]]) -> None:
    latency = Latency()
    for seconds, load, now in seen:
        latency.observe(seconds, load=load, now=now)
    believed = [seconds for seconds, _, _ in seen[1:]]
    assert min(believed) - 1e-6 <= latency.seconds <= max(believed) + 1e-6
    assert latency.pace_seconds <= max(believed) + 1e-6


def test_the_quickest_pace_is_kept_where_the_average_is_crowded_and_forgotten_slowly() -> None:
    latency = Latency()
    for number in range(10):
        latency.observe(0.001, load=1, now=number * 0.01)
    assert latency.quickest_seconds == pytest.approx(0.001, rel=0.01)
    for number in range(1000):
        latency.observe(0.5, load=1, now=1.0 + number * 0.01)
    assert latency.pace_seconds > 0.4
    assert latency.quickest_seconds < 0.002
    for number in range(30_000):
        latency.observe(0.5, load=1, now=20.0 + number * 0.01)
    assert latency.quickest_seconds == pytest.approx(0.5, rel=0.01)
