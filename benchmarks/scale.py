"""How it grows: what a gateway and a client pay as nodes, watchers and calls become many.

Everything but ``decide`` and ``simulated`` runs over real gRPC and TLS, in processes of their own. Each part is
printed when it is done; results go to benchmarks/results as JSON, Markdown and plots, where a part measured
later takes the place of the same part. A quick run is a first look and is kept only where --results says.

    python benchmarks/scale.py [--quick] [--nodes 1000] [--only PART] [--results FOLDER] [--check]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from echo import machine
from scaling import deciding, growing, idle, plots, pushing, report, simulated, small, starting
from scaling.programs import progress
from scaling.rows import Part

RESULTS = Path(__file__).parent / "results"


def parts(nodes: int, quick: bool) -> dict[str, Callable[[], Part]]:
    """What can be measured, by name."""
    rounds, seconds = (1, 0.5) if quick else (5, 2.0)
    return {
        "start": lambda: starting.measure(rounds=3 if quick else 7),
        "decide": lambda: deciding.measure(rounds=200 if quick else 2000),
        "idle": lambda: idle.measure(nodes=nodes, seconds=5.0 if quick else 30.0, long_lease=not quick),
        "directory": lambda: pushing.measure(
            nodes=nodes, watchers=20 if quick else 200, joins=5 if quick else 20
        ),
        "nodes": lambda: growing.measure(most=4 if quick else 32, rounds=rounds, seconds=seconds),
        "small": lambda: small.measure(nodes=(2 if quick else 5) * nodes, rounds=rounds, seconds=seconds),
        "simulated": lambda: simulated.measure(nodes=10 * nodes, watchers=2 if quick else 4),
    }


def run(chosen: dict[str, Callable[[], Part]], folder: Path | None) -> dict[str, Part]:
    """Measure these, each in a home of its own; what is done is kept, should a later one break."""
    found: dict[str, Part] = {}
    for number, (name, measure) in enumerate(chosen.items(), 1):
        progress(f"{name} ({number} of {len(chosen)})")
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="easyremote-scale-") as home:
            os.environ["EASYREMOTE_HOME"] = home
            part = found[name] = measure()
        part.machine = {**machine(), "date": time.strftime("%Y-%m-%d")}
        progress(f"  took {time.monotonic() - began:.0f} s")
        report.show(name, part)
        if folder is not None:
            report.keep(folder, name, part)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few nodes, short rounds: a first look")
    parser.add_argument("--nodes", type=int, help="how many real nodes; ten times as many simulated ones")
    parser.add_argument("--only", action="append", metavar="PART", help=f"one of {', '.join(parts(1, True))}")
    parser.add_argument("--results", type=Path, help="where results are written")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    options = parser.parse_args()
    nodes = options.nodes or (100 if options.quick else 1000)
    if nodes < 2:
        parser.error("--nodes is 2 or more")
    known = parts(nodes, options.quick)
    for name in options.only or ():
        if name not in known:
            parser.error(f"there is no part {name!r}; there are {', '.join(known)}")
    folder = options.results or (None if options.quick else RESULTS)
    found = run(
        {name: one for name, one in known.items() if not options.only or name in options.only}, folder
    )
    if folder is not None:
        plots.draw(folder, report.read(folder))
        report.write(folder)
        progress(f"written to {folder}")
    if options.check and any(row.reached is False for part in found.values() for row in part.rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
