"""The gateway's mailbox: calls that wait for their nodes, and results that wait for their callers.

Both are sealed; the gateway knows their numbers, sizes and times. SQLite with a write-ahead log, synced before anybody
is told: a torn write shows in the log's checksums when it is next opened, and takes with it what nobody was told of.
Everything has a bound (``MailboxLimits``): at one, new letters are refused, and results wait at their node.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from easyremote.errors import MailboxError
from easyremote.gateway.shelves import LETTER, RESULT, Job, Shelves
from easyremote.protocol.limits import MailboxLimits
from easyremote.trust.identity import device_text
from easyremote.wire.limits import JOB_SECONDS_MAX
from easyremote.wire.mail import (
    ARRIVING,
    CANCELLED,
    DONE,
    FETCHED,
    LISTED_MAX,
    OVER,
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
    encode_mail,
)

__all__ = ["Mailbox", "Member"]

ARRIVING_SECONDS = 3600.0
"""A letter that is not whole after so long is given up."""
FOUND_BYTES = 1 << 20
"""So much of cards is given out at a time."""


class Member(msgspec.Struct, frozen=True):
    """Who asks: a device, and whose it is."""

    device: bytes
    account: str


class Mailbox:
    """One gateway's; belongs to one thread.

    Args:
        path: The database.
        limits: What it holds at most.
        clock: Seconds since 1970.

    Raises:
        MailboxError: The file is damaged.
    """

    def __init__(self, path: Path, limits: MailboxLimits, clock: Callable[[], float]) -> None:
        self.limits = limits
        self._shelves = Shelves(path, limits)
        self._clock = clock
        self.letters: set[tuple[bytes, str]] = set()
        """Nodes for which something has come since the last look: device and name."""
        self._ask: Final[dict[type, Callable[[Any, Member, float], bytes]]] = {
            PutLetter: self._put_letter,
            WatchJob: self._watch,
            ReadResult: self._read_result,
            CancelJob: self._cancel,
            AcknowledgeJob: self._acknowledge,
            FindNodes: self._find_nodes,
            ListLetters: self._list_letters,
            ReadLetter: self._read_letter,
            TakeLetter: self._take_letter,
            PutResult: self._put_result,
            RefuseLetter: self._refuse_letter,
            TellProgress: self._tell_progress,
            ShowCard: self._show_card,
        }

    @property
    def changed(self) -> set[bytes]:
        """Jobs of which there is news since the last look."""
        return self._shelves.changed

    def take_news(self) -> tuple[set[bytes], set[tuple[bytes, str]]]:
        """What there is news of, jobs and nodes, since this was last asked."""
        news = self._shelves.changed, self.letters
        self._shelves.changed, self.letters = set(), set()
        return news

    def close(self) -> None:
        """Nothing is asked any more."""
        self._shelves.database.close()

    # ---- asking

    def answer(self, asked: Sequence[tuple[MailRequest, Member]]) -> list[bytes | MailboxError]:
        """Do all that is asked, on disk when this returns; for each the answer, or why it was not done."""
        now = self._clock()
        changed, letters = set(self.changed), set(self.letters)
        try:
            self._shelves.database.execute("begin immediate")
            answers = [self._try(request, member, now) for request, member in asked]
            self._shelves.database.execute("commit")
            return answers
        except sqlite3.Error as error:
            self._shelves.changed, self.letters = changed, letters
            self._shelves.undo()
            if len(asked) > 1:  # one of them may still find room
                return [answer for one in asked for answer in self.answer([one])]
            return [_disk(error)]

    def rename(self, device: bytes, old: str, new: str) -> None:
        """A node has another name: what is for it is for that."""
        database = self._shelves.database
        try:
            database.execute("begin immediate")
            database.execute("update job set node = ? where device = ? and node = ?", (new, device, old))
            database.execute("delete from card where device = ? and name = ?", (device, old))
            database.execute("commit")
            self.letters.add((device, new))
        except sqlite3.Error:
            self._shelves.undo()

    def look_for_others(self) -> None:
        """Another gateway of this home may have written meanwhile: then everything may have changed."""
        if not self._shelves.others_wrote():
            return
        for number, device, node, state in self._shelves.database.execute(
            "select number, device, node, state from job"
        ):
            self.changed.add(bytes(number))
            if state in (WAITING, RUNNING):
                self.letters.add((bytes(device), str(node)))

    def sweep(self) -> None:
        """Forget what has waited long enough."""
        now = self._clock()
        try:
            self._shelves.database.execute("begin immediate")
            gone = self._shelves.database.execute(
                "select number from job where expires <= ?", (now,)
            ).fetchall()
            for (number,) in gone:
                self._shelves.forget(bytes(number))
                self.changed.add(bytes(number))
            self._shelves.database.execute("commit")
            self._shelves.database.executescript(
                "pragma incremental_vacuum(4096)"
            )  # which takes all its steps
        except sqlite3.Error:
            self._shelves.undo()
        self._shelves.count()

    def _try(self, request: MailRequest, member: Member, now: float) -> bytes | MailboxError:
        self._shelves.database.execute("savepoint one")
        counted = self._shelves.counted()
        try:
            return self._ask[type(request)](request, member, now)
        except MailboxError as error:
            self._shelves.database.execute("rollback to one")
            self._shelves.restore(counted)
            return error
        finally:
            if self._shelves.database.in_transaction:
                self._shelves.database.execute("release one")

    # ---- the caller's

    def _put_letter(self, ask: PutLetter, member: Member, now: float) -> bytes:
        job = self._shelves.find(ask.job)
        if job is None:
            job = self._new_job(ask, member, now)
        elif job.sender != member.device:
            raise MailboxError("this job is another device's", code="unknown")
        elif job.state != ARRIVING:
            return b""
        if ask.parts != job.letter_parts or ask.number >= ask.parts:
            raise MailboxError("a letter changed while it was put into the mailbox", code="bad")
        self._shelves.put_part(job, LETTER, ask.number, ask.data)
        if self._shelves.parts(job.number, LETTER) == job.letter_parts:
            job.state, job.expires = WAITING, now + job.keep
            self.letters.add((job.device, job.node))
            self._shelves.save(job)
        return b""

    def _new_job(self, ask: PutLetter, member: Member, now: float) -> Job:
        limits = self.limits
        if (
            self._shelves.database.execute(
                "select 1 from card where name = ? and device = ?", (ask.node, ask.device)
            ).fetchone()
            is None
        ):
            raise MailboxError(
                f"no node {ask.node!r} that takes letters has been seen by this gateway", code="unknown"
            )
        if not 0.0 < ask.keep_seconds <= limits.keep_seconds:
            raise MailboxError(
                f"a job may wait {limits.keep_seconds:,.0f} s at this gateway, not {ask.keep_seconds:,.0f} s (keep=)",
                code="bad",
            )
        (mine,) = self._shelves.database.execute(
            "select count(*) from job where account = ? and state in (?, ?, ?, ?)",
            (member.account, ARRIVING, WAITING, RUNNING, DONE),
        ).fetchone()
        if mine >= limits.account_jobs:
            raise MailboxError(
                f"{mine:,} jobs of account {member.account!r} are in the mailbox, which is the most (account_jobs). "
                "Fetch or cancel some: easynet jobs",
                code="full",
            )
        if self._shelves.jobs >= limits.jobs:
            raise MailboxError(
                f"the mailbox holds {self._shelves.jobs:,} jobs, which is the most (jobs)", code="full"
            )
        job = Job(
            number=ask.job,
            account=member.account,
            sender=member.device,
            device=ask.device,
            node=ask.node,
            state=ARRIVING,
            letter_parts=ask.parts,
            result_parts=0,
            size=0,
            keep=ask.keep_seconds,
            expires=now + min(ARRIVING_SECONDS, ask.keep_seconds),
            version=0,
            cancel=0,
            progress=b"",
            note="",
        )
        self._shelves.database.execute(
            f"insert into job values ({', '.join('?' * 15)})", msgspec.structs.astuple(job)
        )
        self._shelves.jobs += 1
        return job

    def _watch(self, ask: WatchJob, member: Member, now: float) -> bytes:
        job = self._own(ask.job, member)
        return encode_mail(
            JobRecord(
                job.version,
                job.state,
                job.node,
                job.result_parts if job.state == DONE else 0,
                job.progress,
                max(0.0, job.expires - now),
                job.note,
            )
        )

    def _read_result(self, ask: ReadResult, member: Member, now: float) -> bytes:
        job = self._own(ask.job, member)
        if job.state != DONE:
            raise MailboxError(f"there is no result of this job here: it is {job.state}", code="unknown")
        return self._shelves.part(job.number, RESULT, ask.number)

    def _cancel(self, ask: CancelJob, member: Member, now: float) -> bytes:
        job = self._own(ask.job, member)
        if job.state in (ARRIVING, WAITING):
            self._shelves.drop_parts(job)
            job.state = CANCELLED
            self._shelves.save(job)
            self._thin_out(job.account)
        elif job.state == RUNNING and not job.cancel:
            job.cancel = 1
            self.letters.add((job.device, job.node))
            self._shelves.save(job)
        return b""

    def _acknowledge(self, ask: AcknowledgeJob, member: Member, now: float) -> bytes:
        job = self._own(ask.job, member)
        if job.state == DONE:
            self._shelves.drop_parts(job)
            job.state, job.note = FETCHED, device_text(member.device)[:8]
            self._shelves.save(job)
            self._thin_out(job.account)
        return b""

    def _find_nodes(self, ask: FindNodes, member: Member, now: float) -> bytes:
        wanted = "where name = ?1" if ask.node else "where ?1 = ''"
        found: list[KeptCard] = []
        size = 0
        for device, name, card, signature in self._shelves.database.execute(
            f"select device, name, card, signature from card {wanted} order by kept desc", (ask.node,)
        ):
            size += len(card)
            if found and size > FOUND_BYTES:
                break
            found.append(KeptCard(bytes(device), str(name), bytes(card), bytes(signature)))
        return encode_mail(found)

    # ---- the node's

    def _show_card(self, ask: ShowCard, member: Member, now: float) -> bytes:
        self._shelves.keep_card(ask, member.device, now)
        return b""

    def _list_letters(self, ask: ListLetters, member: Member, now: float) -> bytes:
        rows = self._shelves.database.execute(
            "select number, letter_parts, cancel from job where device = ? and node = ? and state in (?, ?) "
            "and rowid > coalesce((select rowid from job where number = ?), 0) order by rowid limit ?",
            (member.device, ask.node, WAITING, RUNNING, ask.after, LISTED_MAX),
        ).fetchall()
        return encode_mail(
            [LetterRecord(bytes(number), parts, bool(cancel)) for number, parts, cancel in rows]
        )

    def _read_letter(self, ask: ReadLetter, member: Member, now: float) -> bytes:
        return self._shelves.part(self._addressed(ask.job, member).number, LETTER, ask.number)

    def _take_letter(self, ask: TakeLetter, member: Member, now: float) -> bytes:
        job = self._addressed(ask.job, member)
        if job.state == WAITING:
            job.state, job.expires = RUNNING, now + JOB_SECONDS_MAX
            self._shelves.save(job)
        return b""

    def _put_result(self, ask: PutResult, member: Member, now: float) -> bytes:
        job = self._shelves.find(ask.job)
        if job is not None and job.device == member.device and job.state in OVER:
            return b""  # it was put before
        job = self._addressed(ask.job, member)
        if ask.number >= ask.parts:
            raise MailboxError("a result has no such part", code="bad")
        if ask.parts != job.result_parts:  # the first part of it, or of one that takes its place
            self._shelves.drop_parts(job, RESULT)
            job.result_parts = ask.parts
            self._shelves.save(job, news=False)
        self._shelves.put_part(job, RESULT, ask.number, ask.data)
        if self._shelves.parts(job.number, RESULT) == job.result_parts:
            self._shelves.drop_parts(job, LETTER)
            job.state, job.expires, job.progress = DONE, now + job.keep, b""
            self._shelves.save(job)
        return b""

    def _refuse_letter(self, ask: RefuseLetter, member: Member, now: float) -> bytes:
        job = self._addressed(ask.job, member)
        self._shelves.drop_parts(job)
        job.state, job.note = REFUSED, ask.reason
        self._shelves.save(job)
        self._thin_out(job.account)
        return b""

    def _tell_progress(self, ask: TellProgress, member: Member, now: float) -> bytes:
        job = self._addressed(ask.job, member)
        if job.state == RUNNING:
            job.progress, job.expires = ask.data, now + JOB_SECONDS_MAX
            self._shelves.save(job)
        return b""

    # ---- jobs and parts

    def _own(self, number: bytes, member: Member) -> Job:
        """A job of the asker's account; whether there are others is not told."""
        job = self._shelves.find(number)
        if job is None or job.account != member.account:
            raise MailboxError("no such job of this account is in the mailbox, or no longer", code="unknown")
        return job

    def _addressed(self, number: bytes, member: Member) -> Job:
        """A job that waits for the asker, or that it has."""
        job = self._shelves.find(number)
        if job is None or job.device != member.device or job.state not in (WAITING, RUNNING):
            raise MailboxError("no such letter waits for this device", code="unknown")
        return job

    def _thin_out(self, account: str) -> None:
        """Of jobs that are over only so many are remembered for an account."""
        over = self._shelves.database.execute(
            "select number from job where account = ? and state in (?, ?, ?) order by expires desc limit -1 offset ?",
            (account, CANCELLED, REFUSED, FETCHED, self.limits.account_jobs),
        ).fetchall()
        for (number,) in over:
            self._shelves.forget(bytes(number))


def _disk(error: sqlite3.Error) -> MailboxError:
    if "full" in str(error):
        message = "the gateway's disk is full: nothing was kept. Its owner must make room; then try again"
    else:
        message = f"the gateway could not write to its disk: nothing was kept ({error})"
    return MailboxError(message, code="disk")
