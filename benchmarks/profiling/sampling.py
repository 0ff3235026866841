"""Many calls at a time: what each costs each process in CPU, and for what, by looking at stacks now and then.

The CPU is the system's own count; the stacks say only how it is divided. py-spy takes them from outside, so
the programs run as they always do.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

RATE = 250
BELOW = "event loop, TLS and system calls (below Python)"
"""Where no frame of ours is at work: a loop that turns, and the compiled code it calls."""
MARKS: list[tuple[str, str, str]] = [
    # a function, its file, and what it does; the innermost frame that is known says what is being done
    ("seal", "easyremote/trust/session.py", "seal"),
    ("open", "easyremote/trust/session.py", "open"),
    ("encode_bundle", "easyremote/wire/bundle.py", "encode and decode bundles"),
    ("decode_bundle", "easyremote/wire/bundle.py", "encode and decode bundles"),
    ("write_sealed", "easyremote/wire/bundle.py", "write and read sealed frames"),
    ("read_sealed", "easyremote/wire/bundle.py", "write and read sealed frames"),
    ("ask", "easyremote/client/asking.py", "encode arguments"),
    ("read", "easyremote/client/asking.py", "decode results"),
    ("unpack", "easyremote/node/", "decode arguments"),
    ("encode", "easyremote/wire/values.py", "encode results"),
    ("request", "easyremote/protocol/caller.py", "choose the node, queue the message"),
    ("result", "easyremote/protocol/caller.py", "settle calls"),
    ("admit", "easyremote/protocol/guard.py", "guard"),
    ("invoke", "easyremote/protocol/worker.py", "admit calls"),
    ("done", "easyremote/protocol/worker.py", "queue answers"),
    ("start", "easyremote/node/executor.py", "make tasks"),
    ("_run_on_loop", "easyremote/node/executor.py", "run the function"),
    ("ended", "easyremote/node/record.py", "audit"),
    ("_write_down", "easyremote/node/record.py", "audit"),
    ("_settle", "easyremote/node/executor.py", "settle calls"),
    ("handle", "easyremote/protocol/router.py", "route"),
    ("send", "easyremote/links/http2.py", "write: HTTP/2, TLS and the system"),
    ("send", "easyremote/links/stream.py", "write: TLS and the system"),
    ("buffer_updated", "easyremote/links/", "read frames"),
]
FILES: list[tuple[str, str]] = [
    ("easyremote/node/audit", "audit"),
    ("easyremote/wire/frame.py", "join and walk packets"),
    ("easyremote/gateway/", "queue and write"),
    ("easyremote/links/driver.py", "driver"),
    ("easyremote/links/loop.py", BELOW),
    ("asyncio/runners.py", BELOW),
    ("easyremote/protocol/", "machines"),
    ("easyremote/client/", "client's side of calls"),
    ("easyremote/node/", "node's side of calls"),
    ("profiling/", "the benchmark's own loop"),
    ("scaling/", "the benchmark's own loop"),
]
THREADS = "other threads"
WAITING = (
    "Condition.wait ",
    "Event.wait ",
    "Condition.wait_for ",
    "EpollSelector.select ",
    "_worker ",
    "_WorkItem.run ",
)
"""Where threads are that do nothing, even if they were just woken to be looked at."""
_THREAD = re.compile(r"thread \((\d+)\)")
_FRAME = re.compile(r"(.*) \((.*?)(?::\d+)?\)$")


def sampler() -> str | None:
    """py-spy, if it is there."""
    beside = Path(sys.executable).parent / "py-spy"
    return str(beside) if beside.exists() else shutil.which("py-spy")


def record(
    tool: str, pid: int, seconds: float, form: str, target: Path, *, busy: bool
) -> subprocess.Popen[bytes]:
    """Begin to look at a process; ``form`` is ``raw`` or ``flamegraph``.

    A process that is mostly idle is looked at without stopping it: to be stopped wakes its threads, and then
    they look as if they were at work. One that is busy is stopped, for stacks that are whole.
    """
    words = ["record", "--pid", str(pid), "--duration", str(max(round(seconds), 1)), "--rate", str(RATE)]
    words += ["--threads", "--format", form, "--output", str(target), *([] if busy else ["--nonblocking"])]
    return subprocess.Popen([tool, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def entitle(graph: Path, title: str) -> None:
    """Say in a flame graph what it shows; py-spy writes there how it was called."""
    graph.write_text(re.sub(r">[^<]*py-spy record [^<]*<", f">{title}<", graph.read_text()))


def divide(stacks: str, cpu_us: dict[int, float]) -> dict[str, float]:
    """What each stage takes: the CPU of each thread, by how often it was seen at what.

    Args:
        stacks: Folded stacks with their counts; the first frame names the thread, the others go inwards.
        cpu_us: The CPU of each thread of the system's, whatever is known of it.
    """
    seen: dict[int, Counter[str]] = {}
    for line in stacks.splitlines():
        stack, _, times = line.rpartition(" ")
        thread, *frames = stack.split(";")
        number = _THREAD.match(thread)
        if number is not None and frames and not frames[-1].startswith(WAITING):
            seen.setdefault(int(number[1]), Counter())[stage_of(frames)] += int(times)
    divided: dict[str, float] = {}
    for thread_id, spent in cpu_us.items():
        counts = seen.get(thread_id) or Counter({THREADS: 1})
        for what, count in counts.items():
            divided[what] = divided.get(what, 0.0) + spent * count / counts.total()
    return divided


def stage_of(frames: list[str]) -> str:
    """What a stack is about."""
    split = [_FRAME.match(frame) for frame in frames]
    known = [(found[1].rpartition(".")[2], found[2]) for found in reversed(split) if found is not None]
    for function, file in known:
        for marked, place, what in MARKS:
            if function == marked and file.startswith(place):
                return what
    for _, file in known:
        for place, what in FILES:
            if file.startswith(place):
                return what
    return THREADS if known and known[0] == ("run", "threading.py") else BELOW


def thread_seconds(pid: int) -> dict[int, float]:
    """The CPU each thread of a process has taken."""
    spent = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it may just have ended
            spent[int(task.name)] = int((task / "schedstat").read_text().split()[0]) / 1e9
    return spent
