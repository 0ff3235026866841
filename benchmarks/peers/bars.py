"""The bars we hold ourselves to, and whether they were reached; ratios are of the same run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from roster import DIRECT, OURS, RELAY, YARDSTICK

if TYPE_CHECKING:
    from results import Results


class Bar(NamedTuple):
    """A row of ours, over a peer's if there is one, at least or at most so much."""

    what: str
    ours: str
    row: str
    peer: str
    way: str
    bar: float
    peer_row: str = ""


BARS = (
    Bar("256 in flight, async def", OURS, "in_flight", YARDSTICK, "≥", 2.5),
    Bar("256 in flight, async def", OURS, "in_flight", "ray", "≥", 20),
    Bar("256 in flight, async def", OURS, "in_flight", "dask", "≥", 20),
    Bar("256 in flight, plain functions in threads", OURS, "in_threads", YARDSTICK, "≥", 2.0, "in_flight"),
    Bar("256 callers that pause 0–4 ms", OURS, "pausing", YARDSTICK, "≥", 1.4),
    Bar("256 blocking threads", OURS, "threads", YARDSTICK, "≥", 0.55),
    Bar("sequential p50", OURS, "p50", RELAY, "≤", 1.2),
    Bar("sequential p50, blocking client", OURS, "blocking_p50", RELAY, "≤", 1.25, "p50"),
    Bar("direct: sequential p50", DIRECT, "p50", YARDSTICK, "≤", 0.85),
    Bar("direct: 256 in flight", DIRECT, "in_flight", YARDSTICK, "≥", 3.5),
    Bar("direct: 16 MiB there and back", DIRECT, "array", YARDSTICK, "≥", 1.0),
    Bar("16 MiB there and back", OURS, "array", YARDSTICK, "≥", 0.6),
    Bar("16 MiB there and back", OURS, "array", RELAY, "≥", 1.5),
    Bar("first result in a fresh process (s)", OURS, "first", "", "≤", 0.6),
    Bar("from easyremote import Client (s)", OURS, "import", "", "≤", 0.12),
)
ELSEWHERE = (
    "a gateway's memory per idle node, its idle CPU at 1,000 nodes, and calls lost or run twice when a gateway is "
    "killed are not measured here"
)


def reached(results: Results) -> list[dict[str, Any]]:
    """Every bar with what was measured; ``reached`` is None where nothing was."""
    return [_row(results, bar) for bar in BARS]


def _row(results: Results, bar: Bar) -> dict[str, Any]:
    if bar.peer:
        ratio = results.ratio(bar.ours, bar.peer, bar.row, bar.peer_row)
        found = list(ratio) if ratio else []
    else:
        figures = list(results.rounds_of(bar.ours, bar.row).values())
        middle = results.median(bar.ours, bar.row)
        found = [middle, min(figures), max(figures)] if middle is not None else []
    row: dict[str, Any] = {
        "what": bar.what,
        "peer": bar.peer,
        "bar": f"{bar.way} {bar.bar:g}",
        "found": found,
    }
    if not found:
        missing = next((name for name in (bar.ours, bar.peer) if name in results.absent), "")
        return row | {"reached": None, "why": results.absent.get(missing, "not measured in this run")}
    return row | {"reached": found[0] >= bar.bar if bar.way == "≥" else found[0] <= bar.bar}
