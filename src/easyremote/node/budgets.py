"""What grants' budgets have paid for, so that a restart does not fill them again.

One small SQLite file a home, written through to disk before the call that is paid for runs.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path

from easyremote.protocol.effects import Spent

FILE = "budgets.db"


class Budgets:
    """The budgets of one node; from any thread."""

    def __init__(self, home: Path, node: str) -> None:
        path = home / FILE
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._node = node
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode = wal", "synchronous = full", "busy_timeout = 5000"):
            self._database.execute(f"pragma {pragma}")
        self._database.execute(
            "create table if not exists used (node text not null, grant_id blob not null, budget text not null, "
            "calls integer not null, primary key (node, grant_id, budget)) strict"
        )

    def used(self) -> dict[tuple[bytes, str], int]:
        """How many calls each budget has paid for at this node."""
        with self._lock:
            rows = self._database.execute(
                "select grant_id, budget, calls from used where node = ?", (self._node,)
            ).fetchall()
        return {(bytes(grant), str(budget)): int(calls) for grant, budget, calls in rows}

    def spend(self, spends: Iterable[Spent]) -> None:
        """Count a call, on disk before this returns."""
        with self._lock:
            self._database.execute("begin immediate")
            for one in spends:
                self._database.execute(
                    "insert into used values (?, ?, ?, 1) on conflict (node, grant_id, budget) "
                    "do update set calls = calls + 1",
                    (self._node, one.grant, one.budget),
                )
            self._database.execute("commit")

    def close(self) -> None:
        """No more calls."""
        with self._lock:
            self._database.close()
