"""``easynet demo``: it shows what it claims, and leaves nothing behind however it ends."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from acceptance.commands import easynet
from acceptance.processes import Program, until

STEPS = ("start", "train", "classify", "stream", "map", "error", "round trip", "sealed", "stop")

NO_SCIKIT_LEARN = """
import importlib.machinery
find = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = lambda name, *rest: None if name == "sklearn" else find(name, *rest)
"""


def marks(demo: Program) -> dict[str, str]:
    """Each step's mark."""
    lines = [line for line in demo.output if line[:1] in "✓✗–" and line[1:2] == " "]
    return {name: line[0] for line in lines for name in STEPS if line[2:].startswith(name)}


def test_the_demo_shows_every_step_and_ends_well(start: Callable[..., Program], tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    demo = start(easynet("demo"), environment={"TMPDIR": str(tmp_path)})
    assert demo.wait(within_seconds=60) == 0, demo
    shown = marks(demo)
    assert tuple(shown) == STEPS, demo
    assert {mark for name, mark in shown.items() if name != "sealed"} == {"✓"}, demo
    assert shown["sealed"] in "✓–"  # some systems let nobody look into another process
    assert "nobody is -7 years old" in demo.said
    assert demo.errors == []
    assert list(tmp_path.iterdir()) == []


def test_without_scikit_learn_the_rest_is_shown_and_the_gap_is_named(
    start: Callable[..., Program], tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_SCIKIT_LEARN)
    demo = start(easynet("demo"), environment={"PYTHONPATH": str(tmp_path)})
    assert demo.wait(within_seconds=60) == 0, demo
    shown = marks(demo)
    assert [name for name, mark in shown.items() if mark == "–" and name != "sealed"] == [
        "train",
        "classify",
    ], demo
    assert "pip install scikit-learn" in demo.said


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name
)
def test_the_demos_processes_end_with_it(
    start: Callable[..., Program], tmp_path: Path, number: signal.Signals
) -> None:
    demo = start(easynet("demo"), environment={"TMPDIR": str(tmp_path)})
    demo.wait_for("✓ start")
    children = psutil.Process(demo.pid).children(recursive=True)
    assert len(children) == 3
    demo.signal(number)
    code = demo.wait(within_seconds=15)
    until(
        lambda: not any(child.is_running() for child in children), within_seconds=15, what="all children gone"
    )
    if number != signal.SIGKILL:
        assert code == 130, demo
        assert "interrupted" in demo.said
        assert "Traceback" not in demo.said
        assert list(tmp_path.iterdir()) == []
