"""What one member that floods the gateway costs the others: their p99 with the flood, over that without.

    python benchmarks/flood.py [--rounds 3] [--seconds 4]

A gateway, a node and a caller as processes of their own, and a member that sends as fast as it is let: small
frames to nobody, sealed-looking frames to the node, and large ones of three sizes. Each kind is measured between two quiet
stretches of the same run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

KINDS = ("nobody", "bundled", "node", "parts", "halves", "large")
"""Small frames to nobody, many in a packet, junk to the node, and large junk in three sizes."""

GATEWAY = """
from easyremote import Server
server = Server(port=0, host="127.0.0.1"); server.start_background()
print(server.address, flush=True)
import threading; threading.Event().wait()
"""
NODE = """
import sys
from easyremote import ComputeNode
node = ComputeNode(sys.argv[1], "lab")
node.register(lambda x: x, name="echo")
node.serve(blocking=False); assert node.wait_for_connection(10)
print("up", flush=True)
import threading; threading.Event().wait()
"""
FLOOD = """
import sys, os, asyncio, time
from easyremote import Client
from easyremote.links.loop import run_in_background
from easyremote.wire.frame import carry, join
address, kind = sys.argv[1:]
client = Client(address); client.connect()
engine = client._connection.engine
(lab,) = [view.card.endpoint for view in engine.directory]
target, size, many = {"nobody": (os.urandom(40), 64, 1), "bundled": (os.urandom(40), 64, 500),
                      "node": (lab, 64, 1), "parts": (lab, 128_000, 1), "halves": (lab, 256_000, 1), "large": (lab, 500_000, 2)}[kind]
packet = join([carry(target, os.urandom(size)) for _ in range(many)])
print("up", flush=True)
os.nice(10)  # it stands for a machine of its own: its work is not to be done by ours
sent = 0
async def flood():
    global sent
    link = engine._driver.link
    while True:
        await link.send(packet)
        sent += 1
async def until_told():
    flooding = asyncio.ensure_future(flood())
    began = time.perf_counter()
    await asyncio.to_thread(sys.stdin.read)
    flooding.cancel()
    print(f"{sent / (time.perf_counter() - began):.0f} {len(packet)}", flush=True)
run_in_background(until_told())
os._exit(0)
"""


@contextmanager
def program(text: str, *words: str, last: bool = False) -> Iterator[list[str]]:
    """A process of its own, and the first line it prints; at the end also the last, if that is wanted."""
    child = subprocess.Popen(
        [sys.executable, "-c", text, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        if child.stdout is None or child.stdin is None:
            raise RuntimeError("the process has no output")
        said = [child.stdout.readline().strip()]
        yield said
        if last:
            child.stdin.close()
            said.append(child.stdout.readline().strip())
    finally:
        child.kill()
        child.wait()


def measure(address: str, seconds: float) -> list[float]:
    """How long calls take, one after another."""
    from easyremote import Client

    with Client(address, direct=False) as client:
        for _ in range(100):
            client.execute("echo", 1)
        times = []
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            client.execute("echo", 1)
            times.append(time.perf_counter() - began)
    return times


def p(times: list[float], share: float) -> float:
    return sorted(times)[min(int(len(times) * share), len(times) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--kind", action="append")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        os.environ["EASYREMOTE_HOME"] = home
        (address,) = stack.enter_context(program(GATEWAY))
        stack.enter_context(program(NODE, address))
        print(f"{'flood of':<10} {'p50':>8} {'p99':>8}  {'p50 quiet':>9} {'p99 quiet':>9}  {'p99 ratio':>9}")
        for kind in options.kind or KINDS:
            ratios, rows = [], []
            for _ in range(options.rounds):
                quiet = measure(address, options.seconds / 2)
                with program(FLOOD, address, kind, last=True) as said:
                    loud = measure(address, options.seconds)
                packets, size = map(float, said[-1].split())
                quiet += measure(address, options.seconds / 2)
                ratios.append(p(loud, 0.99) / p(quiet, 0.99))
                rows.append((p(loud, 0.5), p(loud, 0.99), p(quiet, 0.5), p(quiet, 0.99), packets, size))
            a, b, c, d = (statistics.median(column) * 1e6 for column in list(zip(*rows, strict=True))[:4])
            rate, size = (statistics.median(column) for column in list(zip(*rows, strict=True))[4:])
            print(
                f"{kind:<10} {a:>7.0f}µ {b:>7.0f}µ  {c:>8.0f}µ {d:>8.0f}µ  {statistics.median(ratios):>8.2f}×"
                f"  {rate:>9.0f} packets/s {rate * size / 2**20:>7.1f} MiB/s",
                flush=True,
            )


if __name__ == "__main__":
    main()
