"""The profile, as tables on the terminal, as Markdown and as JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from profiling.latency import Stage
from profiling.load import Load
from profiling.trio import PROCESSES


class Profile(msgspec.Struct):
    """All that was found out about a call."""

    machine: dict[str, Any]
    way: str
    plain_p50_us: float
    noted_mean_us: float
    calls: int
    stages: list[Stage]
    loads: list[Load]
    remarks: list[str] = []


Table = tuple[str, list[str], list[list[str]]]


def tables(profile: Profile) -> list[Table]:
    """Title, headings and lines of each table."""
    made = [_latency(profile), _by_process(profile)]
    return made + [_load(load) for load in profile.loads]


def _latency(profile: Profile) -> Table:
    lines = [
        [one.process, one.what, f"{one.mean_us:.1f}", f"{one.p90_us:.1f}", f"{one.share:.1%}"]
        for one in profile.stages
    ]
    lines.append(["", "the call", f"{profile.noted_mean_us:.1f}", "", "100%"])
    title = f"one call at a time, {profile.way}: where {profile.noted_mean_us:.0f} µs go"
    return title, ["process", "stage", "µs", "p90 µs", "share"], lines


def _by_process(profile: Profile) -> Table:
    hops = [one.mean_us for one in profile.stages if "TLS" in one.what]
    rows = [[f"links, TLS and the system, {len(hops)} hops", sum(hops)]]
    for process in PROCESSES:
        own = [one for one in profile.stages if one.process == process and "TLS" not in one.what]
        rows.append([f"{process}'s Python", sum(one.mean_us for one in own)])
    total = profile.noted_mean_us
    lines = [[str(what), f"{float(took):.1f}", f"{float(took) / total:.1%}"] for what, took in rows]
    return "the same, in sums", ["where", "µs", "share"], lines


def _load(load: Load) -> Table:
    title = f"{load.title}, {load.calls_per_second:,.0f} calls/s: CPU of one call, in µs"
    sums: dict[str, float] = {}
    for process in PROCESSES:
        for what, took in load.stages.get(process, {}).items():
            sums[what] = sums.get(what, 0.0) + took
    lines = []
    for what in sorted(sums, key=lambda one: -sums[one]):
        each = [load.stages.get(process, {}).get(what, 0.0) for process in PROCESSES]
        lines.append([what, *(f"{one:.2f}" if one else "" for one in each), f"{sums[what]:.2f}"])
    each = [load.cpu_us[process] for process in PROCESSES]
    lines.append(["all of it", *(f"{one:.2f}" for one in each), f"{sum(each):.2f}"])
    return title, ["stage", *PROCESSES, "all three"], lines


def show(profile: Profile) -> None:
    """On the terminal."""
    from rich.console import Console
    from rich.table import Table as Shown

    console = Console(width=None if sys.stdout.isatty() else 120)
    for title, headings, lines in tables(profile):
        table = Shown(title=title)
        for number, heading in enumerate(headings):
            words = number == 0 or heading == "stage"
            table.add_column(heading, justify="left" if words else "right")
        for line in lines:
            table.add_row(*line)
        console.print(table)
    for remark in profile.remarks:
        console.print(remark)


def write(folder: Path, profile: Profile) -> None:
    """For programs and for people."""
    folder.mkdir(parents=True, exist_ok=True)
    data = msgspec.json.format(msgspec.json.encode(profile), indent=2)
    stem = "profile" if profile.way == "through the gateway" else "profile_direct"
    (folder / f"{stem}.json").write_bytes(data + b"\n")
    text = ["# Where a call's microseconds go", "", "Measured by `benchmarks/profile_call.py`.", ""]
    for title, headings, lines in tables(profile):
        rule = ["---" if heading in ("process", "stage", "where") else "---:" for heading in headings]
        text += [f"## {title[:1].upper()}{title[1:]}", ""]
        text += ["| " + " | ".join(line) + " |" for line in (headings, rule, *lines)] + [""]
    flames = sorted(path.name for path in folder.glob("flame_*.svg")) if stem == "profile" else []
    if flames:
        text += ["Flame graphs: " + ", ".join(f"[{name}]({name})" for name in flames) + ".", ""]
    text += [line for remark in profile.remarks for line in (remark, "")]
    text += ["On " + ", ".join(f"{key} {value}" for key, value in profile.machine.items()) + ".", ""]
    (folder / f"{stem}.md").write_text("\n".join(text))
