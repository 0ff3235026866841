"""What a node's home knows of a call, for whoever made it and for the node's owner."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

from easyremote.links.diary import entries_about
from easyremote.node.audit_entries import AuditFiles, Entry, decoded_entry
from easyremote.node.calls import Caller, current_caller

__all__ = ["Stories", "audited"]

CALLS_MAX = 8
"""So many calls may be asked about at a time: one, and those it was made again as."""
SEARCHED_BYTES = 16 << 20
"""How much of the newest audit log is searched for those who are not the node's owner."""
BLOCK_BYTES = 1 << 20


def audited(files: AuditFiles, calls: set[str], *, newest_bytes: int | None = None) -> list[Entry]:
    """The entries of an audit log about these calls, of all of it or of its newest bytes."""
    if not calls:
        return []
    mark = re.compile(b'"call":"(?:' + b"|".join(re.escape(call.encode()) for call in calls) + b')"')
    paths = files.files if newest_bytes is None else files.files[-1:]
    found: list[Entry] = []
    for path in paths:
        with open(path, "rb") as file:
            if newest_bytes is not None:
                file.seek(max(0, path.stat().st_size - newest_bytes))
            rest = b""
            while block := file.read(BLOCK_BYTES):  # in blocks, so that other threads have their turn
                lines, rest = _whole_lines(rest + block)
                if mark.search(lines):
                    found += [
                        entry
                        for line in lines.split(b"\n")
                        if mark.search(line) and (entry := decoded_entry(line)) is not None
                    ]
    return [entry for entry in found if entry.call in calls]


def _whole_lines(data: bytes) -> tuple[bytes, bytes]:
    """What ends with a line's end, and the rest."""
    lines, _, rest = data.rpartition(b"\n")
    return lines, rest


class Stories:
    """One node's.

    Args:
        home: Its home.
        log: Its audit log; None if it keeps none.
        is_owner: Whether a caller is its owner, or an operator.
    """

    def __init__(
        self, home: Path, log: Callable[[], AuditFiles | None], is_owner: Callable[[Caller], bool]
    ) -> None:
        self._home, self._log, self._is_owner = home, log, is_owner
        self._one_at_a_time = threading.Lock()

    def of(self, calls: list[str]) -> list[tuple[float, str, str, str]]:
        """What happened to these calls here: when, to which, what, and more about it.

        Only who made a call hears of it, and the node's owner of all.
        """
        wanted = {call for call in calls[:CALLS_MAX] if isinstance(call, str) and len(call) == 16}
        if not wanted:
            return []
        with self._one_at_a_time:
            return sorted(self._found(wanted))

    def _found(self, wanted: set[str]) -> list[tuple[float, str, str, str]]:
        caller, files = current_caller(), self._log()
        owner = self._is_owner(caller)
        entries = (
            audited(files, wanted, newest_bytes=None if owner else SEARCHED_BYTES)
            if files is not None
            else []
        )
        told = [
            (entry.time, entry.call, "call ended", f"{entry.outcome}, after {entry.seconds:.3f} s")
            for entry in entries
            if owner or entry.device == caller.device
        ]
        # A call's number is its caller's own: where another has used the same, the diary does not say whose words are whose.
        others = {entry.call for entry in entries if entry.device != caller.device}
        theirs = {entry.call for entry in entries} - others
        told += [
            (entry.time, entry.call, entry.name, entry.detail)
            for entry in entries_about(self._home, wanted if owner else theirs)
        ]
        return told
