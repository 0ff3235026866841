"""How long one waits for the first things: an import, a gateway, a first result in a fresh process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from scaling.programs import Program
from scaling.rows import Part, Row

IMPORT = """
import time; began = time.perf_counter()
import easyremote
print(time.perf_counter() - began)
"""
CLIENT = IMPORT.replace("import easyremote", "from easyremote import Client, ComputeNode, Server")
GATEWAY = """
import json, os, threading, time
from easyremote import Server
from easyremote.links.loop import run_in_background
from easyremote.links.relay import connect
accepted, serve = threading.Event(), Server._serve
async def watched(self, link):
    accepted.set()
    await serve(self, link)
Server._serve = watched
began = time.perf_counter()
server = Server(port=0, host="127.0.0.1")
server.start_background()
listening = time.perf_counter() - began
link = run_in_background(connect(server.address, server._office.certificate.der, timeout_seconds=10))
accepted.wait(10)
print(json.dumps([listening, time.perf_counter() - began]), flush=True)
os._exit(0)
"""
FIRST = """
import sys
from easyremote import Client
print(Client(sys.argv[1]).execute("echo_1", 1), flush=True)
"""


def measure(*, rounds: int) -> Part:
    """Each in a fresh process, several times; medians."""
    part = Part("the first things, each in a fresh process")
    imports = [float(_run(IMPORT)) for _ in range(rounds)]
    actors = [float(_run(CLIENT)) for _ in range(rounds)]
    fresh = [_gateway() for _ in range(rounds)]
    part.rows += [
        Row("import easyremote", statistics.median(imports) * 1e3, "ms", 120),
        Row("from easyremote import Client, ComputeNode, Server", statistics.median(actors) * 1e3, "ms"),
        Row(
            "Server() to first accepted connection, new network",
            statistics.median(one[1] for one in fresh) * 1e3,
            "ms",
            500,
        ),
        Row("of that, until it listens", statistics.median(one[0] for one in fresh) * 1e3, "ms"),
    ]
    with tempfile.TemporaryDirectory() as home:
        _gateway(home)
        again = [_gateway(home)[1] for _ in range(rounds)]
    part.rows += [
        Row("the same, a network that is there", statistics.median(again) * 1e3, "ms", 500),
        Row("first result in a fresh client process", statistics.median(_first(rounds)) * 1e3, "ms", 600),
    ]
    part.remarks.append(
        "The first result is measured from outside, from the start of Python to the printed result; the others "
        "inside, without the start of Python, and the gateway without its imports."
    )
    return part


def _run(text: str, *words: str, home: str | None = None) -> str:
    environment = {**os.environ, "EASYREMOTE_HOME": home} if home is not None else None
    done = subprocess.run(
        [sys.executable, "-c", text, *words], stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    return done.stdout


def _gateway(home: str | None = None) -> tuple[float, float]:
    """Seconds until a gateway listens, and until a connection was accepted."""
    if home is None:
        with tempfile.TemporaryDirectory() as made:
            return _gateway(made)
    listening, accepted = json.loads(_run(GATEWAY, home=home))
    return listening, accepted


def _first(rounds: int) -> list[float]:
    """Seconds from starting Python to the printed result."""
    times = []
    with Program("scaling.gateway") as gateway:
        address = gateway.hear()["address"]
        with Program("scaling.node", address, "0", "1") as node:
            node.hear()
            for _ in range(rounds):
                began = time.perf_counter()
                _run(FIRST, address)
                times.append(time.perf_counter() - began)
    return times
