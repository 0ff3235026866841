"""The three programs a call goes through, started and ended together."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from scaling.programs import Program

from profiling import sampling

PROCESSES = ("client", "gateway", "node")


class Trio:
    """A gateway, a node and a client."""

    def __init__(self, *, noting: bool = False, direct: bool = False) -> None:
        self._direct = "1" if direct else "0"
        self._noting = "noting" if noting else "plain"
        self._stack = ExitStack()
        self.programs: dict[str, Program] = {}

    def __enter__(self) -> Trio:
        address = self._start("gateway", "")["address"]
        for process in ("node", "client"):
            self._start(process, address)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self, process: str, address: str) -> dict[str, Any]:
        program = self._stack.enter_context(
            Program("profiling.actor", process, self._noting, address, EASYREMOTE_DIRECT=self._direct)
        )
        self.programs[process] = program
        return program.hear()

    def one_by_one(self, calls: int) -> list[float]:
        """How long each call took, in microseconds."""
        times: list[float] = self.programs["client"].ask("one by one", calls=calls)["times_us"]
        return times

    def at_once(self, seconds: float) -> dict[str, float]:
        """256 calls in flight for so long."""
        return self.programs["client"].ask("at once", seconds=seconds)

    def notes_of(self, calls: int) -> dict[str, list[tuple[int, str]]]:
        """What each process notes while so many calls are made, one by one."""
        for program in self.programs.values():
            program.ask("begin")
        self.one_by_one(calls)
        return {
            process: [(when, what) for when, what in program.ask("end")["notes"]]
            for process, program in self.programs.items()
        }

    def sample(self, tool: str, form: str, folder: Path, seconds: float, *, many: bool) -> dict[str, Path]:
        """Look at the stacks of all three while calls are made; where each one's are written."""
        ending = "txt" if form == "raw" else "svg"
        way = "many" if many else "one"
        targets = {process: folder / f"flame_{way}_{process}.{ending}" for process in PROCESSES}
        looking = [
            sampling.record(tool, self.programs[process].pid, seconds, form, target, busy=many)
            for process, target in targets.items()
        ]
        end = time.monotonic() + seconds + 1.0  # py-spy takes a moment to begin
        while time.monotonic() < end:
            self.at_once(0.5) if many else self.one_by_one(100)
        for one in looking:
            one.wait(30)
        found = {process: target for process, target in targets.items() if target.exists()}
        if form == "flamegraph":
            for process, target in found.items():
                sampling.entitle(
                    target, f"{process}, {'256 calls in flight' if many else 'one call at a time'}"
                )
        return found
