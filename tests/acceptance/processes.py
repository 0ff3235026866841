"""Real processes for tests: start one, read what it says as it says it, signal it, and always reap it.

Nothing here knows EasyRemote.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")

TESTS = Path(__file__).resolve().parent.parent
REPOSITORY = TESTS.parent
PROGRAMS = Path(__file__).resolve().parent / "programs"

# A child dies with its test process, also when that one is killed. exec keeps the pid.
_TETHER = ["setpriv", "--pdeathsig", "SIGKILL"] if shutil.which("setpriv") else []


def until(condition: Callable[[], T], *, within_seconds: float = 10.0, what: str = "") -> T:
    """Look again and again until the condition holds, and return what it gave."""
    pause, deadline = threading.Event(), time.monotonic() + within_seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_seconds} s: {what or condition}; last seen {found!r}")
        pause.wait(0.01)


def settled(read: Callable[[], T], *, quiet_seconds: float = 0.3, within_seconds: float = 10.0) -> T:
    """What ``read`` gives once it has given the same for a while."""
    pause, deadline = threading.Event(), time.monotonic() + within_seconds
    last, since = read(), time.monotonic()
    while time.monotonic() - since < quiet_seconds:
        assert time.monotonic() < deadline, f"still changing after {within_seconds} s, now {last!r}"
        pause.wait(0.02)
        now = read()
        if now != last:
            last, since = now, time.monotonic()
    return last


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Program:
    """One process, with what it has printed so far.

    Args:
        command: The program and its arguments; a first word ending in ``.py`` is run by this Python.
        environment: What is added to this process's environment; None takes a variable away.
        directory: Where it runs.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str | None] | None = None,
        directory: Path | None = None,
    ) -> None:
        words = [str(word) for word in command]
        if words[0].endswith(".py"):
            words.insert(0, sys.executable)
        paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
        for key, value in (environment or {}).items():
            if value is None:
                variables.pop(key, None)
            else:
                variables[key] = value
        self.command = words
        self.output: list[str] = []
        self.errors: list[str] = []
        self._news = threading.Condition()
        self._child = subprocess.Popen(
            [*_TETHER, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=variables,
            cwd=directory,
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self._child.stdout, self.output), (self._child.stderr, self.errors))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: object, lines: list[str]) -> None:
        for line in pipe:  # type: ignore[attr-defined]
            with self._news:
                lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    @property
    def said(self) -> str:
        """Everything it has printed, both streams."""
        with self._news:
            return "\n".join([*self.output, *self.errors])

    def wait_for(self, pattern: str, *, within_seconds: float = 20.0) -> re.Match[str]:
        """The first match of the pattern in a line it prints, on either stream."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            for line in [*self.output, *self.errors]:
                match = re.search(pattern, line)
                if match:
                    found.append(match)
                    return True
            return not any(reader.is_alive() for reader in self._readers)

        with self._news:
            self._news.wait_for(look, timeout=within_seconds)
        if not found:
            raise AssertionError(f"{pattern!r} was not printed in {within_seconds} s by {self}")
        return found[0]

    def wait(self, *, within_seconds: float = 20.0) -> int:
        """Its exit code, once it has ended and all it printed is read."""
        try:
            code = self._child.wait(within_seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {within_seconds} s: {self}") from None
        for reader in self._readers:
            reader.join(5)
        return code

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.signal(signal.SIGINT)

    def freeze(self) -> None:
        """Stop it as it stands: its connections stay open and say nothing."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once with all its children, and reap it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._child.wait(10)
        for reader in self._readers:
            reader.join(5)
        for pipe in (self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def __repr__(self) -> str:
        state = "running" if self.running else f"ended with {self._child.returncode}"
        return f"{' '.join(self.command)} ({state}), which said:\n{self.said}"


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str | None] | None = None,
    directory: Path | None = None,
    within_seconds: float = 30.0,
) -> Program:
    """Run a program to its end; ``wait()`` on what is returned gives the exit code at once."""
    program = Program(command, environment=environment, directory=directory)
    try:
        program.wait(within_seconds=within_seconds)
    finally:
        program.kill()
    return program
