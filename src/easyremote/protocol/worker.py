"""The node's machine: admits calls or refuses them at once, times them, answers them once.

It never runs user code: it asks for it with ``Start``, ``Stop`` and ``Grant``, and hears of it through
answers. Which calls a caller's number has named before is remembered across sessions, so a call that
is asked for again is never run again.
"""

from __future__ import annotations

import heapq

from msgspec import Raw, structs

from easyremote.errors import RemoteProtocolError
from easyremote.protocol.channel import Channel
from easyremote.protocol.desk import Desk
from easyremote.protocol.effects import CallEnded, Effect, Grant, Notice, Start, Stop
from easyremote.protocol.events import (
    Answer,
    CallKey,
    Done,
    Encoded,
    Failed,
    JobOpened,
    Offer,
    Stopped,
    Yielded,
)
from easyremote.protocol.guard import Asker, Guard, Pass
from easyremote.protocol.lanes import Lane, Work
from easyremote.protocol.machine import NEVER
from easyremote.protocol.remembered import Remembered
from easyremote.protocol.sessions import Sessions
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


class Worker:
    """All calls of one node that are not answered."""

    def __init__(
        self, sessions: Sessions, guard: Guard, *, max_value_bytes: int, capacity: int = CALLS_MAX
    ) -> None:
        self._sessions = sessions
        self.guard = guard
        self._max_value_bytes = max_value_bytes
        self._capacity = capacity
        self._lanes: dict[str, Lane] = {}
        self._taken: dict[CallKey, Work] = {}
        self._stopping: dict[CallKey, Lane] = {}
        self._remembered = Remembered()
        self._bodies: dict[tuple[int, int], Work] = {}
        self._incoming_bytes = 0
        self._timers: list[tuple[float, CallKey]] = []
        self._probe_at = NEVER
        self.running = 0
        self.draining = False
        self.outcomes: list[Effect] = []
        """How jobs ended that nobody has been told of yet."""
        self._now = 0.0

    def __len__(self) -> int:
        return len(self._taken)

    @property
    def waiting(self) -> int:
        """Calls taken that do not run yet."""
        return len(self._taken) - self.running

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
            self._lanes[offer.name] = Lane(offer)
        else:
            lane.offer = offer

    def withdraw(self, name: str) -> None:
        """Serve it no longer; calls that wait for it are refused, those that run go on."""
        lane = self._lanes.pop(name, None)
        for work in lane.waiting if lane is not None else ():
            self._settle(work)
            self._refuse(work.channel, work.key[1], "unknown")

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
            work = self._taken.get((channel.peer, message.call))
            return [Grant(work.key, message.size)] if work is not None and work.running else []
        return []

    def take_body(self, channel: Channel, number: int, data: memoryview, now: float) -> list[Effect]:
        """A large argument is whole."""
        work = self._bodies.pop((channel.session.id, number), None)
        if work is None or work.start is None:
            return []
        self._incoming_bytes -= work.size
        work.size = 0
        return self._begin(work, structs.replace(work.start, arguments=data))

    def invoke(self, channel: Asker, ask: Invoke, now: float, effects: list[Effect]) -> None:
        """A call is asked for: take it, or refuse it at once; ``effects`` gets what is to be done."""
        number, function = ask.call, ask.function
        key = (channel.peer, number)
        work = self._taken.get(key)
        if work is not None:
            effects += self._asked_again(work, channel, ask)
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
        elif len(self._taken) >= self._capacity:
            effects += self._refuse(
                channel, number, "busy", f"{len(self._taken)} calls are running or waiting"
            )
        elif channel.as_of is not None and lane.full:
            effects += self._refuse(
                channel, number, "busy", f"{function!r} has no place free"
            )  # it waits elsewhere
        elif lane.waiting and len(lane.waiting) >= QUEUE_MAX:
            effects += self._refuse(channel, number, "busy", f"{function!r} has {QUEUE_MAX} calls waiting")
        elif ask.body and self._incoming_bytes + ask.size > INCOMING_BYTES_MAX:
            effects += self._refuse(channel, number, "busy", "too many large arguments are on their way")
        else:
            self._admit(key, channel, ask, lane, granted, now, effects)

    def _may_repeat(self, channel: Asker, ask: Invoke) -> bool:
        """Whether its caller said just now that the call may run once more, and its function lets it."""
        lane = self._lanes.get(ask.function)
        return channel.again == ask.call and lane is not None and lane.offer.idempotent

    def _asked_again(self, work: Work, channel: Asker, ask: Invoke) -> list[Effect]:
        """The session it was asked in broke: from now on the call is answered in this one."""
        if work.yielded:  # items went the other way, and nobody knows which of them arrived
            return self._stop(work, "cancelled") + self._refuse(channel, ask.call, "repeated")
        if (ask.size or memoryview(ask.arguments).nbytes) != work.bytes_in:
            raise RemoteProtocolError("a call was asked for again with other arguments")
        work.channel = channel
        bodies = [body for body, waiting in self._bodies.items() if waiting is work]
        for body in bodies:
            del self._bodies[body]
        if bodies:
            self._await_body(work, channel, ask)
        return []

    def _admit(
        self,
        key: CallKey,
        channel: Asker,
        ask: Invoke,
        lane: Lane,
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
        work = Work(key, channel, ask.function, caller, now, ask.size or memoryview(arguments).nbytes)
        self._taken[key] = work
        if limit is not None:
            work.deadline, work.limit_seconds = now + limit, limit
            self._set_timer(work)
        if self._probe_at == NEVER:
            self._probe_at = now + PROBE_SECONDS
        if ask.body:
            work.start = start
            self._await_body(work, channel, ask)
        elif lane.full:
            work.start = start
            lane.waiting.append(work)
        else:
            self._run(work, lane)
            effects.append(start)

    def _await_body(self, work: Work, channel: Asker, ask: Invoke) -> None:
        channel.expect_body(ask.body, ask.size)
        self._incoming_bytes += ask.size - work.size
        work.size = ask.size
        self._bodies[channel.session.id, ask.body] = work

    def _begin(self, work: Work, start: Start) -> list[Effect]:
        """Run it now, or let it wait for a place."""
        lane = self._lanes.get(work.function)
        if lane is None:
            self._settle(work)
            return self._refuse(work.channel, work.key[1], "unknown")
        if lane.full:
            work.start = start
            lane.waiting.append(work)
            return []
        self._run(work, lane)
        return [start]

    def _run(self, work: Work, lane: Lane) -> None:
        work.start, work.lane = None, lane
        lane.running += 1
        self.running += 1

    def _refuse(
        self, channel: Asker, call: int, reason: str, message: str = "", *, limit_bytes: int = 0
    ) -> list[Effect]:
        retry_after = RETRY_AFTER_SECONDS if reason == "busy" else 0.0
        channel.say(Refuse(call, reason, message, retry_after, limit_bytes), 48 + len(message))
        return [Notice("refused", call, reason)]

    def open_job(self, job: JobOpened, now: float) -> list[Effect]:
        """A letter was opened: take the call in it, or refuse it at once."""
        self._now = now
        effects: list[Effect] = []
        desk = Desk(job.key, job.as_of, self.outcomes)
        self.guard.introduce(desk, job.tokens)
        ask = Invoke(
            job.key[1], job.function, Raw(job.arguments), timeout=job.timeout, size=len(job.arguments)
        )
        try:
            self.invoke(desk, ask, now, effects)
        except RemoteProtocolError as error:
            desk.say(Fault(job.key[1], "argument", "ProtocolError", str(error)))
        return effects

    def cancel_job(self, key: CallKey) -> list[Effect]:
        """Nobody wants a job's result any more."""
        work = self._taken.get(key)
        if work is None or not isinstance(work.channel, Desk):
            return []
        work.channel.say(Fault(key[1], "cancelled", "CancelledError", "its caller did not want it any more"))
        return self._stop(work, "cancelled")

    def _cancel(self, channel: Channel, cancel: Cancel) -> list[Effect]:
        work = self._taken.get((channel.peer, cancel.call))
        return [] if work is None else self._stop(work, "cancelled")

    def _stop(self, work: Work, reason: str) -> list[Effect]:
        """End a call without an answer from its code; its place is free when the code has ended."""
        lane = work.lane
        self._settle(work)
        ended = self._ended(work, reason)
        if lane is None:
            return [ended]
        lane.running += 1  # given back by Stopped
        self._stopping[work.key] = lane
        return [Stop(work.key, reason), ended]

    def _ended(self, work: Work, outcome: str) -> CallEnded:
        return CallEnded(
            work.key[1],
            work.function,
            work.caller,
            outcome,
            work.bytes_in,
            work.bytes_out,
            self._now - work.asked_at,
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
        work = self._taken.get(key)
        if work is None:
            return []
        channel, call = work.channel, key[1]
        if isinstance(answer, Yielded):
            work.yielded = True
            number, raw, size, weight = self._place_value(channel, answer.value)
            work.bytes_out += _size(answer.value)
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
        self._settle(work)
        effects.append(self._ended(work, outcome))
        if work.lane is not None and work.lane.waiting:
            effects += self._next(work.lane)
        return effects

    def done(self, answer: Done, now: float, effects: list[Effect]) -> None:
        """A call's function returned; ``effects`` gets what is to be done."""
        key, value = answer.key, answer.value
        work = self._taken.get(key)
        if work is None or work.lane is None:
            return
        del self._taken[key]
        self._remembered.add(key)
        lane, channel = work.lane, work.channel
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
            CallEnded(key[1], work.function, work.caller, "ok", work.bytes_in, bytes_out, now - work.asked_at)
        )
        if lane.waiting:
            effects += self._next(lane)

    def _place_value(self, channel: Asker, value: Encoded) -> tuple[int, Raw, int, int]:
        """Body number (0: inline), inline value, body size, weight in the bundle."""
        if isinstance(value, bytes) and len(value) <= INLINE_BYTES:
            return 0, Raw(value), 0, len(value) + 16
        return channel.number_body(), EMPTY, len(value) if isinstance(value, bytes) else value.size, 48

    def _next(self, lane: Lane) -> list[Effect]:
        effects: list[Effect] = []
        while lane.waiting and not lane.full:
            work = lane.waiting.popleft()
            if self._taken.get(work.key) is work and work.start is not None:
                effects.append(work.start)
                self._run(work, lane)
        return effects

    def _settle(self, work: Work) -> None:
        """The call is answered, or given up: only its number is remembered."""
        del self._taken[work.key]
        self._remembered.add(work.key)
        if work.lane is not None:
            self.running -= 1
            work.lane.running -= 1
            return
        lane = self._lanes.get(work.function)
        if lane is not None and work in lane.waiting:
            lane.waiting.remove(work)
        if work.size:
            self._incoming_bytes -= work.size
            for body, waiting in list(self._bodies.items()):
                if waiting is work:
                    del self._bodies[body]
                    work.channel.refuse_body(body[1])

    # ---- callers that go

    def caller_lost(self, channel: Channel) -> list[Effect]:
        """A caller is gone: nobody waits for its answers."""
        effects: list[Effect] = []
        for work in [one for one in self._taken.values() if one.channel is channel]:
            effects += self._stop(work, "cancelled")
        self._sessions.close(channel)
        return effects

    def cast_out(self) -> list[Effect]:
        """Revocations have changed: callers that no longer count are gone, and their calls with them."""
        effects: list[Effect] = []
        for channel in self.guard.outcasts(self._sessions):
            self._sessions.reset(channel.peer, channel.session.id)
            effects += self.caller_lost(channel)
        desks = [work.channel for work in self._taken.values() if isinstance(work.channel, Desk)]
        for desk in self.guard.outcasts(desks):
            effects += self.cancel_job((desk.peer, desk.again))
        return effects

    # ---- time

    def wake(self, now: float) -> list[Effect]:
        """Deadlines that have passed; callers that may be gone."""
        self._now = now
        effects: list[Effect] = []
        while self._timers and self._timers[0][0] <= now:
            _, key = heapq.heappop(self._timers)
            work = self._taken.get(key)
            if work is None or work.deadline > now:
                continue
            work.channel.say(
                Fault(key[1], "timeout", "TimeoutError", f"its time of {work.limit_seconds:g} s was up"), 96
            )
            effects += self._stop(work, "timeout")
        if now >= self._probe_at:
            effects += self._probe(now)
        return effects

    def _probe(self, now: float) -> list[Effect]:
        """See that those who wait for an answer are still there."""
        effects: list[Effect] = []
        channels = {id(work.channel): work.channel for work in self._taken.values()}
        for channel in channels.values():
            silent = now - channel.heard_at
            if isinstance(channel, Desk):
                continue
            if silent > AWAY_SECONDS or now - channel.gone_since > GONE_SECONDS:
                self._sessions.reset(channel.peer, channel.session.id)
                effects += self.caller_lost(channel)
            elif silent > PROBE_SECONDS and channel.quiet:
                channel.probe()
        self._probe_at = now + PROBE_SECONDS / 2 if self._taken else NEVER
        return effects

    def _set_timer(self, work: Work) -> None:
        heapq.heappush(self._timers, (work.deadline, work.key))
        if len(self._timers) > 2 * len(self._taken) + 1024:  # mostly answered calls: leave those out
            self._timers = [timer for timer in self._timers if timer[1] in self._taken]
            heapq.heapify(self._timers)

    def busy_sessions(self) -> set[int]:
        """Sessions that calls still need."""
        return {work.channel.session.id for work in self._taken.values()}


def _size(value: Encoded) -> int:
    return len(value) if isinstance(value, bytes) else value.size
