"""``easynet demo``: a small network of real processes, used and checked, then taken down.

A step says only what it has checked; one whose checks do not hold is shown as failed, and the demo
ends with 1.
"""

from __future__ import annotations

import os
import secrets
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from easyremote.cli.children import EasynetChild
from easyremote.cli.demo_report import DemoReport, DigitArt
from easyremote.cli.exits import Exit
from easyremote.cli.memory_search import search_memory
from easyremote.cli.output import Output
from easyremote.client.blocking import Client
from easyremote.errors import EasyRemoteError, RemoteError

__all__ = ["run_demo"]

NODES = ("ada", "grace")
PROGRAM = Path(__file__).with_name("demo_node.py")
READY_SECONDS = 30.0
TOKENS = 32
SQUARES = 1_000
ECHOES = 500
SECRETS = 100


class CheckError(EasyRemoteError):
    """Something the demo claims is not so."""


class LeftOutError(EasyRemoteError):
    """Something that cannot be shown on this machine."""


class Found:
    """What a step found: one line, and what is shown below it."""

    def __init__(self, line: str, *details: RenderableType) -> None:
        self.line = line
        self.details = details


def check(holds: bool, wanted: str, found: object) -> None:
    """Go on only if it holds.

    Raises:
        CheckError: It does not.
    """
    if not holds:
        raise CheckError(f"wanted {wanted}, found {found}")


class Stage:
    """The processes of the demo and the client that calls them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.gateway: EasynetChild | None = None
        self.nodes: dict[str, EasynetChild] = {}
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The caller.

        Raises:
            CheckError: The network never came up.
        """
        if self._client is None:
            raise CheckError("there is no network to call: it did not start")
        return self._client

    def start(self) -> Found:
        """Start the gateway, then the nodes at the same time."""
        self.gateway = self._child("gateway", ["gateway", "--port", "0"])
        ready = self.gateway.wait_for(r"gateway ready at (\S+?);", timeout_seconds=READY_SECONDS)
        address = ready[1]
        for name in NODES:
            words = ["node", str(PROGRAM), "--gateway", address, "--name", name]
            self.nodes[name] = self._child(f"node {name}", words)
        self._client = Client(address)
        _wait_for_nodes(self._client, self.nodes)
        return Found(f"gateway at {address}, nodes {' and '.join(NODES)} joined")

    def stop(self) -> Found:
        """Stop everything that was started, the caller first and the gateway last."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
        for node in self.nodes.values():
            node.ask_to_stop()
        children = [*self.nodes.values(), *([self.gateway] if self.gateway else [])]
        codes = {child.name: child.stop() for child in children}
        self.nodes, self.gateway = {}, None
        check(not any(codes.values()), "every process to end with code 0", codes)
        return Found(f"{len(codes)} processes ended by themselves, each with code 0")

    def _child(self, name: str, words: list[str]) -> EasynetChild:
        return EasynetChild(name, words, environment=os.environ, folder=self.home)


def _wait_for_nodes(client: Client, nodes: dict[str, EasynetChild]) -> None:
    """Return once the caller sees every node."""
    deadline = time.monotonic() + READY_SECONDS
    while missing := nodes.keys() - {record.name for record in client.list_nodes()}:
        for name in missing:
            if nodes[name].exit_code is not None or time.monotonic() > deadline:
                raise CheckError(f"node {name} did not join; it said:\n{nodes[name].said()}")
        time.sleep(0.02)


# ---- the steps


def train(stage: Stage) -> Found:
    """Ask each node about the model it trained when it started."""
    _need_scikit_learn()
    lines = []
    for name, child in stage.nodes.items():
        facts = stage.client.execute(f"{name}.training")
        check(facts["pid"] == child.pid, f"{name} to answer as process {child.pid}", facts["pid"])
        check(facts["images"] > 800, "a model trained on more than 800 images", facts["images"])
        lines.append(f"{name:<6} pid {child.pid:<8} {facts['images']} images in {facts['seconds']:.2f} s")
    return Found("each node trained a digit classifier when it started", *map(Text, lines))


def classify(stage: Stage) -> Found:
    """Classify the half of the digits that no node has seen, one call an image."""
    _need_scikit_learn()
    from sklearn.datasets import load_digits

    digits = load_digits()
    half = len(digits.images) // 2
    images, labels = digits.images[half:], digits.target[half:].tolist()
    began = time.perf_counter()
    answers = list(stage.client.map("classify", images))
    took = time.perf_counter() - began
    right = sum(answer == label for answer, label in zip(answers, labels, strict=True))
    accuracy = right / len(labels)
    check(accuracy > 0.9, "more than 90 % right", f"{accuracy:.1%}")
    line = f"{right} of {len(labels)} unseen digits right: {accuracy:.1%}, in {took:.2f} s"
    return Found(line, DigitArt(images, answers, labels))


def _need_scikit_learn() -> None:
    if find_spec("sklearn") is None:
        raise LeftOutError("scikit-learn is not installed: pip install scikit-learn")


def stream(stage: Stage) -> Found:
    """Take tokens as they are made, and the same ones from the other node."""
    began = time.perf_counter()
    arrivals: list[float] = []
    words: list[str] = []
    for word in stage.client.stream(f"{NODES[0]}.speak", "Return", TOKENS):
        arrivals.append(time.perf_counter() - began)
        words.append(word)
    again = list(stage.client.stream(f"{NODES[1]}.speak", "Return", TOKENS))
    check(len(words) == TOKENS, f"{TOKENS} tokens", len(words))
    check(again == words, "the same tokens from both nodes", f"{words} and {again}")
    check(arrivals[0] < arrivals[-1] / 2, "the first token long before the last", arrivals)
    line = f"{TOKENS} tokens: first after {arrivals[0] * 1e3:.0f} ms, last after {arrivals[-1] * 1e3:.0f} ms"
    return Found(line, Text(f"“Return {' '.join(words)} …”", "italic"))


def spread(stage: Stage) -> Found:
    """Map many calls over both nodes."""
    began = time.perf_counter()
    results = list(stage.client.map("square", range(SQUARES)))
    took = time.perf_counter() - began
    wrong = [number for number, (result, _) in enumerate(results) if result != number * number]
    check(
        len(results) == SQUARES and not wrong,
        f"{SQUARES} squares, right and in order",
        f"wrong ones {wrong[:5]}",
    )
    shares = Counter(pid for _, pid in results)
    by_node = {name: shares.pop(child.pid, 0) for name, child in stage.nodes.items()}
    check(not shares and all(by_node.values()), "both nodes to take part, and nobody else", by_node)
    told = ", ".join(f"{name} {count}" for name, count in by_node.items())
    return Found(f"{SQUARES:,} calls at {SQUARES / took:,.0f} a second: {told}")


def fail(stage: Stage) -> Found:
    """See an exception of a node as its caller sees it; the next call is none the worse."""
    try:
        stage.client.execute("parse_age", "-7")
    except ValueError as error:
        check(isinstance(error, RemoteError), "a RemoteError that is a ValueError too", type(error).__mro__)
        shown = Text(f"{type(error).__name__}: {error}", "red")
        check("nobody is -7 years old" in str(error), "the message of the node", error)
        check("in parse_age" in str(error), "the traceback of the node", error)
    else:
        raise CheckError("wanted a ValueError from the node, and none came")
    check(stage.client.execute("parse_age", "7") == 7, "7 from the next call", "something else")
    return Found("`except ValueError` caught what a node raised:", shown)


def measure(stage: Stage) -> Found:
    """Time calls one after the other."""
    times = []
    for number in range(ECHOES):
        began = time.perf_counter()
        check(stage.client.execute("echo", number) == number, f"{number} back", "something else")
        times.append(time.perf_counter() - began)
    times.sort()
    p50, p99 = (times[len(times) * percent // 100] * 1e3 for percent in (50, 99))
    return Found(f"blocking call there and back: p50 {p50:.2f} ms, p99 {p99:.2f} ms")


def pry(stage: Stage) -> Found:
    """Look for what calls carried in the memory of the gateway that carried it."""
    secret = secrets.token_hex(32)
    for _ in range(SECRETS):
        check(stage.client.execute("echo", secret) == secret, "the secret back", "something else")
    gateway = stage.gateway
    seen = search_memory(gateway.pid, secret.encode()) if gateway is not None else None
    own = search_memory(os.getpid(), secret.encode())
    if seen is None or own is None:
        raise LeftOutError("this system does not let us look into the gateway's memory")
    check(own.found, "the secret in the memory of the caller", "none, so the search proves nothing")
    check(not seen.found, "no secret in the memory of the gateway", "one")
    return Found(f"a secret sent {SECRETS} times is not in the gateway's memory")


STEPS: tuple[tuple[str, Callable[[Stage], Found]], ...] = (
    ("start", Stage.start),
    ("train", train),
    ("classify", classify),
    ("stream", stream),
    ("map", spread),
    ("error", fail),
    ("round trip", measure),
    ("sealed", pry),
    ("stop", Stage.stop),
)


def run_demo(out: Output) -> int:
    """Run the steps in order, show each as it is done; returns the exit code."""
    report = DemoReport(out.console)
    report.heading(version("easyremote"))
    began = time.perf_counter()
    with _own_home() as home:
        stage = Stage(home)
        try:
            for name, step in STEPS:
                if not _passes(report, name, step, stage) and name == "start":
                    break
        except KeyboardInterrupt:
            out.line("interrupted: stopping what was started")
            raise
        finally:
            with suppress(CheckError):
                stage.stop()  # nothing is left when the last step went well
    report.ending(time.perf_counter() - began)
    return Exit.RAISED if report.failed else Exit.OK


def _passes(report: DemoReport, name: str, step: Callable[[Stage], Found], stage: Stage) -> bool:
    """Run one step and report it; whether it went well."""
    began = time.perf_counter()
    try:
        found = step(stage)
    except LeftOutError as reason:
        report.skipping(name, str(reason))
        return True
    except EasyRemoteError as error:
        kind = "" if isinstance(error, CheckError) else f"{type(error).__name__}: "
        report.failing(name, f"{kind}{error}", time.perf_counter() - began)
        return False
    report.passing(name, found.line, time.perf_counter() - began, found.details)
    return True


@contextmanager
def _own_home() -> Iterator[Path]:
    """A home of the demo's own, gone afterwards; a polite kill interrupts as Ctrl-C does."""
    before = {name: value for name, value in os.environ.items() if name.startswith("EASYREMOTE_")}
    handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="easynet-demo-") as folder:
        for name in before:
            del os.environ[name]
        os.environ["EASYREMOTE_HOME"] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ["EASYREMOTE_HOME"]
            os.environ.update(before)
            signal.signal(signal.SIGTERM, handler)
