"""What an audit log consists of: its entries, each a line of JSON, and the files they lie in.

An entry has no field for an argument or a result. A line is always made: what JSON cannot hold is tamed
until it can. Nothing here opens, writes or changes a file.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from hashlib import sha256 as _sha256
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from easyremote.protocol.effects import CallEnded

__all__ = [
    "NO_LINE",
    "AuditFiles",
    "Entry",
    "RawEntry",
    "call_lines",
    "decoded_entry",
    "entry_line",
    "file_stem",
    "log_name",
    "raw_entry",
    "tamed",
]

NO_LINE = "0" * 64
"""What the very first entry holds in place of a hash."""

TEXT_CHARACTERS_MAX = 512
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


RawEntry: TypeAlias = tuple[float, int | str, str, str, str, str, str, str, int, int, float]
"""An entry's fields in their order, without ``number`` and ``previous``; the call's id may be its number."""

_LINE = b'{"number":%d,"time":%d.%06d,"call":"%016x",%b,"bytes_in":%d,"bytes_out":%d,"seconds":%d.%06d,"previous":"%b"}'
_MILLION = 1_000_000

_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Entry)


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


def decoded_entry(line: bytes) -> Entry | None:
    """The entry a line holds, or None: then it is no line of a log."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


@functools.lru_cache(maxsize=1024)
def _who_and_how(function: str, device: str, name: str, account: str, grant: str, outcome: str) -> bytes:
    """The part of a line that most calls have in common with one before them."""
    given = (function, device, name, account, grant, outcome)
    fields = ("function", "device", "name", "account", "grant", "outcome")
    shown = {field: _short(text) for field, text in zip(fields, given, strict=True)}
    return _encode(shown)[1:-1]


def entry_line(number: int, raw: RawEntry, previous: str) -> bytes:
    """An entry's line, without the newline; it may fail for fields that are not ``tamed``."""
    when, call, function, device, name, account, grant, outcome, bytes_in, bytes_out, seconds = raw
    if type(call) is not int or not (0 <= call < 1 << 64 and 0 <= seconds < 1e9 and 0 <= when < 1e12):
        return _entry_line(number, raw, previous)
    common = _who_and_how(function, device, name, account, grant, outcome)
    at, took = int(when * _MILLION), int(seconds * _MILLION)
    return _LINE % (
        number,
        at // _MILLION,
        at % _MILLION,
        call,
        common,
        bytes_in,
        bytes_out,
        took // _MILLION,
        took % _MILLION,
        previous.encode(),
    )


def call_lines(calls: Sequence[CallEnded], when: float, number: int, previous: str) -> tuple[bytes, str]:
    """The lines of calls that ended at one time, each with its newline, and the hash of the last.

    Raises:
        ValueError: One of them is not as it usually is; then each has to be made by itself.
    """
    if not 0 <= when < 1e12:
        raise ValueError("a time that no line usually has")
    at, moment = divmod(int(when * _MILLION), _MILLION)
    function = outcome = caller = common = None
    head, lines = previous.encode(), []
    for call in calls:
        if call.caller is not caller or call.function != function or call.outcome is not outcome:
            caller, function, outcome = call.caller, call.function, call.outcome
            common = _who_and_how(function, caller.device, caller.name, caller.account, caller.grant, outcome)
        took = int(call.seconds * _MILLION)
        if took < 0:
            raise ValueError("a call that took less than no time")
        line = _LINE % (
            number,
            at,
            moment,
            call.call,
            common,
            call.bytes_in,
            call.bytes_out,
            took // _MILLION,
            took % _MILLION,
            head,
        )
        head = _sha256(line).hexdigest().encode()
        lines.append(line)
        number += 1
    return b"\n".join([*lines, b""]), head.decode()


def raw_entry(call: CallEnded, when: float) -> RawEntry:
    """A call's fields in an entry's order."""
    caller = call.caller
    return (
        when,
        call.call,
        call.function,
        caller.device,
        caller.name,
        caller.account,
        caller.grant,
        call.outcome,
        call.bytes_in,
        call.bytes_out,
        call.seconds,
    )


def _entry_line(number: int, raw: RawEntry, previous: str) -> bytes:
    """The same for what is not as it usually is."""
    when, named, *texts, bytes_in, bytes_out, seconds = raw
    call = f"{named:016x}" if type(named) is int else _short(named)
    function, device, name, account, grant, outcome = map(_short, texts)
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


def tamed(raw: tuple[Any, ...]) -> RawEntry:
    """The same fields as far as JSON can hold them; an entry is never left out for its form."""
    when, call, *texts, bytes_in, bytes_out, seconds = raw
    function, device, name, account, grant, outcome = (_tamed_text(text) for text in texts)
    return (
        _tamed_number(when),
        call if type(call) is int else _tamed_text(call),
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


def file_stem(name: str) -> str:
    """A file name's first part: the name, with what a path or an ending is made of as ``%2E``."""
    safe = re.sub(
        r"[^\w\- ]",
        lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "backslashreplace")),
        name,
    )
    if len(safe.encode()) <= NAME_BYTES_MAX and safe:
        return safe
    return f"{safe[:32]}-{hashlib.sha256(name.encode('utf-8', 'backslashreplace')).hexdigest()[:16]}"


def log_name(stem: str) -> str:
    """The log's name, from its files' stem: the other way from ``file_stem``."""
    return re.sub(
        r"(?:%[0-9A-F]{2})+",
        lambda match: bytes.fromhex(match[0].replace("%", "")).decode("utf-8", "replace"),
        stem,
    )
