"""``easynet audit``: the newest calls, and an error where the chain does not hold."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from easyremote.cli.audit import show_audit
from easyremote.cli.exits import Exit, exit_for
from easyremote.cli.output import Output
from easyremote.errors import TrustError, UsageError
from easyremote.node.audit import AuditLog


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def write(folder: Path, name: str = "lab", count: int = 30, *, at: float = 1.7e9, **options: Any) -> str:
    with AuditLog(folder, name, **options) as log:
        for number in range(count):
            log.append(
                time=at + number,
                call=str(number),
                function=f"f{number}",
                device="abcdef0123456789",
                name="ada",
                account="uni",
                grant="9f2c",
                outcome="error ValueError",
                bytes_in=number,
                bytes_out=2 * number,
                seconds=0.12345,
            )
    return log.head


def shown(folder: Path, name: str | None = "lab", *, terminal: bool = False, **options: Any) -> str:
    stream = Terminal() if terminal else io.StringIO()
    settings: dict[str, Any] = {"last": 20, "as_json": False, "verify_only": False, "head": None} | options
    show_audit(folder, name, **settings, output=Output(stream=stream))
    return stream.getvalue()


def test_the_newest_calls_in_a_pipe(tmp_path):
    write(tmp_path)
    lines = shown(tmp_path, last=2).splitlines()
    assert lines == [
        "28\t2023-11-14 22:13:48Z\tf28\tada abcdef01\tuni\t9f2c\terror ValueError\t28\t56\t0.123",
        "29\t2023-11-14 22:13:49Z\tf29\tada abcdef01\tuni\t9f2c\terror ValueError\t29\t58\t0.123",
    ]
    assert len(shown(tmp_path).splitlines()) == 20
    assert len(shown(tmp_path, last=100).splitlines()) == 30


def test_json_has_every_field(tmp_path):
    write(tmp_path)
    (line,) = shown(tmp_path, last=1, as_json=True).splitlines()
    record = json.loads(line)
    assert (record["log"], record["number"], record["device"]) == ("lab", 29, "abcdef0123456789")
    assert len(record["previous"]) == 64


def test_all_nodes_together_in_the_order_of_time(tmp_path):
    write(tmp_path, "ada", 3, at=1000.0)
    write(tmp_path, "lab", 3, at=1000.5)
    lines = [line.split("\t")[:2] for line in shown(tmp_path, None, last=4).splitlines()]
    assert lines == [["ada", "1"], ["lab", "1"], ["ada", "2"], ["lab", "2"]]


def test_verifying_tells_the_head(tmp_path):
    head = write(tmp_path)
    assert head in shown(tmp_path, verify_only=True)
    record = json.loads(shown(tmp_path, verify_only=True, as_json=True, head=head))
    assert (record["holds"], record["entries"], record["first"], record["head"]) == (True, 30, 0, head)
    assert record["files"] == ["lab.jsonl"]
    assert "holds" in shown(tmp_path, verify_only=True, terminal=True)


def test_removed_oldest_files_are_said_and_no_error(tmp_path):
    write(tmp_path, count=60, bytes_max=2000, files_max=2)
    assert "older files are gone" in shown(tmp_path, verify_only=True)


@pytest.mark.parametrize("verify_only", [True, False])
def test_a_broken_chain_is_an_error_with_its_place(tmp_path, verify_only):
    write(tmp_path)
    path = tmp_path / "lab.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"function":"f7"', b'"function":"f8"'))
    with pytest.raises(TrustError) as caught:
        shown(tmp_path, verify_only=verify_only)
    text = str(caught.value)
    assert "entry 7 was edited" in text
    assert "lab.jsonl, line 8" in text
    assert "wanted the hash" in text
    assert "backup" in text
    assert exit_for(caught.value) == Exit.FAILED


def test_a_cut_end_is_an_error_where_the_head_is_given(tmp_path):
    head = write(tmp_path)
    path = tmp_path / "lab.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-3]))
    assert shown(tmp_path)
    with pytest.raises(TrustError, match="entry 27 should follow"):
        shown(tmp_path, head=head)


def test_a_head_need_be_in_one_log_only(tmp_path):
    write(tmp_path, "ada")
    head = write(tmp_path, "lab")
    write(tmp_path, "zoe", at=5.0)
    assert shown(tmp_path, None, head=head)
    with pytest.raises(TrustError, match="should follow"):
        shown(tmp_path, None, head="1" * 64)


def test_a_torn_end_says_that_a_start_mends_it(tmp_path):
    write(tmp_path)
    path = tmp_path / "lab.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(TrustError, match="entry 29 is torn") as caught:
        shown(tmp_path)
    assert "start the node" in str(caught.value)
    write(tmp_path, count=1)
    assert "lab.torn" in shown(tmp_path, verify_only=True)


def test_no_log_is_said(tmp_path):
    folder = tmp_path / "audit"
    assert "no audit log" in shown(folder, None, terminal=True)
    assert shown(folder, None) == ""
    with pytest.raises(UsageError, match="no audit log of 'lab'"):
        shown(folder, verify_only=True)
    with pytest.raises(TrustError, match="removed"):
        shown(folder, head="0" * 64)
    write(folder, "ada")
    with pytest.raises(UsageError, match="there are those of: ada"):
        shown(folder)


@pytest.mark.parametrize("options", [{"last": 0}, {"head": "abc"}])
def test_options_that_cannot_be(tmp_path, options):
    write(tmp_path)
    with pytest.raises(UsageError, match="found"):
        shown(tmp_path, **options)


def test_a_callers_name_does_not_move_the_cursor(tmp_path):
    with AuditLog(tmp_path, "lab") as log:
        log.append(
            call="1",
            function="f",
            device="d",
            name="\x1b[2Jme\u202e",
            account="",
            grant="",
            outcome="ok",
            bytes_in=0,
            bytes_out=0,
            seconds=1e9,
            time=1e300,
        )
    assert "\x1b[2J" not in shown(tmp_path, terminal=True)
