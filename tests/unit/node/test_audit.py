"""The audit log: everything is in it once and in order, and what is changed later is found."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from easyremote.errors import UsageError
from easyremote.node import audit
from easyremote.node.audit import AuditLog
from easyremote.node.audit_check import Report, newest_entries, read_audit, verify
from easyremote.node.audit_entries import NO_LINE, AuditFiles, Entry
from easyremote.protocol.effects import CallEnded
from easyremote.trust.rules import Caller

CALL: dict[str, Any] = {
    "function": "resize",
    "device": "d" * 64,
    "name": "ada",
    "account": "",
    "grant": "9f2c",
    "outcome": "ok",
    "bytes_in": 10,
    "bytes_out": 20,
    "seconds": 0.25,
}

APPENDING = """
import sys
from pathlib import Path
from easyremote.node.audit import AuditLog

log = AuditLog(Path(sys.argv[1]), "lab")
print(log.path.name, flush=True)
count = 0
while True:
    for _ in range(50):
        log.append(call=str(count), function="f", device="d", name="n", account="", grant="", outcome="ok",
                   bytes_in=1, bytes_out=1, seconds=0.0)
        count += 1
    log.flush()
    print(count, flush=True)
"""


def fill(log: AuditLog, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        log.append(call=str(number), **CALL)


def written(folder: Path, count: int, **options: Any) -> AuditFiles:
    with AuditLog(folder, "lab", **options) as log:
        fill(log, count)
    return read_audit(folder, "lab")[0]


def calls(files: AuditFiles) -> list[str]:
    return [entry.call for entry in newest_entries(files, 10**6)]


def broken(report: Report) -> tuple[str, int, str, int]:
    assert not report.holds
    assert report.broken is not None
    return report.broken.kind, report.broken.number, report.broken.file, report.broken.line


def change(files: AuditFiles, lines: list[bytes]) -> None:
    files.active.write_bytes(b"".join(lines))


@pytest.fixture
def said() -> Iterator[list[logging.LogRecord]]:
    """What the log channel was told, whoever else listens."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("easyremote")
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


def test_an_entry_is_one_line_with_every_field_and_the_hash_of_the_line_before(tmp_path):
    files = written(tmp_path / "audit", 3)
    lines = files.active.read_bytes().splitlines()
    entries = [msgspec.json.decode(line, type=Entry) for line in lines]
    assert [entry.number for entry in entries] == [0, 1, 2]
    assert entries[0].previous == NO_LINE
    assert {name: getattr(entries[2], name) for name in CALL} == CALL
    report = verify(files)
    assert (report.holds, report.entries, report.first) == (True, 3, 0)
    assert report.first_time == entries[0].time
    assert report.last_time == entries[2].time
    assert verify(lines) == report
    assert verify(files.active) == report


def ended(number: int, **changes: Any) -> CallEnded:
    caller = Caller(device="d" * 64, name="ada", grant="9f2c")
    fields = {"function": "resize", "caller": caller, "outcome": "ok", "bytes_in": 10, "bytes_out": 20}
    return CallEnded(**{"call": number, "seconds": 0.25, **fields, **changes})


def test_calls_that_ended_together_are_the_entries_they_would_be_one_by_one(tmp_path):
    calls = [ended(1), ended(2), ended(3, function="blur"), ended(4, outcome="error ValueError", bytes_out=0)]
    with AuditLog(tmp_path, "lab") as log:
        log.put_calls(calls[:1])
        log.put_calls(calls[1:])
        head = log.head
    files = read_audit(tmp_path)[0]
    assert verify(files, head=head).holds
    found = newest_entries(files, 10)
    assert [one.number for one in found] == [0, 1, 2, 3]
    for call, entry in zip(calls, found, strict=True):
        assert (entry.call, entry.function, entry.outcome) == (
            f"{call.call:016x}",
            call.function,
            call.outcome,
        )
        assert (entry.device, entry.name, entry.grant) == ("d" * 64, "ada", "9f2c")
        assert (entry.bytes_in, entry.bytes_out, entry.seconds) == (10, call.bytes_out, 0.25)


@pytest.mark.parametrize(
    "changes", [{"seconds": 1e300}, {"seconds": -1.0}, {"seconds": float("nan")}, {"function": "\udc80"}]
)
def test_among_them_one_that_is_odd_is_entered_all_the_same(tmp_path, changes):
    with AuditLog(tmp_path, "lab") as log:
        log.put_calls([ended(1), ended(2, **changes), ended(3)])
    files = read_audit(tmp_path)[0]
    assert verify(files).holds
    assert [one.call for one in newest_entries(files, 10)] == [f"{number:016x}" for number in (1, 2, 3)]


def test_there_is_no_field_for_contents():
    assert set(Entry.__struct_fields__) == {*CALL, "number", "time", "call", "previous"}
    with pytest.raises(TypeError):
        AuditLog.append(None, call="1", **CALL, arguments=b"secret")  # type: ignore[call-arg,arg-type]


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_only_the_owner_may_read_it(tmp_path):
    folder = tmp_path / "audit"
    folder.mkdir(mode=0o755)
    (folder / "lab.jsonl").touch(mode=0o644)
    written(folder, 30, bytes_max=2000)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_log_goes_on_where_it_ended(tmp_path):
    with AuditLog(tmp_path, "lab") as log:
        fill(log, 5)
        assert log.flush()
        head = log.head
    with AuditLog(tmp_path, "lab") as log:
        assert log.head == head
        fill(log, 5, start=5)
    (files,) = read_audit(tmp_path, "lab")
    assert calls(files) == [str(number) for number in range(10)]
    assert verify(files, head=head).holds


def test_appends_of_many_threads_are_all_there(tmp_path):
    with AuditLog(tmp_path, "lab") as log:
        threads = [threading.Thread(target=fill, args=(log, 5000, 5000 * part)) for part in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert log.flush()
        report = verify(read_audit(tmp_path)[0], head=log.head)
    assert (report.holds, report.entries) == (True, 20_000)
    assert sorted(map(int, calls(read_audit(tmp_path)[0]))) == list(range(20_000))


@pytest.mark.parametrize("line", [0, 4, 8])
@pytest.mark.parametrize("field", [b'"outcome":"ok"', b'"name":"ada"', b'"seconds":0.25'])
def test_an_edited_line_is_found(tmp_path, line, field):
    files = written(tmp_path, 10)
    lines = files.active.read_bytes().splitlines(keepends=True)
    assert field in lines[line]
    lines[line] = lines[line].replace(field, field[:-2] + b"9" + field[-1:])
    change(files, lines)
    assert broken(verify(files)) == ("edited", line, "lab.jsonl", line + 1)


def test_any_byte_changed_before_the_last_line_is_found(tmp_path):
    files = written(tmp_path, 3)
    good = files.active.read_bytes()
    last = good.rstrip(b"\n").rfind(b"\n") + 1
    for place in range(last):
        bad = bytearray(good)
        bad[place] ^= 1
        assert not verify(bytes(bad).splitlines(keepends=True)).holds, place


def test_a_changed_number_is_an_edit(tmp_path):
    lines = written(tmp_path, 5).active.read_bytes().splitlines()
    for line in range(5):
        edited = [
            *lines[:line],
            lines[line].replace(b'"number":%d' % line, b'"number":9'),
            *lines[line + 1 :],
        ]
        assert broken(verify(edited)) == ("edited", line, "", line + 1)


def test_a_removed_line_is_missing(tmp_path):
    files = written(tmp_path, 10)
    lines = files.active.read_bytes().splitlines(keepends=True)
    change(files, lines[:4] + lines[6:])
    report = verify(files)
    assert broken(report) == ("missing", 4, "lab.jsonl", 5)
    assert report.entries == 8


def test_swapped_and_repeated_lines_are_out_of_order(tmp_path):
    lines = written(tmp_path, 10).active.read_bytes().splitlines()
    swapped = [*lines[:4], lines[5], lines[4], *lines[6:]]
    assert broken(verify(swapped)) == ("out of order", 4, "", 5)
    repeated = [*lines[:5], lines[4], *lines[5:]]
    assert broken(verify(repeated)) == ("out of order", 5, "", 6)


def test_a_cut_end_is_found_by_a_head_noted_before(tmp_path):
    files = written(tmp_path, 10)
    head = verify(files).head
    lines = files.active.read_bytes().splitlines(keepends=True)
    change(files, lines[:7])
    assert verify(files).holds
    assert broken(verify(files, head=head)) == ("truncated", 7, "lab.jsonl", 8)
    change(files, [*lines[:9], lines[9].replace(b'"ok"', b'"no"')])
    assert broken(verify(files, head=head))[0] == "truncated"
    change(files, lines)
    assert verify(files, head=head.upper()).holds


def test_a_line_without_its_end_is_torn(tmp_path):
    files = written(tmp_path, 4)
    files.active.write_bytes(files.active.read_bytes()[:-1])
    assert broken(verify(files)) == ("torn", 3, "lab.jsonl", 4)


@pytest.mark.parametrize("tail", [b'{"number":3,"ti', b"\0" * 5000, b"not an entry\n", b"\xff\n{}\n{"])
def test_a_torn_end_is_set_aside_and_the_log_goes_on(tmp_path, said, tail):
    files = written(tmp_path, 3)
    with files.active.open("ab") as file:
        file.write(tail)
    written(tmp_path, 2)
    assert (tmp_path / "lab.torn").read_bytes() == tail
    assert [record.levelno for record in said] == [logging.WARNING]
    assert "lab.torn" in said[0].getMessage()
    report = verify(files)
    assert (report.holds, report.entries) == (True, 5)


def test_a_very_long_torn_end_is_set_aside_too(tmp_path, said):
    files = written(tmp_path, 3)
    with files.active.open("ab") as file:
        file.write(b"x" * 300_000)
    written(tmp_path, 1)
    assert len(said) == 1
    assert calls(files) == ["0", "1", "2", "0"]
    assert verify(files).holds


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_what_was_flushed_outlives_kill_9(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", APPENDING, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "lab.jsonl\n"
        flushed = [int(child.stdout.readline()) for _ in range(5)][-1]
        child.send_signal(signal.SIGKILL)
        child.communicate()
    (files,) = read_audit(tmp_path, "lab")
    kept = verify(files).entries
    assert kept >= flushed
    os.truncate(files.active, files.active.stat().st_size - 5)  # a write that was stopped midway
    with AuditLog(tmp_path, "lab") as log:
        assert log.path == files.active
        fill(log, 1)
    report = verify(files)
    assert report.holds
    assert report.entries >= flushed
    assert (tmp_path / "lab.torn").exists()


@pytest.mark.skipif(os.name != "posix", reason="locks are of POSIX")
def test_two_processes_of_one_name_keep_two_logs(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", APPENDING, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "lab.jsonl\n"
        child.stdout.readline()
        with AuditLog(tmp_path, "lab") as log, AuditLog(tmp_path, "lab") as third:
            assert (log.path.name, third.path.name) == ("lab-2.jsonl", "lab-3.jsonl")
            fill(log, 10)
        child.kill()
        child.communicate()
    assert [files.name for files in read_audit(tmp_path, "lab")] == ["lab", "lab-2", "lab-3"]
    with AuditLog(tmp_path, "lab") as log:
        assert log.path.name == "lab.jsonl"
    assert all(verify(files).holds for files in read_audit(tmp_path))


def test_rotation_keeps_the_chain_and_drops_the_oldest(tmp_path):
    files = written(tmp_path, 10, bytes_max=3000)
    assert verify(files).first == 0
    head = verify(files).head
    with AuditLog(tmp_path, "lab", bytes_max=3000) as log:
        fill(log, 10, start=10)
    assert verify(files, head=head).holds
    with AuditLog(tmp_path, "lab", bytes_max=3000) as log:
        fill(log, 80, start=20)
    assert [path.name for path in files.files] == ["lab.3.jsonl", "lab.2.jsonl", "lab.1.jsonl", "lab.jsonl"]
    report = verify(files)
    assert report.holds
    assert report.first == int(calls(files)[0]) > 0
    assert report.entries == 100 - report.first
    assert calls(files)[-1] == "99"
    assert [entry.call for entry in newest_entries(files, 12)] == [str(n) for n in range(88, 100)]
    assert broken(verify(files, head=head))[0] == "truncated"
    (tmp_path / "lab.2.jsonl").unlink()
    assert broken(verify(files))[0::2] == ("missing", "lab.1.jsonl")


def test_fewer_files_than_before_leave_no_gap(tmp_path):
    files = written(tmp_path, 60, bytes_max=2000, files_max=5)
    assert len(files.files) == 5
    with AuditLog(tmp_path, "lab", bytes_max=2000, files_max=2) as log:
        fill(log, 20)
    assert len(files.files) == 2
    assert verify(files).holds


@pytest.mark.parametrize("empty", [True, False])
def test_a_crash_in_the_middle_of_a_rotation_loses_nothing(tmp_path, empty):
    files = written(tmp_path, 5)
    os.replace(files.active, tmp_path / "lab.1.jsonl")
    (tmp_path / "lab.new").touch()
    if empty:
        files.active.touch()
    written(tmp_path, 20, bytes_max=2000)
    report = verify(files)
    assert (report.holds, report.entries) == (True, 25)


def test_a_full_disk_delays_and_loses_nothing(tmp_path, monkeypatch, said):
    monkeypatch.setattr(audit, "RETRY_SECONDS", 0.001)
    full, tries, write = threading.Event(), [], os.write
    enough = threading.Event()

    def takes_little(file: int, data: bytes) -> int:
        if full.is_set():
            tries.append(file)
            if len(tries) == 1:
                return write(file, bytes(data)[:100])
            if len(tries) > 10:
                enough.set()
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data)

    with AuditLog(tmp_path, "lab") as log:
        fill(log, 5)
        log.flush()
        full.set()
        monkeypatch.setattr(os, "write", takes_little)
        fill(log, 5, start=5)
        assert not log.flush(timeout_seconds=0.01)
        assert enough.wait(30)
        full.clear()
        assert log.flush()
    assert [record.levelno for record in said] == [logging.ERROR, logging.WARNING]
    assert "No space left" in said[0].getMessage()
    (files,) = read_audit(tmp_path)
    assert verify(files).holds
    assert calls(files) == [str(number) for number in range(10)]


def test_closing_over_a_dead_disk_ends_and_says_what_was_lost(tmp_path, monkeypatch, said):
    log = AuditLog(tmp_path, "lab")

    def refuses(file: int, data: bytes) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", refuses)
    fill(log, 5)
    log.close(timeout_seconds=0.01)
    monkeypatch.undo()
    assert "lost its last 5 entries" in said[-1].getMessage()
    assert not log._thread.is_alive()
    with AuditLog(tmp_path, "lab") as again:
        assert again.path.name == "lab.jsonl"


def test_waiting_entries_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "WAITING_ENTRIES_MAX", 100)
    most, write = [0], os.write

    def watched(file: int, data: bytes) -> int:
        most.append(log._appended - log._written)
        return write(file, data)

    with AuditLog(tmp_path, "lab") as log:
        monkeypatch.setattr(os, "write", watched)
        threads = [threading.Thread(target=fill, args=(log, 1000, 1000 * part)) for part in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert max(most) == 100
    assert verify(read_audit(tmp_path)[0]).entries == 4000


def test_a_call_that_ends_after_closing_is_no_error(tmp_path, said):
    with AuditLog(tmp_path, "lab") as log:
        fill(log, 1)
    log.close()
    fill(log, 3)
    assert log.flush()
    assert len(said) == 1
    assert verify(read_audit(tmp_path)[0]).entries == 1


def test_what_no_json_holds_is_entered_as_well_as_it_can_be(tmp_path):
    odd = {**CALL, "name": "\ud800\n", "function": "f" * 10**6, "seconds": float("nan"), "bytes_in": 2**80}
    with AuditLog(tmp_path, "lab") as log:
        log.append(call="0", **odd)
        log.append(call="1", **{**CALL, "account": None, "bytes_out": "many"})
    (files,) = read_audit(tmp_path)
    first, second = newest_entries(files, 2)
    assert (first.name, first.seconds, len(first.function)) == ("\\ud800\n", 0.0, 512)
    assert (second.account, second.bytes_out) == ("None", 0)
    assert verify(files).holds


@pytest.mark.parametrize("name", ["v1.2", "../lab", "a/b", "名字", "a b", "n" * 300, "", "%41", "."])
def test_any_name_stays_in_the_folder_and_beside_the_others(tmp_path, name):
    folder = tmp_path / "audit"
    with AuditLog(folder, name) as log, AuditLog(folder, "v1", bytes_max=1, files_max=9) as other:
        fill(log, 2)
        fill(other, 5)
        assert log.path.parent == folder
    (files,) = read_audit(folder, name)
    assert len(calls(files)) == 2
    if 0 < len(name) < 100:
        assert files.name == name
    assert len(list(tmp_path.iterdir())) == 1


def test_what_cannot_be_is_said_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot keep an audit log"):
        AuditLog(tmp_path / "file", "lab")
    with pytest.raises(UsageError, match="files_max=1"):
        AuditLog(tmp_path, "lab", files_max=1)
    with pytest.raises(UsageError, match="no audit log"):
        verify(tmp_path / "none.jsonl")
    assert read_audit(tmp_path / "nowhere") == []
    assert verify([]).holds


def test_a_log_is_verified_while_it_is_written_and_rotated(tmp_path):
    with AuditLog(tmp_path, "lab", bytes_max=20_000) as log:
        fill(log, 1)
        log.flush()
        (files,) = read_audit(tmp_path, "lab")
        writer = threading.Thread(target=lambda: [(fill(log, 20), log.flush()) for _ in range(100)])
        writer.start()
        while writer.is_alive():
            assert verify(files).holds
        writer.join()
