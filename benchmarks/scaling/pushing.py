"""What the directory costs: to tell watchers of a node that joins, and to tell a newcomer of all nodes."""

from __future__ import annotations

import statistics
import threading
import time

from scaling.programs import Program, progress
from scaling.rows import Curve, Part, Row


def measure(*, nodes: int, watchers: int, joins: int) -> Part:
    """Let nodes join while more and more clients watch, and fresh clients come while there are more nodes."""
    part = Part("the directory, over real connections")
    watching = sorted({many for many in (1, 10, 50, 100, 200, 400) if many < watchers} | {watchers})
    with Program("scaling.gateway") as gateway:
        address = gateway.hear()["address"]
        with (
            Program("scaling.fleet", address, "joiner") as joiners,
            Program("scaling.fleet", address, "crowd") as crowd,
            Program("scaling.fleet", address, "probe") as probe,
        ):
            for fleet in (joiners, crowd, probe):
                fleet.hear()
            joiners.ask("grow", to=1)
            probe.ask("grow", to=1, role="client")
            quiet = _quiet_share(gateway)
            costs = []
            for many in watching:
                crowd.ask("grow", to=many - 1, role="client")
                crowd.ask("deafen")
                costs.append((many, *_joining(gateway, joiners, crowd, probe, joins, quiet)))
                progress(f"  {many} watchers: {costs[-1][1]:.2f} ms of CPU a join")
            crowd.ask("leave")
            _add_joins(part, costs)
            _add_newcomers(part, gateway, address, joiners, nodes)
    return part


def _quiet_share(gateway: Program) -> float:
    spent, began = gateway.cpu_seconds(), time.monotonic()
    time.sleep(2.0)
    return (gateway.cpu_seconds() - spent) / (time.monotonic() - began)


def _joining(
    gateway: Program, joiners: Program, crowd: Program, probe: Program, joins: int, quiet: float
) -> tuple[float, float, float]:
    """A join's cost: CPU of the gateway in ms, bytes to all watchers, seconds until a watcher knows."""
    delays, before = [], crowd.ask("count")["bytes"] + probe.ask("count")["bytes"]
    spent, began = gateway.cpu_seconds(), time.monotonic()
    for _ in range(joins):
        name = f"joiner-{joiners.ask('count')['links']}"
        seen: list[float] = []
        looking = threading.Thread(
            target=lambda name, seen: seen.append(_sees(probe, name)), args=(name, seen)
        )
        looking.start()
        joined = joiners.ask("join")
        looking.join()
        delays.append(seen[0] - joined["began"] - joined["seconds"])
    time.sleep(0.3)
    cpu = gateway.cpu_seconds() - spent - quiet * (time.monotonic() - began)
    sent = crowd.ask("count")["bytes"] + probe.ask("count")["bytes"] - before
    return cpu / joins * 1e3, sent / joins, statistics.median(delays)


def _sees(probe: Program, name: str) -> float:
    return float(probe.ask("sees", name=name)["at"])


def _add_joins(part: Part, costs: list[tuple[int, float, float, float]]) -> None:
    most, cpu, sent, delay = costs[-1]
    alone = costs[0]
    part.rows += [
        Row("gateway's CPU as one node joins, 1 watcher", alone[1], "ms"),
        Row(f"gateway's CPU as one node joins, {most} watchers", cpu, "ms"),
        Row("of that, for each watcher", (cpu - alone[1]) / max(most - 1, 1), "ms"),
        Row("bytes to each watcher as one node joins", sent / most, "bytes"),
        Row(f"bytes to all as one node joins, {most} watchers", sent, "bytes"),
        Row("after its welcome, until a watcher knows, 1 watcher", alone[3] * 1e3, "ms"),
        Row(f"after its welcome, until a watcher knows, {most} watchers", delay * 1e3, "ms"),
    ]
    part.curves.append(
        Curve("Gateway's CPU as one node joins", "watchers", "ms", [(one[0], one[1]) for one in costs])
    )


def _add_newcomers(part: Part, gateway: Program, address: str, joiners: Program, nodes: int) -> None:
    """A fresh client wants to know all nodes; the best of three, as others use the machine too."""
    points, last = [], {}
    for many in sorted({step for step in (10, 100, 300, 1000, 3000) if step < nodes} | {nodes}):
        have = joiners.ask("count")["connected"]
        joiners.ask("grow", to=max(many, have))
        best: dict[str, float] = {}
        for number in range(3):
            with Program("scaling.fleet", address, f"newcomer{many}-{number}") as newcomer:
                newcomer.hear()
                spent = gateway.cpu_seconds()
                said = newcomer.ask("join", role="client")
                said["gateway"] = gateway.cpu_seconds() - spent
            if not best or said["seconds"] < best["seconds"]:
                best = said
        points.append((best["nodes"], best["seconds"] * 1e3))
        progress(f"  a fresh client knows {best['nodes']} nodes after {best['seconds'] * 1e3:.0f} ms")
        last = best
    known = int(last["nodes"])
    part.rows += [
        Row(f"until a fresh client knows {known:,} nodes, TLS and all", last["seconds"] * 1e3, "ms"),
        Row("of that, the client's own CPU", last["cpu_seconds"] * 1e3, "ms"),
        Row("gateway's CPU for it", last["gateway"] * 1e3, "ms"),
        Row(f"bytes for {known:,} nodes", last["bytes"] / 1024, "KiB"),
    ]
    part.curves.append(Curve("Until a fresh client knows all nodes", "nodes", "ms", points))
