"""Whether more nodes bring more calls: one client, 256 in flight, and 1 to 32 node processes."""

from __future__ import annotations

import os
import statistics
from contextlib import ExitStack

from scaling.node import PLACES, WORK_SECONDS
from scaling.programs import Program, progress
from scaling.rows import Curve, Part, Row

KINDS = ("echo", "work")


def measure(*, most: int, rounds: int, seconds: float) -> Part:
    """All nodes are there all the time; what is called decides how many of them work."""
    groups = [many for many in (1, 2, 4, 8, 16, 32) if many <= most]
    rates: dict[str, dict[int, list[float]]] = {kind: {many: [] for many in groups} for kind in KINDS}
    with ExitStack() as stack:
        address = stack.enter_context(Program("scaling.gateway")).hear()["address"]
        names = ",".join(map(str, groups))
        for number in range(groups[-1]):
            stack.enter_context(Program("scaling.node", address, str(number), names)).hear()
        progress(f"  {groups[-1]} nodes are there")
        caller = stack.enter_context(Program("scaling.caller", address))
        caller.hear()
        for many in groups:  # sessions are agreed on, and estimates formed, before it counts
            caller.ask(f"echo_{many}", seconds=0.3, nodes=many)
        for _ in range(rounds):
            for kind in KINDS:
                for many in groups:
                    rates[kind][many].append(caller.ask(f"{kind}_{many}", seconds=seconds)["rate"])
                last = ", ".join(f"{many}: {rates[kind][many][-1]:,.0f}/s" for many in groups)
                progress(f"  {kind}, {last}")
    part = Part("calls a second as nodes grow; 64 bytes, 256 in flight, one client")
    for kind in KINDS:
        _add(part, kind, rates[kind])
    part.remarks.append(
        f"echo answers at once: there, all {groups[-1] + 2} programs of this machine's {os.cpu_count()} cores share "
        "the same work, and the more nodes, the smaller the bundles. work keeps one of a node's "
        f"{PLACES} places for {WORK_SECONDS * 1e3:g} ms: there, nodes are what there is too little of."
    )
    return part


def _add(part: Part, kind: str, rates: dict[int, list[float]]) -> None:
    medians = {many: statistics.median(found) for many, found in rates.items()}
    for many, rate in medians.items():
        part.rows.append(Row(f"{kind}: calls/s, {many} node{'s'[: many > 1]}", rate, "calls/s"))
    most = max(medians)
    if most > 2:
        ratios = [last / two for last, two in zip(rates[most], rates[2], strict=True)]
        what = f"{kind}: {most} nodes over 2 nodes, median of {len(ratios)} rounds"
        part.rows.append(Row(what, statistics.median(ratios), "×", 1.0, at_least=True))
    points = [(float(many), rate) for many, rate in medians.items()]
    part.curves.append(Curve(f"Calls a second of {kind}", "nodes", "calls/s", points))
