"""Child processes of a command: their words read as they come, stopped politely, never left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from easyremote.errors import EasyRemoteError

__all__ = ["ChildError", "EasynetChild", "stop_with_parent"]

STOP_SECONDS = 10.0
KEPT_LINES = 200


class ChildError(EasyRemoteError):
    """A child process did not do what it was started for."""


class EasynetChild:
    """One ``easynet`` command as a process of its own, that ends when this one does.

    It is in a session of its own, so Ctrl-C reaches only the parent, which then stops it in order.

    Args:
        name: What to call it when it fails.
        words: The command's words, without ``easynet``.
        environment: All its environment variables.
        folder: Its working directory.
        quiet: Keep what it says, for ``wait_for``, rather than let it through to standard error.
    """

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path | None = None,
        quiet: bool = True,
    ) -> None:
        self.name = name
        self.started = time.monotonic()
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self._asked = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "easyremote", *words, "--with-parent"],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL if quiet else None,
            stderr=subprocess.PIPE if quiet else None,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The system's number of it."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for its end; whether it came."""
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def wait_for(self, pattern: str, *, timeout_seconds: float) -> re.Match[str]:
        """The first line it says, or has said, that has the pattern.

        Raises:
            ChildError: It ended without, or the time was up.
        """
        deadline = time.monotonic() + timeout_seconds
        with self._news:
            while True:
                for line in self._lines:
                    found = re.search(pattern, line)
                    if found:
                        return found
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    why = "ended" if self._ended else f"was not ready within {timeout_seconds:g} s"
                    raise ChildError(f"the {self.name} {why}; it said:\n{self.said()}")
                self._news.wait(left)

    def said(self) -> str:
        """Its last words, indented."""
        return "\n".join(f"  {line}" for line in self._lines[-20:]) or "  nothing"

    def ask_to_stop(self) -> None:
        """Ask it to stop, and do not wait."""
        self._asked = True
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)  # a shell's background job may ignore SIGINT

    def stop(self) -> int:
        """Ask it to stop if nobody has, kill it if it will not; its exit code."""
        if not self._asked:
            self.ask_to_stop()
        if not self.wait(STOP_SECONDS):
            self._process.kill()
        code = self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._reader.join(STOP_SECONDS)
        if self._process.stderr is not None:
            self._process.stderr.close()
        return code

    def _read(self) -> None:
        for line in self._process.stderr or ():
            with self._news:
                self._lines.append(line.rstrip("\n"))
                del self._lines[:-KEPT_LINES]
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


def stop_with_parent() -> None:
    """In a child: ask this process to stop when its standard input ends, as when its parent is gone."""
    handle = sys.stdin.fileno()

    def watch() -> None:
        while os.read(handle, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="easynet-parent", daemon=True).start()
