"""Everything at once, for as long as one likes: real processes that are killed, stopped and cut off while others call,
some of their calls durable ones.

Nothing may be lost, doubled or mixed up; memory and open files of who lives on must stay flat. Prints its seed, what it
does as it does it, and a report; ends with 1 if a promise was broken.

    make soak                       # ten minutes
    make soak ARGS="--minutes 1 --seed 7"
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
from acceptance.network import Network
from acceptance.processes import Program
from chaos.crowd import COUNTER, PROGRAMS

LEASE_SECONDS = 3.0
LOST_AFTER_SECONDS = 20.0
CALLERS = 40
EXCUSED = {
    "NodeLostError": "its node was killed with it in its hands",
    "UnknownFunctionError": "it was asked for while no node was there",
    "UnknownNodeError": "likewise",
    "RefusedError": "the only node that was there was leaving",
    "LinkError": "the gateway was away for longer than a call waits for it",
}
"""What a call may come to here, other than its answer, and why."""
NEVER_RAN = {"UnknownFunctionError", "UnknownNodeError", "BusyError", "RefusedError"}
AGAIN = "-again"
"""How the keys of calls end that may run twice."""
GROWTH_BYTES, GROWTH_FILES = 48 << 20, 32


class Soak:
    """One run."""

    def __init__(self, folder: Path, seed: int, minutes: float) -> None:
        self._chance = random.Random(seed)
        self._folder = folder
        self._seconds = minutes * 60
        self._began = time.monotonic()
        self._ledger = folder / "ledger"
        self.troubles: Counter[str] = Counter()
        self._kept: dict[str, list[tuple[int, int]]] = {}
        self._network = Network(
            folder / "home", heartbeat_timeout_seconds=LEASE_SECONDS, mailbox={"account_jobs": 100_000}
        )
        self._clients: dict[str, Program] = {}

    def run(self) -> bool:
        """Whether every promise was kept."""
        try:
            for name in ("steady", "wobbly"):
                self._start_node(name)
            for name in ("patient", "mortal"):
                self._start_client(name)
            while (left := self._seconds - (time.monotonic() - self._began)) > 0:
                self._pass_time(min(left, self._chance.uniform(0.5, 4.0)))
                self._break_something()
                self._look()
            self._tell("no more troubles; the last calls end")
            for client in self._clients.values():
                client.signal(signal.SIGTERM)
            for client in self._clients.values():
                client.wait(within_seconds=LOST_AFTER_SECONDS + 60)
            self._look()
            return self._judge()
        finally:
            for client in self._clients.values():
                client.kill()
            self._network.close()

    # ---- who is there

    def _start_node(self, name: str) -> None:
        self._network.spawn_node(COUNTER, name=name, LEDGER=str(self._ledger))

    def _start_client(self, name: str) -> None:
        plan = {
            "address": self._network.address,
            "seed": self._chance.getrandbits(32),
            "callers": CALLERS,
            "lost_after": LOST_AFTER_SECONDS,
            "outcomes": str(self._folder / "outcomes"),
        }
        before = self._clients.pop(name, None)
        if before is not None:
            before.kill()
        program = Program(
            [str(PROGRAMS / "soaker.py"), json.dumps(plan)], environment=self._network.environment
        )
        program.wait_for("calling")
        self._clients[name] = program

    # ---- what goes wrong

    def _break_something(self) -> None:
        actions: list[Callable[[], None]] = [
            self._restart_gateway,
            self._stop_gateway,
            self._stop_node,
            self._stop_client,
            self._kill_node,
            self._kill_client,
            self._interrupt_node,
        ]
        action = self._chance.choice(actions)
        what = action.__name__.strip("_").replace("_", " ")
        self.troubles[what] += 1
        self._tell(what)
        action()

    def _restart_gateway(self) -> None:
        self._network.gateway.kill()
        self._pass_time(self._chance.uniform(0.0, 5.0))
        self._network.restart_gateway()

    def _stop_gateway(self) -> None:
        self._hold(self._network.gateway)

    def _stop_node(self) -> None:
        self._hold(self._network.nodes[self._chance.choice(["steady", "wobbly"])])

    def _stop_client(self) -> None:
        self._hold(self._clients["patient"])

    def _hold(self, program: Program) -> None:
        program.freeze()
        self._pass_time(self._chance.uniform(0.1, 3 * LEASE_SECONDS))
        program.thaw()

    def _kill_node(self) -> None:
        self._network.nodes["wobbly"].kill()
        self._start_node("wobbly")

    def _kill_client(self) -> None:
        self._start_client("mortal")

    def _interrupt_node(self) -> None:
        self._network.nodes["wobbly"].interrupt()
        self._network.nodes["wobbly"].wait(within_seconds=60)
        self._start_node("wobbly")

    @staticmethod
    def _pass_time(seconds: float) -> None:
        threading.Event().wait(seconds)

    # ---- how it goes

    def _tell(self, what: str) -> None:
        calls = sum(1 for _ in self._outcomes())
        print(f"{time.monotonic() - self._began:7.1f} s  {calls:9,} calls  {what}", flush=True)

    def _outcomes(self) -> list[tuple[str, str]]:
        path = self._folder / "outcomes"
        if not path.exists():
            return []
        lines = path.read_text().splitlines()
        return [(key, outcome) for key, _, outcome in (line.partition(" ") for line in lines)]

    def _look(self) -> None:
        """What those hold that live from the beginning to the end."""
        for name, program in (
            ("node steady", self._network.nodes["steady"]),
            ("client", self._clients["patient"]),
        ):
            if program.running:
                process = psutil.Process(program.pid)
                self._kept.setdefault(name, []).append((process.memory_info().rss, process.num_fds()))

    def _judge(self) -> bool:
        outcomes = dict(self._outcomes())
        begun = Counter(self._ledger.read_text().split())
        told = Counter(outcomes.values())
        broken = []
        if told["wrong"]:
            broken.append(f"{told['wrong']} calls came to another's answer, or a stream had a gap")
        for outcome in told.keys() - {"ok", "wrong"} - EXCUSED.keys():
            broken.append(f"{told[outcome]} calls ended with {outcome}")
        for key, outcome in outcomes.items():
            if outcome == "ok" and not begun[key] + begun[key + AGAIN]:
                broken.append(f"call {key} was answered, and never ran")
            if outcome in NEVER_RAN and begun[key]:
                broken.append(f"call {key} ran, but: {outcome}")
        doubled = [key for key, times in begun.items() if times > 1 and not key.endswith(AGAIN)]
        if doubled:
            broken.append(f"{len(doubled)} calls ran twice, such as {doubled[0]}")
        for name, held in self._kept.items():
            early, late = held[len(held) // 3], held[-1]
            if late[0] - early[0] > GROWTH_BYTES:
                broken.append(f"{name} grew by {(late[0] - early[0]) >> 20} MiB")
            if late[1] - early[1] > GROWTH_FILES:
                broken.append(f"{name} has {late[1] - early[1]} more open files")
        self._report(told, begun, broken)
        return not broken

    def _report(self, told: Counter[str], begun: Counter[str], broken: list[str]) -> None:
        print(
            f"\n{sum(told.values()):,} calls, of which {told['ok']:,} were answered; {sum(begun.values()):,} bodies ran"
        )
        for outcome, times in told.most_common():
            if outcome != "ok":
                print(f"  {times:8,}  {outcome}: {EXCUSED.get(outcome, 'not excused')}")
        print(
            "troubles: " + ", ".join(f"{what} {times} times" for what, times in self.troubles.most_common())
        )
        for name, held in self._kept.items():
            memory, files = zip(*held, strict=True)
            print(
                f"{name}: {memory[len(memory) // 3] >> 20} MiB after a third, {memory[-1] >> 20} at the end, at most "
                f"{max(memory) >> 20}; {files[len(files) // 3]} open files, {files[-1]} at the end"
            )
        print("\n".join(f"BROKEN: {what}" for what in broken[:20]) or "every promise was kept")


def main() -> int:
    """Run it as the words on the command line say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(31))
    wanted = parser.parse_args()
    print(f"seed {wanted.seed}, {wanted.minutes:g} minutes", flush=True)
    os.environ.update(EASYREMOTE_HOST="127.0.0.1", EASYREMOTE_DIRECT="off")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EASYREMOTE_HOME"] = f"{folder}/home"
        return 0 if Soak(Path(folder), wanted.seed, wanted.minutes).run() else 1


if __name__ == "__main__":
    sys.exit(main())
