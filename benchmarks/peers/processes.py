"""The processes of a run: each in a group of its own, and none left when it ends, however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

START_SECONDS = 60
MEASURE_SECONDS = 150
LEAVE_SECONDS = 10


class FailedError(Exception):
    """A process did not do its part; the text is the last it said."""


class Process:
    """A server, or one measurement, with its input, its output, and what it says on the side in a file."""

    def __init__(self, command: list[str], environment: Mapping[str, str], side: Path) -> None:
        self._side = side
        with side.open("wb") as said:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env=dict(environment),
                start_new_session=True,  # Ctrl-C is for the runner, which then ends everything in order
            )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(ValueError):
            for line in self._child.stdout or ():
                self._lines.put(line.strip())
        self._lines.put("")

    def line(self, seconds: float) -> str:
        """Its next line.

        Raises:
            FailedError: It ended, or said nothing for so long.
        """
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise FailedError(f"no answer within {seconds:g} s") from None
        if not line:
            raise FailedError(self.last_words())
        return line

    def last_words(self) -> str:
        """Why it failed, as far as it said so."""
        lines = [line.strip() for line in self._side.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if "Error" in line.split(":")[0] and not line.startswith("File ")]
        return ((errors or lines or ["it ended without a word"])[-1])[:200]

    def end(self) -> None:
        """Ask it to leave; then make it, and all that it started."""
        family = self._family()
        with contextlib.suppress(OSError):
            if self._child.stdin:
                self._child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(LEAVE_SECONDS)
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.terminate()
        _, left = psutil.wait_procs(family, timeout=LEAVE_SECONDS / 2)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        for one in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        self._child.wait(LEAVE_SECONDS)
        if self._child.stdout:
            self._child.stdout.close()

    def _family(self) -> list[psutil.Process]:
        """Itself and everything it started, be it in other groups."""
        try:
            own = psutil.Process(self._child.pid)
            return [own, *own.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


class Programs:
    """Starts a peer's programs and ends them."""

    def __init__(self, python: str, program: Path, words: tuple[str, ...], folder: Path) -> None:
        foreign = python != sys.executable  # it must not find our packages in place of its own
        self._command = [python, str(program)]
        self._words = words
        self._folder = folder
        self._number = 0
        self._servers: list[Process] = []
        self.address = ""
        outer = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" or not foreign}
        self._environment = {
            **outer,
            "EASYREMOTE_HOME": str(folder / "home"),
            "RAY_TMPDIR": str(folder.parent),
            "PYTHONUNBUFFERED": "1",
        }
        folder.mkdir(parents=True, exist_ok=True)

    def _start(self, *words: str) -> Process:
        self._number += 1
        return Process(
            [*self._command, *words], self._environment, self._folder / f"{self._number}-{words[0]}.txt"
        )

    def serve(self, *servers: str) -> None:
        """Start servers, one after another; the first of all says the address for the others.

        Raises:
            FailedError: One does not start.
        """
        for server in servers:
            process = self._start(server, *([self.address] if self.address else []))
            self._servers.append(process)
            said = process.line(START_SECONDS)
            self.address = self.address or said

    def measure(self, workload: str, length: str) -> dict[str, float]:
        """The figures of one workload, from a fresh process.

        Raises:
            FailedError: It brought none.
        """
        if workload == "first":
            return self._first()
        process = self._start("measure", workload, self.address, length, *self._words)
        with ending(process):
            figures: dict[str, float] = json.loads(process.line(MEASURE_SECONDS))
        return figures

    def _first(self) -> dict[str, float]:
        """Seconds from the start of a process, of its interpreter even, to its first result."""
        began = time.perf_counter()
        process = self._start("first", self.address, *self._words)
        with ending(process):
            process.line(START_SECONDS)
            return {"first": time.perf_counter() - began}

    def end(self) -> None:
        """End all servers, the last first."""
        while self._servers:
            self._servers.pop().end()


@contextlib.contextmanager
def ending(process: Process) -> Iterator[None]:
    try:
        yield
    finally:
        process.end()
