"""The node's audit log: who called what, when, how it ended, and how many bytes went in and out.

It is append-only and hash-chained: each line holds the SHA-256 of the line before it, so a line edited,
removed or moved later is found. It never holds contents: an entry has no field for an argument or a
result. It never stops a call by raising: what cannot be written now is written later.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from time import time as clock
from types import TracebackType

from easyremote.errors import UsageError
from easyremote.node.audit_entries import (
    NO_LINE,
    AuditFiles,
    Entry,
    RawEntry,
    call_lines,
    decoded_entry,
    entry_line,
    file_stem,
    raw_entry,
    tamed,
)
from easyremote.protocol.effects import CallEnded
from easyremote.trace import log

__all__ = ["AuditLog"]

GATHER_SECONDS = 0.2
RETRY_SECONDS = 1.0
CLOSE_SECONDS = 5.0
WAITING_ENTRIES_MAX = 200_000
FILE_BYTES_MAX = 64 << 20
FILES_MAX = 4
CHUNK_BYTES = 256 * 1024
TAIL_BYTES = 64 * 1024
LOGS_OF_ONE_NAME_MAX = 99


class _GivenUpError(Exception):
    """The log is closing and the disk takes nothing."""


class AuditLog:
    """An open log that this process alone writes.

    ``append`` may be called from any thread; it numbers and chains the entry, and queues it. One thread of its
    own writes and syncs what gathered, five times a second while there is something and never while there is
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
        self._waiting: deque[tuple[bytes, int]] = deque()
        """What is to be written: lines, and how many."""
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
        self.put((when, call, function, device, name, account, grant, outcome, bytes_in, bytes_out, seconds))

    def put(self, raw: RawEntry) -> None:
        """The same for an entry's fields in their order."""
        self._queue(lambda: self._chain(raw), 1)

    def put_calls(self, calls: Sequence[CallEnded]) -> None:
        """The same for calls that ended just now, in their order, which costs less."""
        self._queue(lambda: self._chain_calls(calls, clock()), len(calls))

    def _queue(self, chained: Callable[[], bytes], many: int) -> None:
        with self._work:
            if self._appended - self._written >= WAITING_ENTRIES_MAX:
                self._wait_for_room()
            if self._closing:
                self._too_late()
                return
            self._waiting.append((chained(), many))
            self._appended += many
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

    def _chain(self, raw: RawEntry) -> bytes:
        """Called with the lock held: the entry's line; the next will hold its hash."""
        try:
            line = entry_line(self._number, raw, self._head)
        except Exception:  # what no JSON holds, such as half a surrogate pair
            line = entry_line(self._number, tamed(raw), self._head)
        self._head = hashlib.sha256(line).hexdigest()
        self._number += 1
        return line + b"\n"

    def _chain_calls(self, calls: Sequence[CallEnded], when: float) -> bytes:
        """The same for several calls."""
        try:
            lines, head = call_lines(calls, when, self._number, self._head)
        except Exception:  # one of them is not as it usually is
            return b"".join([self._chain(raw_entry(call, when)) for call in calls])
        self._head = head
        self._number += len(calls)
        return lines

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
                    self._written += sum(many for _, many in batch)
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

    def _gather(self) -> deque[tuple[bytes, int]]:
        """What came in, a moment after the first of it; nothing means the end."""
        with self._work:
            while not self._waiting and not self._closing:
                self._idle = True
                self._work.wait()
            self._idle = False
            self._work.wait_for(lambda: self._closing or self._hurry_to > self._written, GATHER_SECONDS)
            batch, self._waiting = self._waiting, deque()
            return batch

    def _store(self, batch: deque[tuple[bytes, int]]) -> None:
        chunk = bytearray()
        for lines, _ in batch:
            chunk += lines
            if len(chunk) >= CHUNK_BYTES or self._size + len(chunk) > self._rotate_above:
                self._put(bytes(chunk))
                chunk.clear()
        self._put(bytes(chunk))
        self._insist("written", lambda: os.fsync(self._file))

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
        files = AuditFiles(own, folder / f"{file_stem(own)}.jsonl")
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
            entry = decoded_entry(data[begin:end])
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
