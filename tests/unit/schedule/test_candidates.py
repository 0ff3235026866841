from __future__ import annotations

from easyremote.schedule.candidates import Candidate


def test_load_is_the_larger_of_our_count_and_the_report() -> None:
    candidate = Candidate(endpoint=b"a" * 40, name="a", running=3, waiting=2)
    assert candidate.load == 5
    for _ in range(7):
        candidate.sent()
    assert candidate.load == 7


def test_full_needs_a_known_capacity() -> None:
    candidate = Candidate(endpoint=b"a" * 40, name="a", running=100)
    assert not candidate.full
    candidate.capacity = 100
    assert candidate.full


def test_answers_teach_by_function_and_drops_teach_nothing() -> None:
    candidate = Candidate(endpoint=b"a" * 40, name="a")
    for now in (1.0, 2.0):
        candidate.answered("quick", 0.01, load=candidate.sent(), now=now)
        candidate.answered("slow", 10.0, load=candidate.sent(), now=now)
    candidate.sent()
    candidate.dropped()
    assert candidate.in_flight == 0
    assert candidate.latency_seconds("quick") == 0.01
    assert candidate.latency_seconds("slow") == 10.0
    assert candidate.latency_seconds("other") is None


def test_candidates_share_no_memory() -> None:
    one, other = (Candidate(endpoint=bytes(40), name=name) for name in "ab")
    one.answered("f", 1.0, load=one.sent(), now=1.0)
    assert other.latencies == {}
    assert one != other
