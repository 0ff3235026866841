"""``easynet node --reload``: a parent that serves nothing, and restarts its child when a file changes.

The parent never imports what is served, so a mistake in it ends only the child; the next change
starts another.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from easyremote.cli.children import EasynetChild
from easyremote.cli.exits import Exit
from easyremote.cli.settings import Settings

__all__ = ["changed_file", "modification_times", "reload_node", "run_reloading"]

POLL_SECONDS = 0.3
MAX_FILES = 5_000
SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "site-packages"})


def reload_node(target: str, settings: Settings) -> int:
    """Serve the target, and again after each change; returns the exit code.

    Watched are the .py files beside and below the target, or below the working directory for a module.
    """
    place = Path(target if target.endswith(".py") else target.rpartition(":")[0])
    root = place.parent if place.suffix == ".py" else Path()
    words = ["node", target, "--gateway", settings.gateway]
    words += ["--name", settings.name] if settings.name else []
    words += ["--verbose"] if settings.verbose else []
    return run_reloading(words, root.resolve())


def run_reloading(words: Sequence[str], root: Path) -> int:
    """Run ``easynet`` with these words, again after each change of a .py file under ``root``.

    Returns:
        The exit code, once the parent is told to stop.
    """
    with _stop_requests() as asked:
        while not asked.is_set():
            child = EasynetChild("node", words, environment=os.environ, quiet=False)
            try:
                changed = _until_change(child, root, asked)
            finally:
                code = child.stop()
            if changed is not None:
                _say(f"{changed.name} changed: restarting")
    return Exit.OK if code in (0, -signal.SIGTERM) else code


def _until_change(child: EasynetChild, root: Path, asked: threading.Event) -> Path | None:
    """Wait for a change, or to be asked to stop; a child that ended meanwhile is no reason to go on."""
    before = modification_times(root)
    told = False
    while not asked.wait(POLL_SECONDS):
        if child.exit_code is not None and not told:
            told = True
            _say(f"the node ended with code {child.exit_code}: waiting for a change under {root}")
        now = modification_times(root)
        changed = changed_file(before, now)
        if changed is not None:
            return changed
    return None


def modification_times(root: Path) -> dict[Path, int]:
    """When each .py file under the folder last changed; hidden folders and installed code are left out."""
    found: dict[Path, int] = {}
    for place, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not _skipped(Path(place) / name)]
        for name in files:
            if name.endswith(".py"):
                path = Path(place) / name
                try:
                    found[path] = path.stat().st_mtime_ns
                except OSError:  # gone between the listing and the look
                    continue
        if len(found) > MAX_FILES:
            break
    return found


def _skipped(folder: Path) -> bool:
    return folder.name.startswith(".") or folder.name in SKIPPED_FOLDERS or (folder / "pyvenv.cfg").exists()


def changed_file(before: Mapping[Path, int], now: Mapping[Path, int]) -> Path | None:
    """A file that is new, gone or of another time."""
    if before == now:
        return None
    return min(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))


@contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """An event that Ctrl-C or a polite kill sets."""
    asked = threading.Event()

    def ask(_: int, __: FrameType | None) -> None:
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
