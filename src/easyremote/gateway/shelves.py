"""What the mailbox keeps, and where: jobs, the parts of their letters and results, and nodes' cards, in one SQLite file.

It knows the bounds on what waits, and nothing of who may ask for what.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import msgspec

from easyremote.errors import MailboxError
from easyremote.links.database import open_database
from easyremote.protocol.limits import MailboxLimits
from easyremote.wire.mail import ShowCard

__all__ = ["LETTER", "RESULT", "Job", "Shelves"]

CHECKED_BYTES = 256 << 20
"""A file of this size is read through when it is opened."""
CARDS_MAX, CARDS_PER_DEVICE, CARDS_BYTES_MAX = 10_000, 64, 256 << 20
LETTER, RESULT = 0, 1
"""The two sides of a job."""

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


class Job(msgspec.Struct):
    """A job, as its row has it; ``size`` is what its parts take."""

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


class Shelves:
    """One file's; belongs to one thread.

    Args:
        path: The database.
        limits: What it holds at most.

    Raises:
        MailboxError: The file is damaged.
    """

    def __init__(self, path: Path, limits: MailboxLimits) -> None:
        self._path, self._limits = path, limits
        self.changed: set[bytes] = set()
        """Jobs of which there is news."""
        self.jobs = self.bytes = self.card_bytes = 0
        try:
            self.database = open_database(path, _SCHEMA, pragmas=("auto_vacuum = incremental",))
            try:
                self._check()
                self.count()
                (self._seen_version,) = self.database.execute("pragma data_version").fetchone()
            except BaseException:
                self.database.close()
                raise
        except sqlite3.Error as error:
            raise MailboxError(self._why_not(error), code="damaged") from None

    def _check(self) -> None:
        """See that the file is whole: read through if it is small, else by its length."""
        database, size = self.database, self._path.stat().st_size
        if size <= CHECKED_BYTES:
            found = database.execute("pragma quick_check(1)").fetchone()[0]
        else:
            pages = database.execute("pragma page_count").fetchone()[0]
            page_bytes = database.execute("pragma page_size").fetchone()[0]
            found = "ok" if pages * page_bytes >= size - page_bytes else "it is shorter than it was"
        if found != "ok":
            raise sqlite3.DatabaseError(str(found).partition("\n")[0])

    def _why_not(self, error: sqlite3.Error) -> str:
        return (
            f"the mailbox {self._path} is damaged ({error}). Restore it from a backup; or move it away with the files "
            "beside it, and what waited in it is lost: its callers are told that their jobs are unknown"
        )

    def count(self) -> None:
        """What there is, counted."""
        self.jobs, self.bytes = self.database.execute(
            "select count(*), coalesce(sum(bytes), 0) from job"
        ).fetchone()
        (self.card_bytes,) = self.database.execute(
            "select coalesce(sum(length(card)), 0) from card"
        ).fetchone()

    def others_wrote(self) -> bool:
        """Whether another process has changed the file since this was last asked."""
        (version,) = self.database.execute("pragma data_version").fetchone()
        if version == self._seen_version:
            return False
        self._seen_version = version
        self.count()
        return True

    def counted(self) -> tuple[int, int, int]:
        """The counts, for ``restore`` should what follows be undone."""
        return self.jobs, self.bytes, self.card_bytes

    def restore(self, counted: tuple[int, int, int]) -> None:
        """They are as they were."""
        self.jobs, self.bytes, self.card_bytes = counted

    def undo(self) -> None:
        """Nothing of what was being written stays."""
        with contextlib.suppress(sqlite3.Error):
            if self.database.in_transaction:
                self.database.execute("rollback")
            # a disk that is full wants its room back
            self.database.execute("pragma wal_checkpoint(truncate)")
        self.count()

    def find(self, number: bytes) -> Job | None:
        """A job, if it is here."""
        row = self.database.execute("select * from job where number = ?", (number,)).fetchone()
        return Job(*row) if row is not None else None

    def save(self, job: Job, *, news: bool = True) -> None:
        """A job has changed; with ``news`` those who ask for it are told."""
        if news:
            job.version += 1
            self.changed.add(job.number)
        self.database.execute(
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

    def put_part(self, job: Job, side: int, number: int, data: bytes) -> None:
        """Keep a part, unless it is here.

        Raises:
            MailboxError: It would be over a bound, or the disk is full.
        """
        limits = self._limits
        has = self.database.execute(
            "select 1 from part where job = ? and side = ? and number = ?", (job.number, side, number)
        ).fetchone()
        if has is not None:
            return
        (before,) = self.database.execute(
            "select coalesce(sum(length(data)), 0) from part where job = ? and side = ?", (job.number, side)
        ).fetchone()
        if before + len(data) > limits.letter_bytes:
            what = "result" if side == RESULT else "call"
            raise MailboxError(
                f"a {what} of more than {limits.letter_bytes:,} bytes does not go into this gateway's mailbox "
                "(letter_bytes)",
                code="too_large",
            )
        (mine,) = self.database.execute(
            "select coalesce(sum(bytes), 0) from job where account = ?", (job.account,)
        ).fetchone()
        letter = 0  # which goes when the result is whole: a full account must not keep its own results out
        if side == RESULT:
            (letter,) = self.database.execute(
                "select coalesce(sum(length(data)), 0) from part where job = ? and side = ?",
                (job.number, LETTER),
            ).fetchone()
        if mine + len(data) - letter > limits.account_bytes:
            raise MailboxError(
                f"{mine:,} bytes wait for account {job.account!r} in the mailbox, and {limits.account_bytes:,} are the "
                "most (account_bytes). Fetch or cancel some jobs: easynet jobs",
                code="full",
            )
        if self.bytes + len(data) - letter > limits.bytes:
            raise MailboxError(
                f"the mailbox holds {self.bytes:,} bytes, and {limits.bytes:,} are the most (bytes)",
                code="full",
            )
        free = shutil.disk_usage(self._path.parent).free + self.free_inside()
        if free - 2 * len(data) < limits.spare_bytes:  # once into the log, once into its place
            raise MailboxError(
                f"the gateway's disk is full: {free:,} bytes are left, and {limits.spare_bytes:,} are to be "
                "(spare_bytes); nothing was kept. Its owner must make room; then try again",
                code="disk",
            )
        self.database.execute("insert into part values (?, ?, ?, ?)", (job.number, side, number, data))
        job.size += len(data)
        self.bytes += len(data)
        self.database.execute("update job set bytes = ? where number = ?", (job.size, job.number))

    def free_inside(self) -> int:
        """What the file holds and does not use, in bytes."""
        (pages,) = self.database.execute("pragma freelist_count").fetchone()
        (page_bytes,) = self.database.execute("pragma page_size").fetchone()
        return int(pages) * int(page_bytes)

    def part(self, job: bytes, side: int, number: int) -> bytes:
        """One part.

        Raises:
            MailboxError: It is not here.
        """
        row = self.database.execute(
            "select data from part where job = ? and side = ? and number = ?", (job, side, number)
        ).fetchone()
        if row is None:
            raise MailboxError(f"there is no part {number} of this", code="unknown")
        return bytes(row[0])

    def parts(self, job: bytes, side: int) -> int:
        """How many parts there are."""
        (found,) = self.database.execute(
            "select count(*) from part where job = ? and side = ?", (job, side)
        ).fetchone()
        return int(found)

    def drop_parts(self, job: Job, *sides: int) -> None:
        """Forget a job's parts, of one side or of both."""
        for side in sides or (LETTER, RESULT):
            (size,) = self.database.execute(
                "select coalesce(sum(length(data)), 0) from part where job = ? and side = ?",
                (job.number, side),
            ).fetchone()
            self.database.execute("delete from part where job = ? and side = ?", (job.number, side))
            job.size -= size
            self.bytes -= size
            self.database.execute("update job set bytes = ? where number = ?", (job.size, job.number))

    def forget(self, number: bytes) -> None:
        """Forget a job."""
        row = self.database.execute("select bytes from job where number = ?", (number,)).fetchone()
        self.database.execute("delete from part where job = ?", (number,))
        self.database.execute("delete from job where number = ?", (number,))
        if row is not None:
            self.jobs, self.bytes = self.jobs - 1, self.bytes - row[0]

    # ---- cards

    def keep_card(self, ask: ShowCard, device: bytes, now: float) -> None:
        """Keep a node's card in place of the one before.

        Raises:
            MailboxError: The disk is full.
        """
        database = self.database
        if shutil.disk_usage(self._path.parent).free < self._limits.spare_bytes:
            raise MailboxError("the gateway's disk is full: the card was not kept", code="disk")
        self._drop_cards("name = ?", (ask.node,))
        database.execute(
            "insert into card values (?, ?, ?, ?, ?)", (ask.node, device, ask.card, ask.signature, now)
        )
        self.card_bytes += len(ask.card)
        self._drop_cards(
            "device = ?1 and name not in (select name from card where device = ?1 order by kept desc limit ?2)",
            (device, CARDS_PER_DEVICE),
        )
        self._drop_cards("name in (select name from card order by kept desc limit -1 offset ?)", (CARDS_MAX,))
        while self.card_bytes > CARDS_BYTES_MAX:
            self._drop_cards("name = (select name from card order by kept limit 1)", ())

    def _drop_cards(self, which: str, values: tuple[object, ...]) -> None:
        for (size,) in self.database.execute(
            f"delete from card where {which} returning length(card)", values
        ).fetchall():
            self.card_bytes -= size
