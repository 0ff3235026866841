"""What a call costs each process in CPU, and for what."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
from scaling.programs import progress

from profiling import sampling
from profiling.trio import PROCESSES, Trio


class Load(msgspec.Struct):
    """CPU of one call, in microseconds, by process and stage; ``{}`` of stages where nobody could look."""

    title: str
    calls_per_second: float
    cpu_us: dict[str, float]
    stages: dict[str, dict[str, float]]


def measure(trio: Trio, *, many: bool, seconds: float, folder: Path | None) -> Load:
    """Make calls undisturbed for the sums, then under py-spy for how they are divided, and for flame graphs."""
    before = {process: trio.programs[process].cpu_seconds() for process in PROCESSES}
    threads_before = {process: sampling.thread_seconds(trio.programs[process].pid) for process in PROCESSES}
    calls, rate = _calls(trio, many, seconds)
    cpu: dict[str, float] = {}
    threads: dict[str, dict[int, float]] = {}
    for process in PROCESSES:
        program, known = trio.programs[process], threads_before[process]
        cpu[process] = (program.cpu_seconds() - before[process]) / calls * 1e6
        threads[process] = {
            number: (spent - known.get(number, 0.0)) / calls * 1e6
            for number, spent in sampling.thread_seconds(program.pid).items()
        }
    title = "256 calls in flight" if many else "one call at a time"
    load = Load(title, rate, cpu, {})
    tool = sampling.sampler()
    if tool is None:
        progress(
            "  no flame graphs: py-spy is missing; `make profile` installs it (pip install --group plots)"
        )
        return load
    with tempfile.TemporaryDirectory() as place:
        raw = trio.sample(tool, "raw", Path(place), seconds, many=many)
        for process, path in raw.items():
            load.stages[process] = sampling.divide(path.read_text(), threads[process])
    if len(raw) < len(PROCESSES):
        progress("  py-spy could not look into every process; it may need to be run as root here")
    elif folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        trio.sample(tool, "flamegraph", folder, seconds, many=many)
    return load


def _calls(trio: Trio, many: bool, seconds: float) -> tuple[float, float]:
    """How many calls were made, and how many a second."""
    if many:
        said = trio.at_once(seconds)
        return said["calls"], said["rate"]
    times = trio.one_by_one(int(seconds * 1000))
    return len(times), len(times) / (sum(times) / 1e6)
