"""Where a call's microseconds go: a gateway, a node and a client as processes of their own, over gRPC's wire and TLS.

First one call at a time, where every stage is timed by notes put around functions at start; then the CPU a call
costs each process, alone and with 256 in flight, divided by looking at stacks with py-spy, which also draws a
flame graph for each process. A quick run is kept only where --results says.

    python benchmarks/profile_call.py [--quick] [--direct] [--calls 2000] [--seconds 6] [--results FOLDER]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from echo import machine
from profiling import latency, load, report
from profiling.trio import Trio
from scaling.programs import progress

RESULTS = Path(__file__).parent / "results"
WARM_UP = 300


def profile(calls: int, seconds: float, folder: Path | None, *, direct: bool) -> report.Profile:
    """Measure everything, in a home of its own."""
    with Trio(noting=True, direct=direct) as trio:
        progress(f"{calls} calls one by one, with notes")
        trio.one_by_one(WARM_UP)
        written = trio.notes_of(calls)
    notes = {process: latency.Notes(found) for process, found in written.items()}
    moments, found = latency.follow(latency.chain(direct=direct), notes)
    if not found:
        sys.exit(
            "no call could be followed through all its stages; see CHAIN in benchmarks/profiling/latency.py"
        )
    stages, total = latency.stages(moments, found)
    with Trio(direct=direct) as trio:
        progress(f"{calls} calls one by one, without")
        trio.one_by_one(WARM_UP)
        plain = statistics.median(trio.one_by_one(calls))
        loads = []
        for many in (False, True):
            progress(f"{'256 calls in flight' if many else 'one call at a time'}, CPU and stacks")
            loads.append(load.measure(trio, many=many, seconds=seconds, folder=None if direct else folder))
    made = report.Profile(
        machine={**machine(), "date": time.strftime("%Y-%m-%d")},
        way="over a direct link" if direct else "through the gateway",
        plain_p50_us=plain,
        noted_mean_us=total,
        calls=len(found),
        stages=stages,
        loads=loads,
    )
    made.remarks.append(
        f"The stages are means over the middle half of {len(found):,} calls; p90 is over all of them. Without notes "
        f"the median call took {plain:.0f} µs. A hop lasts from when a packet is given to the link until the other "
        "process has it in hand: both ends' TLS, the system, and the waking of processes."
    )
    unseen = [f"{one[0]}: {one[2]}" for one in latency.chain(direct=direct) if one not in moments]
    if unseen:
        made.remarks.append(f"Could not be noted, and count with the stage after: {', '.join(unseen)}.")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few calls, for a first look")
    parser.add_argument("--direct", action="store_true", help="over a direct link, past the gateway")
    parser.add_argument("--calls", type=int, help="how many calls are followed, one by one")
    parser.add_argument("--seconds", type=float, help="how long each load is kept up")
    parser.add_argument("--results", type=Path, help="where results are written")
    options = parser.parse_args()
    folder = options.results or (None if options.quick else RESULTS)
    calls = options.calls or (300 if options.quick else 2000)
    seconds = options.seconds or (2.0 if options.quick else 6.0)
    with tempfile.TemporaryDirectory(prefix="easyremote-profile-") as home:
        os.environ["EASYREMOTE_HOME"] = home
        made = profile(calls, seconds, folder, direct=options.direct)
    report.show(made)
    if folder is not None:
        report.write(folder, made)
        progress(f"written to {folder}")


if __name__ == "__main__":
    main()
