"""The jobs this device has submitted or asked for: their secrets, and results it has fetched.

A job is written down before it leaves, and a result before the gateway may forget it. One SQLite file a home, shared by
all its processes, readable by its owner alone; from any thread. Of results so many bytes are kept; the oldest go first.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import msgspec

__all__ = ["BookEntry", "JobBook"]

FILE = "jobs.db"
RESULTS_BYTES_MAX = 1 << 30
JOBS_MAX = 10_000
_SCHEMA = """
create table if not exists job (
  number blob primary key, network blob not null, secret blob not null, function text not null, node text not null,
  made real not null, forget real not null, result blob
) strict;
create index if not exists job_made on job (network, made);
"""


class BookEntry(msgspec.Struct, frozen=True):
    """A job as this device knows it; ``result`` is sealed, None while it is not here."""

    number: bytes
    network: bytes
    secret: bytes
    function: str
    node: str
    made: float
    forget: float
    result: bytes | None = None


class JobBook:
    """One home's book.

    Args:
        home: The device's home folder.
    """

    def __init__(self, home: Path) -> None:
        path = home / FILE
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in ("busy_timeout = 10000", "journal_mode = wal", "synchronous = full"):
            self._database.execute(f"pragma {pragma}")
        self._database.executescript(_SCHEMA)

    def add(self, entry: BookEntry, now: float) -> None:
        """Write a job down, unless it is there already."""
        with self._lock:
            self._database.execute(
                "insert or ignore into job values (?, ?, ?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(entry)
            )
            self._database.execute("delete from job where forget <= ?", (now,))
            self._database.execute(
                "delete from job where number in (select number from job order by made desc limit -1 offset ?)",
                (JOBS_MAX,),
            )

    def remove(self, number: bytes) -> None:
        """It was not submitted after all."""
        with self._lock:
            self._database.execute("delete from job where number = ?", (number,))

    def get(self, number: bytes) -> BookEntry | None:
        """A job, if it is known here."""
        with self._lock:
            row = self._database.execute("select * from job where number = ?", (number,)).fetchone()
        return BookEntry(*row) if row is not None else None

    def entries(self, network: bytes, most: int = 1000) -> list[BookEntry]:
        """The newest jobs of a network, without their results' bytes."""
        with self._lock:
            rows = self._database.execute(
                "select number, network, secret, function, node, made, forget, "
                "case when result is null then null else x'' end from job where network = ? order by made desc limit ?",
                (network, most),
            ).fetchall()
        return [BookEntry(*row) for row in rows]

    def keep_result(self, entry: BookEntry, result: bytes) -> None:
        """A job's result, on disk before this returns; the job is written down if it is not."""
        number = entry.number
        with self._lock:
            self._database.execute("begin immediate")
            try:
                self._database.execute(
                    "insert or ignore into job values (?, ?, ?, ?, ?, ?, ?, ?)",
                    msgspec.structs.astuple(entry),
                )
                self._database.execute("update job set result = ? where number = ?", (result, number))
                kept = 0
                for found, size in self._database.execute(
                    "select number, length(result) from job where result is not null order by made desc"
                ).fetchall():
                    kept += size
                    if kept > RESULTS_BYTES_MAX and bytes(found) != number:
                        self._database.execute("update job set result = null where number = ?", (found,))
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("rollback")
                raise
            self._database.execute("commit")

    def close(self) -> None:
        """Nothing more is asked."""
        with self._lock:
            self._database.close()
