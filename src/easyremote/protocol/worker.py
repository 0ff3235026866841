"""The node's machine: admits calls or refuses them at once, times them, answers them once.

It never runs user code: it asks for it with ``Start``, ``Stop`` and ``Grant``, and hears of it through
answers. Which calls a caller's number has named before is remembered across sessions, so a call that
is asked for again is never run again.
"""

from __future__ import annotations

import heapq
from collections import deque

from msgspec import Raw, Struct, structs

from easyremote.errors import RemoteProtocolError
from easyremote.protocol.channel import Channel
from easyremote.protocol.effects import CallEnded, Effect, Grant, Notice, Start, Stop
from easyremote.protocol.events import (
    Answer,
    CallKey,
    Done,
    Encoded,
    Failed,
    Offer,
    Stopped,
    Yielded,
)
from easyremote.protocol.guard import Guard, Pass
from easyremote.protocol.machine import NEVER
from easyremote.protocol.remembered import Remembered
from easyremote.protocol.sessions import Sessions
from easyremote.trust.rules import Caller
from easyremote.wire.bundle import (
    EMPTY,
    Again,
    Cancel,
    End,
    Fault,
    Invoke,
    Item,
    Message,
    Present,
    Refuse,
    Result,
    Window,
)
from easyremote.wire.limits import AWAY_SECONDS, INLINE_BYTES

FEATURES = ["again"]
"""What this node knows of what not every node does: ``Again``."""
CALLS_MAX = 4096
"""Calls a node has taken and not yet answered, in all; more are refused."""
QUEUE_MAX = 64
"""Calls that wait for one function with ``max_concurrent``; more are refused."""
INCOMING_BYTES_MAX = 4 << 30
"""Large arguments being received, in all."""
RETRY_AFTER_SECONDS = 0.05
PROBE_SECONDS = 10.0
GONE_SECONDS = 30.0
"""How long the calls of a caller go on whose connection broke off, which is not back, and whose process has therefore most
likely ended. One that only fell silent may sleep: then it is ``AWAY_SECONDS``."""


class _Job(Struct, eq=False):
    """A call this node has taken."""

    key: CallKey
    channel: Channel
    function: str
    caller: Caller
    asked_at: float
    bytes_in: int
    start: Start | None = None
    lane: _Lane | None = None
    bytes_out: int = 0
    size: int = 0
    deadline: float = NEVER
    limit_seconds: float = 0.0
    yielded: bool = False

    @property
    def running(self) -> bool:
        return self.lane is not None


class _Lane:
    """A function's places: how many run, who waits."""

    __slots__ = ("offer", "running", "waiting")

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.running = 0
        self.waiting: deque[_Job] = deque()

    @property
    def full(self) -> bool:
        limit = self.offer.max_concurrent
        return limit is not None and self.running >= limit


class Worker:
    """All calls of one node that are not answered."""

    def __init__(
        self, sessions: Sessions, guard: Guard, *, max_value_bytes: int, capacity: int = CALLS_MAX
    ) -> None:
        self._sessions = sessions
        self.guard = guard
        self._max_value_bytes = max_value_bytes
        self._capacity = capacity
        self._lanes: dict[str, _Lane] = {}
        self._jobs: dict[CallKey, _Job] = {}
        self._stopping: dict[CallKey, _Lane] = {}
        self._remembered = Remembered()
        self._bodies: dict[tuple[int, int], _Job] = {}
        self._incoming_bytes = 0
        self._timers: list[tuple[float, CallKey]] = []
        self._probe_at = NEVER
        self.running = 0
        self.draining = False
        self._now = 0.0

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def waiting(self) -> int:
        """Calls taken that do not run yet."""
        return len(self._jobs) - self.running

    @property
    def wake_at(self) -> float:
        """When the next deadline or probe is due."""
        return min(self._timers[0][0] if self._timers else NEVER, self._probe_at)

    # ---- the owner's side

    def offer(self, offer: Offer) -> None:
        """Serve a function from now on, or under new terms."""
        self.guard.set_rule(offer.name, offer.rule)
        lane = self._lanes.get(offer.name)
        if lane is None:
            self._lanes[offer.name] = _Lane(offer)
        else:
            lane.offer = offer

    def withdraw(self, name: str) -> None:
        """Serve it no longer; calls that wait for it are refused, those that run go on."""
        lane = self._lanes.pop(name, None)
        for job in lane.waiting if lane is not None else ():
            self._settle(job)
            self._refuse(job.channel, job.key[1], "unknown")

    # ---- the caller's side

    def take(self, channel: Channel, message: Message, now: float) -> list[Effect]:
        """A message from a caller."""
        self._now = now
        if isinstance(message, Invoke):
            effects: list[Effect] = []
            self.invoke(channel, message, now, effects)
            return effects
        if isinstance(message, Cancel):
            return self._cancel(channel, message)
        if isinstance(message, Present):
            self.guard.introduce(channel, message.tokens)
            return []
        if isinstance(message, Again):
            channel.again = message.call
        if isinstance(message, Window):
            job = self._jobs.get((channel.peer, message.call))
            return [Grant(job.key, message.size)] if job is not None and job.running else []
        return []

    def take_body(self, channel: Channel, number: int, data: memoryview, now: float) -> list[Effect]:
        """A large argument is whole."""
        job = self._bodies.pop((channel.session.id, number), None)
        if job is None or job.start is None:
            return []
        self._incoming_bytes -= job.size
        job.size = 0
        return self._begin(job, structs.replace(job.start, arguments=data))

    def invoke(self, channel: Channel, ask: Invoke, now: float, effects: list[Effect]) -> None:
        """A call is asked for: take it, or refuse it at once; ``effects`` gets what is to be done."""
        number, function = ask.call, ask.function
        key = (channel.peer, number)
        job = self._jobs.get(key)
        if job is not None:
            effects += self._asked_again(job, channel, ask)
        elif key in self._stopping and self._may_repeat(channel, ask):
            effects += self._refuse(channel, number, "busy", "its last run here has not ended yet")
        elif key in self._stopping or (key in self._remembered and not self._may_repeat(channel, ask)):
            effects += self._refuse(channel, number, "repeated")
        elif isinstance(granted := self.guard.admit(channel, function), str):
            effects += self._refuse(channel, number, "not_allowed", granted)
            effects.append(CallEnded(number, function, self.guard.caller_of(channel), "refused not_allowed"))
        elif (lane := self._lanes.get(function)) is None:
            effects += self._refuse(channel, number, "unknown")
        elif self.draining:
            effects += self._refuse(channel, number, "draining", "the node is shutting down")
        elif ask.size > self._max_value_bytes:
            effects += self._refuse(channel, number, "too_large", limit_bytes=self._max_value_bytes)
            effects.append(CallEnded(number, function, granted.caller, "refused too_large"))
        elif len(self._jobs) >= self._capacity:
            effects += self._refuse(
                channel, number, "busy", f"{len(self._jobs)} calls are running or waiting"
            )
        elif lane.waiting and len(lane.waiting) >= QUEUE_MAX:
            effects += self._refuse(channel, number, "busy", f"{function!r} has {QUEUE_MAX} calls waiting")
        elif ask.body and self._incoming_bytes + ask.size > INCOMING_BYTES_MAX:
            effects += self._refuse(channel, number, "busy", "too many large arguments are on their way")
        else:
            self._admit(key, channel, ask, lane, granted, now, effects)

    def _may_repeat(self, channel: Channel, ask: Invoke) -> bool:
        """Whether its caller said just now that the call may run once more, and its function lets it."""
        lane = self._lanes.get(ask.function)
        return channel.again == ask.call and lane is not None and lane.offer.idempotent

    def _asked_again(self, job: _Job, channel: Channel, ask: Invoke) -> list[Effect]:
        """The session it was asked in broke: from now on the call is answered in this one."""
        if job.yielded:  # items went the other way, and nobody knows which of them arrived
            return self._stop(job, "cancelled") + self._refuse(channel, ask.call, "repeated")
        if (ask.size or memoryview(ask.arguments).nbytes) != job.bytes_in:
            raise RemoteProtocolError("a call was asked for again with other arguments")
        job.channel = channel
        bodies = [body for body, waiting in self._bodies.items() if waiting is job]
        for body in bodies:
            del self._bodies[body]
        if bodies:
            self._await_body(job, channel, ask)
        return []

    def _admit(
        self,
        key: CallKey,
        channel: Channel,
        ask: Invoke,
        lane: _Lane,
        granted: Pass,
        now: float,
        effects: list[Effect],
    ) -> None:
        limit = lane.offer.timeout_seconds
        if ask.timeout is not None:
            if not ask.timeout >= 0.0:  # written so that it refuses nan, too
                raise RemoteProtocolError(f"a call has {ask.timeout} s of time")
            if limit is None or ask.timeout < limit:
                limit = ask.timeout
        if granted.spends:
            self.guard.spend(granted)
        caller, arguments = granted.caller, ask.arguments
        start = Start(key, ask.function, arguments, ask.window, limit, caller, granted.spends)
        job = _Job(key, channel, ask.function, caller, now, ask.size or memoryview(arguments).nbytes)
        self._jobs[key] = job
        if limit is not None:
            job.deadline, job.limit_seconds = now + limit, limit
            self._set_timer(job)
        if self._probe_at == NEVER:
            self._probe_at = now + PROBE_SECONDS
        if ask.body:
            job.start = start
            self._await_body(job, channel, ask)
        elif lane.full:
            job.start = start
            lane.waiting.append(job)
        else:
            self._run(job, lane)
            effects.append(start)

    def _await_body(self, job: _Job, channel: Channel, ask: Invoke) -> None:
        channel.expect_body(ask.body, ask.size)
        self._incoming_bytes += ask.size - job.size
        job.size = ask.size
        self._bodies[channel.session.id, ask.body] = job

    def _begin(self, job: _Job, start: Start) -> list[Effect]:
        """Run it now, or let it wait for a place."""
        lane = self._lanes.get(job.function)
        if lane is None:
            self._settle(job)
            return self._refuse(job.channel, job.key[1], "unknown")
        if lane.full:
            job.start = start
            lane.waiting.append(job)
            return []
        self._run(job, lane)
        return [start]

    def _run(self, job: _Job, lane: _Lane) -> None:
        job.start, job.lane = None, lane
        lane.running += 1
        self.running += 1

    def _refuse(
        self, channel: Channel, call: int, reason: str, message: str = "", *, limit_bytes: int = 0
    ) -> list[Effect]:
        retry_after = RETRY_AFTER_SECONDS if reason == "busy" else 0.0
        channel.say(Refuse(call, reason, message, retry_after, limit_bytes), 48 + len(message))
        return [Notice("refused", call, reason)]

    def _cancel(self, channel: Channel, cancel: Cancel) -> list[Effect]:
        job = self._jobs.get((channel.peer, cancel.call))
        return [] if job is None else self._stop(job, "cancelled")

    def _stop(self, job: _Job, reason: str) -> list[Effect]:
        """End a call without an answer from its code; its place is free when the code has ended."""
        lane = job.lane
        self._settle(job)
        ended = self._ended(job, reason)
        if lane is None:
            return [ended]
        lane.running += 1  # given back by Stopped
        self._stopping[job.key] = lane
        return [Stop(job.key, reason), ended]

    def _ended(self, job: _Job, outcome: str) -> CallEnded:
        return CallEnded(
            job.key[1],
            job.function,
            job.caller,
            outcome,
            job.bytes_in,
            job.bytes_out,
            self._now - job.asked_at,
        )

    # ---- the code's side

    def answer(self, answer: Answer, now: float) -> list[Effect]:
        """The executor has news of a call."""
        effects: list[Effect] = []
        if isinstance(answer, Done):
            self.done(answer, now, effects)
            return effects
        self._now = now
        key = answer.key
        if isinstance(answer, Stopped):
            lane = self._stopping.pop(key, None)
            if lane is None:
                return []
            lane.running -= 1
            return self._next(lane)
        job = self._jobs.get(key)
        if job is None:
            return []
        channel, call = job.channel, key[1]
        if isinstance(answer, Yielded):
            job.yielded = True
            number, raw, size, weight = self._place_value(channel, answer.value)
            job.bytes_out += _size(answer.value)
            channel.say(Item(call, raw, number, size), weight)
            if number:
                channel.send_body(number, answer.value)
            return []
        outcome = "ok"
        if isinstance(answer, Failed):
            outcome = f"error {answer.type_name}"
            weight = len(answer.message) + len(answer.traceback) + 64
            channel.say(
                Fault(call, answer.kind, answer.type_name, answer.message, answer.traceback, answer.builtin),
                weight,
            )
        else:
            channel.say(End(call))
        self._settle(job)
        effects.append(self._ended(job, outcome))
        if job.lane is not None and job.lane.waiting:
            effects += self._next(job.lane)
        return effects

    def done(self, answer: Done, now: float, effects: list[Effect]) -> None:
        """A call's function returned; ``effects`` gets what is to be done."""
        key, value = answer.key, answer.value
        job = self._jobs.get(key)
        if job is None or job.lane is None:
            return
        del self._jobs[key]
        self._remembered.add(key)
        lane, channel = job.lane, job.channel
        self.running -= 1
        lane.running -= 1
        bytes_out = _size(value)
        if type(value) is bytes and bytes_out <= INLINE_BYTES:
            channel.say(Result(key[1], Raw(value)), bytes_out + 16)
        else:
            number = channel.number_body()
            channel.say(Result(key[1], EMPTY, number, bytes_out), 48)
            channel.send_body(number, value)
        effects.append(
            CallEnded(key[1], job.function, job.caller, "ok", job.bytes_in, bytes_out, now - job.asked_at)
        )
        if lane.waiting:
            effects += self._next(lane)

    def _place_value(self, channel: Channel, value: Encoded) -> tuple[int, Raw, int, int]:
        """Body number (0: inline), inline value, body size, weight in the bundle."""
        if isinstance(value, bytes) and len(value) <= INLINE_BYTES:
            return 0, Raw(value), 0, len(value) + 16
        return channel.number_body(), EMPTY, len(value) if isinstance(value, bytes) else value.size, 48

    def _next(self, lane: _Lane) -> list[Effect]:
        effects: list[Effect] = []
        while lane.waiting and not lane.full:
            job = lane.waiting.popleft()
            if self._jobs.get(job.key) is job and job.start is not None:
                effects.append(job.start)
                self._run(job, lane)
        return effects

    def _settle(self, job: _Job) -> None:
        """The call is answered, or given up: only its number is remembered."""
        del self._jobs[job.key]
        self._remembered.add(job.key)
        if job.lane is not None:
            self.running -= 1
            job.lane.running -= 1
            return
        lane = self._lanes.get(job.function)
        if lane is not None and job in lane.waiting:
            lane.waiting.remove(job)
        if job.size:
            self._incoming_bytes -= job.size
            for body, waiting in list(self._bodies.items()):
                if waiting is job:
                    del self._bodies[body]
                    job.channel.refuse_body(body[1])

    # ---- callers that go

    def caller_lost(self, channel: Channel) -> list[Effect]:
        """A caller is gone: nobody waits for its answers."""
        effects: list[Effect] = []
        for job in [one for one in self._jobs.values() if one.channel is channel]:
            effects += self._stop(job, "cancelled")
        self._sessions.close(channel)
        return effects

    def cast_out(self) -> list[Effect]:
        """Revocations have changed: callers that no longer count are gone, and their calls with them."""
        effects: list[Effect] = []
        for channel in self.guard.outcasts(self._sessions):
            self._sessions.reset(channel.peer, channel.session.id)
            effects += self.caller_lost(channel)
        return effects

    # ---- time

    def wake(self, now: float) -> list[Effect]:
        """Deadlines that have passed; callers that may be gone."""
        self._now = now
        effects: list[Effect] = []
        while self._timers and self._timers[0][0] <= now:
            _, key = heapq.heappop(self._timers)
            job = self._jobs.get(key)
            if job is None or job.deadline > now:
                continue
            job.channel.say(
                Fault(key[1], "timeout", "TimeoutError", f"its time of {job.limit_seconds:g} s was up"), 96
            )
            effects += self._stop(job, "timeout")
        if now >= self._probe_at:
            effects += self._probe(now)
        return effects

    def _probe(self, now: float) -> list[Effect]:
        """See that those who wait for an answer are still there."""
        effects: list[Effect] = []
        channels = {id(job.channel): job.channel for job in self._jobs.values()}
        for channel in channels.values():
            silent = now - channel.heard_at
            if silent > AWAY_SECONDS or now - channel.gone_since > GONE_SECONDS:
                self._sessions.reset(channel.peer, channel.session.id)
                effects += self.caller_lost(channel)
            elif silent > PROBE_SECONDS and channel.quiet:
                channel.probe()
        self._probe_at = now + PROBE_SECONDS / 2 if self._jobs else NEVER
        return effects

    def _set_timer(self, job: _Job) -> None:
        heapq.heappush(self._timers, (job.deadline, job.key))
        if len(self._timers) > 2 * len(self._jobs) + 1024:  # mostly answered calls: leave those out
            self._timers = [timer for timer in self._timers if timer[1] in self._jobs]
            heapq.heapify(self._timers)

    def busy_sessions(self) -> set[int]:
        """Sessions that calls still need."""
        return {job.channel.session.id for job in self._jobs.values()}


def _size(value: Encoded) -> int:
    return len(value) if isinstance(value, bytes) else value.size
