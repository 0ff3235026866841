"""A database of one's own: SQLite with a write-ahead log, synced at every commit, readable by its owner alone.

Gateways, nodes and clients keep in such files what they must not forget.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["changing", "open_database"]

BUSY_SECONDS = 5.0
"""How long another process of this home may hold it."""


def open_database(path: Path, schema: str, *, pragmas: Sequence[str] = ()) -> sqlite3.Connection:
    """Open it, made if it is not there; it may be used from any thread, by one at a time.

    Args:
        path: The file; its folder is made as well.
        schema: Statements that make what is not there yet.
        pragmas: What is to be set before that, besides the usual.

    Raises:
        sqlite3.Error: It is damaged, or in use.
        OSError: It cannot be read or written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        for pragma in (*pragmas, "journal_mode = wal", "synchronous = full"):
            database.execute(f"pragma {pragma}")
        database.executescript(schema)
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def changing(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All that is changed inside or nothing, and on disk when done."""
    database.execute("begin immediate")
    try:
        yield database
        database.execute("commit")
    except BaseException:
        if database.in_transaction:
            database.execute("rollback")
        raise
