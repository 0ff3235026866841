"""What a node must not forget of jobs, whatever ends its process: which began, and results nobody has yet.

A job is written down before its function runs, so that none runs twice; and its result, sealed, before the gateway is
told of it, so that none is lost. The keys that letters are sealed to are here too, because they must outlive the process.
SQLite, synced before anything goes on; from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from easyremote.links.database import changing, open_database
from easyremote.trust.handshake import PREKEY_SEED_BYTES
from easyremote.wire.limits import JOB_SECONDS_MAX

__all__ = ["BEGAN", "DELIVERED", "FINISHED", "Journal"]

BEGAN, FINISHED, DELIVERED = "began", "finished", "delivered"
"""Its function was started; its result is here; its result is in the gateway's mailbox."""
KEY_SECONDS = 7 * 24 * 3600.0
"""So long letters are sealed to one key."""
KEY_KEPT_SECONDS = JOB_SECONDS_MAX + 24 * 3600.0
"""So long a key is kept once the next has taken its place: then no letter to it can wait any more."""
_SCHEMA = """
create table if not exists job (number blob primary key, state text not null, forget real not null) strict;
create table if not exists part (
  job blob not null, number integer not null, data blob not null, primary key (job, number)
) strict;
create table if not exists key (seed blob primary key, made real not null, replaced real) strict;
"""


class Journal:
    """The journal of one node.

    Args:
        path: The database; whoever may read it can open letters, so it is its owner's alone.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._database = open_database(path, _SCHEMA, pragmas=("secure_delete = on",))

    # ---- keys

    def keys(self, now: float, entropy: Callable[[int], bytes]) -> list[bytes]:
        """The seeds of the keys that letters may be sealed to, the newest first; a new one is made when it is due."""
        with self._lock, changing(self._database) as database:
            newest = database.execute("select max(made) from key where replaced is null").fetchone()[0]
            if newest is None or newest + KEY_SECONDS <= now:
                database.execute("update key set replaced = ? where replaced is null", (now,))
                database.execute("insert into key values (?, ?, null)", (entropy(PREKEY_SEED_BYTES), now))
            database.execute("delete from key where replaced <= ?", (now - KEY_KEPT_SECONDS,))
            rows = database.execute("select seed from key order by made desc, rowid desc").fetchall()
        return [bytes(seed) for (seed,) in rows]

    # ---- jobs

    def state(self, job: bytes) -> str:
        """How far it is; empty if it never began."""
        with self._lock:
            row = self._database.execute("select state from job where number = ?", (job,)).fetchone()
        return str(row[0]) if row is not None else ""

    def begin(self, job: bytes, forget: float, *, again: bool) -> bool:
        """Its function is about to run; False if it must not, because it began before, here or in another process.

        Args:
            job: The job.
            forget: From when on nobody can ask for it any more.
            again: Whether it may run although it began before, and came to nothing.
        """
        with self._lock, changing(self._database) as database:
            row = database.execute("select state from job where number = ?", (job,)).fetchone()
            may = row is None or (again and row[0] == BEGAN)
            if may:
                database.execute("insert or replace into job values (?, ?, ?)", (job, BEGAN, forget))
        return may

    def finish(self, job: bytes, parts: list[bytes], forget: float) -> None:
        """This is its result."""
        with self._lock, changing(self._database) as database:
            database.execute("insert or replace into job values (?, ?, ?)", (job, FINISHED, forget))
            database.execute("delete from part where job = ?", (job,))
            database.executemany(
                "insert into part values (?, ?, ?)",
                [(job, number, part) for number, part in enumerate(parts)],
            )

    def parts(self, job: bytes) -> int:
        """Of how many parts its result is; 0 if it has none, or none any more."""
        with self._lock:
            row = self._database.execute("select count(*) from part where job = ?", (job,)).fetchone()
        return int(row[0])

    def part(self, job: bytes, number: int) -> bytes:
        """One part of its result."""
        with self._lock:
            row = self._database.execute(
                "select data from part where job = ? and number = ?", (job, number)
            ).fetchone()
        return bytes(row[0]) if row is not None else b""

    def delivered(self, job: bytes) -> None:
        """The gateway has its result on disk."""
        with self._lock, changing(self._database) as database:
            database.execute("delete from part where job = ?", (job,))
            database.execute("update job set state = ? where number = ?", (DELIVERED, job))

    def undelivered(self) -> list[bytes]:
        """Jobs whose results the gateway does not have yet, or not surely."""
        with self._lock:
            rows = self._database.execute("select number from job where state = ?", (FINISHED,)).fetchall()
        return [bytes(number) for (number,) in rows]

    def forget_old(self, now: float) -> None:
        """Whatever nobody can ask for any more."""
        with self._lock, changing(self._database) as database:
            database.execute(
                "delete from part where job in (select number from job where forget <= ?)", (now,)
            )
            database.execute("delete from job where forget <= ?", (now,))

    def close(self) -> None:
        """Nothing more is written."""
        with self._lock:
            self._database.close()
