"""What a call costs: EasyRemote against a bare gRPC relay, in one run, alternating.

Sequential latency, throughput with 256 calls in flight, and a 16 MiB array there and back; through one
gateway to one node, all on this machine, three processes each. Ours carries encryption, types and
scheduling; the relay carries nothing but bytes, one call a message. Medians over the rounds, and ratios to the
relay; the last column shows what a relay of bare bytes that nobody parses comes to (see relay.py).

    python benchmarks/echo.py [--json] [--check] [--rounds 5] [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

sys.path.insert(0, str(Path(__file__).parent))
import relay

from easyremote import AsyncClient, Client, __version__

HERE = Path(__file__).parent
PAYLOAD = b"x" * 64
IN_FLIGHT = 256
ARRAY = np.random.default_rng(0).random(4 << 20, dtype=np.float32)  # 16 MiB


class Processes:
    """Child processes, ended by closing their standard input, or by pid."""

    def __init__(self) -> None:
        self._children: list[subprocess.Popen[str]] = []

    def start(self, *command: str) -> str:
        """Start one; returns the line it says when it is ready."""
        child = subprocess.Popen(
            [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._children.append(child)
        line = child.stdout.readline().strip() if child.stdout else ""
        if not line:
            raise SystemExit(f"{' '.join(command)} did not start")
        return line

    def measure(self, *command: str) -> dict[str, float]:
        """The figures a measuring process prints, in a process of its own."""
        done = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, text=True, check=True)
        figures: dict[str, float] = json.loads(done.stdout)
        return figures

    def end(self) -> None:
        for child in reversed(self._children):
            child.terminate()
            child.wait(10)


async def sequential(call: Callable[[bytes], Awaitable[Any]], count: int) -> dict[str, float]:
    """One call after another: median and 99th percentile, in microseconds."""
    for _ in range(count // 10):
        await call(PAYLOAD)
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await call(PAYLOAD)
        times.append((time.perf_counter() - began) * 1e6)
    return percentiles(times)


def sequential_blocking(client: Client, count: int) -> dict[str, float]:
    """The same with the blocking client."""
    for _ in range(count // 10):
        client.execute("echo", PAYLOAD)
    times = []
    for _ in range(count):
        began = time.perf_counter()
        client.execute("echo", PAYLOAD)
        times.append((time.perf_counter() - began) * 1e6)
    return percentiles(times)


def percentiles(times: list[float]) -> dict[str, float]:
    times.sort()
    return {"p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}


async def throughput(call: Callable[[bytes], Awaitable[Any]], seconds: float) -> float:
    """Calls a second with 256 in flight: as many loops, each one call after another."""
    done = 0
    until = time.perf_counter() + seconds

    async def loop() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await call(PAYLOAD)
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(loop() for _ in range(IN_FLIGHT)))
    return done / (time.perf_counter() - began)


async def bulk(call: Callable[[Any], Awaitable[Any]], value: Any, times: int) -> float:
    """A second's worth of 16 MiB there and back, in MiB a second."""
    await call(value)
    began = time.perf_counter()
    for _ in range(times):
        await call(value)
    return 2 * 16 * times / (time.perf_counter() - began)


async def measure_relay(address: str, way: str, quick: bool) -> dict[str, float]:
    caller = relay.Caller(address, way)
    try:
        latency = await sequential(caller.call, 200 if quick else 1000)
        calls = await throughput(caller.call, 0.5 if quick else 2.0)
        data = ARRAY.tobytes()

        async def there_and_back(_: Any) -> Any:
            return np.frombuffer(await caller.call(data), dtype=np.float32)

        mib = await bulk(there_and_back, data, 3 if quick else 8)
    finally:
        await caller.close()
    return {
        "p50_us": latency["p50"],
        "p99_us": latency["p99"],
        "calls_per_second": calls,
        "mib_per_second": mib,
    }


async def measure_ours(address: str, quick: bool) -> dict[str, float]:
    async with AsyncClient(address, direct=False) as client:

        async def call(payload: Any) -> Any:
            return await client.execute("echo", payload)

        async def call_in_thread(payload: Any) -> Any:
            return await client.execute("echo_in_thread", payload)

        latency = await sequential(call, 200 if quick else 1000)
        calls = await throughput(call, 0.5 if quick else 2.0)
        in_threads = await throughput(call_in_thread, 0.5 if quick else 2.0)
        mib = await bulk(call, ARRAY, 3 if quick else 8)
        assert np.array_equal(await call(ARRAY), ARRAY)
    return {
        "p50_us": latency["p50"],
        "p99_us": latency["p99"],
        "calls_per_second": calls,
        "calls_per_second_threads": in_threads,
        "mib_per_second": mib,
    }


def measure_blocking(address: str, quick: bool) -> dict[str, float]:
    with Client(address, direct=False) as client:
        latency = sequential_blocking(client, 200 if quick else 1000)
    return {"blocking_p50_us": latency["p50"], "blocking_p99_us": latency["p99"]}


def measure(what: str, address: str, quick: bool) -> dict[str, float]:
    if what in ("typed", "raw"):
        relayed: dict[str, float] = uvloop.run(measure_relay(address, what, quick))
        return relayed
    if what == "async":
        mine: dict[str, float] = uvloop.run(measure_ours(address, quick))
        return mine
    return measure_blocking(address, quick)


BARS: list[tuple[str, str, str, str, float]] = [
    # what is measured, ours, the relay's, which way is better, the bar for the ratio
    ("sequential p50, AsyncClient (µs)", "p50_us", "p50_us", "at most", 1.5),
    ("sequential p50, Client (µs)", "blocking_p50_us", "p50_us", "at most", 1.5),
    ("calls/s, 256 in flight, async def", "calls_per_second", "calls_per_second", "at least", 10.0),
    (
        "calls/s, 256 in flight, def in threads",
        "calls_per_second_threads",
        "calls_per_second",
        "at least",
        10.0,
    ),
    ("16 MiB there and back (MiB/s)", "mib_per_second", "mib_per_second", "at least", 1.0),
]


def run(rounds: int, quick: bool) -> dict[str, Any]:
    home = tempfile.TemporaryDirectory(prefix="easyremote-bench-")
    os.environ["EASYREMOTE_HOME"] = home.name
    processes = Processes()
    ours: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    floor: list[dict[str, float]] = []
    try:
        address = processes.start(str(HERE / "service.py"), "gateway")
        processes.start(str(HERE / "service.py"), "node", address)
        relays = {}
        for way in ("typed", "raw"):
            relays[way] = processes.start(str(HERE / "relay.py"), "relay", way)
            processes.start(str(HERE / "relay.py"), "echo", relays[way], way)
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            length = "quick" if quick else "full"
            theirs.append(processes.measure(__file__, "--measure", "typed", relays["typed"], length))
            floor.append(processes.measure(__file__, "--measure", "raw", relays["raw"], length))
            ours.append(
                processes.measure(__file__, "--measure", "async", address, length)
                | processes.measure(__file__, "--measure", "blocking", address, length)
            )
    finally:
        processes.end()
        home.cleanup()
    rows = []
    for name, our_key, their_key, way, bar in BARS:
        ratios = [mine[our_key] / other[their_key] for mine, other in zip(ours, theirs, strict=True)]
        ratio = statistics.median(ratios)
        rows.append(
            {
                "what": name,
                "easyremote": statistics.median(one[our_key] for one in ours),
                "relay": statistics.median(one[their_key] for one in theirs),
                "raw": statistics.median(one[their_key] for one in floor),
                "ratio": ratio,
                "ratio_min": min(ratios),
                "ratio_max": max(ratios),
                "bar": f"{way} {bar:g}",
                "reached": ratio <= bar if way == "at most" else ratio >= bar,
            }
        )
    return {
        "machine": machine(),
        "rounds": rounds,
        "rows": rows,
        "p99_us": statistics.median(one["p99_us"] for one in ours),
    }


def machine() -> dict[str, Any]:
    import grpc

    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model
        )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "os": platform.platform(terse=True),
        "python": platform.python_version(),
        "grpcio": grpc.__version__,
        "easyremote": __version__,
    }


def show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"EasyRemote against a bare gRPC relay (medians of {result['rounds']} rounds)")
    for heading in ("what", "EasyRemote", "relay", "ratio", "range", "bar", "", "raw bytes"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for row in result["rows"]:
        table.add_row(
            row["what"],
            f"{row['easyremote']:,.0f}",
            f"{row['relay']:,.0f}",
            f"{row['ratio']:.2f} ×",
            f"{row['ratio_min']:.2f}–{row['ratio_max']:.2f}",
            row["bar"],
            "reached" if row["reached"] else "missed",
            f"{row['raw']:,.0f}",
        )
    console = Console(width=None if sys.stdout.isatty() else 130)
    console.print(table)
    console.print(", ".join(f"{key} {value}" for key, value in result["machine"].items()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    parser.add_argument("--quick", action="store_true", help="short rounds, for a first look")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", nargs=3, metavar=("WHAT", "ADDRESS", "LENGTH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        what, address, length = options.measure
        print(json.dumps(measure(what, address, length == "quick")))
        return
    result = run(options.rounds, options.quick)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)
    if options.check and not all(row["reached"] for row in result["rows"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
