"""What a node's home knows of a call, for whoever made it and for the node's owner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from easyremote.links.diary import read_diary
from easyremote.node.audit_entries import AuditFiles, Entry, decoded_entry
from easyremote.node.calls import Caller, current_caller

__all__ = ["Stories", "audited"]

CALLS_MAX = 32
"""So many calls may be asked about at a time: one, and those it was made again as."""


def audited(files: AuditFiles, calls: set[str]) -> list[Entry]:
    """The entries of an audit log about these calls."""
    marks = [f'"call":"{call}"'.encode() for call in calls]
    found: list[Entry] = []
    for path in files.files:
        with open(path, "rb") as file:
            for line in file:
                if any(mark in line for mark in marks) and (entry := decoded_entry(line)) is not None:
                    found.append(entry)
    return [entry for entry in found if entry.call in calls]


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

    def of(self, calls: list[str]) -> list[tuple[float, str, str, str]]:
        """What happened to these calls here: when, to which, what, and more about it.

        Only who made a call hears of it, and the node's owner of all.
        """
        wanted = {call for call in calls[:CALLS_MAX] if len(call) == 16}
        caller, files = current_caller(), self._log()
        owner = self._is_owner(caller)
        entries = audited(files, wanted) if files is not None else []
        theirs = {entry.call for entry in entries if owner or entry.device == caller.device}
        told = [
            (entry.time, entry.call, "call ended", f"{entry.outcome}, after {entry.seconds:.3f} s")
            for entry in entries
            if entry.call in theirs
        ]
        told += [
            (entry.time, entry.call, entry.name, entry.detail)
            for entry in read_diary(self._home, wanted)
            if (owner and entry.call in wanted) or entry.call in theirs
        ]
        return sorted(told)
