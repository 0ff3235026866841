"""Reading an audit log: which there are, what they say last, and whether the chain still holds.

It only reads, also beside a node that writes just now, and takes nothing for an entry that is none.

What a chain cannot show by itself is an end that was cut off, or a log rewritten whole. For these the
owner notes the log's *head*, the hash of its last line, in another place; ``verify`` looks for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import sleep
from typing import BinaryIO

import msgspec

from easyremote.errors import UsageError
from easyremote.node.audit_entries import NO_LINE, AuditFiles, Entry, decoded_entry, file_stem, log_name

__all__ = ["Break", "Report", "newest_entries", "read_audit", "verify"]

OPEN_ATTEMPTS_MAX = 100
REST_ATTEMPTS = 10
REST_SECONDS = 0.01


class Break(msgspec.Struct, frozen=True, kw_only=True):
    """Where a chain first does not hold.

    Attributes:
        kind: ``edited``, ``missing``, ``out of order``, ``torn``, or ``truncated``: the head is not there.
        number: The entry that was edited, is missing, or is not in its place.
        file: The file it was looked for in; empty if lines were given.
        line: The line there, from 1.
        wanted: What an untouched log has there.
        found: What is there.
    """

    kind: str
    number: int
    file: str
    line: int
    wanted: str
    found: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What ``verify`` found.

    Attributes:
        holds: Whether the chain holds from the first entry to the last.
        entries: How many entries could be read.
        first: The first one's number; above 0 the oldest files are gone, which is no fault.
        first_time: The first one's time, in seconds since 1970, UTC.
        last_time: The last one's time.
        head: The hash of the last line; note it in another place to show later that nothing was cut off.
        broken: Where the chain first does not hold.
    """

    holds: bool
    entries: int
    first: int | None
    first_time: float | None
    last_time: float | None
    head: str
    broken: Break | None = None


def read_audit(folder: Path, name: str | None = None) -> list[AuditFiles]:
    """The logs in a folder, by name.

    Args:
        folder: Where nodes keep them.
        name: Only the logs of this node: ``NAME``, and ``NAME-2`` and so on of processes beside it.

    Raises:
        UsageError: The folder cannot be read.
    """
    try:
        present = [path for path in folder.iterdir() if path.suffix == ".jsonl"]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(
            f"cannot read the audit logs in {folder}: {error.strerror}. Ask as the user who runs the node"
        ) from None
    stems = {path.name.split(".", 1)[0] for path in present}
    if name is not None:
        pattern = re.compile(re.escape(file_stem(name)) + r"(-[0-9]+)?")
        stems = {stem for stem in stems if pattern.fullmatch(stem)}
    return [AuditFiles(log_name(stem), folder / f"{stem}.jsonl") for stem in sorted(stems)]


def newest_entries(files: AuditFiles, count: int) -> list[Entry]:
    """The log's last entries, the oldest first; lines that are no entries are passed over."""
    kept: deque[Entry] = deque(maxlen=max(count, 0))
    with contextlib.ExitStack() as stack:
        opened = _open_together(files, stack)
        for _, file in reversed(opened):
            part = deque(
                (entry for line in file if (entry := decoded_entry(line)) is not None), maxlen=kept.maxlen
            )
            for entry in reversed(part):
                if len(kept) < count:
                    kept.appendleft(entry)
            if len(kept) == count:
                break
    return list(kept)


def verify(source: AuditFiles | Path | Iterable[bytes], *, head: str | None = None) -> Report:
    """Whether a log is as its node wrote it.

    Args:
        source: A log; the path of its active file, which brings the older ones beside it; or its lines.
        head: A head noted earlier: the chain must hold it, or its end was cut off.

    Raises:
        UsageError: A file cannot be read.
    """
    check = _Check(head.strip().lower() if head is not None else None)
    if isinstance(source, Path):
        source = AuditFiles(log_name(source.stem), source)
    lines = _lines_on_disk(source) if isinstance(source, AuditFiles) else _lines_given(source)
    for line in lines:
        check.take(line)
    return check.report()


class _Line(msgspec.Struct, frozen=True, gc=False):
    """A line and where it is."""

    file: str
    number: int
    data: bytes
    whole: bool


class _Check:
    """The chain so far, and where it first broke."""

    def __init__(self, head: str | None) -> None:
        self._wanted_head = head
        self._head_seen = head is None
        self._entries = 0
        self._first: Entry | None = None
        self._last: Entry | None = None
        self._expected = 0
        self._hash = NO_LINE
        self._at = _Line("", 0, b"", True)
        self._broken: Break | None = None
        self._unreadable: _Line | None = None

    def take(self, line: _Line) -> None:
        """Look at the next line."""
        entry = decoded_entry(line.data) if line.whole else None
        if entry is not None:
            self._entries += 1
            self._last = entry
        if self._broken is not None:
            self._after_the_break(entry)
        else:
            self._broken = self._fault(line, entry)
        if self._first is None and entry is not None:
            self._first = entry
        self._hash = hashlib.sha256(line.data).hexdigest()
        if self._broken is None:
            self._expected += 1
            self._head_seen = self._head_seen or self._hash == self._wanted_head
        self._at = line

    def report(self) -> Report:
        """What was found, once every line was looked at."""
        broken = self._broken
        if broken is not None and self._unreadable is self._at:
            broken = msgspec.structs.replace(broken, kind="torn")
        if broken is None and not self._head_seen:
            broken = self._truncated()
        first, last = self._first, self._last
        return Report(
            holds=broken is None,
            entries=self._entries,
            first=first.number if first else None,
            first_time=first.time if first else None,
            last_time=last.time if last else None,
            head=self._hash,
            broken=broken,
        )

    def _fault(self, line: _Line, entry: Entry | None) -> Break | None:
        if entry is None:
            self._unreadable = line
            return self._break(
                "edited", line, f"entry {self._expected}", f"{len(line.data):,} bytes, no entry"
            )
        if self._first is None:
            self._expected = max(entry.number, 0) if entry.previous != NO_LINE else 0
            self._hash = entry.previous if self._expected else NO_LINE
            self._head_seen = self._head_seen or self._hash == self._wanted_head
        follows = entry.previous == self._hash
        if entry.number != self._expected:
            wanted, found = f"entry {self._expected}", f"entry {entry.number}"
            if follows:  # in its place, with another number
                return self._break("edited", line, wanted, found)
            return self._break(
                "missing" if entry.number > self._expected else "out of order", line, wanted, found
            )
        if follows:
            return None
        wanted, found = f"the hash {entry.previous}, which the next entry holds", f"the hash {self._hash}"
        if self._first is None:
            return self._break("edited", line, f"no hash of an earlier line: {NO_LINE}", entry.previous)
        return self._break("edited", self._at, wanted, found, number=entry.number - 1)

    def _after_the_break(self, entry: Entry | None) -> None:
        """An entry that was missed and comes later was moved."""
        broken = self._broken
        if broken and entry and broken.kind == "missing" and entry.number == broken.number:
            self._broken = msgspec.structs.replace(broken, kind="out of order")

    def _break(self, kind: str, line: _Line, wanted: str, found: str, *, number: int | None = None) -> Break:
        number = self._expected if number is None else number
        return Break(kind=kind, number=number, file=line.file, line=line.number, wanted=wanted, found=found)

    def _truncated(self) -> Break:
        return Break(
            kind="truncated",
            number=self._expected,
            file=self._at.file,
            line=self._at.number + 1,
            wanted=f"a line with the hash {self._wanted_head}",
            found=f"none among {self._entries:,} entries, the last of which has {self._hash}",
        )


def _lines_given(lines: Iterable[bytes]) -> Iterator[_Line]:
    for number, line in enumerate(lines, 1):
        yield _Line("", number, line.removesuffix(b"\n"), True)


def _lines_on_disk(files: AuditFiles) -> Iterator[_Line]:
    with contextlib.ExitStack() as stack:
        for path, file in _open_together(files, stack):
            number = 0
            while line := file.readline():
                number += 1
                if not line.endswith(b"\n"):
                    line = _rest(line, file)
                yield _Line(path.name, number, line.removesuffix(b"\n"), line.endswith(b"\n"))


def _rest(line: bytes, file: BinaryIO) -> bytes:
    """A line with the end its node is writing just now; one that does not come is torn off."""
    for _ in range(REST_ATTEMPTS):
        line += file.readline()
        if line.endswith(b"\n"):
            break
        sleep(REST_SECONDS)
    return line


def _open_together(files: AuditFiles, stack: contextlib.ExitStack) -> list[tuple[Path, BinaryIO]]:
    """Open all files of a log as they are between two rotations, the oldest first."""
    for _ in range(OPEN_ATTEMPTS_MAX):
        with contextlib.ExitStack() as attempt:
            try:
                opened: list[tuple[Path, BinaryIO]] = [
                    (path, attempt.enter_context(path.open("rb"))) for path in files.files
                ]
                here = [(path, path.stat().st_ino) for path in files.files]
            except FileNotFoundError:  # renamed just now
                continue
            except OSError as error:
                raise UsageError(
                    f"cannot read the audit log {error.filename}: {error.strerror}. Ask as the user who runs "
                    "the node"
                ) from None
            if [(path, os.fstat(file.fileno()).st_ino) for path, file in opened] != here:
                continue
            if not opened:
                raise UsageError(
                    f"no audit log {files.active}. A node makes one with its first call; look for the "
                    "folder it keeps its logs in"
                )
            stack.enter_context(attempt.pop_all())
            return opened
    raise UsageError(
        f"the audit log {files.active} changes its files faster than they can be opened. Ask again, or give "
        "it larger files"
    )
