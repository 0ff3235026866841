"""What a node costs a gateway by only being there: memory, and processor time."""

from __future__ import annotations

import time
from contextlib import ExitStack

from scaling.programs import Program, progress
from scaling.rows import Curve, Part, Row

LONG_LEASE_SECONDS = 60.0


def measure(*, nodes: int, seconds: float, long_lease: bool) -> Part:
    """Connect nodes step by step, then watch the gateway do nothing."""
    part = Part(f"{nodes:,} nodes that do nothing, over real connections")
    steps = sorted({step for step in (10, 50, 100, 200, 500, 1000, 2000, 5000) if step < nodes} | {nodes})
    with ExitStack() as stack:
        gateway = stack.enter_context(Program("scaling.gateway"))
        fleet = stack.enter_context(Program("scaling.fleet", gateway.hear()["address"], "idle"))
        fleet.hear()
        fleet.ask("grow", to=1)  # what the first connection loads is not the nodes' cost
        before = gateway.resident_bytes()
        memory: list[tuple[float, float]] = [(1, before / 2**20)]
        connecting = 0.0
        for step in steps:
            spent = gateway.cpu_seconds()
            said = fleet.ask("grow", to=step)
            connecting += gateway.cpu_seconds() - spent
            if said["failed"]:
                part.remarks.append(f"Only {said['connected']} nodes could connect: {said['failed']}")
            memory.append((said["connected"], gateway.resident_bytes() / 2**20))
            progress(f"  {said['connected']} nodes, {memory[-1][1]:.0f} MiB")
        time.sleep(3.0)  # the last cards have been taken in
        connected = fleet.ask("count")["connected"]
        each = (gateway.resident_bytes() - before) / (connected - 1)
        share = _idle_share(gateway, seconds)
        after = fleet.ask("count")
    part.rows += [
        Row("gateway's memory per idle node", each / 1024, "KiB", 64),
        Row("gateway's memory before any", before / 2**20, "MiB"),
        Row(f"gateway's idle CPU at {connected:,} nodes, lease 10 s", share * 100, "% of a core", 2),
        Row("gateway's CPU to let one node in", connecting / (connected - 1) * 1e3, "ms"),
        Row("nodes that lost their link meanwhile", after["links"] - connected, "nodes"),
    ]
    part.curves.append(Curve("Gateway's memory", "idle nodes", "MiB", memory))
    part.remarks.append(
        "The gateway polls nobody: it looks after leases four times a lease. What it does when idle is answer "
        "pings; each idle device sends one a lease."
    )
    if long_lease:
        part.rows.append(_with_long_lease(nodes, seconds))
    return part


def _with_long_lease(nodes: int, seconds: float) -> Row:
    """The same with a longer lease, to see what the pings are of it."""
    progress(f"  the same with a lease of {LONG_LEASE_SECONDS:g} s")
    with ExitStack() as stack:
        gateway = stack.enter_context(Program("scaling.gateway", "--lease", str(LONG_LEASE_SECONDS)))
        fleet = stack.enter_context(Program("scaling.fleet", gateway.hear()["address"], "patient"))
        fleet.hear()
        connected = fleet.ask("grow", to=nodes)["connected"]
        time.sleep(3.0)
        share = _idle_share(gateway, seconds)
    what = f"gateway's idle CPU at {connected:,} nodes, lease {LONG_LEASE_SECONDS:g} s"
    return Row(what, share * 100, "% of a core")


def _idle_share(gateway: Program, seconds: float) -> float:
    """The share of a core the gateway takes, over some time."""
    progress(f"  watching the gateway do nothing for {seconds:g} s")
    began, spent = time.monotonic(), gateway.cpu_seconds()
    time.sleep(seconds)
    return (gateway.cpu_seconds() - spent) / (time.monotonic() - began)
