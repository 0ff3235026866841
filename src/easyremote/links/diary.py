"""What a home remembers of what went wrong on the way: retries, moves, refusals, broken links, by call.

Every process that serves or calls writes its trace events here as they come, all but the frequent ones; with
``EASYREMOTE_TRACE=on`` those too. ``easynet trace CALL_ID`` reads it. Two files of 4 MiB a home, readable by its owner alone;
a process that has more to tell than can be written leaves out, and says how much.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

import msgspec

from easyremote.trace import TraceEvent, subscribe

__all__ = ["AGAIN", "DiaryEntry", "entries_about", "keep_diary", "read_diary"]

FILE, OLDER = "trace.jsonl", "trace.1.jsonl"
FILE_BYTES_MAX = 4 << 20
WAITING_MAX = 10_000
GATHER_SECONDS = 0.1
VARIABLE = "EASYREMOTE_TRACE"
AGAIN = "asked again as "
"""Before the id of the call that another was made again as."""


class DiaryEntry(msgspec.Struct, frozen=True):
    """Something that happened in a program of this home.

    Attributes:
        time: When, in seconds since 1970 by this machine's clock.
        program: Which program, and its process id.
        name: What.
        call: The call's id; empty if it was not about one call.
        detail: Names and numbers.
    """

    time: float
    program: str
    name: str
    call: str = ""
    detail: str = ""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(DiaryEntry)


class _Diary:
    """One process's hand in the diary of one home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._path = home / FILE
        self._program = f"{Path(sys.argv[0] or 'python').name} {os.getpid()}"
        self._lock = threading.Lock()
        self._lines: list[bytes] = []
        self._left_out = 0
        self._something = threading.Event()
        self._write_lock = threading.Lock()
        threading.Thread(target=self._run, name="easyremote-diary", daemon=True).start()

    def note(self, event: TraceEvent) -> None:
        entry = DiaryEntry(time.time(), self._program, event.name, event.call_id, event.detail[:500])
        with self._lock:
            if len(self._lines) >= WAITING_MAX:
                self._left_out += 1
                return
            self._lines.append(_encoder.encode(entry))
        self._something.set()

    def _run(self) -> None:
        while True:
            self._something.wait()
            time.sleep(GATHER_SECONDS)
            self.write()

    def write(self) -> None:
        """Put on disk what there is."""
        with self._write_lock:
            with self._lock:
                self._something.clear()
                lines, self._lines = self._lines, []
                left_out, self._left_out = self._left_out, 0
            if left_out:
                entry = DiaryEntry(time.time(), self._program, "left out", detail=f"{left_out} events")
                lines.append(_encoder.encode(entry))
            if lines:
                with contextlib.suppress(OSError):  # a diary must not be in anybody's way
                    self._append(b"".join(line + b"\n" for line in lines))

    def _append(self, data: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, data)
            full = os.fstat(file).st_size > FILE_BYTES_MAX
        finally:
            os.close(file)
        if full:
            os.replace(self._path, self._path.with_name(OLDER))


_kept: tuple[int, _Diary, Callable[[], None]] | None = None
_opening = threading.Lock()


def keep_diary(home: Path) -> None:
    """From now on this process's events are written down in this home, and in no other."""
    global _kept
    with _opening:
        if _kept is not None and _kept[0] == os.getpid():
            if _kept[1].home == home:
                return
            _kept[2]()
            _kept[1].write()
        elif _kept is not None:
            _kept[2]()  # the parent's, in a forked child
        diary = _Diary(home)
        wanted = os.environ.get(VARIABLE, "").lower() in ("1", "on", "yes", "true")
        _kept = (os.getpid(), diary, subscribe(diary.note, frequent=wanted))
        atexit.register(diary.write)


def _lines(home: Path) -> Iterator[bytes]:
    """All that is written down, the oldest first, with what this process has not written yet."""
    if _kept is not None and _kept[0] == os.getpid():
        _kept[1].write()
    for name in (OLDER, FILE):
        with contextlib.suppress(OSError), open(home / name, "rb") as file:
            yield from file


def _entries(lines: Iterable[bytes]) -> list[DiaryEntry]:
    found: list[DiaryEntry] = []
    for line in lines:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):  # a line cut short
            found.append(_decoder.decode(line))
    return found


def entries_about(home: Path, calls: Collection[str]) -> list[DiaryEntry]:
    """What is written down of these calls, and of no others."""
    marks = [f'"call":"{call}"'.encode() for call in calls]
    found = _entries(line for line in _lines(home) if any(mark in line for mark in marks))
    return [entry for entry in found if entry.call in calls]


def read_diary(home: Path, calls: Iterable[str]) -> list[DiaryEntry]:
    """What is known of these calls and of those they were made again as; with what happened to the links meanwhile."""
    entries = _entries(_lines(home))
    wanted = set(calls)
    for entry in entries:  # a call is made again after it was made
        again = entry.detail.rpartition(AGAIN)[2]
        if entry.call in wanted and again != entry.detail:
            wanted.add(again)
    about = [entry for entry in entries if entry.call in wanted]
    if not about:
        return []
    programs = {entry.program for entry in about}
    first, last = about[0].time - 1.0, about[-1].time + 1.0
    return [
        entry
        for entry in entries
        if entry.call in wanted
        or (not entry.call and entry.program in programs and first <= entry.time <= last)
    ]
