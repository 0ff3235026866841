"""Programs of a benchmark: started, asked in lines of JSON, measured from outside, and ended.

A program answers each line of its standard input with one line, and ends when the input does. What it costs
is read from the system by its process id, so that measuring takes nothing of its time.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

BENCHMARKS = Path(__file__).parent.parent


class Died(RuntimeError):
    """A program ended before it answered."""


class Program:
    """One module of the benchmarks, running as a process of its own.

    It calls through the gateway, which is what is measured, unless its environment says otherwise.
    """

    def __init__(self, module: str, *words: str, **environment: str) -> None:
        paths = os.pathsep.join(filter(None, [str(BENCHMARKS), os.environ.get("PYTHONPATH")]))
        self.module = module
        self._child = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "EASYREMOTE_DIRECT": "0", "PYTHONPATH": paths, **environment},
        )
        self.pid = self._child.pid

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()

    def hear(self) -> dict[str, Any]:
        """The next line it says.

        Raises:
            Died: It ended instead.
        """
        line = self._child.stdout.readline() if self._child.stdout is not None else ""
        if not line:
            raise Died(f"{self.module} ended with {self._child.wait(10)}")
        said: dict[str, Any] = json.loads(line)
        return said

    def ask(self, what: str, **details: Any) -> dict[str, Any]:
        """Ask something and wait for the answer."""
        try:
            if self._child.stdin is not None:
                self._child.stdin.write(json.dumps({"what": what, **details}) + "\n")
                self._child.stdin.flush()
        except BrokenPipeError:
            raise Died(f"{self.module} ended with {self._child.wait(10)}") from None
        return self.hear()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._child.poll() is None

    def cpu_seconds(self) -> float:
        """The processor time all its threads have taken."""
        return cpu_seconds(self.pid)

    def resident_bytes(self) -> int:
        """The memory it holds."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def end(self) -> None:
        """Close its input and wait for it; kill what does not end."""
        if self._child.stdin is not None:
            self._child.stdin.close()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def cpu_seconds(pid: int) -> float:
    """The processor time of a process, to the nanosecond where the system tells."""
    if platform.system() == "Linux":
        # What clock_getcpuclockid(3) makes of a pid; /proc counts in hundredths of a second.
        return time.clock_gettime((~pid << 3) | 2)
    spent = psutil.Process(pid).cpu_times()
    return float(spent.user + spent.system)


def say(**facts: Any) -> None:
    """A program's answer."""
    print(json.dumps(facts), flush=True)


async def serve(answer: Callable[..., Awaitable[dict[str, Any]]]) -> None:
    """Answer questions until the input ends."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        say(**await answer(**json.loads(line)))


def progress(text: str) -> None:
    """Tell whoever waits what goes on."""
    print(text, file=sys.stderr, flush=True)
