"""EasyRemote beside its peers: installs each in an environment of its own and measures all in one run, alternating.

Takes a while (about half an hour with all peers), shows what it is at, and leaves a table, the figures and a
plot in ``benchmarks/results``. Everything runs on this machine, on 127.0.0.1.

    python benchmarks/peers/run.py [--quick] [--rounds 5] [--only nats,ray] [--workloads in_flight,array]
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from easyremote_peer import has_direct_links
from environments import AbsentError, python_for, versions
from processes import FailedError, Programs
from results import Results, save
from roster import ALL_ROWS, DIRECT, NODE_COUNTS, OURS, PEERS, WORKLOADS, YARDSTICK, Peer

HERE = Path(__file__).parent


class Run:
    """The peers that take part, what is measured, and what came of it so far."""

    def __init__(self, workloads: list[str], rounds: int, length: str, folder: Path) -> None:
        self._workloads = workloads
        self._rounds = rounds
        self._length = length
        self._folder = folder
        self._pythons: dict[str, str] = {}
        self._step = self._steps = 0
        self.results = Results(rounds, length)

    def prepare(self, peers: list[Peer]) -> list[Peer]:
        """Install the peers; those that can take part."""
        ready = []
        for peer in peers:
            tell(f"preparing {peer.title}")
            try:
                if peer.name == DIRECT and not has_direct_links():
                    raise AbsentError("this version of EasyRemote has no direct links")
                self._pythons[peer.name] = python_for(peer)
            except AbsentError as error:
                self._absent(peer, str(error))
                continue
            self.results.versions[peer.name] = versions(self._pythons[peer.name], peer.requirements)
            ready.append(peer)
        return ready

    def measure(self, peers: list[Peer]) -> None:
        """All rounds of all workloads; then, once, more and more nodes."""
        counts = [len(self._shared(peer)) for peer in peers]
        scaling = [peer for peer in peers if "nodes" in peer.workloads and "nodes" in self._workloads]
        self._steps = self._rounds * (sum(counts) + len(NODE_COUNTS) * len(scaling))
        with contextlib.ExitStack() as stack:
            residents: dict[Peer, Programs] = {}
            for peer in peers:
                if not peer.guest and self._shared(peer):
                    with self._excusing(peer):
                        residents[peer] = stack.enter_context(self._serving(peer))
            for number in range(self._rounds):
                self._alternate(residents, number)
                for peer in peers:
                    if peer.guest and self._shared(peer) and peer.name not in self.results.absent:
                        self._visit(peer, number)
        if scaling:
            self._grow(scaling)

    def _shared(self, peer: Peer) -> list[str]:
        return [name for name in self._workloads if name in peer.workloads and name != "nodes"]

    def _alternate(self, residents: dict[Peer, Programs], number: int) -> None:
        """One round of those who stay: for each workload all of them, each round in another order."""
        for workload in self._workloads:
            if workload == "nodes":
                continue
            order = list(residents.items())
            turn = number % max(len(order), 1)
            for peer, programs in order[turn:] + order[:turn]:
                if workload in peer.workloads:
                    self._take(peer, programs, workload, number, WORKLOADS[workload])

    def _visit(self, peer: Peer, number: int) -> None:
        """One round of a guest: it comes, does all its workloads, and goes."""
        with self._excusing(peer), self._serving(peer) as programs:
            for workload in self._shared(peer):
                self._take(peer, programs, workload, number, WORKLOADS[workload])

    def _grow(self, peers: list[Peer]) -> None:
        """1, 2, 4 … nodes behind one gateway, the rounds of each number alternating among the peers."""
        with contextlib.ExitStack() as stack:
            serving: dict[Peer, Programs] = {}
            for peer in peers:
                if peer.name in self.results.absent:
                    continue
                with self._excusing(peer):
                    serving[peer] = stack.enter_context(self._serving(peer))
            for before, count in zip((1, *NODE_COUNTS), NODE_COUNTS, strict=False):
                tell(f"starting {count} nodes of each")
                for peer, programs in list(serving.items()):
                    try:
                        programs.serve(*[peer.servers[-1]] * (count - before))
                    except FailedError as error:
                        self._failed(peer, f"{count} nodes", 0, str(error))
                        del serving[peer]
                for number in range(self._rounds):
                    for peer, programs in serving.items():
                        self._take(peer, programs, "nodes", number, (f"nodes_{count}",))

    @contextlib.contextmanager
    def _serving(self, peer: Peer) -> Iterator[Programs]:
        """A peer with its servers running."""
        programs = Programs(
            self._pythons[peer.name], HERE / peer.program, peer.words, self._folder / peer.name
        )
        try:
            programs.serve(*peer.servers)
            yield programs
        finally:
            programs.end()

    @contextlib.contextmanager
    def _excusing(self, peer: Peer) -> Iterator[None]:
        """A peer whose servers do not start is absent, and says why."""
        try:
            yield
        except FailedError as error:
            self._absent(peer, f"does not start: {error}")

    def _take(
        self, peer: Peer, programs: Programs, workload: str, number: int, rows: tuple[str, ...]
    ) -> None:
        """One measurement."""
        self._step += 1
        place = f"[{self._step}/{self._steps}] round {number + 1}/{self._rounds}"
        try:
            figures = list(programs.measure(workload, self._length).values())
        except FailedError as error:
            self._failed(peer, workload, number, str(error))
            return
        for row, figure in zip(rows, figures, strict=True):
            self.results.add(peer.name, row, number, figure)
            unit = ALL_ROWS[row].unit
            tell(f"{place}  {row:<20} {peer.title:<22} {figure:>12,.{0 if figure >= 100 else 3}f} {unit}")

    def _failed(self, peer: Peer, workload: str, number: int, reason: str) -> None:
        self.results.failed(peer.name, workload, number, reason)
        tell(f"{peer.title}, {workload}, failed: {reason}")

    def _absent(self, peer: Peer, reason: str) -> None:
        self.results.absent[peer.name] = reason
        tell(f"{peer.title} is absent: {reason}")


def tell(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def chosen(text: str | None, known: list[str], always: tuple[str, ...] = ()) -> list[str]:
    """The names in a list with commas, in our order; all if there is no list."""
    if text is None:
        return known
    names = text.split(",")
    if strange := set(names) - set(known):
        raise SystemExit(f"there is no {', '.join(sorted(strange))}; there are {', '.join(known)}")
    return [name for name in known if name in names or name in always]


def options() -> Any:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, help="default 5, or 2 with --quick")
    parser.add_argument("--quick", action="store_true", help="short rounds, for a first look")
    parser.add_argument("--only", metavar="PEER,…", help="these peers; EasyRemote and NATS are always there")
    parser.add_argument("--workloads", metavar="NAME,…", help=", ".join(WORKLOADS))
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="where they are put")
    return parser.parse_args()


def stop(*_: object) -> None:
    """SIGTERM ends the run like Ctrl-C does."""
    raise KeyboardInterrupt


def main() -> None:
    asked = options()
    names = chosen(asked.only, [peer.name for peer in PEERS], (OURS, YARDSTICK))
    workloads = chosen(asked.workloads, list(WORKLOADS))
    length = "quick" if asked.quick else "full"
    rounds = asked.rounds or (2 if asked.quick else 5)
    signal.signal(signal.SIGTERM, stop)
    with tempfile.TemporaryDirectory(prefix="peers-", ignore_cleanup_errors=True) as folder:
        run = Run(workloads, rounds, length, Path(folder))
        try:
            run.measure(run.prepare([peer for peer in PEERS if peer.name in names]))
        except KeyboardInterrupt:
            raise SystemExit("stopped; everything that was started has ended") from None
    save(run.results, asked.results, "peers-quick" if asked.quick else "peers")


if __name__ == "__main__":
    main()
