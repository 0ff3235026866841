"""What a node writes down as it serves: who called, and what grants have paid for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from easyremote.node.audit import AuditLog
from easyremote.node.audit_entries import AuditFiles
from easyremote.node.budgets import Budgets
from easyremote.protocol.effects import CallEnded, Start
from easyremote.protocol.events import CallKey, Failed
from easyremote.trace import log

AUDIT_FOLDER = "audit"


class Record:
    """One node's books, in its home."""

    def __init__(self, home: Path, node: str, *, audit: bool) -> None:
        self._budgets = Budgets(home, node)
        self._paying: set[CallKey] = set()
        self._ended: list[CallEnded] = []
        self._node = node
        self._audit = AuditLog(home / AUDIT_FOLDER, node) if audit else None

    @property
    def audit_files(self) -> AuditFiles | None:
        """Where the audit log is; None if none is kept."""
        return AuditFiles(self._node, self._audit.path) if self._audit is not None else None

    def used(self) -> dict[tuple[bytes, str], int]:
        """How many calls each budget has paid for."""
        return self._budgets.used()

    def pay_then(self, start: Start, run: Callable[[Start], None], refuse: Callable[[Failed], None]) -> None:
        """Count the call against its budgets, on disk, and only then run it; on the loop."""
        self._paying.add(start.key)
        loop = asyncio.get_running_loop()
        paid = loop.run_in_executor(None, self._budgets.spend, start.spends)

        def go_on(done: asyncio.Future[None]) -> None:
            if start.key not in self._paying:
                return  # stopped meanwhile
            self._paying.discard(start.key)
            if (error := done.exception()) is None:
                run(start)
                return
            log.error(
                "a call was not run, because what its grant paid for could not be written down: %s", error
            )
            message = "the node could not write down what the grant pays for, so the call was not run"
            refuse(Failed(start.key, "error", "OSError", message, builtin="OSError"))

        paid.add_done_callback(go_on)

    def abandon(self, key: CallKey) -> None:
        """A call that was about to be paid for is not wanted any more."""
        self._paying.discard(key)

    def ended(self, call: CallEnded) -> None:
        """Write down how a call went, with those that end in the same turn of the loop; on the loop."""
        if self._audit is not None:
            if not self._ended:
                asyncio.get_running_loop().call_soon(self._write_down)
            self._ended.append(call)

    def _write_down(self) -> None:
        ended, self._ended = self._ended, []
        if ended and self._audit is not None:
            self._audit.put_calls(ended)

    def close(self) -> None:
        """What was written is on disk."""
        self._write_down()
        if self._audit is not None:
            self._audit.close()
        self._budgets.close()
