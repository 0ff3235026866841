import io
import os
import secrets
from pathlib import Path

import pytest
from rich.console import Console

from easyremote.cli import demo_node
from easyremote.cli.demo import CheckError, LeftOutError, check
from easyremote.cli.demo_report import DemoReport, DigitArt
from easyremote.cli.memory_search import search_memory

BLANK = [[0.0] * 8 for _ in range(8)]
FULL = [[16.0] * 8 for _ in range(8)]


def rendered(*, colours: bool) -> str:
    console = Console(
        file=io.StringIO(), force_terminal=colours, color_system="truecolor" if colours else None, width=100
    )
    console.print(DigitArt([BLANK, FULL, FULL], [1, 2, 3], [1, 2, 4]))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_digits_are_drawn_with_their_answers_and_a_wrong_one_is_not_hidden() -> None:
    lines = rendered(colours=False).splitlines()
    assert [line.rstrip() for line in lines[:4]] == [" " * 10 + "████████  ████████"] * 4
    assert lines[4].split() == ["1", "2", "3,", "is", "4"]
    assert "\x1b[38;2;255;255;255;48;2;255;255;255m" in rendered(colours=True)


def test_a_check_that_does_not_hold_says_what_was_wanted_and_found() -> None:
    check(True, "this", "that")
    with pytest.raises(CheckError, match="wanted 5, found 4"):
        check(False, "5", 4)


def test_the_report_counts_what_passed_failed_and_was_left_out() -> None:
    console = Console(file=io.StringIO(), width=100)
    report = DemoReport(console)
    report.passing("map", "done", 0.5, [])
    report.failing("stop", "wanted 0, found 1\nmore", 0.5)
    report.skipping("train", str(LeftOutError("no scikit-learn")))
    report.ending(1.0)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "1 of 2 steps checked and passed, 1 left out, in 1.0 s." in shown
    assert "✗ stop" in shown
    assert "– train" in shown


def test_two_nodes_speak_alike_from_the_same_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_node, "TOKEN_SECONDS", 0.0)
    words = list(demo_node.speak("Return", 20))
    assert words == list(demo_node.speak("Return", 20))
    assert words != list(demo_node.speak("Return", 20, seed=1))
    assert len(words) == 20


def test_an_age_below_zero_is_refused() -> None:
    assert demo_node.parse_age("7") == 7
    with pytest.raises(ValueError, match="nobody is -7 years old"):
        demo_node.parse_age("-7")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a thing of Linux")
def test_memory_is_searched_for_what_is_there_and_what_is_not() -> None:
    present = secrets.token_bytes(64)
    seen = search_memory(os.getpid(), present)
    assert seen is not None
    assert seen.found
    absent = search_memory(os.getpid(), present[::-1] + b"never together" + present[::-1])
    assert absent is not None
    assert absent.searched_bytes > 1024 * 1024


def test_a_process_that_is_not_there_cannot_be_searched() -> None:
    assert search_memory(2**22 + 1, b"x") is None
