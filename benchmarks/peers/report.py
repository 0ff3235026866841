"""The tables: on the terminal, and as Markdown."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bars import ELSEWHERE
from roster import ALL_ROWS, OURS, PEERS, YARDSTICK, Peer

if TYPE_CHECKING:
    from results import Ratio, Results

TITLES = {peer.name: peer.title for peer in PEERS}
NONE = "—"


def number(value: float | None) -> str:
    """With as many digits as it means."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def times(ratio: Ratio | None) -> str:
    return NONE if ratio is None else f"{short(ratio.median)} ×"


def span(ratio: Ratio | None) -> str:
    return NONE if ratio is None else f"{short(ratio.least)}–{short(ratio.most)}"


def short(value: float) -> str:
    return (
        f"{value:.0f}"
        if value >= 99.5
        else f"{value:.1f}"
        if value >= 9.95
        else f"{value:.2g}"
        if value < 0.1
        else f"{value:.2f}"
    )


def marks(results: Results, peer: Peer, row: str) -> str:
    """What has to be known about a figure before it is compared."""
    star = results.stands_in(peer.name, row)
    return ("*" if star else "") + ("†" if (ALL_ROWS[row].stands_in if star else row) in peer.batched else "")


def taking_part(results: Results) -> list[Peer]:
    """Those with any figure at all."""
    rows = results.rows()
    return [peer for peer in PEERS if any(results.rounds_of(peer.name, row.key) for row in rows)]


def heading(row: str) -> str:
    one = ALL_ROWS[row]
    return f"{one.title} ({one.unit}, {one.better} is better)"


def lines(results: Results) -> Iterable[tuple[str, list[list[str]]]]:
    """For each row: a heading, and a line a peer with its figure and ratios."""
    for row in results.rows():
        block = []
        for peer in taking_part(results):
            figure = results.median(peer.name, row.key)
            if figure is None:
                continue
            mark = marks(results, peer, row.key)
            nats = results.times_as_good(peer.name, YARDSTICK, row.key)
            ours = results.times_as_good(OURS, peer.name, row.key)
            block.append(
                [peer.title, number(figure) + mark, times(nats), span(nats), times(ours), span(ours)]
            )
        yield heading(row.key), block


def matrix(results: Results) -> tuple[list[str], list[list[list[str]]]]:
    """The one table: a line a row, a column a peer, in each cell the figure and its ratio to NATS."""
    peers = [*taking_part(results), *(peer for peer in PEERS if peer.name in results.absent)]
    seen: dict[str, Peer] = {peer.name: peer for peer in peers}
    body = []
    for row in results.rows():
        cells = [[row.title, f"{row.unit}, {row.better} is better"]]
        for name, peer in seen.items():
            figure = results.median(name, row.key)
            if figure is None:
                cells.append(["absent" if name in results.absent else NONE])
                continue
            mark = marks(results, peer, row.key)
            nats = results.times_as_good(name, YARDSTICK, row.key)
            cells.append([number(figure) + mark, times(nats)])
        body.append(cells)
    return ["", *(peer.title for peer in seen.values())], body


def bar_cells(bar: dict[str, Any]) -> list[str]:
    found = bar["found"]
    middle = short(found[0]) if found else NONE
    spread = f"{short(found[1])}–{short(found[2])}" if found else NONE
    verdict = {True: "reached", False: "missed", None: f"not measured: {bar.get('why', '')}"}[bar["reached"]]
    return [bar["what"], TITLES.get(bar["peer"], NONE), bar["bar"], middle, spread, verdict]


def loss_cells(results: Results, loss: dict[str, Any]) -> list[str]:
    peer = next(peer for peer in PEERS if peer.name == loss["peer"])
    return [
        TITLES[loss["ours"]],
        ALL_ROWS[loss["row"]].title,
        peer.title + marks(results, peer, loss["row"]),
        f"{short(loss['median'])} ×",
        f"{short(loss['least'])}–{short(loss['most'])}",
    ]


LONG = ["", "figure", "to NATS", "range", "EasyRemote to it", "range"]
BAR_HEADINGS = ["what", "over", "bar", "found", "range", ""]
LOSS_HEADINGS = ["", "what", "who was ahead", "times as good", "range"]


def explanation(everything: dict[str, Any]) -> list[str]:
    where = everything["machine"]
    kind = "A quick look: short measurements, not for quoting. " if everything["length"] == "quick" else ""
    return [
        f"{kind}Medians of {everything['rounds']} rounds in one run, all peers alternating, on 127.0.0.1; "
        f"{everything['date'][:10]}, {where['cores']} cores of {where['cpu']}, {where['os']}, Python "
        f"{where['python']}; the machine's load over the last 15 minutes was {where['load']}, this run's own "
        "included.",
        "Ratios are taken round by round, and above 1 always means better: of a time they are turned round. A star "
        "marks peers that know no such difference and are shown with the figure of the nearest row; a dagger marks "
        "figures of whole batches instead of single calls, mostly a lighter load: see the notes on the peer. What is "
        "bounded by count (map, stream, calls one after another) also ends after some seconds: a rate is over what "
        "was done until then.",
    ]


def markdown(results: Results, everything: dict[str, Any]) -> str:
    """The whole report."""
    heads, body = matrix(results)
    cells = [["<br>".join(cell) for cell in row] for row in body]
    parts = ["# EasyRemote beside its peers", *explanation(everything), "## All figures"]
    parts.append("Under each figure, how many times as good as NATS it is.")
    parts.append(table(heads, cells))
    parts.append("## Where we lose")
    losses = everything["losses"]
    if losses:
        parts.append("Every row in which a peer was ahead in the median, and by how much.")
        parts.append(table(LOSS_HEADINGS, [loss_cells(results, loss) for loss in losses]))
    else:
        parts.append("In no row was a peer ahead in the median.")
    parts.append("## The bars")
    parts.append("Ratios of the figures as they are: of times, below 1 is better.")
    parts.append(table(BAR_HEADINGS, [bar_cells(bar) for bar in everything["bars"]]))
    parts.append(f"Of the others: {ELSEWHERE}.")
    parts.append("## Row by row, with ranges")
    for title, block in lines(results):
        parts += [f"### {title}", table(LONG, block)]
    parts.append("## Who was measured")
    parts.append("\n".join(about(results)))
    return "\n\n".join(parts) + "\n"


def about(results: Results) -> list[str]:
    """A line for every peer: versions and how it was used, or why it is not there; then what failed."""
    found = []
    for peer in PEERS:
        if peer.name in results.absent:
            found.append(f"- {peer.title}: absent. {results.absent[peer.name]}")
        elif peer.name in results.versions:
            listed = ", ".join(f"{name} {version}" for name, version in results.versions[peer.name].items())
            found.append(f"- {peer.title}: {peer.note}. {listed}")
    for failure in results.failures:
        place = f"{TITLES[failure['peer']]}, {failure['workload']}, round {failure['round']}"
        found.append(f"- failed: {place}: {failure['reason']}")
    return found


def table(heads: list[str], rows: list[list[str]]) -> str:
    aligned = ["---", *["---:"] * (len(heads) - 1)]
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in [heads, aligned, *rows]]
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)


def show(results: Results, everything: dict[str, Any]) -> None:
    """The same on the terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120)

    def print_table(title: str, heads: list[str], rows: list[list[str]], first_width: int = 0) -> None:
        drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
        for place, head in enumerate(heads):
            if place:
                drawn.add_column(head, justify="right", min_width=11 if first_width else None)
            else:
                drawn.add_column(head, min_width=first_width)
        for row in rows:
            drawn.add_row(*row)
        console.print(drawn)

    for title, block in lines(results):
        print_table(title, LONG, block, first_width=22)
    print_table("Where we lose", LOSS_HEADINGS, [loss_cells(results, loss) for loss in everything["losses"]])
    print_table("The bars", BAR_HEADINGS, [bar_cells(bar) for bar in everything["bars"]])
    for line in [*explanation(everything), *about(results)]:
        console.print(line, highlight=False)
