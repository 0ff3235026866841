"""What grants' budgets have paid for, so that a restart does not fill them again.

One small SQLite file a home, written through to disk before the call that is paid for runs.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from easyremote.links.database import changing, open_database
from easyremote.protocol.effects import Spent

FILE = "budgets.db"
_SCHEMA = """
create table if not exists used (
  node text not null, grant_id blob not null, budget text not null, calls integer not null,
  primary key (node, grant_id, budget)
) strict;
"""


class Budgets:
    """The budgets of one node; from any thread."""

    def __init__(self, home: Path, node: str) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._database = open_database(home / FILE, _SCHEMA)

    def used(self) -> dict[tuple[bytes, str], int]:
        """How many calls each budget has paid for at this node."""
        with self._lock:
            rows = self._database.execute(
                "select grant_id, budget, calls from used where node = ?", (self._node,)
            ).fetchall()
        return {(bytes(grant), str(budget)): int(calls) for grant, budget, calls in rows}

    def spend(self, spends: Iterable[Spent]) -> None:
        """Count a call, on disk before this returns."""
        with self._lock, changing(self._database) as database:
            for one in spends:
                database.execute(
                    "insert into used values (?, ?, ?, 1) on conflict (node, grant_id, budget) "
                    "do update set calls = calls + 1",
                    (self._node, one.grant, one.budget),
                )

    def close(self) -> None:
        """No more calls."""
        with self._lock:
            self._database.close()
