"""What was measured: every figure of every round, and what is made of it."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from bars import reached
from environments import AbsentError, environment
from roster import ALL_ROWS, DIRECT, OURS, PEERS, YARDSTICK, Row


class Ratio(NamedTuple):
    """How two peers compare: the median of the rounds, and their range."""

    median: float
    least: float
    most: float


class Results:
    """The figures, by peer, row and round; who is absent, and what failed."""

    def __init__(self, rounds: int, length: str) -> None:
        self.rounds = rounds
        self.length = length
        self.began = datetime.datetime.now(datetime.UTC)
        self.versions: dict[str, dict[str, str]] = {}
        self.absent: dict[str, str] = {}
        self.failures: list[dict[str, Any]] = []
        self._figures: dict[str, dict[str, dict[int, float]]] = {}

    def add(self, peer: str, row: str, number: int, figure: float) -> None:
        """Keep the figure of one round."""
        self._figures.setdefault(peer, {}).setdefault(row, {})[number] = figure

    def failed(self, peer: str, workload: str, number: int, reason: str) -> None:
        """Keep that a round brought none, and why."""
        self.failures.append({"peer": peer, "workload": workload, "round": number + 1, "reason": reason})

    def rounds_of(self, peer: str, row: str) -> dict[int, float]:
        """The figures of a row by round; for a peer, else those of the row that stands in for it.

        Never for us: we do know the difference, and a row that was not measured must not look reached.
        """
        figures = self._figures.get(peer, {})
        if peer in (OURS, DIRECT):
            return figures.get(row, {})
        return figures.get(row) or figures.get(ALL_ROWS[row].stands_in, {})

    def stands_in(self, peer: str, row: str) -> bool:
        """Whether the figures are another row's."""
        return row not in self._figures.get(peer, {}) and bool(self.rounds_of(peer, row))

    def median(self, peer: str, row: str) -> float | None:
        """Of all rounds; None if there is none."""
        figures = self.rounds_of(peer, row)
        return statistics.median(figures.values()) if figures else None

    def ratio(self, peer: str, other: str, row: str, other_row: str = "") -> Ratio | None:
        """One figure over another's, round by round."""
        ours, theirs = self.rounds_of(peer, row), self.rounds_of(other, other_row or row)
        ratios = [ours[number] / theirs[number] for number in ours if theirs.get(number)]
        return Ratio(statistics.median(ratios), min(ratios), max(ratios)) if ratios else None

    def times_as_good(self, peer: str, other: str, row: str) -> Ratio | None:
        """The same, but above 1 always means better: where lower is better, it is turned round."""
        lower = ALL_ROWS[row].better == "lower"
        return self.ratio(other, peer, row) if lower else self.ratio(peer, other, row)

    def rows(self) -> list[Row]:
        """Those in which anybody has a figure of its own."""
        return [row for row in ALL_ROWS.values() if any(row.key in own for own in self._figures.values())]

    def losses(self) -> list[dict[str, Any]]:
        """Every row in which a peer was ahead of us, the worst first."""
        found = []
        for own in (OURS, DIRECT):
            for row in self.rows():
                for peer in PEERS:
                    if peer.name in (OURS, DIRECT):
                        continue
                    ratio = self.times_as_good(peer.name, own, row.key)
                    if ratio and ratio.median > 1:
                        found.append({"ours": own, "row": row.key, "peer": peer.name, **ratio._asdict()})
        return sorted(found, key=lambda one: (one["ours"] != OURS, -one["median"]))

    def everything(self) -> dict[str, Any]:
        """All of it, for a machine to read."""
        return {
            "date": self.began.isoformat(timespec="seconds"),
            "took_seconds": round((datetime.datetime.now(datetime.UTC) - self.began).total_seconds()),
            "length": self.length,
            "rounds": self.rounds,
            "machine": machine(),
            "versions": self.versions,
            "absent": self.absent,
            "failures": self.failures,
            "rows": {row.key: row._asdict() for row in self.rows()},
            "titles": {peer.name: peer.title for peer in PEERS},
            "batched": {peer.name: peer.batched for peer in PEERS if peer.batched},
            "figures": {
                peer: {row: list(rounds.values()) for row, rounds in rows.items()}
                for peer, rows in self._figures.items()
            },
            "times_as_good_as_nats": {
                peer.name: {
                    row.key: ratio._asdict()
                    for row in self.rows()
                    if (ratio := self.times_as_good(peer.name, YARDSTICK, row.key))
                }
                for peer in PEERS
            },
            "losses": self.losses(),
            "bars": reached(self),
        }


def machine() -> dict[str, Any]:
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "os": platform.platform(terse=True),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[2], 2),
    }


def save(results: Results, folder: Path, name: str) -> None:
    """Write Markdown, JSON and the plot, and show the tables."""
    from report import markdown, show

    folder.mkdir(parents=True, exist_ok=True)
    everything = results.everything()
    figures = folder / f"{name}.json"
    figures.write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n")
    text = markdown(results, everything)
    try:
        drawing = [environment("plots"), str(Path(__file__).with_name("plot.py")), str(figures)]
        subprocess.run(drawing, check=True, timeout=120)
        text += f"\n![Times as good as NATS, and calls a second over 1 to 32 nodes]({name}.png)\n"
    except (AbsentError, subprocess.SubprocessError) as error:
        print(f"no plot: {error}", file=sys.stderr)
    (folder / f"{name}.md").write_text(text)
    show(results, everything)
    print(f"\nwritten to {folder}: {name}.md, {name}.json and the plot {name}.png, {name}.svg")
