"""What a server for $5 a month holds: one core and 512 MiB, and what a million calls cost there."""

from __future__ import annotations

import os
import statistics

from scaling.gateway import leave
from scaling.programs import Program, progress
from scaling.rows import Curve, Part, Row

MIB = 512
CROWD = 2000
"""Idle nodes beside which calls are measured."""
STEP = 200
SYSTEM_MIB = 96
"""What a bare Linux keeps for itself of such a machine."""
DOLLARS_A_MONTH = 5.0
SECONDS_A_MONTH = 30 * 86400
TRAFFIC_BYTES = 1e12
"""What such a server may send a month, as such offers commonly have it."""


def measure(*, nodes: int, rounds: int, seconds: float) -> Part:
    """Calls with and without idle nodes, and as many idle nodes as there is time for."""
    part = Part(f"the same gateway on 1 core and in {MIB} MiB")
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, set(cores[1:]) or {cores[0]})  # what is started from here leaves the core alone
    try:
        _measure(part, cores[0], nodes, rounds, seconds)
    finally:
        os.sched_setaffinity(0, set(cores))
    part.remarks.append(
        f"The core by sched_setaffinity, with all other programs on the rest ({len(cores) - 1} here). The memory is "
        f"{MIB} MiB less {SYSTEM_MIB} for the system: a cgroup counts what is resident, as a machine would; where none "
        "can be made, RLIMIT_DATA counts all that the process may write, touched or not, and ends it much sooner. The "
        "idle nodes' own pings take time of the cores where client and node are."
    )
    return part


def _measure(part: Part, core: int, nodes: int, rounds: int, seconds: float) -> None:
    leave()
    with Program("scaling.gateway", "--cpu", str(core), "--mib", str(MIB - SYSTEM_MIB)) as gateway:
        said = gateway.hear()
        address = said["address"]
        part.remarks.append(f"The gateway's memory was bound by {said['bound']}.")
        with (
            Program("scaling.fleet", address, "idle") as fleet,
            Program("scaling.node", address, "0", "1") as node,
            Program("scaling.caller", address) as caller,
        ):
            for one in (fleet, node, caller):
                one.hear()
            caller.ask("echo_1", seconds=0.3)
            alone = _rate(gateway, caller, rounds, seconds)
            single = _rate(gateway, caller, rounds, seconds, in_flight=1)
            before = gateway.resident_bytes()
            memory = [(0.0, before / 2**20)]
            _fill(part, gateway, fleet, memory, min(nodes, CROWD))
            each = (gateway.resident_bytes() - before) / max(memory[-1][0], 1)
            crowd = int(memory[-1][0])
            crowded = _rate(gateway, caller, rounds, seconds)
            lost = fleet.ask("count")["links"] - crowd  # each has had one, if none was lost
            _fill(part, gateway, fleet, memory, nodes)
    room = (MIB - SYSTEM_MIB) * 2**20 - before
    part.rows += [
        Row("idle nodes it held", memory[-1][0], "nodes"),
        Row("gateway's resident memory with them", memory[-1][1], "MiB"),
        Row(f"links lost with {crowd:,} idle nodes and calls", lost, "links"),
        Row(f"idle nodes that {MIB - SYSTEM_MIB} MiB resident would be (computed)", room / each, "nodes"),
        Row("calls/s, 256 in flight, no other nodes", alone["rate"], "calls/s"),
        Row(f"calls/s with {crowd:,} idle nodes connected", crowded["rate"], "calls/s"),
        Row("gateway's CPU a call, 256 in flight", alone["cpu"] * 1e6, "µs"),
        Row("calls/s at which its core would be full (computed)", 1 / alone["cpu"], "calls/s"),
        Row("gateway's CPU a call, one call at a time", single["cpu"] * 1e6, "µs"),
        Row("bytes the gateway sends for a call", alone["bytes"], "bytes"),
    ]
    part.curves.append(Curve(f"Gateway's memory, {MIB} MiB server", "idle nodes", "MiB", memory))
    _add_price(part, alone, single)


def _fill(
    part: Part, gateway: Program, fleet: Program, memory: list[tuple[float, float]], nodes: int
) -> None:
    """Connect idle nodes until there are so many, or no more can; ``memory`` is what the gateway had with each."""
    while (have := int(memory[-1][0])) < nodes:
        said = fleet.ask("grow", to=min(have + STEP, nodes))
        if not gateway.alive:
            part.remarks.append(
                f"Between {have:,} and {have + STEP:,} nodes the gateway ended: out of memory."
            )
            return
        memory.append((said["connected"], gateway.resident_bytes() / 2**20))
        progress(f"  {said['connected']} nodes, {memory[-1][1]:.0f} MiB")
        if said["failed"]:
            part.remarks.append(
                f"At {said['connected']:,} nodes the next could not connect: {said['failed']}"
            )
            return


def _rate(
    gateway: Program, caller: Program, rounds: int, seconds: float, in_flight: int = 256
) -> dict[str, float]:
    """Calls a second, and the gateway's CPU seconds and bytes for each."""
    found = []
    for _ in range(rounds):
        spent = gateway.cpu_seconds()
        said = caller.ask("echo_1", seconds=seconds, in_flight=in_flight)
        said["cpu"] = (gateway.cpu_seconds() - spent) / said["calls"]
        found.append(said)
    return {key: statistics.median(one[key] for one in found) for key in ("rate", "cpu", "bytes")}


def _add_price(part: Part, alone: dict[str, float], single: dict[str, float]) -> None:
    million = DOLLARS_A_MONTH / (alone["rate"] * SECONDS_A_MONTH) * 1e6
    unbundled = DOLLARS_A_MONTH / SECONDS_A_MONTH * single["cpu"] * 1e6
    traffic = TRAFFIC_BYTES / alone["bytes"] / 1e6
    part.rows += [
        Row("a million calls, server busy all month (computed)", million * 100, "US cents"),
        Row("a million calls, server busy a tenth of it (computed)", million * 1000, "US cents"),
        Row(
            "a million calls that come one at a time, busy all month (computed)", unbundled * 100, "US cents"
        ),
        Row("calls a month that 1 TB of outgoing traffic carries (computed)", traffic, "million"),
        Row("a million calls, where that traffic is the limit (computed)", 500 / traffic, "US cents"),
    ]
    part.remarks.append(
        f"Assumed: ${DOLLARS_A_MONTH:g} a month of {SECONDS_A_MONTH:,} s, 1 TB of outgoing traffic in it, calls of "
        "64 bytes bundled as they are with 256 in flight unless said otherwise, and a core as fast as this one. "
        "Bytes are those of packets, without TLS and HTTP/2. Where the gateway's CPU a call times the calls a "
        "second is less than a core, the client and the node were what limited them."
    )
