"""The node's audit log: who called what, when, how it ended, and how many bytes went in and out.

It is append-only and hash-chained: each line holds the SHA-256 of the line before it, so a line edited,
removed or moved later is found. It never holds contents: an entry has no field for an argument or a
result. It never stops a call by raising: what cannot be written now is written later.

What a chain cannot show by itself is an end that was cut off, or a log rewritten whole. For these the
owner notes the log's *head*, the hash of its last line, in another place; ``verify`` looks for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from math import isfinite
from pathlib import Path
from time import sleep
from time import time as clock
from types import TracebackType
from typing import Any, BinaryIO, TypeAlias

import msgspec

from easyremote.errors import UsageError
from easyremote.trace import log

__all__ = [
    "NO_LINE",
    "AuditFiles",
    "AuditLog",
    "Break",
    "Entry",
    "Report",
    "newest_entries",
    "read_audit",
    "verify",
]

NO_LINE = "0" * 64
"""What the very first entry holds in place of a hash."""

GATHER_SECONDS = 0.2
RETRY_SECONDS = 1.0
CLOSE_SECONDS = 5.0
WAITING_ENTRIES_MAX = 200_000
FILE_BYTES_MAX = 64 << 20
FILES_MAX = 4
CHUNK_BYTES = 256 * 1024
TAIL_BYTES = 64 * 1024
TEXT_CHARACTERS_MAX = 512
LOGS_OF_ONE_NAME_MAX = 99
OPEN_ATTEMPTS_MAX = 100
REST_ATTEMPTS = 10
REST_SECONDS = 0.01
NAME_BYTES_MAX = 200
INTEGER_MAX = 2**63 - 1


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One call that ended, on one line of JSON.

    Attributes:
        number: From 0, without gaps.
        time: When it ended, in seconds since 1970, UTC.
        call: The call's id as text.
        function: The function's name.
        device: The caller's device id as text.
        name: What the caller calls itself.
        account: The caller's account, empty if it has none.
        grant: The short id of the grant used, or empty.
        outcome: ``ok``, ``error TypeName``, ``timeout``, ``cancelled`` or ``refused REASON``.
        bytes_in: Bytes of the arguments.
        bytes_out: Bytes of the results.
        seconds: How long it took.
        previous: SHA-256, in hexadecimal, of the line before without its newline; 64 zeros if there was none.
    """

    number: int
    time: float
    call: str
    function: str
    device: str
    name: str
    account: str
    grant: str
    outcome: str
    bytes_in: int
    bytes_out: int
    seconds: float
    previous: str


_Raw: TypeAlias = tuple[float, str, str, str, str, str, str, str, int, int, float]
"""An entry's fields in their order, without ``number`` and ``previous``."""

_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Entry)


class _GivenUpError(Exception):
    """The log is closing and the disk takes nothing."""


class AuditLog:
    """An open log that this process alone writes.

    ``append`` may be called from any thread and only queues; one thread of its own numbers, chains,
    writes and syncs what gathered, five times a second while there is something and never while there is
    not. A log another process holds is left to it: this one takes ``NAME-2``, ``NAME-3`` and so on.

    Args:
        folder: Where the files go; it is made, and readable by its owner alone.
        name: The node's name; the file is ``NAME.jsonl``.
        bytes_max: A file larger than this becomes ``NAME.1.jsonl``, and a new one is begun.
        files_max: How many files are kept; the oldest goes.

    Raises:
        UsageError: The folder cannot be used, or fewer than two files are to be kept.
    """

    def __init__(
        self, folder: Path, name: str, *, bytes_max: int = FILE_BYTES_MAX, files_max: int = FILES_MAX
    ) -> None:
        if files_max < 2 or bytes_max < 1:
            raise UsageError(
                f"an audit log keeps 2 files or more of 1 byte or more, found files_max={files_max}, "
                f"bytes_max={bytes_max}. Leave them out for {FILES_MAX} files of {FILE_BYTES_MAX:,} bytes"
            )
        self._bytes_max, self._files_max = bytes_max, files_max
        self._waiting: deque[_Raw] = deque()
        self._appended = self._written = self._hurry_to = 0
        self._idle = self._closing = self._abandoned = self._late = False
        self._troubles: set[str] = set()
        self._left = memoryview(b"")
        self._file, self._size, self._rotate_above = -1, 0, bytes_max
        self._number, self._head = 0, NO_LINE
        lock = threading.Lock()
        self._work = threading.Condition(lock)  # for the writer: something to do
        self._done = threading.Condition(lock)  # for the others: something was done
        try:
            _private_folder(folder)
            self._files, self._lock_file = _take(folder, name)
            try:
                self._resume()
            except BaseException:
                os.close(self._lock_file)
                raise
        except OSError as error:
            raise UsageError(
                f"cannot keep an audit log in {folder}: {error.strerror or error}. Make the folder writable "
                "for this user, or choose another"
            ) from None
        self._thread = threading.Thread(target=self._run, name=f"audit {name}", daemon=True)
        self._thread.start()

    @property
    def path(self) -> Path:
        """The file that is written now."""
        return self._files.active

    @property
    def head(self) -> str:
        """The hash of the newest line; after ``flush``, of the newest line on disk."""
        return self._head

    def append(
        self,
        *,
        call: str,
        function: str,
        device: str,
        name: str,
        account: str,
        grant: str,
        outcome: str,
        bytes_in: int,
        bytes_out: int,
        seconds: float,
        time: float | None = None,
    ) -> None:
        """Queue one entry; the fields are those of ``Entry``, ``time`` is now unless given.

        It blocks only while 200,000 entries wait for the disk: a call is not forgotten for want of room.
        """
        when = clock() if time is None else time
        raw = (when, call, function, device, name, account, grant, outcome, bytes_in, bytes_out, seconds)
        with self._work:
            if self._appended - self._written >= WAITING_ENTRIES_MAX:
                self._wait_for_room()
            if self._closing:
                self._too_late()
                return
            self._waiting.append(raw)
            self._appended += 1
            if self._idle:
                self._idle = False
                self._work.notify()

    def flush(self, timeout_seconds: float | None = None) -> bool:
        """Wait until everything appended before is on disk; whether it is."""
        with self._work:
            target = self._appended
            self._hurry_to = max(self._hurry_to, target)
            self._work.notify()
            return self._done.wait_for(
                lambda: self._written >= target or self._abandoned, timeout_seconds
            ) and (self._written >= target)

    def close(self, timeout_seconds: float = CLOSE_SECONDS) -> None:
        """Write what waits, end the thread and let go of the file; closing twice is one closing.

        What a failing disk has not taken when the time is up is lost, and the log says how much.
        """
        with self._work:
            self._closing = True
            self._work.notify()
            self._done.notify_all()
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            with self._work:
                self._abandoned = True
                self._work.notify()
            self._thread.join(RETRY_SECONDS)
        with self._work:
            lost, self._appended = self._appended - self._written, self._written
        if lost:
            log.error(
                "the audit log %s lost its last %d entries: the disk did not take them", self.path, lost
            )

    def __enter__(self) -> AuditLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wait_for_room(self) -> None:
        """Called with the lock held: have the writer hurry, and wait."""
        while self._appended - self._written >= WAITING_ENTRIES_MAX and not self._closing:
            self._hurry_to = self._appended
            self._work.notify()
            self._done.wait()

    def _too_late(self) -> None:
        if not self._late:
            self._late = True
            log.warning("a call ended after the audit log %s was closed; it is not in the log", self.path)

    # From here on, the writer's thread alone.

    def _run(self) -> None:
        try:
            while batch := self._gather():
                self._store(batch)
                with self._work:
                    self._written += len(batch)
                    self._done.notify_all()
        except _GivenUpError:
            pass
        except Exception:
            log.exception("the audit log %s stopped; calls go on without it", self.path)
        finally:
            os.close(self._file)
            os.close(self._lock_file)
            with self._work:
                self._closing = self._abandoned = True
                self._done.notify_all()

    def _gather(self) -> deque[_Raw]:
        """What came in, a moment after the first of it; nothing means the end."""
        with self._work:
            while not self._waiting and not self._closing:
                self._idle = True
                self._work.wait()
            self._idle = False
            self._work.wait_for(lambda: self._closing or self._hurry_to > self._written, GATHER_SECONDS)
            batch, self._waiting = self._waiting, deque()
            return batch

    def _store(self, batch: deque[_Raw]) -> None:
        chunk = bytearray()
        for raw in batch:
            chunk += self._chain(raw)
            if len(chunk) >= CHUNK_BYTES or self._size + len(chunk) > self._rotate_above:
                self._put(bytes(chunk))
                chunk.clear()
        self._put(bytes(chunk))
        self._insist("written", lambda: os.fsync(self._file))

    def _chain(self, raw: _Raw) -> bytes:
        """The entry's line; the next will hold its hash."""
        try:
            line = _line(self._number, raw, self._head)
        except Exception:  # what no JSON holds, such as half a surrogate pair
            line = _line(self._number, _tamed(raw), self._head)
        self._head = hashlib.sha256(line).hexdigest()
        self._number += 1
        return line + b"\n"

    def _put(self, chunk: bytes) -> None:
        if not chunk:
            return
        if self._size > self._rotate_above:
            try:
                self._rotate()
                self._troubles.discard("rotated")
                self._rotate_above = self._bytes_max
            except OSError as error:
                self._trouble("rotated", error)
                self._rotate_above = self._size + CHUNK_BYTES
        self._left = memoryview(chunk)
        self._insist("written", self._write_left)

    def _write_left(self) -> None:
        """Write the rest; after a failure midway it goes on where that one stopped."""
        while self._left:
            count = os.write(self._file, self._left)
            self._left = self._left[count:]
            self._size += count

    def _insist(self, what: str, action: Callable[[], None]) -> None:
        while True:
            try:
                action()
            except OSError as error:
                self._trouble(what, error)
            else:
                if what in self._troubles:
                    self._troubles.discard(what)
                    log.warning("the audit log %s is %s again; nothing was lost", self.path, what)
                return
            with self._work:
                if self._work.wait_for(lambda: self._abandoned, RETRY_SECONDS):
                    raise _GivenUpError

    def _trouble(self, what: str, error: OSError) -> None:
        """Say it once, until it is over."""
        if what not in self._troubles:
            self._troubles.add(what)
            log.error(
                "the audit log %s cannot be %s: %s. Make room on its disk; it is tried again every %g s",
                self.path,
                what,
                error.strerror or error,
                RETRY_SECONDS,
            )

    def _rotate(self) -> None:
        """Number the files one higher, and go on in a new one."""
        os.fsync(self._file)
        fresh = self._files.beside(".new")
        fresh.unlink(missing_ok=True)
        file = _open_private(fresh)
        try:
            for number, path in self._files.numbered():
                if number >= self._files_max:  # from a time when more were kept
                    path.unlink()
            for number in range(self._files_max - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(self._files.file(number - 1), self._files.file(number))
            os.replace(fresh, self._files.active)
        except BaseException:
            os.close(file)
            raise
        os.close(self._file)
        self._file, self._size = file, 0
        _sync_folder(self.path.parent)

    def _resume(self) -> None:
        """Open the file and find where its chain ends; what a crash tore off is set aside."""
        self._file = _open_private(self._files.active)
        try:
            found = self._tail(self._file, self._files.active)
            for _, path in reversed(self._files.numbered()):  # a new file, right after a rotation
                if found:
                    break
                file = _open_private(path)
                try:
                    found = self._tail(file, path)
                finally:
                    os.close(file)
            self._size = os.fstat(self._file).st_size
            _sync_folder(self.path.parent)
        except BaseException:
            os.close(self._file)
            raise

    def _tail(self, file: int, path: Path) -> bool:
        """Take up the chain at the file's last whole entry, if it has one."""
        entry, line, end = _last_entry(file)
        size = os.fstat(file).st_size
        if end < size:
            aside = self._files.beside(".torn")
            _set_aside(file, end, aside)
            log.warning(
                "the audit log %s ended in %d bytes that are no entry, as after a crash; they are now in %s, "
                "and the log goes on after entry %s",
                path,
                size - end,
                aside,
                entry.number if entry else "none",
            )
        if entry is not None:
            self._number, self._head = entry.number + 1, hashlib.sha256(line).hexdigest()
        return entry is not None


class AuditFiles(msgspec.Struct, frozen=True):
    """One log on disk: the file that is or was written, and the older ones beside it.

    Attributes:
        name: The log's name.
        active: The newest file, ``NAME.jsonl``; right after a crash it may be missing.
    """

    name: str
    active: Path

    @property
    def files(self) -> list[Path]:
        """Those that are there now, the oldest first."""
        older = [path for _, path in self.numbered()]
        return [*older, self.active] if self.active.exists() else older

    def numbered(self) -> list[tuple[int, Path]]:
        """The older files and their numbers, the highest number and oldest file first."""
        pattern = re.compile(re.escape(self.active.stem) + r"\.([0-9]+)\.jsonl")
        try:
            found = [(pattern.fullmatch(path.name), path) for path in self.active.parent.iterdir()]
        except FileNotFoundError:
            return []
        return sorted(((int(match[1]), path) for match, path in found if match), reverse=True)

    def file(self, number: int) -> Path:
        """Where the file of this number is; 0 is the active one."""
        return self.beside(f".{number}.jsonl") if number else self.active

    def beside(self, ending: str) -> Path:
        """A file of this log with another ending."""
        return self.active.with_name(self.active.stem + ending)


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
        pattern = re.compile(re.escape(_stem(name)) + r"(-[0-9]+)?")
        stems = {stem for stem in stems if pattern.fullmatch(stem)}
    return [AuditFiles(_name_of(stem), folder / f"{stem}.jsonl") for stem in sorted(stems)]


def newest_entries(files: AuditFiles, count: int) -> list[Entry]:
    """The log's last entries, the oldest first; lines that are no entries are passed over."""
    kept: deque[Entry] = deque(maxlen=max(count, 0))
    with contextlib.ExitStack() as stack:
        opened = _open_together(files, stack)
        for _, file in reversed(opened):
            part = deque(
                (entry for line in file if (entry := _decoded(line)) is not None), maxlen=kept.maxlen
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
        source = AuditFiles(_name_of(source.stem), source)
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
        entry = _decoded(line.data) if line.whole else None
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


def _decoded(line: bytes) -> Entry | None:
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _line(number: int, raw: _Raw, previous: str) -> bytes:
    when, *texts, bytes_in, bytes_out, seconds = raw
    call, function, device, name, account, grant, outcome = map(_short, texts)
    entry = Entry(
        number=number,
        time=_number(when),
        call=call,
        function=function,
        device=device,
        name=name,
        account=account,
        grant=grant,
        outcome=outcome,
        bytes_in=int(bytes_in),
        bytes_out=int(bytes_out),
        seconds=_number(seconds),
        previous=previous,
    )
    return _encode(entry)


def _short(text: Any) -> str:
    """Text that a caller chose must not fill the disk."""
    shown: str = text if type(text) is str else str(text)
    return shown if len(shown) <= TEXT_CHARACTERS_MAX else shown[: TEXT_CHARACTERS_MAX - 1] + "…"


def _number(value: float) -> float:
    value = float(value)
    return value if isfinite(value) else 0.0


def _tamed(raw: tuple[Any, ...]) -> _Raw:
    """The same fields as far as JSON can hold them; an entry is never left out for its form."""
    when, *texts, bytes_in, bytes_out, seconds = raw
    call, function, device, name, account, grant, outcome = (_tamed_text(text) for text in texts)
    return (
        _tamed_number(when),
        call,
        function,
        device,
        name,
        account,
        grant,
        outcome,
        int(_tamed_number(bytes_in)),
        int(_tamed_number(bytes_out)),
        _tamed_number(seconds),
    )


def _tamed_text(value: Any) -> str:
    try:
        return str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    except Exception:  # somebody else's __str__
        return type(value).__name__


def _tamed_number(value: Any) -> float:
    try:
        return min(max(_number(value), 0.0), float(INTEGER_MAX >> 10))
    except Exception:  # no number at all, or a larger one than a float holds
        return 0.0


def _stem(name: str) -> str:
    """A file name's first part: the name, with what a path or an ending is made of as ``%2E``."""
    safe = re.sub(
        r"[^\w\- ]",
        lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "backslashreplace")),
        name,
    )
    if len(safe.encode()) <= NAME_BYTES_MAX and safe:
        return safe
    return f"{safe[:32]}-{hashlib.sha256(name.encode('utf-8', 'backslashreplace')).hexdigest()[:16]}"


def _name_of(stem: str) -> str:
    return re.sub(
        r"(?:%[0-9A-F]{2})+",
        lambda match: bytes.fromhex(match[0].replace("%", "")).decode("utf-8", "replace"),
        stem,
    )


def _private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077 and os.name == "posix":
        folder.chmod(0o700)


def _open_private(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    file = os.open(path, flags, 0o600)
    if os.name == "posix" and os.fstat(file).st_mode & 0o077:
        os.fchmod(file, 0o600)
    return file


def _take(folder: Path, name: str) -> tuple[AuditFiles, int]:
    """The first log of this name that nobody writes, locked.

    The lock is on a file of its own, ``NAME.lock``: the log's own file changes its name as it grows.
    """
    for number in range(1, LOGS_OF_ONE_NAME_MAX + 1):
        own = name if number == 1 else f"{name}-{number}"
        files = AuditFiles(own, folder / f"{_stem(own)}.jsonl")
        file = _open_private(files.beside(".lock"))
        if _locked(file):
            return files, file
        os.close(file)
    raise UsageError(
        f"{LOGS_OF_ONE_NAME_MAX} processes already keep an audit log named {name!r} in {folder}. Stop some, or "
        "name this node otherwise"
    )


def _locked(file: int) -> bool:
    if os.name != "posix":
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _last_entry(file: int) -> tuple[Entry | None, bytes, int]:
    """The last line that is an entry, without its newline, and where it ends; looked for from the end."""
    size = os.fstat(file).st_size
    reach = TAIL_BYTES
    while True:
        start = max(0, size - reach)
        data = _read(file, start, size - start)
        end = data.rfind(b"\n")
        while end >= 0:
            begin = data.rfind(b"\n", 0, end) + 1
            if begin == 0 and start > 0:  # the line began before what was read
                break
            entry = _decoded(data[begin:end])
            if entry is not None:
                return entry, data[begin:end], start + end + 1
            end = begin - 1
        if start == 0:
            return None, b"", 0
        reach *= 4


def _read(file: int, start: int, count: int) -> bytes:
    os.lseek(file, start, os.SEEK_SET)
    data = bytearray()
    while len(data) < count and (part := os.read(file, count - len(data))):
        data += part
    return bytes(data)


def _set_aside(file: int, start: int, aside: Path) -> None:
    """Move the file's end into another file; at no moment is it in neither."""
    data = memoryview(_read(file, start, os.fstat(file).st_size - start))
    kept = _open_private(aside)
    try:
        while data:
            data = data[os.write(kept, data) :]
        os.fsync(kept)
    finally:
        os.close(kept)
    os.ftruncate(file, start)
    os.fsync(file)


def _sync_folder(folder: Path) -> None:
    """As far as the file system has it: the names of the files are on disk."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
