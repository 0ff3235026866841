"""``easynet audit``: who called what at this machine's nodes, and whether the log is as they wrote it.

It reads the log and never changes it. Entries are never shown as good where the chain is broken: the
command then ends with an error that names the first entry that does not fit.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from heapq import merge
from pathlib import Path
from typing import Any

import msgspec

from easyremote.cli.output import Output
from easyremote.errors import TrustError, UsageError
from easyremote.node.audit_check import Report, newest_entries, read_audit, verify
from easyremote.node.audit_entries import AuditFiles, Entry

__all__ = ["show_audit"]

_HASH = re.compile(r"[0-9a-fA-F]{64}")
_REMEDY = (
    "The entries before it hold. Compare the file with a backup, and find who could write in its folder; move "
    "the files away to begin a new log"
)
_REMEDIES = {
    "torn": "If its node runs, ask again; if not, start the node: it sets the torn end aside and goes on",
    "truncated": "The end was cut off or rewritten, or the head is of another log or of a file long removed. "
    "Compare with a backup, and find who could write in its folder",
}
_WHAT = {
    "edited": "was edited, or the hash the next entry holds of it was",
    "missing": "is missing",
    "out of order": "is not in its place",
    "torn": "is torn",
    "truncated": "should follow, but the log ends",
}


def show_audit(
    folder: Path,
    name: str | None,
    *,
    last: int,
    as_json: bool,
    verify_only: bool,
    head: str | None,
    output: Output,
) -> None:
    """Show the newest entries, or what verifying found; either way the whole chain is verified.

    Args:
        folder: Where the logs are.
        name: The node; all nodes of the folder if None.
        last: How many entries.
        as_json: One JSON object a line.
        verify_only: Show what was found of each log instead of its entries.
        head: A hash noted earlier, which a log must hold.
        output: Where it goes.

    Raises:
        TrustError: A chain is broken, or the head is in no log.
        UsageError: There is no such log, or the options are not right.
    """
    if last < 1:
        raise UsageError(f"--last wants 1 entry or more, found {last}. Leave it out for the last 20")
    if head is not None and not _HASH.fullmatch(head.strip()):
        raise UsageError(f"--head wants a hash of 64 hexadecimal digits, found {head!r}. Give all of it")
    out = Output(as_json=True, stream=output.stream) if as_json and not output.as_json else output
    logs = read_audit(folder, name)
    if not logs:
        _none(folder, name, head, needed=verify_only, out=out)
        return
    reports = [verify(files, head=head) for files in logs]
    if verify_only:
        _show_reports(logs, reports, out)
    else:
        _show_entries(logs, last, out)
    _complain(folder, logs, reports)


def _none(folder: Path, name: str | None, head: str | None, *, needed: bool, out: Output) -> None:
    others = ", ".join(files.name for files in read_audit(folder))
    what = "no audit log" if name is None else f"no audit log of {name!r}"
    hint = f"there are those of: {others}" if others else "a node writes one from its first call on"
    if head is not None:
        raise TrustError(
            f"{what} in {folder}, but one with the head {head.strip()} was asked for; {hint}. The log was removed, "
            "or is in another folder"
        )
    if needed or others:
        raise UsageError(f"{what} in {folder}; {hint}")
    out.table([], records=[], empty=f"{what} in {folder}; {hint}")


def _show_entries(logs: list[AuditFiles], last: int, out: Output) -> None:
    each = [[(entry, files.name) for entry in newest_entries(files, last)] for files in logs]
    newest = list(merge(*each, key=lambda pair: pair[0].time))[-last:]
    out.table(
        [_row(entry, log if len(logs) > 1 else None) for entry, log in newest],
        records=[{"log": log, **msgspec.structs.asdict(entry)} for entry, log in newest],
        empty=f"no calls in the audit log {logs[0].active}",
    )


def _row(entry: Entry, log: str | None) -> dict[str, object]:
    row: dict[str, object] = {} if log is None else {"log": log}
    return row | {
        "entry": entry.number,
        "time": _when(entry.time),
        "function": entry.function,
        "caller": " ".join(part for part in (entry.name, entry.device[:8]) if part),
        "account": entry.account,
        "grant": entry.grant,
        "outcome": entry.outcome,
        "in": entry.bytes_in,
        "out": entry.bytes_out,
        "seconds": round(entry.seconds, 3),
    }


def _show_reports(logs: list[AuditFiles], reports: list[Report], out: Output) -> None:
    pairs = list(zip(logs, reports, strict=True))
    out.table(
        [_report_row(files, report) for files, report in pairs],
        records=[_record(files, report) for files, report in pairs],
        empty="",
    )


def _report_row(files: AuditFiles, report: Report) -> dict[str, object]:
    gone = f"from {report.first} on: older files are gone" if report.first else "from the first on"
    return {
        "log": files.name,
        "chain": "holds" if report.holds else "broken",
        "entries": report.entries,
        "of": gone if report.entries else "none yet",
        "first": _when(report.first_time),
        "last": _when(report.last_time),
        "head": report.head,
        "set aside": _torn(files) or "",
    }


def _record(files: AuditFiles, report: Report) -> dict[str, Any]:
    return {
        "log": files.name,
        **msgspec.structs.asdict(report),
        "files": [path.name for path in files.files],
        "set_aside": _torn(files),
    }


def _torn(files: AuditFiles) -> str | None:
    """Where a crash's torn lines went, if there were any."""
    aside = files.beside(".torn")
    return aside.name if aside.exists() else None


def _complain(folder: Path, logs: list[AuditFiles], reports: list[Report]) -> None:
    """Raise for the first broken chain; a head need be in one log only."""
    broken = [(files, report.broken) for files, report in zip(logs, reports, strict=True) if report.broken]
    if any(report.holds for report in reports):
        broken = [(files, found) for files, found in broken if found.kind != "truncated"]
    for files, found in sorted(broken, key=lambda pair: pair[1].kind == "truncated"):
        raise TrustError(
            f"the audit log {files.name!r} in {folder} is broken: entry {found.number} "
            f"{_WHAT[found.kind]} ({found.file}, line {found.line})\n"
            f"  wanted {found.wanted}\n"
            f"  found  {found.found}\n"
            f"{_REMEDIES.get(found.kind, _REMEDY)}."
        )


def _when(seconds: float | None) -> str:
    """A time in UTC, as people write it."""
    if seconds is None:
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):  # a number no calendar has
        return f"{seconds:g} s"
