"""The jobs this device has submitted or asked for: their secrets, and results it has fetched.

A job is written down before it leaves, and a result before the gateway may forget it. One SQLite file a home, shared by
all its processes, readable by its owner alone; from any thread. Of results so many bytes are kept; the oldest go first.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import msgspec

from easyremote.links.database import changing, open_database

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
        self._lock = threading.Lock()
        self._database = open_database(home / FILE, _SCHEMA)

    def add(self, entry: BookEntry, now: float) -> None:
        """Write a job down, unless it is there already."""
        with self._lock, changing(self._database) as database:
            _write(database, entry)
            database.execute("delete from job where forget <= ?", (now,))
            database.execute(
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
        with self._lock, changing(self._database) as database:
            _write(database, entry)
            database.execute("update job set result = ? where number = ?", (result, entry.number))
            kept = 0
            for found, size in database.execute(
                "select number, length(result) from job where result is not null order by made desc"
            ).fetchall():
                kept += size
                if kept > RESULTS_BYTES_MAX and bytes(found) != entry.number:
                    database.execute("update job set result = null where number = ?", (found,))

    def close(self) -> None:
        """Nothing more is asked."""
        with self._lock:
            self._database.close()


def _write(database: sqlite3.Connection, entry: BookEntry) -> None:
    """Write a job down, unless it is there already."""
    database.execute(
        "insert or ignore into job values (?, ?, ?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(entry)
    )
