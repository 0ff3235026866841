"""A node's journal: what began begins once, what finished is delivered, keys live as long as letters to them may wait."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from easyremote.node.journal import (
    BEGAN,
    DELIVERED,
    FINISHED,
    KEY_KEPT_SECONDS,
    KEY_SECONDS,
    Journal,
)

JOB = b"j" * 16
LATER = 1e9


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "jobs" / "desk.db")


def test_a_job_begins_once_whoever_asks(journal: Journal, tmp_path: Path) -> None:
    other = Journal(tmp_path / "jobs" / "desk.db")  # another process of the node
    assert journal.state(JOB) == ""
    assert journal.begin(JOB, LATER, again=False)
    assert other.state(JOB) == BEGAN
    assert not other.begin(JOB, LATER, again=False)
    assert other.begin(JOB, LATER, again=True)  # its function may run twice
    journal.finish(JOB, [b"result"], LATER)
    assert not other.begin(JOB, LATER, again=True)  # it has run to its end
    assert other.state(JOB) == FINISHED
    journal.delivered(JOB)
    assert not other.begin(JOB, LATER, again=True)
    assert journal.state(JOB) == DELIVERED


def test_a_result_is_kept_until_it_is_delivered_also_over_a_restart(journal: Journal, tmp_path: Path) -> None:
    journal.begin(JOB, LATER, again=False)
    journal.finish(JOB, [b"first", b"second"], LATER)
    journal.close()
    again = Journal(tmp_path / "jobs" / "desk.db")
    assert again.undelivered() == [JOB]
    assert [again.part(JOB, number) for number in range(again.parts(JOB))] == [b"first", b"second"]
    again.delivered(JOB)
    assert (again.undelivered(), again.parts(JOB), again.state(JOB)) == ([], 0, DELIVERED)


def test_what_nobody_can_ask_for_any_more_is_forgotten(journal: Journal) -> None:
    journal.begin(JOB, 100.0, again=False)
    journal.finish(JOB, [b"result"], 100.0)
    journal.forget_old(99.0)
    assert journal.state(JOB) == FINISHED
    journal.forget_old(100.0)
    assert (journal.state(JOB), journal.parts(JOB)) == ("", 0)


def test_a_key_is_replaced_weekly_and_kept_while_letters_to_it_may_wait(journal: Journal) -> None:
    counted = (number.to_bytes(104, "big") for number in itertools.count(1))

    def entropy(size: int) -> bytes:
        return next(counted)

    (first,) = journal.keys(0.0, entropy)
    assert journal.keys(KEY_SECONDS - 1.0, entropy) == [first]
    second, still = journal.keys(KEY_SECONDS, entropy)
    assert still == first
    assert journal.keys(2 * KEY_SECONDS - 1.0, entropy) == [second, first]
    assert first in journal.keys(KEY_SECONDS + KEY_KEPT_SECONDS - 1.0, entropy)
    assert first not in journal.keys(KEY_SECONDS + KEY_KEPT_SECONDS, entropy)


def test_a_journal_is_its_owners_alone(journal: Journal, tmp_path: Path) -> None:
    path = tmp_path / "jobs" / "desk.db"
    journal.keys(0.0, os.urandom)
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
