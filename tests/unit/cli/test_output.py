import io
import json
import re
import sys

import pytest

from easyremote.cli.output import Output, printable, reporting
from easyremote.errors import LinkError, remote_error


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


ROWS = [
    {"node": "ada", "functions": 2, "does": "a\tb"},
    {"node": "gr\x1b[31mace", "functions": 10, "does": ""},
]


def shown(value: object, *, terminal: bool = False, as_json: bool = False) -> str:
    stream = Terminal() if terminal else io.StringIO()
    Output(as_json=as_json, stream=stream).value(value)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("value", "plain", "as_json"),
    [
        ("two words", "two words\n", '"two words"\n'),
        (5, "5\n", "5\n"),
        ([1, "a"], "[1, 'a']\n", '[1,"a"]\n'),
        (None, "None\n", "null\n"),
    ],
)
def test_a_value_in_a_pipe(value: object, plain: str, as_json: str) -> None:
    assert shown(value) == plain
    assert shown(value, as_json=True) == as_json


def test_bytes_go_through_a_pipe_as_they_are() -> None:
    raw = io.BytesIO()
    pipe = io.TextIOWrapper(raw)
    Output(stream=pipe).value(b"\x89PNG\xff")
    assert raw.getvalue() == b"\x89PNG\xff"


def test_a_terminal_is_not_moved_by_what_a_node_says() -> None:
    assert shown("\x1b[2Jgone\r", terminal=True) == "\\x1b[2Jgone\\r\n"
    assert "\x1b" not in shown(["\x1b[2J"], terminal=True)
    assert shown("\x1b[2J") == "\x1b[2J\n"  # a pipe gets what was sent
    assert printable("déjà\n\tvu 你好") == "déjà\n\tvu 你好"
    assert printable("\u202etxt.exe\x9b") == "\\u202etxt.exe\\x9b"


def test_a_table_in_a_pipe_has_tabs_and_no_heading() -> None:
    stream = io.StringIO()
    Output(stream=stream).table(ROWS, records=ROWS, empty="none")
    assert stream.getvalue().splitlines()[0] == "ada\t2\ta b"
    assert len(stream.getvalue().splitlines()) == 2


def test_a_table_as_json_has_the_whole_records() -> None:
    stream = io.StringIO()
    Output(as_json=True, stream=stream).table(ROWS, records=[{"all": 1}], empty="none")
    assert json.loads(stream.getvalue()) == {"all": 1}


def test_a_table_on_a_terminal_has_a_heading_and_nothing_that_moves_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    Output(stream=stream).table(ROWS, records=ROWS, empty="none")
    assert "functions" in stream.getvalue()
    assert "[31m" in stream.getvalue()
    assert "\x1b[31m" not in stream.getvalue()


def test_an_empty_table_says_what_to_do_only_to_people() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        Output(stream=stream).table([], records=[], empty="start one")
    assert (terminal.getvalue(), pipe.getvalue()) == ("start one\n", "")


def run_failing(error: BaseException, *, verbose: bool = False) -> int:
    with pytest.raises(SystemExit) as ended, reporting(verbose=verbose):
        raise error
    return int(ended.value.code or 0)


def test_an_error_is_one_message_on_standard_error_and_a_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_failing(LinkError("no gateway answers at h:1\nStart one.")) == 3
    out, err = capsys.readouterr()
    assert (out, err) == ("", "LinkError: no gateway answers at h:1\nStart one.\n")


def test_only_verbose_shows_where_it_happened(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_failing(LinkError("away"), verbose=True) == 3
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert "run_failing" in err
    assert "LinkError: away" in err


def test_a_remote_error_reads_as_the_node_raised_it(capsys: pytest.CaptureFixture[str]) -> None:
    error = remote_error("ValueError", "bad 5", "Traceback …\n  deep", function="f", node="ada", call_id="07")
    assert run_failing(error) == 1
    err = capsys.readouterr().err
    assert err.startswith("ValueError: bad 5\n")
    assert "'f' on node 'ada', call 07" in err
    assert "deep" not in err
    assert run_failing(error, verbose=True) == 1
    assert "deep" in capsys.readouterr().err


def test_ctrl_c_ends_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_failing(KeyboardInterrupt()) == 130
    assert capsys.readouterr() == ("", "")


def test_what_standard_output_cannot_write_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    Output().value("né")
    assert raw.getvalue() == b"n\\xe9\n"


def test_columns_in_which_nothing_stands_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    rows = [{"node": "ada", "nodes": [], "grant": ""}, {"node": "grace", "nodes": ["a", "b"], "grant": ""}]
    Output(stream=stream).table(rows, records=rows, empty="none")
    assert "a, b" in stream.getvalue()
    assert "grant" not in stream.getvalue()


def test_what_is_too_wide_for_a_table_is_a_block_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    rows = [{"device": "y5f5lkjyvc44", "account": "ugbmdoibkkimek3v", "status": "waits to be approved"}]
    Output(stream=stream).table(rows, records=rows, empty="none")
    assert re.sub(r"\x1b\[\d*m", "", stream.getvalue()).split("\n") == [
        "device   y5f5lkjyvc44",
        "account  ugbmdoibkkimek3v",
        "status   waits to be approved",
        "",
        "",
    ]
