"""The plot, from the figures of a run: PNG and SVG beside them. Runs where matplotlib is.

python plot.py RESULTS.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams.update({"svg.hashsalt": "peers", "svg.fonttype": "none", "font.size": 10})

from matplotlib import pyplot as plt  # noqa: E402 - the backend comes first
from matplotlib.ticker import FuncFormatter  # noqa: E402

STYLES = {
    "easyremote": ("#c1121f", "o"),
    "easyremote-direct": ("#f4845f", "D"),
    "nats": ("#111111", "|"),
    "relay": ("#2a6f97", "s"),
    "bundling-relay": ("#61a5c2", "s"),
    "rpyc": ("#588157", "^"),
    "pyro": ("#a3b18a", "v"),
    "ray": ("#7b2cbf", "P"),
    "dask": ("#c77dff", "X"),
    "celery": ("#bc8a00", "<"),
    "easyremote2": ("#7f7f7f", ">"),
}
"""Each peer keeps its colour and its mark, whoever else is there."""
SHOWN = ("easyremote", "easyremote-direct")


def plain(value: float, _: object = None) -> str:
    """1,000 and 0.01, not powers of ten."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def ratios(axes: Any, data: dict[str, Any]) -> None:
    """A band for each row of the table, a dot for each peer in it, a line for the range of its rounds."""
    compared = data["times_as_good_as_nats"]
    rows = [key for key in data["rows"] if not key.startswith("nodes_") and key in compared["nats"]]
    peers = [name for name in STYLES if name != "nats" and any(row in compared[name] for row in rows)]
    step = 0.8 / max(len(peers), 1)
    for band, row in enumerate(rows):
        if band % 2:
            axes.axhspan(band - 0.5, band + 0.5, color="#f3f3f3", zorder=0)
        for place, peer in enumerate(peers):
            ratio = compared[peer].get(row)
            if ratio is None or (stands_in(data, peer, row) and peer not in SHOWN):
                continue
            colour, mark = STYLES[peer]
            height = band - 0.4 + step * (place + 0.5)
            axes.plot([ratio["least"], ratio["most"]], [height, height], color=colour, lw=1.6, zorder=2)
            hollow = row in data["batched"].get(peer, ())
            axes.plot(
                ratio["median"],
                height,
                mark,
                mfc="white" if hollow else colour,
                mec=colour if hollow else "white",
                ms=8 if peer in SHOWN else 6,
                mew=1.4 if hollow else 0.6,
            )
    axes.axvline(1, color=STYLES["nats"][0], lw=1.4, zorder=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(plain))
    axes.grid(axis="x", color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    axes.set_yticks(range(len(rows)), [data["rows"][row]["title"] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(
        "times as good as NATS (= 1); right is better; log scale; hollow marks: batches, not single calls"
    )
    axes.set_title(
        "Throughput over NATS's; of times, NATS's over the peer's. Lines: lowest to highest round",
        loc="left",
        fontsize=10,
    )
    handles = [
        axes.plot([], [], STYLES[peer][1], color=STYLES[peer][0], ms=7, label=data["titles"][peer])[0]
        for peer in peers
    ]
    handles.append(axes.plot([], [], color=STYLES["nats"][0], lw=1.4, label="NATS")[0])
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)


def stands_in(data: dict[str, Any], peer: str, row: str) -> bool:
    """Whether the ratio is made of another row's figure, and is shown there already."""
    return row not in data["figures"].get(peer, {})


def growth(axes: Any, data: dict[str, Any]) -> None:
    """Calls a second over the number of nodes."""
    counts = sorted(int(key.removeprefix("nodes_")) for key in data["rows"] if key.startswith("nodes_"))
    for peer, (colour, mark) in STYLES.items():
        figures = data["figures"].get(peer, {})
        shown = [count for count in counts if figures.get(f"nodes_{count}")]
        if not shown:
            continue
        rounds = [sorted(figures[f"nodes_{count}"]) for count in shown]
        middles = [(one[(len(one) - 1) // 2] + one[len(one) // 2]) / 2 for one in rounds]
        axes.plot(
            shown, middles, mark if mark != "|" else "o", ls="-", color=colour, label=data["titles"][peer]
        )
        axes.fill_between(
            shown, [one[0] for one in rounds], [one[-1] for one in rounds], color=colour, alpha=0.15
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(plain))
    axes.grid(color="#dddddd", lw=0.6)
    axes.set_xlabel(f"nodes, all on this machine of {data['machine']['cores']} cores")
    axes.set_ylabel("calls/s")
    axes.set_title(
        "256 calls in flight over more and more nodes (range of rounds shaded)", loc="left", fontsize=10
    )
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))


def main() -> None:
    source = Path(sys.argv[1])
    data = json.loads(source.read_text())
    rows = [
        key
        for key in data["rows"]
        if not key.startswith("nodes_") and key in data["times_as_good_as_nats"]["nats"]
    ]
    parts = []
    if rows:
        parts.append((ratios, 0.85 * len(rows) + 1.2))
    if any(key.startswith("nodes_") for key in data["rows"]):
        parts.append((growth, 3.2))
    if not parts:
        raise SystemExit("NATS has no figures in this run, so there is nothing to compare with")
    heights = [height for _, height in parts]
    figure, axes = plt.subplots(
        len(parts),
        1,
        figsize=(11, sum(heights) + 1.2),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for (draw, _), one in zip(parts, axes[:, 0], strict=True):
        draw(one, data)
        one.spines[["top", "right"]].set_visible(False)
    where = data["machine"]
    quick = "A QUICK LOOK, short measurements · " if data["length"] == "quick" else ""
    figure.suptitle(
        "EasyRemote (TLS, sealed end to end, types, grants, audit log) beside its peers\n"
        f"{quick}medians and ranges of {data['rounds']} rounds · {data['date'][:10]} · {where['cores']} cores, "
        f"{where['cpu']}",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    for ending in ("png", "svg"):
        figure.savefig(
            source.with_suffix(f".{ending}"), dpi=130, metadata={"Date": None} if ending == "svg" else None
        )


if __name__ == "__main__":
    main()
