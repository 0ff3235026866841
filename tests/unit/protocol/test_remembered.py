"""Answered calls are never run again, and remembering them takes bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from easyremote.protocol.remembered import Remembered

ALICE, BOB = b"a" * 40, b"b" * 40


def test_what_was_answered_is_remembered_and_nothing_else() -> None:
    remembered = Remembered()
    remembered.add((ALICE, 7))
    assert (ALICE, 7) in remembered
    assert (ALICE, 6) not in remembered
    assert (ALICE, 8) not in remembered
    assert (BOB, 7) not in remembered


@given(st.lists(st.tuples(st.sampled_from([ALICE, BOB]), st.integers(0, 1000)), max_size=200))
def test_an_answered_call_is_never_forgotten(keys: list[tuple[bytes, int]]) -> None:
    remembered = Remembered(generation=8, callers=2)
    for index, key in enumerate(keys):
        remembered.add(key)
        assert all(earlier in remembered for earlier in keys[: index + 1])
        assert len(remembered) <= 16


def test_a_number_is_taken_for_a_repeat_only_when_a_generation_has_passed_it_by() -> None:
    remembered = Remembered(generation=10, callers=2)
    for number in range(1, 20):
        remembered.add((ALICE, number))
    assert (ALICE, 0) not in remembered, "19 calls passed it by, of which none is forgotten"
    remembered.add((ALICE, 20))
    assert (ALICE, 0) in remembered


def test_floors_are_kept_of_so_many_callers_and_the_oldest_goes() -> None:
    remembered = Remembered(generation=2, callers=3)
    for caller in range(8):
        remembered.add((bytes([caller]) * 40, 5))
        remembered.add((bytes([caller]) * 40, 6))
    assert [(bytes([caller]) * 40, 4) in remembered for caller in range(8)] == [
        False,
        False,
        False,
        False,
        True,
        True,
        True,
        False,
    ], "the last is remembered by its numbers, the three before it by their floors"
