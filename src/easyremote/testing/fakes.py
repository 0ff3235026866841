"""A stand-in for a node's executor: it runs scripts in virtual time and counts what it ran.

A script travels as a call's arguments and says all there is to say: how long to work, and what to come
to. So what a caller must get is known beforehand, and arguments that were mixed up or cut would show.
It keeps to the real executor's promises: one last answer a call, items only while there is credit, and
after ``Stop`` nothing but ``Stopped``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from easyremote.protocol.effects import Grant, Start, Stop
from easyremote.protocol.events import Answer, CallKey, Done, Ended, Failed, Stopped, Yielded
from easyremote.testing.world import Timer, World
from easyremote.wire.limits import ITEM_OVERHEAD_BYTES

FILL = bytes(range(256))


class Script(msgspec.Struct, frozen=True, array_like=True):
    """What a call is to do.

    Attributes:
        mark: Tells this call's bytes from every other's; stands in arguments, results and errors.
        seconds: How long it works before it answers, or before each item.
        raises: Whether it ends with an error.
        result_bytes: How large the result is, or each item.
        items: How many items it yields, if it is a stream.
        stop_seconds: How long the code takes to end when it is stopped.
        padding: What makes the arguments large.
    """

    mark: str
    seconds: float = 0.0
    raises: bool = False
    result_bytes: int = 0
    items: int = 0
    stop_seconds: float = 0.0
    padding: bytes = b""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Script)
_value = msgspec.msgpack.Decoder(tuple[str, int, bytes])


def write_script(script: Script) -> bytes:
    """The script as a call's encoded arguments."""
    return _encoder.encode(script)


def read_script(arguments: msgspec.Raw | bytes | memoryview) -> Script:
    """The script in a call's arguments."""
    return _decoder.decode(bytes(arguments))


def value_of(script: Script, index: int = 0) -> bytes:
    """The encoded result of a script; of a stream, its item of that index."""
    size = script.result_bytes
    return _encoder.encode((script.mark, index, (FILL * (size // 256 + 1))[:size]))


def index_of(value: msgspec.Raw | bytes | memoryview) -> int:
    """Which item of its stream a value is."""
    return _value.decode(bytes(value))[1]


class _Run:
    """A script that runs."""

    __slots__ = ("credit", "index", "script", "start", "timer")

    def __init__(self, start: Start, script: Script) -> None:
        self.start = start
        self.script = script
        self.credit = start.window
        self.index = 0
        self.timer: Timer | None = None


class FakeExecutor:
    """Runs scripts.

    Attributes:
        started: How often each call's body began here.
    """

    def __init__(self, world: World, post: Callable[[Answer], None]) -> None:
        self._world = world
        self._post = post
        self._runs: dict[CallKey, _Run] = {}
        self._stopping = 0
        self._dead = False
        self.started: Counter[CallKey] = Counter()

    def __len__(self) -> int:
        return len(self._runs) + self._stopping

    def start(self, start: Start) -> None:
        """Run a script."""
        script = read_script(start.arguments)
        if start.key in self._runs:
            raise AssertionError(f"call {start.call_id} was started while it ran")
        self.started[start.key] += 1
        run = self._runs[start.key] = _Run(start, script)
        self._world.note("run", start.call_id, start.function)
        self._next(run)

    def stop(self, stop: Stop) -> None:
        """Stop a script; that it has ended is told a little later."""
        run = self._runs.pop(stop.key, None)
        if run is not None and run.timer is not None:
            run.timer.cancel()
        self._world.note("stop", f"{stop.key[1]:016x}", stop.reason)
        seconds = run.script.stop_seconds if run is not None else 0.0
        self._stopping += 1
        self._world.after(seconds, lambda: self._stopped(stop.key))

    def _stopped(self, key: CallKey) -> None:
        self._stopping -= 1
        self._say(Stopped(key))

    def grant(self, grant: Grant) -> None:
        """Let a stream go on for so many bytes more."""
        run = self._runs.get(grant.key)
        if run is not None:
            blocked = run.credit <= 0
            run.credit += grant.size
            if blocked and run.credit > 0 and run.timer is None:
                self._next(run)

    def kill(self) -> None:
        """The process is dead: nothing runs, nothing answers."""
        self._dead = True
        for run in self._runs.values():
            if run.timer is not None:
                run.timer.cancel()
        self._runs.clear()

    def _next(self, run: _Run) -> None:
        if run.start.window and run.credit <= 0:
            run.timer = None  # until there is credit
            return
        run.timer = self._world.after(run.script.seconds, lambda: self._due(run))

    def _due(self, run: _Run) -> None:
        run.timer = None
        key, script = run.start.key, run.script
        if run.start.window and run.index < script.items:
            value = value_of(script, run.index)
            run.index += 1
            run.credit -= len(value) + ITEM_OVERHEAD_BYTES
            self._say(Yielded(key, value))
            if self._runs.get(key) is run:
                self._next(run)
            return
        del self._runs[key]
        if script.raises:
            self._say(
                Failed(key, "error", "ValueError", script.mark, f"traceback of {script.mark}", "ValueError")
            )
        elif run.start.window:
            self._say(Ended(key))
        else:
            self._say(Done(key, value_of(script)))

    def _say(self, answer: Answer) -> None:
        if not self._dead:
            self._post(answer)
