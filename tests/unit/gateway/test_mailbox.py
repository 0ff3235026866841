"""The mailbox: what it takes, whom it gives what, its bounds, and what a torn write or a full disk costs."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from easyremote.errors import MailboxError
from easyremote.gateway.mailbox import Mailbox, Member
from easyremote.protocol.limits import MailboxLimits
from easyremote.trust.identity import device_text
from easyremote.wire.mail import (
    ARRIVING,
    CANCELLED,
    DONE,
    FETCHED,
    REFUSED,
    RUNNING,
    WAITING,
    AcknowledgeJob,
    CancelJob,
    FindNodes,
    JobRecord,
    KeptCard,
    LetterRecord,
    ListLetters,
    MailRequest,
    PutLetter,
    PutResult,
    ReadLetter,
    ReadResult,
    RefuseLetter,
    ShowCard,
    TakeLetter,
    TellProgress,
    WatchJob,
    decode_mail,
)

NODE = Member(b"n" * 32, "owner")
ANNA = Member(b"a" * 32, "anna")
ANNAS_PHONE = Member(b"p" * 32, "anna")
BEN = Member(b"b" * 32, "ben")
GENEROUS = MailboxLimits()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Box:
    """A mailbox with a node that takes letters, called ``desk``."""

    def __init__(self, path: Path, limits: MailboxLimits = GENEROUS) -> None:
        self.clock = Clock()
        self.mailbox = Mailbox(path / "mailbox.db", limits, self.clock)
        self.ask(ShowCard("desk", b"card", b"signature"), NODE)

    def ask(self, request: MailRequest, member: Member, kind: Any = None) -> Any:
        (answer,) = self.mailbox.answer([(request, member)])
        if isinstance(answer, MailboxError):
            raise answer
        return decode_mail(answer, kind) if kind is not None else answer

    def put(self, job: bytes, *parts: bytes, member: Member = ANNA, keep: float = 60.0) -> None:
        for number, part in enumerate(parts):
            self.ask(PutLetter(job, NODE.device, "desk", number, len(parts), part, keep), member)

    def state(self, job: bytes, member: Member = ANNA) -> str:
        record: JobRecord = self.ask(WatchJob(job), member, JobRecord)
        return record.state

    def waiting(self) -> list[bytes]:
        letters: list[LetterRecord] = self.ask(ListLetters("desk"), NODE, list[LetterRecord])
        return [letter.job for letter in letters]


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def job(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_a_letter_waits_is_taken_and_its_result_fetched(box: Box) -> None:
    box.put(job(1), b"head", b"body")
    assert box.mailbox.letters == {(NODE.device, "desk")}
    assert box.state(job(1)) == WAITING
    (letter,) = box.ask(ListLetters("desk"), NODE, list[LetterRecord])
    assert letter == LetterRecord(job(1), 2)
    assert [box.ask(ReadLetter(job(1), n), NODE) for n in range(2)] == [b"head", b"body"]
    box.ask(TakeLetter(job(1)), NODE)
    assert box.state(job(1)) == RUNNING
    box.ask(TellProgress(job(1), b"half"), NODE)
    record = box.ask(WatchJob(job(1)), ANNA, JobRecord)
    assert (record.progress, record.node) == (b"half", "desk")
    box.ask(PutResult(job(1), 1, 2, b"lt"), NODE)  # in any order
    assert box.state(job(1)) == RUNNING
    box.ask(PutResult(job(1), 0, 2, b"resu"), NODE)
    assert box.state(job(1)) == DONE
    assert box.waiting() == []
    with pytest.raises(MailboxError, match="no such letter"):
        box.ask(ReadLetter(job(1), 0), NODE)  # it is forgotten
    assert [box.ask(ReadResult(job(1), n), ANNAS_PHONE) for n in range(2)] == [b"resu", b"lt"]
    box.ask(AcknowledgeJob(job(1)), ANNAS_PHONE)
    record = box.ask(WatchJob(job(1)), ANNA, JobRecord)
    assert (record.state, record.note) == (FETCHED, device_text(ANNAS_PHONE.device)[:8])
    with pytest.raises(MailboxError, match="no result"):
        box.ask(ReadResult(job(1), 0), ANNA)


def test_every_question_may_be_asked_again(box: Box) -> None:
    for _ in range(2):
        box.ask(PutLetter(job(1), NODE.device, "desk", 0, 2, b"head", 60.0), ANNA)
    assert box.state(job(1)) == ARRIVING
    for _ in range(2):
        box.ask(PutLetter(job(1), NODE.device, "desk", 1, 2, b"body", 60.0), ANNA)
    for _ in range(2):
        box.ask(TakeLetter(job(1)), NODE)
        version = box.ask(WatchJob(job(1)), ANNA, JobRecord).version
    for _ in range(2):
        box.ask(PutResult(job(1), 0, 1, b"result"), NODE)
        box.ask(AcknowledgeJob(job(1)), ANNA)
    assert box.ask(WatchJob(job(1)), ANNA, JobRecord).version == version + 2
    assert box.state(job(1)) == FETCHED


def test_who_does_not_own_a_job_learns_nothing_of_it(box: Box) -> None:
    box.put(job(1), b"letter")
    box.ask(TakeLetter(job(1)), NODE)
    box.ask(PutResult(job(1), 0, 1, b"result"), NODE)
    said = set()
    for number in (1, 2):  # one there is, and one there is not
        for request in (WatchJob, CancelJob, AcknowledgeJob):
            with pytest.raises(MailboxError) as caught:
                box.ask(request(job(number)), BEN)
            said.add(str(caught.value))
        with pytest.raises(MailboxError) as caught:
            box.ask(ReadResult(job(number), 0), BEN)
        said.add(str(caught.value))
    assert len(said) == 1
    assert box.state(job(1)) == DONE


def test_only_the_node_it_is_for_sees_a_letter(box: Box) -> None:
    box.put(job(1), b"letter")
    assert box.ask(ListLetters("desk"), BEN, list[LetterRecord]) == []
    for request in (
        ReadLetter(job(1), 0),
        TakeLetter(job(1)),
        PutResult(job(1), 0, 1, b"forged"),
        RefuseLetter(job(1), "no"),
        TellProgress(job(1), b"x"),
    ):
        with pytest.raises(MailboxError, match="no such letter"):
            box.ask(request, BEN)
    assert box.state(job(1)) == WAITING


def test_nobody_adds_to_anothers_letter(box: Box) -> None:
    box.ask(PutLetter(job(1), NODE.device, "desk", 0, 2, b"head", 60.0), ANNA)
    with pytest.raises(MailboxError, match="another device"):
        box.ask(PutLetter(job(1), NODE.device, "desk", 1, 2, b"forged", 60.0), BEN)
    with pytest.raises(MailboxError, match="changed"):
        box.ask(PutLetter(job(1), NODE.device, "desk", 1, 3, b"more", 60.0), ANNA)
    assert box.state(job(1)) == ARRIVING


def test_letters_are_for_nodes_that_take_them(box: Box) -> None:
    for device, name in ((NODE.device, "nobody"), (BEN.device, "desk")):
        with pytest.raises(MailboxError, match="no node") as caught:
            box.ask(PutLetter(job(1), device, name, 0, 1, b"letter", 60.0), ANNA)
        assert caught.value.code == "unknown"
    assert box.ask(FindNodes("desk"), ANNA, list[KeptCard]) == [
        KeptCard(NODE.device, "desk", b"card", b"signature")
    ]
    assert box.ask(FindNodes("nobody"), ANNA, list[KeptCard]) == []


def test_a_job_cancelled_before_it_began_is_gone_and_one_that_runs_is_told(box: Box) -> None:
    box.put(job(1), b"letter")
    box.put(job(2), b"letter")
    box.ask(TakeLetter(job(2)), NODE)
    box.mailbox.letters.clear()
    for number in (1, 2):
        box.ask(CancelJob(job(number)), ANNA)
    assert box.state(job(1)) == CANCELLED
    assert box.mailbox.letters == {(NODE.device, "desk")}
    assert box.ask(ListLetters("desk"), NODE, list[LetterRecord]) == [LetterRecord(job(2), 1, True)]
    with pytest.raises(MailboxError, match="no such letter"):
        box.ask(TakeLetter(job(1)), NODE)


def test_a_letter_that_does_not_open_is_refused_in_words(box: Box) -> None:
    box.put(job(1), b"letter")
    box.ask(RefuseLetter(job(1), "it does not open"), NODE)
    record = box.ask(WatchJob(job(1)), ANNA, JobRecord)
    assert (record.state, record.note) == (REFUSED, "it does not open")
    assert box.waiting() == []


# ---- bounds


def test_each_bound_refuses_and_says_its_name(tmp_path: Path) -> None:
    limits = MailboxLimits(
        letter_bytes=100, account_jobs=2, account_bytes=150, jobs=3, bytes=200, keep_seconds=60.0
    )
    box = Box(tmp_path, limits)

    def refused(code: str, match: str, number: int, size: int, member: Member, keep: float = 60.0) -> None:
        with pytest.raises(MailboxError, match=match) as caught:
            box.put(job(number), bytes(size), member=member, keep=keep)
        assert caught.value.code == code
        with pytest.raises(MailboxError, match="no such job"):
            box.state(job(number), member)  # nothing of it is kept

    refused("too_large", "letter_bytes", 1, 101, ANNA)
    refused("bad", "keep=", 1, 1, ANNA, 61.0)
    box.put(job(1), bytes(100))
    refused("full", "account_bytes", 2, 51, ANNA)
    box.put(job(2), bytes(50))
    refused("full", "account_jobs", 3, 1, ANNA)
    refused("full", r"\(bytes\)", 3, 51, BEN)
    box.put(job(3), bytes(50), member=BEN)
    refused("full", r"\(jobs\)", 4, 1, BEN)
    box.ask(CancelJob(job(1)), ANNA)  # there is room again, but for what is remembered of it
    refused("full", r"\(jobs\)", 4, 1, BEN)
    box.clock.now += 61.0
    box.mailbox.sweep()
    box.put(job(4), bytes(100), member=BEN)


def test_a_result_for_which_there_is_no_room_waits_at_its_node(tmp_path: Path) -> None:
    box = Box(tmp_path, MailboxLimits(letter_bytes=100, account_bytes=150))
    box.put(job(1), bytes(50))
    box.put(job(2), bytes(100))
    box.ask(TakeLetter(job(1)), NODE)
    with pytest.raises(MailboxError) as caught:
        box.ask(PutResult(job(1), 0, 1, bytes(80)), NODE)
    assert caught.value.code == "full"
    assert box.waiting() == [job(1), job(2)]  # its letter is not forgotten
    box.ask(CancelJob(job(2)), ANNA)
    box.ask(PutResult(job(1), 0, 1, bytes(80)), NODE)
    assert box.state(job(1)) == DONE
    box.put(job(3), b"letter")
    with pytest.raises(MailboxError) as caught:
        box.ask(PutResult(job(3), 0, 1, bytes(101)), NODE)
    assert caught.value.code == "too_large"


def test_of_jobs_that_are_over_only_so_many_are_remembered(tmp_path: Path) -> None:
    box = Box(tmp_path, MailboxLimits(account_jobs=3))
    for number in range(10):
        box.clock.now += 1.0
        box.put(job(number), b"letter")
        box.ask(CancelJob(job(number)), ANNA)
    known = []
    for number in range(10):
        try:
            known.append((number, box.state(job(number))))
        except MailboxError:
            continue
    assert known == [(7, CANCELLED), (8, CANCELLED), (9, CANCELLED)]


def test_what_has_waited_long_enough_is_forgotten_but_not_what_runs(box: Box) -> None:
    box.put(job(1), b"letter", keep=100.0)
    box.ask(PutLetter(job(2), NODE.device, "desk", 0, 2, b"half", 1e6), ANNA)
    box.put(job(3), b"letter", keep=1e6)
    box.put(job(4), b"letter", keep=100.0)
    box.clock.now += 99.0
    box.ask(TakeLetter(job(1)), NODE)  # however long it runs
    box.clock.now += 3600.0
    box.mailbox.changed.clear()
    box.mailbox.sweep()
    assert box.mailbox.changed == {job(2), job(4)}  # the second was never whole
    assert box.waiting() == [job(1), job(3)]
    box.ask(PutResult(job(1), 0, 1, b"result"), NODE)
    box.clock.now += 99.0
    box.mailbox.sweep()
    assert box.state(job(1)) == DONE
    box.clock.now += 2.0
    box.mailbox.sweep()
    with pytest.raises(MailboxError, match="no such job"):
        box.state(job(1))


def test_an_account_that_is_full_does_not_keep_its_own_results_out(tmp_path: Path) -> None:
    box = Box(tmp_path, MailboxLimits(account_bytes=200, letter_bytes=100))
    for number in (1, 2):
        box.put(job(number), bytes(100))
        box.ask(TakeLetter(job(number)), NODE)
    for number in (1, 2):
        box.ask(PutResult(job(number), 0, 2, bytes(60)), NODE)
        box.ask(PutResult(job(number), 1, 2, bytes(40)), NODE)
        assert box.state(job(number)) == DONE


def test_letters_that_do_not_open_do_not_fill_the_mailbox(tmp_path: Path) -> None:
    box = Box(tmp_path, MailboxLimits(jobs=20, account_jobs=5))
    for number in range(40):
        box.put(job(number), b"garbage")
        box.ask(RefuseLetter(job(number), "it does not open"), NODE)
    box.put(job(50), b"letter", member=BEN)


def test_room_is_given_back_to_the_disk(tmp_path: Path) -> None:
    box = Box(tmp_path)
    for number in range(40):
        box.put(job(number), bytes(100_000))
    box.mailbox._shelves.database.execute("pragma wal_checkpoint(truncate)")
    full = (tmp_path / "mailbox.db").stat().st_size
    for number in range(40):
        box.ask(CancelJob(job(number)), ANNA)
    assert box.mailbox._shelves.free_inside() > 3_000_000  # which counts as room until it is given back
    box.mailbox.sweep()
    box.mailbox._shelves.database.execute("pragma wal_checkpoint(truncate)")
    assert (tmp_path / "mailbox.db").stat().st_size < full / 4
    box.mailbox.close()


def test_cards_have_bounds_too(box: Box) -> None:
    for number in range(70):
        box.clock.now += 1.0
        box.ask(ShowCard(f"node-{number}", b"card", b""), BEN)
    names = {one.name for one in box.ask(FindNodes(), ANNA, list[KeptCard])}
    assert names == {f"node-{number}" for number in range(6, 70)} | {"desk"}


def test_one_bad_question_does_not_spoil_the_others_it_came_with(box: Box) -> None:
    good = PutLetter(job(1), NODE.device, "desk", 0, 1, b"letter", 60.0)
    bad = PutLetter(job(2), BEN.device, "desk", 0, 1, b"letter", 60.0)
    answers = box.mailbox.answer([(good, ANNA), (bad, ANNA), (WatchJob(job(1)), ANNA)])
    assert answers[0] == b""
    assert isinstance(answers[1], MailboxError)
    assert decode_mail(answers[2], JobRecord).state == WAITING  # type: ignore[arg-type]


# ---- the disk


def test_a_write_that_was_torn_anywhere_costs_no_more_than_what_follows_it(tmp_path: Path) -> None:
    """The log is cut at every byte of its last letter, and at many before, or at all if CHAOS is full: whatever was
    acknowledged before the cut is there, whole; of the rest there is nothing.
    """
    box = Box(tmp_path)
    path, log = tmp_path / "mailbox.db", tmp_path / "mailbox.db-wal"
    box.mailbox._shelves.database.execute("pragma wal_checkpoint(truncate)")
    told: list[tuple[int, int]] = []  # how long the log was when so many letters had been acknowledged
    for number in range(4):
        parts = [bytes([number]) * 300] if number != 1 else [bytes([number]) * 300, bytes(30_000)]
        box.put(job(number), *parts)
        told.append((log.stat().st_size, number + 1))
    cut = tmp_path / "cut"
    cut.mkdir()
    shutil.copy(path, cut / "mailbox.db")
    shutil.copy(log, cut / "mailbox.db-wal")
    box.mailbox.close()
    whole, before = told[-1][0], told[-2][0]
    step = 1 if os.environ.get("CHAOS") == "full" else 61
    sizes = [*range(whole, before - 64, -1), *range(before - 64, 0, -step), 0]
    for size in sizes:
        os.truncate(cut / "mailbox.db-wal", size)
        database = sqlite3.connect(f"file:{cut}/mailbox.db?mode=ro", uri=True)
        kept = database.execute(
            "select job.number, data from job left join part on part.job = job.number and part.number = 0 "
            "where state = 'waiting' order by job.rowid"
        ).fetchall()
        database.close()
        expected = max((letters for end, letters in told if end <= size), default=0)
        assert kept == [(job(number), bytes([number]) * 300) for number in range(expected)], f"cut at {size}"
        if size in (whole, before, before - 1):  # and a gateway goes on from there
            copy = tmp_path / f"copy-{size}"
            shutil.copytree(cut, copy)
            again = Box(copy)
            assert again.waiting() == [job(number) for number in range(expected)]
            again.put(job(9), b"next")
            again.mailbox.close()


def test_a_bit_flipped_in_the_log_is_found_like_a_torn_write(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    box = Box(tmp_path / "a")
    box.mailbox._shelves.database.execute("pragma wal_checkpoint(truncate)")
    box.put(job(1), b"x" * 300)
    log = tmp_path / "a" / "mailbox.db-wal"
    first = log.stat().st_size
    box.put(job(2), b"y" * 300)
    data = bytearray(log.read_bytes())
    main = (tmp_path / "a" / "mailbox.db").read_bytes()
    for place in range(first, len(data), 97):
        copy = tmp_path / f"b{place}"
        copy.mkdir()
        (copy / "mailbox.db").write_bytes(main)
        data[place] ^= 0x10
        (copy / "mailbox.db-wal").write_bytes(data)
        data[place] ^= 0x10
        opened = Mailbox(copy / "mailbox.db", GENEROUS, Clock())
        (answer,) = opened.answer([(ListLetters("desk"), NODE)])
        letters = decode_mail(answer, list[LetterRecord])  # type: ignore[arg-type]
        assert [letter.job for letter in letters] == [job(1)], place
        opened.close()
    box.mailbox.close()


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_file_that_is_shorter_than_it_was_is_refused_with_what_to_do(tmp_path: Path, share: float) -> None:
    box = Box(tmp_path)
    for number in range(20):
        box.put(job(number), bytes(5000))
    box.mailbox.close()
    path = tmp_path / "mailbox.db"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(MailboxError, match=r"is damaged .* Restore it from a backup") as caught:
        Mailbox(path, GENEROUS, Clock())
    assert caught.value.code == "damaged"


def test_two_gateways_of_one_home_share_it(tmp_path: Path) -> None:
    box, other = Box(tmp_path), Box(tmp_path)
    box.put(job(1), b"letter")
    other.mailbox.changed.clear()
    other.mailbox.letters.clear()
    other.mailbox.look_for_others()
    assert (other.mailbox.changed, other.mailbox.letters) == ({job(1)}, {(NODE.device, "desk")})
    other.mailbox.changed.clear()
    other.mailbox.look_for_others()
    assert not other.mailbox.changed
    other.ask(TakeLetter(job(1)), NODE)
    assert box.state(job(1)) == RUNNING
    box.mailbox.close()
    other.mailbox.close()


def test_a_full_disk_refuses_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.put(job(1), b"before")
    pages = box.mailbox._shelves.database.execute("pragma page_count").fetchone()[0]
    box.mailbox._shelves.database.execute(
        f"pragma max_page_count = {pages + 4}"
    )  # SQLite says then what it says of a full disk
    with pytest.raises(MailboxError, match="disk is full: nothing was kept") as caught:
        box.put(job(2), bytes(100_000))
    assert caught.value.code == "disk"
    with pytest.raises(MailboxError, match="no such job"):
        box.state(job(2))
    small = PutLetter(job(3), NODE.device, "desk", 0, 1, b"small", 60.0)
    large = PutLetter(job(4), NODE.device, "desk", 0, 1, bytes(100_000), 60.0)
    answers = box.mailbox.answer(
        [(small, ANNA), (large, ANNA)]
    )  # what still has room is not refused with the other
    assert answers[0] == b""
    assert isinstance(answers[1], MailboxError)
    box.mailbox._shelves.database.execute("pragma max_page_count = 1000000")
    box.put(job(2), bytes(100_000))
    assert box.waiting() == [job(1), job(3), job(2)]
    box.mailbox.close()
