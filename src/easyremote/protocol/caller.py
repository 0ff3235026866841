"""The caller's machine: has a node chosen for each call, asks it, and settles the call once.

It never runs anything and never decodes a value; it does not know what links are.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable

from msgspec import Raw

from easyremote.errors import (
    EasyRemoteError,
    HandshakeError,
    RemoteProtocolError,
)
from easyremote.protocol.bodies import Bodies
from easyremote.protocol.call import (
    ACCEPTED,
    ATTEMPTS_MAX,
    NOT_SENT,
    UNCONFIRMED,
    Awaited,
    Call,
    fault_error,
    lost_error,
    refusal_error,
    timeout_error,
)
from easyremote.protocol.channel import Channel
from easyremote.protocol.choice import Choice, Later
from easyremote.protocol.directory import Directory, NodeView
from easyremote.protocol.effects import Answered, Delivered, Dial, Effect, Faulted, Finished, Notice
from easyremote.protocol.events import CallRequested
from easyremote.protocol.machine import NEVER
from easyremote.protocol.routes import RELAY
from easyremote.protocol.sessions import Sessions
from easyremote.trust.handshake import PublicPrekey
from easyremote.wire.bundle import (
    EMPTY,
    Again,
    Cancel,
    End,
    Fault,
    Invoke,
    Item,
    Message,
    Refuse,
    Result,
    Window,
)
from easyremote.wire.limits import INLINE_BYTES, ITEM_OVERHEAD_BYTES, STREAM_WINDOW_BYTES

BUSY_WAIT_SECONDS = 0.02
BUSY_WAIT_SECONDS_MAX = 1.0
PROBE_SECONDS = 20.0
"""A node that runs our calls speaks up more often than this, or no longer knows of them."""


class Caller:
    """All calls of one device that are not settled."""

    def __init__(
        self,
        sessions: Sessions,
        directory: Directory,
        dice: Callable[[], float],
        *,
        max_value_bytes: int,
    ) -> None:
        self._sessions = sessions
        self._directory = directory
        self._dice = dice
        self._calls: dict[int, Call] = {}
        self._waiting: dict[int, Call] = {}
        self._bodies = Bodies(max_value_bytes)
        self._timers: list[tuple[float, int]] = []
        self._probe_at = NEVER
        self._choice = Choice(sessions, directory, dice)
        self.late = 0
        """Answers that came after their call was settled, since the start."""

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def wake_at(self) -> float:
        """When the next deadline, retry or probe is due."""
        return min(self._timers[0][0] if self._timers else NEVER, self._probe_at)

    # ---- the program's side

    def request(self, request: CallRequested, now: float) -> list[Effect]:
        """A call is wanted."""
        node, function = request.node, request.function
        if node is None and "." in function:
            node, _, function = function.rpartition(".")
        call = Call(request, request.call, function, node, now, now + request.patience)
        self._calls[call.number] = call
        if (
            request.beside
            and (first := self._calls.get(request.beside)) is not None
            and first.view is not None
        ):
            call.avoid = first.view.card.endpoint
        if request.timeout is not None:
            call.deadline = now + request.timeout
            self._set_timer(call.deadline, call)
        return self._place(call, now)

    def cancel(self, number: int) -> list[Effect]:
        """The answer is no longer wanted."""
        call = self._calls.get(number)
        if call is not None:
            self._abandon(call)
        return []

    def taken(self, number: int, size: int) -> list[Effect]:
        """The program consumed items; tell the node once that is worth a message."""
        call = self._calls.get(number)
        if call is not None:
            call.taken += size
            if call.channel is not None and call.taken >= STREAM_WINDOW_BYTES // 2 and not call.ended:
                call.channel.say(Window(number, call.taken))
                call.taken = 0
        return []

    # ---- choosing

    def _place(self, call: Call, now: float) -> list[Effect]:
        """Find a node and ask it; or wait; or fail."""
        try:
            found = self._choice.of(call, len(self._calls), now)
        except EasyRemoteError as error:
            return self._fault(call, error.with_traceback(None))  # whose call it is sees its own lines
        if isinstance(found, NodeView):
            return self._ask(call, found, now)
        if found is Later.ROOM:
            return self._wait_for_room(call, now)
        self._waiting[call.number] = call
        return []

    def _wait_for_room(self, call: Call, now: float) -> list[Effect]:
        """Everyone refused for now: try again a little later, each time a little later still."""
        pause = min(BUSY_WAIT_SECONDS * 2 ** min(call.refusals, 10), BUSY_WAIT_SECONDS_MAX)
        call.retry_at = now + pause * (0.5 + self._dice())
        call.excluded = frozenset()
        self._set_timer(call.retry_at, call)
        return []

    def _ask(self, call: Call, view: NodeView, now: float) -> list[Effect]:
        channel = self._sessions.open_to(view.card.endpoint, now)
        if channel is None:
            prekey = view.card.prekey
            known = PublicPrekey(id=prekey.id, suite=prekey.suite, aead=prekey.aead, key=prekey.key)
            try:
                channel = self._sessions.to(view.card.endpoint, known, now)
            except HandshakeError as error:
                return self._fault(call, error)
        call.view, call.channel, call.asked_at = view, channel, now
        call.attempts += 1
        if self._probe_at == NEVER:
            self._probe_at = now + PROBE_SECONDS
        call.load = view.candidate.sent()
        endpoint = view.card.endpoint
        call.been_there = endpoint in call.places
        call.places += (endpoint,)
        request = call.request
        timeout = None if call.deadline == NEVER else max(call.deadline - now, 0.001)
        window = STREAM_WINDOW_BYTES if request.stream else 0
        data = request.arguments
        if call.again and "again" in view.card.features:
            channel.say(Again(call.number))
        if isinstance(data, bytes) and len(data) <= INLINE_BYTES:
            channel.say(
                Invoke(call.number, call.function, Raw(data), 0, 0, timeout, window),
                len(data) + len(call.function) + 32,
            )
        else:
            call.body = channel.number_body()
            size = len(data) if isinstance(data, bytes) else data.size
            channel.say(Invoke(call.number, call.function, EMPTY, call.body, size, timeout, window), 64)
            channel.send_body(call.body, data)
        if view.dial_at <= now:
            view.dial_at = NEVER
            return [Dial(view.card.endpoint, view.addresses, view.card.fingerprint)]
        return []

    def harmless(self, number: int) -> bool:
        """Whether making this call once more does no harm."""
        call = self._calls.get(number)
        return call is not None and call.harmless

    def may_hedge(self, number: int) -> bool:
        """Whether another node could take this call as well as the one that has it, without harm anywhere."""
        call = self._calls.get(number)
        return call is not None and self._choice.may_hedge(call)

    def direct(self, number: int) -> bool:
        """Whether a call is with its node over a direct link."""
        call = self._calls.get(number)
        return call is not None and call.channel is not None and call.channel.route.link != RELAY

    def path(self, number: int) -> str:
        """Where a call went, and over what, in words for a trace; empty if it went nowhere yet."""
        call = self._calls.get(number)
        if call is None or call.view is None:
            return ""
        return f"{call.view.card.name} {'direct' if self.direct(number) else 'relay'}"

    def channels(self) -> set[Channel]:
        """The channels on which answers are awaited."""
        return {call.channel for call in self._calls.values() if call.channel is not None}

    def retry_waiting(self, now: float) -> list[Effect]:
        """The directory changed: calls that waited for news may go on."""
        if not self._waiting:
            return []
        waiting, self._waiting = self._waiting, {}
        effects: list[Effect] = []
        for call in waiting.values():
            effects += self._place(call, now)
        return effects

    # ---- the node's side

    def result(self, channel: Channel, result: Result, now: float, effects: list[Effect]) -> None:
        """What one of our calls came to; ``effects`` gets what is to be done."""
        call = self._calls.get(result.call)
        if call is None or call.channel is not channel or call.ended or call.view is None:
            self._came_late(channel, result)
        elif call.answered:
            raise RemoteProtocolError(f"{call.node_name!r} answered one call twice")
        elif result.body:
            call.answered = True
            effects += self._expect(call, channel, result)
        else:
            del self._calls[call.number]
            call.view.candidate.answered(call.function, now - call.asked_at, load=call.load, now=now)
            call.view = call.channel = None
            effects.append(Answered(call.number, result.value))

    def _came_late(self, channel: Channel, message: Message) -> None:
        self.late += 1
        if isinstance(message, (Result, Item)) and message.body:
            channel.refuse_body(message.body)

    def take(self, channel: Channel, message: Message, now: float) -> list[Effect]:
        """A message about one of our calls."""
        if isinstance(message, Result):
            effects: list[Effect] = []
            self.result(channel, message, now, effects)
            return effects
        call = self._calls.get(message.call)  # type: ignore[union-attr]
        if call is None or call.channel is not channel or call.ended:
            self._came_late(channel, message)
            return []
        if isinstance(message, Item):
            return self._take_item(call, channel, message)
        if isinstance(message, End):
            if not call.request.stream:
                return self._fault(
                    call, RemoteProtocolError(f"{call.node_name!r} ended a stream nobody asked for")
                )
            call.ended = True
            return [] if call.stream else self._finish(call)
        if isinstance(message, Fault):
            error = fault_error(call, message)
            if call.stream:  # items before it are still on their way, and go first
                call.ended, call.fault = True, error
                return []
            return self._fault(call, error)
        if isinstance(message, Refuse):
            return self._refused(call, message, now)
        return []

    def take_body(self, channel: Channel, number: int, data: memoryview, now: float) -> list[Effect]:
        """A large body is whole."""
        found = self._bodies.whole(channel, number)
        if found is None or found[0].number not in self._calls:
            return []
        call, awaited = found
        if awaited is None:
            self._measure(call, now)
            self._forget(call)
            return [Answered(call.number, data)]
        awaited.value = data
        effects: list[Effect] = [*call.deliverable()]
        if call.ended and not call.stream:
            effects += self._finish(call) if call.fault is None else self._fault(call, call.fault)
        return effects

    def _take_item(self, call: Call, channel: Channel, item: Item) -> list[Effect]:
        call.started = True
        if item.body:
            awaited = Awaited(None, item.size + ITEM_OVERHEAD_BYTES)
            effects = self._expect(call, channel, item, awaited)
            if not effects:
                call.stream = deque() if call.stream is None else call.stream
                call.stream.append(awaited)
            return effects
        cost = memoryview(item.value).nbytes + ITEM_OVERHEAD_BYTES
        if call.stream:
            call.stream.append(Awaited(item.value, cost))
            return []
        return [Delivered(call.number, item.value, cost)]

    def _expect(
        self, call: Call, channel: Channel, message: Result | Item, awaited: Awaited | None = None
    ) -> list[Effect]:
        error = self._bodies.expect(call, channel, message, awaited)
        if error is None:
            return []
        channel.say(Cancel(call.number))
        return self._fault(call, error)

    def _refused(self, call: Call, refuse: Refuse, now: float) -> list[Effect]:
        self._drop_arguments(call)
        call.unsure = (
            call.unsure and refuse.reason == "repeated"
        )  # its node said, sealed, that it has not run
        effects: list[Effect] = [Notice("refused", call.number, refuse.reason)]
        elsewhere = call.node is None
        if refuse.reason == "busy" and now < call.patient_until:
            call.refusals += 1
            call.attempts -= 1  # a node that is full does not count against the call
            self._leave(call, exclude=elsewhere)
            return effects + (self._place(call, now) if elsewhere else self._wait_for_room(call, now))
        if (
            refuse.reason in ("draining", "unknown", "not_allowed")
            and elsewhere
            and call.attempts <= ATTEMPTS_MAX
        ):
            others = self._directory.offering(call.function)
            gone = call.view.card.endpoint if call.view is not None else b""
            if any(one.endpoint != gone and one.endpoint not in call.excluded for one in others):
                self._leave(call, exclude=True)
                return effects + self._place(call, now)
        return effects + self._fault(call, refusal_error(call, refuse))

    # ---- nodes that go

    def node_missing(self, view: NodeView, now: float) -> list[Effect]:
        """A node is not back as soon as expected: what surely did not run there, or may run twice, goes elsewhere.

        The others stay with it until it is back or lost.
        """
        movable = [call for call in self._calls_of(view) if call.channel is not None and self._may_move(call)]
        sure = {call.number for call in movable if not call.unsure}
        unsent = {one for channel in self._channels_to(view) for one in channel.take_back(sure)}
        effects: list[Effect] = []
        for call in movable:
            if call.number not in unsent:
                if not _repeatable(call, view) or call.channel is None:
                    continue
                self._drop_arguments(call)
                self._bodies.forget(call, call.channel)
                call.channel.say(Cancel(call.number))  # should the node come back, it need not go on
            effects += self._move(call, view, now)
        return effects + self.retry_waiting(now)

    def node_lost(self, view: NodeView, now: float) -> list[Effect]:
        """A node is gone for good: move what surely did not run there, fail the rest."""
        effects: list[Effect] = []
        channels = self._channels_to(view)
        unsent = {call for channel in channels for call in asked_in(channel.unsent())}
        unsure = {call for channel in channels for call in asked_in(channel.unacknowledged())}
        for call in self._calls_of(view):
            never = call.number in unsent and not call.unsure
            if (never or _repeatable(call, view)) and self._may_move(call):
                effects += self._move(call, view, now)
            else:
                effects += self._fault(
                    call,
                    lost_error(
                        call, ran=NOT_SENT if never else UNCONFIRMED if call.number in unsure else ACCEPTED
                    ),
                )
        for channel in channels:
            self._close(channel)
        return effects + self.retry_waiting(now)

    def _channels_to(self, view: NodeView) -> list[Channel]:
        return [channel for channel in self._sessions if channel.peer == view.card.endpoint]

    def _calls_of(self, view: NodeView) -> list[Call]:
        return [call for call in self._calls.values() if call.view is view]

    def _may_move(self, call: Call) -> bool:
        elsewhere = self._directory.offering(call.function)
        return call.node is None and call.attempts <= ATTEMPTS_MAX and bool(elsewhere)

    def _move(self, call: Call, view: NodeView, now: float) -> list[Effect]:
        call.again = call.again or _repeatable(call, view)
        self._leave(call, exclude=True)
        return [Notice("moved", call.number, view.card.name), *self._place(call, now)]

    def session_reset(self, channel: Channel, now: float) -> list[Effect]:
        """The node does not know our session: ask again, under the same numbers, in a fresh one.

        The node remembers the calls it took by caller and number, so what did reach it is not run again.
        """
        self._close(channel)
        effects: list[Effect] = []
        sent = asked_in(channel.unacknowledged())
        unsure = sent | asked_in(channel.unsent())
        for call in [one for one in self._calls.values() if one.channel is channel]:
            view = call.view
            call.unsure = call.unsure or call.number in sent
            if call.number in unsure and call.attempts <= ATTEMPTS_MAX and view is not None:
                self._leave(call)
                effects.append(Notice("resumed", call.number, "in a new session"))
                effects += self._ask(call, view, now)
            else:
                ran = UNCONFIRMED if call.number in unsure else ACCEPTED
                effects += self._fault(call, lost_error(call, ran=ran))
        return effects

    def _close(self, channel: Channel) -> None:
        self._sessions.close(channel)
        self._bodies.close(channel)

    # ---- settling

    def _measure(self, call: Call, now: float) -> None:
        if call.view is not None:
            call.view.candidate.answered(call.function, now - call.asked_at, load=call.load, now=now)
            call.view = call.channel = None

    def _finish(self, call: Call) -> list[Effect]:
        self._forget(call)
        return [Finished(call.number)]

    def _fault(self, call: Call, error: EasyRemoteError) -> list[Effect]:
        error.may_repeat = call.harmless
        self._forget(call)
        return [Faulted(call.number, error)]

    def _abandon(self, call: Call) -> None:
        if call.channel is not None:
            self._drop_arguments(call)
            call.channel.say(Cancel(call.number))
            self._bodies.forget(call, call.channel)
        self._forget(call)

    def _forget(self, call: Call) -> None:
        del self._calls[call.number]
        self._waiting.pop(call.number, None)
        self._leave(call)

    def _leave(self, call: Call, *, exclude: bool = False) -> None:
        """Take the call away from the node that has it."""
        if call.view is not None:
            call.view.candidate.dropped()
            if exclude:
                call.excluded |= {call.view.card.endpoint}
            call.view = call.channel = None
            call.answered = False  # what that node had begun to send comes from nowhere else

    def _drop_arguments(self, call: Call) -> None:
        if call.body and call.channel is not None:
            call.channel.drop_body(call.body)
            call.body = 0

    # ---- time

    def wake(self, now: float) -> list[Effect]:
        """Deadlines that have passed, retries that are due."""
        effects: list[Effect] = []
        while self._timers and self._timers[0][0] <= now:
            _, number = heapq.heappop(self._timers)
            call = self._calls.get(number)
            if call is None:
                continue
            if call.deadline <= now:
                error = timeout_error(call)
                error.may_repeat = call.harmless
                self._abandon(call)
                effects.append(Faulted(number, error))
            elif call.retry_at <= now:
                call.retry_at = NEVER
                effects += self._place(call, now)
        if now >= self._probe_at:
            self._probe(now)
        return effects

    def _probe(self, now: float) -> None:
        """See that the nodes that have our calls still know of them."""
        waited_for = self.channels()
        for channel in self._sessions:
            if channel in waited_for and channel.quiet and now - channel.heard_at > PROBE_SECONDS:
                channel.probe()
        self._probe_at = now + PROBE_SECONDS / 2 if waited_for else NEVER

    def _set_timer(self, when: float, call: Call) -> None:
        heapq.heappush(self._timers, (when, call.number))
        if len(self._timers) > 2 * len(self._calls) + 1024:  # mostly settled calls: leave those out
            self._timers = [timer for timer in self._timers if timer[1] in self._calls]
            heapq.heapify(self._timers)


def asked_in(messages: list[Message]) -> set[int]:
    """The calls that these messages ask for."""
    return {message.call for message in messages if isinstance(message, Invoke)}


def _repeatable(call: Call, view: NodeView) -> bool:
    """Whether it does no harm if the call runs there and elsewhere."""
    card = view.functions.get(call.function)
    return card is not None and card.idempotent and not call.started
