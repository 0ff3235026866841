"""The gateway's mailbox: calls that wait for their nodes, and results that wait for their callers.

Both are sealed; the gateway knows their numbers, sizes and times. SQLite with a write-ahead log, synced before anybody
is told: a torn write shows in the log's checksums when it is next opened, and takes with it what nobody was told of.
Everything has a bound (``MailboxLimits``): at one, new letters are refused, and results wait at their node.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from easyremote.errors import MailboxError
from easyremote.protocol.limits import MailboxLimits
from easyremote.trust.identity import device_text
from easyremote.wire.limits import JOB_SECONDS_MAX
from easyremote.wire.mail import (
    ARRIVING,
    CANCELLED,
    DONE,
    FETCHED,
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
CHECKED_BYTES = 256 << 20
"""A file of this size is read through when it is opened."""
LISTED_MAX = 1000
CARDS_MAX, CARDS_PER_DEVICE, CARDS_BYTES_MAX = 10_000, 64, 256 << 20
FOUND_BYTES = 1 << 20
"""So much of cards is given out at a time."""
_LETTER, _RESULT = 0, 1

_SCHEMA = """
create table if not exists job (
  number blob primary key, account text not null, sender blob not null, device blob not null, node text not null,
  state text not null, letter_parts integer not null, result_parts integer not null, bytes integer not null,
  keep real not null, expires real not null, version integer not null, cancel integer not null,
  progress blob not null, note text not null
) strict;
create index if not exists job_account on job (account, state, expires);
create index if not exists job_node on job (device, node, state);
create index if not exists job_expires on job (expires);
create table if not exists part (
  job blob not null, side integer not null, number integer not null, data blob not null
) strict;
create unique index if not exists part_number on part (job, side, number);
create table if not exists card (
  name text primary key, device blob not null, card blob not null, signature blob not null, kept real not null
) strict;
create index if not exists card_device on card (device, kept);
create index if not exists card_kept on card (kept);
"""


class Member(msgspec.Struct, frozen=True):
    """Who asks: a device, and whose it is."""

    device: bytes
    account: str


class _Job(msgspec.Struct):
    number: bytes
    account: str
    sender: bytes
    device: bytes
    node: str
    state: str
    letter_parts: int
    result_parts: int
    size: int
    keep: float
    expires: float
    version: int
    cancel: int
    progress: bytes
    note: str


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
        self._path = path
        self._clock = clock
        self.changed: set[bytes] = set()
        """Jobs of which there is news since the last look."""
        self.letters: set[tuple[bytes, str]] = set()
        """Nodes for which something has come since the last look: device and name."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._open()
        except sqlite3.Error as error:
            self._database.close()
            raise MailboxError(self._why_not(error), code="damaged") from None
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

    def _open(self) -> None:
        database = self._database
        for pragma in (
            "auto_vacuum = incremental",
            "journal_mode = wal",
            "synchronous = full",
        ):
            database.execute(f"pragma {pragma}")
        size = self._path.stat().st_size
        if size <= CHECKED_BYTES:
            found = database.execute("pragma quick_check(1)").fetchone()[0]
        else:
            pages = database.execute("pragma page_count").fetchone()[0]
            page_bytes = database.execute("pragma page_size").fetchone()[0]
            found = "ok" if pages * page_bytes >= size - page_bytes else "it is shorter than it was"
        if found != "ok":
            raise sqlite3.DatabaseError(str(found).partition("\n")[0])
        database.executescript(_SCHEMA)
        self._count()
        (self._seen_version,) = database.execute("pragma data_version").fetchone()

    def _why_not(self, error: sqlite3.Error) -> str:
        return (
            f"the mailbox {self._path} is damaged ({error}). Restore it from a backup; or move it away with the files "
            "beside it, and what waited in it is lost: its callers are told that their jobs are unknown"
        )

    def close(self) -> None:
        """Nothing is asked any more."""
        self._database.close()

    def _count(self) -> None:
        self._jobs, self._bytes = self._database.execute(
            "select count(*), coalesce(sum(bytes), 0) from job"
        ).fetchone()
        (self._card_bytes,) = self._database.execute(
            "select coalesce(sum(length(card)), 0) from card"
        ).fetchone()

    # ---- asking

    def answer(self, asked: Sequence[tuple[MailRequest, Member]]) -> list[bytes | MailboxError]:
        """Do all that is asked, on disk when this returns; for each the answer, or why it was not done."""
        now = self._clock()
        changed, letters = set(self.changed), set(self.letters)
        try:
            self._database.execute("begin immediate")
            answers = [self._try(request, member, now) for request, member in asked]
            self._database.execute("commit")
            return answers
        except sqlite3.Error as error:
            self.changed, self.letters = changed, letters
            self._undo()
            if len(asked) > 1:  # one of them may still find room
                return [answer for one in asked for answer in self.answer([one])]
            return [_disk(error)]

    def look_for_others(self) -> None:
        """Another gateway of this home may have written meanwhile: then everything may have changed."""
        (version,) = self._database.execute("pragma data_version").fetchone()
        if version == self._seen_version:
            return
        self._seen_version = version
        self._count()
        for number, device, node, state in self._database.execute(
            "select number, device, node, state from job"
        ):
            self.changed.add(bytes(number))
            if state in (WAITING, RUNNING):
                self.letters.add((bytes(device), str(node)))

    def sweep(self) -> None:
        """Forget what has waited long enough."""
        now = self._clock()
        try:
            self._database.execute("begin immediate")
            gone = self._database.execute("select number from job where expires <= ?", (now,)).fetchall()
            for (number,) in gone:
                self._forget(bytes(number))
                self.changed.add(bytes(number))
            self._database.execute("commit")
            self._database.executescript("pragma incremental_vacuum(4096)")  # which takes all its steps
        except sqlite3.Error:
            self._undo()
        self._count()

    def _undo(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._database.in_transaction:
                self._database.execute("rollback")
            self._database.execute(
                "pragma wal_checkpoint(truncate)"
            )  # a disk that is full wants its room back
        self._count()

    def _try(self, request: MailRequest, member: Member, now: float) -> bytes | MailboxError:
        self._database.execute("savepoint one")
        jobs, total = self._jobs, self._bytes
        try:
            return self._ask[type(request)](request, member, now)
        except MailboxError as error:
            self._database.execute("rollback to one")
            self._jobs, self._bytes = jobs, total
            return error
        finally:
            if self._database.in_transaction:
                self._database.execute("release one")

    # ---- the caller's

    def _put_letter(self, ask: PutLetter, member: Member, now: float) -> bytes:
        job = self._find(ask.job)
        if job is None:
            job = self._new_job(ask, member, now)
        elif job.sender != member.device:
            raise MailboxError("this job is another device's", code="unknown")
        elif job.state != ARRIVING:
            return b""
        if ask.parts != job.letter_parts or ask.number >= ask.parts:
            raise MailboxError("a letter changed while it was put into the mailbox", code="bad")
        self._put_part(job, _LETTER, ask.number, ask.data)
        if self._parts(job.number, _LETTER) == job.letter_parts:
            job.state, job.expires = WAITING, now + job.keep
            self.letters.add((job.device, job.node))
            self._save(job)
        return b""

    def _new_job(self, ask: PutLetter, member: Member, now: float) -> _Job:
        limits = self.limits
        if (
            self._database.execute(
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
        (mine,) = self._database.execute(
            "select count(*) from job where account = ? and state in (?, ?, ?, ?)",
            (member.account, ARRIVING, WAITING, RUNNING, DONE),
        ).fetchone()
        if mine >= limits.account_jobs:
            raise MailboxError(
                f"{mine:,} jobs of account {member.account!r} are in the mailbox, which is the most (account_jobs). "
                "Fetch or cancel some: easynet jobs",
                code="full",
            )
        if self._jobs >= limits.jobs:
            raise MailboxError(
                f"the mailbox holds {self._jobs:,} jobs, which is the most (jobs)", code="full"
            )
        job = _Job(
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
        self._database.execute(
            f"insert into job values ({', '.join('?' * 15)})", msgspec.structs.astuple(job)
        )
        self._jobs += 1
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
        return self._part(job.number, _RESULT, ask.number)

    def _cancel(self, ask: CancelJob, member: Member, now: float) -> bytes:
        job = self._own(ask.job, member)
        if job.state in (ARRIVING, WAITING):
            self._drop_parts(job)
            job.state = CANCELLED
            self._save(job)
            self._thin_out(job.account)
        elif job.state == RUNNING and not job.cancel:
            job.cancel = 1
            self.letters.add((job.device, job.node))
            self._save(job)
        return b""

    def _acknowledge(self, ask: AcknowledgeJob, member: Member, now: float) -> bytes:
        job = self._own(ask.job, member)
        if job.state == DONE:
            self._drop_parts(job)
            job.state, job.note = FETCHED, device_text(member.device)[:8]
            self._save(job)
            self._thin_out(job.account)
        return b""

    def _find_nodes(self, ask: FindNodes, member: Member, now: float) -> bytes:
        wanted = "where name = ?1" if ask.node else "where ?1 = ''"
        found: list[KeptCard] = []
        size = 0
        for device, name, card, signature in self._database.execute(
            f"select device, name, card, signature from card {wanted} order by kept desc", (ask.node,)
        ):
            size += len(card)
            if found and size > FOUND_BYTES:
                break
            found.append(KeptCard(bytes(device), str(name), bytes(card), bytes(signature)))
        return encode_mail(found)

    # ---- the node's

    def _show_card(self, ask: ShowCard, member: Member, now: float) -> bytes:
        database = self._database
        if shutil.disk_usage(self._path.parent).free < self.limits.spare_bytes:
            raise MailboxError("the gateway's disk is full: the card was not kept", code="disk")
        self._drop_cards("name = ?", (ask.node,))
        database.execute(
            "insert into card values (?, ?, ?, ?, ?)", (ask.node, member.device, ask.card, ask.signature, now)
        )
        self._card_bytes += len(ask.card)
        self._drop_cards(
            "device = ?1 and name not in (select name from card where device = ?1 order by kept desc limit ?2)",
            (member.device, CARDS_PER_DEVICE),
        )
        self._drop_cards("name in (select name from card order by kept desc limit -1 offset ?)", (CARDS_MAX,))
        while self._card_bytes > CARDS_BYTES_MAX:
            self._drop_cards("name = (select name from card order by kept limit 1)", ())
        return b""

    def _drop_cards(self, which: str, values: tuple[object, ...]) -> None:
        for (size,) in self._database.execute(
            f"delete from card where {which} returning length(card)", values
        ).fetchall():
            self._card_bytes -= size

    def _list_letters(self, ask: ListLetters, member: Member, now: float) -> bytes:
        rows = self._database.execute(
            "select number, letter_parts, cancel from job where device = ? and node = ? and state in (?, ?) "
            "order by rowid limit ?",
            (member.device, ask.node, WAITING, RUNNING, LISTED_MAX),
        ).fetchall()
        return encode_mail(
            [LetterRecord(bytes(number), parts, bool(cancel)) for number, parts, cancel in rows]
        )

    def _read_letter(self, ask: ReadLetter, member: Member, now: float) -> bytes:
        return self._part(self._addressed(ask.job, member).number, _LETTER, ask.number)

    def _take_letter(self, ask: TakeLetter, member: Member, now: float) -> bytes:
        job = self._addressed(ask.job, member)
        if job.state == WAITING:
            job.state, job.expires = RUNNING, now + JOB_SECONDS_MAX
            self._save(job)
        return b""

    def _put_result(self, ask: PutResult, member: Member, now: float) -> bytes:
        job = self._find(ask.job)
        if job is not None and job.device == member.device and job.state in OVER:
            return b""  # it was put before
        job = self._addressed(ask.job, member)
        if ask.number >= ask.parts:
            raise MailboxError("a result has no such part", code="bad")
        if ask.parts != job.result_parts:  # the first part of it, or of one that takes its place
            self._drop_parts(job, _RESULT)
            job.result_parts = ask.parts
            self._save(job, news=False)
        self._put_part(job, _RESULT, ask.number, ask.data)
        if self._parts(job.number, _RESULT) == job.result_parts:
            self._drop_parts(job, _LETTER)
            job.state, job.expires, job.progress = DONE, now + job.keep, b""
            self._save(job)
        return b""

    def _refuse_letter(self, ask: RefuseLetter, member: Member, now: float) -> bytes:
        job = self._addressed(ask.job, member)
        self._drop_parts(job)
        job.state, job.note = REFUSED, ask.reason
        self._save(job)
        self._thin_out(job.account)
        return b""

    def _tell_progress(self, ask: TellProgress, member: Member, now: float) -> bytes:
        job = self._addressed(ask.job, member)
        if job.state == RUNNING:
            job.progress, job.expires = ask.data, now + JOB_SECONDS_MAX
            self._save(job)
        return b""

    # ---- jobs and parts

    def _find(self, number: bytes) -> _Job | None:
        row = self._database.execute("select * from job where number = ?", (number,)).fetchone()
        return _Job(*row) if row is not None else None

    def _own(self, number: bytes, member: Member) -> _Job:
        """A job of the asker's account; whether there are others is not told."""
        job = self._find(number)
        if job is None or job.account != member.account:
            raise MailboxError("no such job of this account is in the mailbox, or no longer", code="unknown")
        return job

    def _addressed(self, number: bytes, member: Member) -> _Job:
        """A job that waits for the asker, or that it has."""
        job = self._find(number)
        if job is None or job.device != member.device or job.state not in (WAITING, RUNNING):
            raise MailboxError("no such letter waits for this device", code="unknown")
        return job

    def _save(self, job: _Job, *, news: bool = True) -> None:
        if news:
            job.version += 1
            self.changed.add(job.number)
        self._database.execute(
            "update job set state = ?, result_parts = ?, bytes = ?, expires = ?, version = ?, cancel = ?, "
            "progress = ?, note = ? where number = ?",
            (
                job.state,
                job.result_parts,
                job.size,
                job.expires,
                job.version,
                job.cancel,
                job.progress,
                job.note,
                job.number,
            ),
        )

    def _put_part(self, job: _Job, side: int, number: int, data: bytes) -> None:
        limits = self.limits
        has = self._database.execute(
            "select 1 from part where job = ? and side = ? and number = ?", (job.number, side, number)
        ).fetchone()
        if has is not None:
            return
        (before,) = self._database.execute(
            "select coalesce(sum(length(data)), 0) from part where job = ? and side = ?", (job.number, side)
        ).fetchone()
        if before + len(data) > limits.letter_bytes:
            what = "result" if side == _RESULT else "call"
            raise MailboxError(
                f"a {what} of more than {limits.letter_bytes:,} bytes does not go into this gateway's mailbox "
                "(letter_bytes)",
                code="too_large",
            )
        (mine,) = self._database.execute(
            "select coalesce(sum(bytes), 0) from job where account = ?", (job.account,)
        ).fetchone()
        letter = 0  # which goes when the result is whole: a full account must not keep its own results out
        if side == _RESULT:
            (letter,) = self._database.execute(
                "select coalesce(sum(length(data)), 0) from part where job = ? and side = ?",
                (job.number, _LETTER),
            ).fetchone()
        if mine + len(data) - letter > limits.account_bytes:
            raise MailboxError(
                f"{mine:,} bytes wait for account {job.account!r} in the mailbox, and {limits.account_bytes:,} are the "
                "most (account_bytes). Fetch or cancel some jobs: easynet jobs",
                code="full",
            )
        if self._bytes + len(data) - letter > limits.bytes:
            raise MailboxError(
                f"the mailbox holds {self._bytes:,} bytes, and {limits.bytes:,} are the most (bytes)",
                code="full",
            )
        free = shutil.disk_usage(self._path.parent).free + self._free_inside()
        if free - 2 * len(data) < limits.spare_bytes:  # once into the log, once into its place
            raise MailboxError(
                f"the gateway's disk is full: {free:,} bytes are left, and {limits.spare_bytes:,} are to be "
                "(spare_bytes); nothing was kept. Its owner must make room; then try again",
                code="disk",
            )
        self._database.execute("insert into part values (?, ?, ?, ?)", (job.number, side, number, data))
        job.size += len(data)
        self._bytes += len(data)
        self._database.execute("update job set bytes = ? where number = ?", (job.size, job.number))

    def _free_inside(self) -> int:
        """What the file holds and does not use."""
        (pages,) = self._database.execute("pragma freelist_count").fetchone()
        (page_bytes,) = self._database.execute("pragma page_size").fetchone()
        return int(pages) * int(page_bytes)

    def _part(self, job: bytes, side: int, number: int) -> bytes:
        row = self._database.execute(
            "select data from part where job = ? and side = ? and number = ?", (job, side, number)
        ).fetchone()
        if row is None:
            raise MailboxError(f"there is no part {number} of this", code="unknown")
        return bytes(row[0])

    def _parts(self, job: bytes, side: int) -> int:
        (found,) = self._database.execute(
            "select count(*) from part where job = ? and side = ?", (job, side)
        ).fetchone()
        return int(found)

    def _drop_parts(self, job: _Job, *sides: int) -> None:
        for side in sides or (_LETTER, _RESULT):
            (size,) = self._database.execute(
                "select coalesce(sum(length(data)), 0) from part where job = ? and side = ?",
                (job.number, side),
            ).fetchone()
            self._database.execute("delete from part where job = ? and side = ?", (job.number, side))
            job.size -= size
            self._bytes -= size
            self._database.execute("update job set bytes = ? where number = ?", (job.size, job.number))

    def _forget(self, number: bytes) -> None:
        row = self._database.execute("select bytes from job where number = ?", (number,)).fetchone()
        self._database.execute("delete from part where job = ?", (number,))
        self._database.execute("delete from job where number = ?", (number,))
        if row is not None:
            self._jobs, self._bytes = self._jobs - 1, self._bytes - row[0]

    def _thin_out(self, account: str) -> None:
        """Of jobs that are over only so many are remembered for an account."""
        over = self._database.execute(
            "select number from job where account = ? and state in (?, ?, ?) order by expires desc limit -1 offset ?",
            (account, CANCELLED, REFUSED, FETCHED, self.limits.account_jobs),
        ).fetchall()
        for (number,) in over:
            self._forget(bytes(number))


def _disk(error: sqlite3.Error) -> MailboxError:
    if "full" in str(error):
        message = "the gateway's disk is full: nothing was kept. Its owner must make room; then try again"
    else:
        message = f"the gateway could not write to its disk: nothing was kept ({error})"
    return MailboxError(message, code="disk")
