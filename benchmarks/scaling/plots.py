"""The cost curves, drawn; needs matplotlib, which nothing else here does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scaling.programs import progress
from scaling.rows import Curve, Part

COLUMNS = 3


def draw(folder: Path, parts: dict[str, Part]) -> None:
    """All curves of all parts on one sheet, as PNG and as SVG."""
    curves = [curve for part in parts.values() for curve in part.curves if len(curve.points) > 1]
    if not curves:
        return
    try:
        import matplotlib
    except ImportError:
        progress(
            "no plots: matplotlib is missing; `make bench-scale` installs it (pip install --group plots)"
        )
        return
    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "easyremote"  # the same curves make the same file
    from matplotlib import pyplot

    lines = -(-len(curves) // COLUMNS)
    sheet, places = pyplot.subplots(lines, COLUMNS, figsize=(4.6 * COLUMNS, 3.2 * lines), squeeze=False)
    for place, curve in zip(places.flat, curves, strict=False):
        _draw(place, curve)
    for place in places.flat[len(curves) :]:
        place.set_axis_off()
    sheet.tight_layout()
    folder.mkdir(parents=True, exist_ok=True)
    sheet.savefig(folder / "scale.png", dpi=120)
    sheet.savefig(folder / "scale.svg", metadata={"Date": None})
    pyplot.close(sheet)


def _draw(axes: Any, curve: Curve) -> None:
    xs, ys = zip(*curve.points, strict=True)
    axes.plot(xs, ys, marker="o", markersize=4, color="#3465a4")
    if curve.wide:
        axes.set_xscale("log")
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_title(curve.name, fontsize=10)
    axes.set_xlabel(curve.x, fontsize=9)
    axes.set_ylabel(curve.y, fontsize=9)
    axes.grid(alpha=0.3)
