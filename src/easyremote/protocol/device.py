"""A device's machine: one attachment, and over it a caller, a worker, or both.

It only hands things round: control frames to the attachment and the directory, sealed frames through
the sessions to the caller or the worker. What each of them does is written in its own file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from easyremote.errors import RemoteProtocolError, SealError
from easyremote.protocol.attachment import Attachment
from easyremote.protocol.caller import Caller
from easyremote.protocol.channel import Channel, Opened
from easyremote.protocol.direct import DirectLinks
from easyremote.protocol.directory import Directory
from easyremote.protocol.effects import (
    Attached,
    CloseLink,
    Effect,
    MailCame,
    MailDone,
    Notice,
    OperationDone,
    Renewed,
    RevocationsChanged,
    Synced,
)
from easyremote.protocol.events import (
    CallCancelled,
    CallRequested,
    CardChanged,
    DialFailed,
    DirectClosed,
    DirectOpened,
    Done,
    DrainStarted,
    Ended,
    Event,
    Failed,
    ItemsTaken,
    JobCancelled,
    JobOpened,
    Joined,
    LinkClosed,
    LinkOpened,
    MailRequested,
    Offered,
    OperationRequested,
    PacketReceived,
    Stopped,
    Withdrawn,
    Woken,
    Yielded,
)
from easyremote.protocol.guard import Guard
from easyremote.protocol.machine import NEVER, Entropy
from easyremote.protocol.routes import RELAY
from easyremote.protocol.sessions import Sessions
from easyremote.protocol.standing import Standing
from easyremote.protocol.worker import CALLS_MAX, Worker
from easyremote.trust.handshake import Prekeys
from easyremote.trust.identity import Identity
from easyremote.wire.bundle import (
    RESET,
    Again,
    Cancel,
    Invoke,
    Part,
    Present,
    Result,
    Window,
    read_head,
    read_sealed,
)
from easyremote.wire.frame import Carry, Control, Pieces, carry
from easyremote.wire.limits import LOST_AFTER_SECONDS, MAX_PACKET_BYTES
from easyremote.wire.messages import (
    Advertise,
    Change,
    Departed,
    LoadReport,
    Mail,
    Operate,
    Operated,
    Post,
    Posted,
    Presence,
    Revoked,
    Snapshot,
    Undeliverable,
    Watch,
    decode,
)

HOUSEKEEPING_SECONDS = 60.0
LOAD_REPORT_SECONDS = 0.5
NODES_MAX = 100_000
SPEAKS_SECONDS = 3.0
"""A node that has been heard directly so lately is there, whatever the gateway says."""


class Device:
    """All of a device's protocol, without any I/O."""

    def __init__(
        self,
        identity: Identity,
        endpoint: bytes,
        *,
        name: str,
        role: str,
        entropy: Entropy,
        dice: Callable[[], float],
        prekeys: Prekeys | None = None,
        max_value_bytes: int,
        capacity: int = CALLS_MAX,
        clock: Callable[[], float],
        direct: bool = True,
        lost_after: float = LOST_AFTER_SECONDS,
    ) -> None:
        self.endpoint = endpoint
        self.standing = Standing(identity.device, clock)
        self.attachment = Attachment(identity, endpoint, self.standing, name=name, role=role)
        self.sessions = Sessions(identity, endpoint, entropy, prekeys)
        self.directory = Directory(self.standing, dials=direct, lost_after=lost_after)
        self._served_as = name.rstrip("*")
        self.caller = Caller(self.sessions, self.directory, dice, max_value_bytes=max_value_bytes)
        self.worker: Worker | None = None
        if prekeys is not None:
            guard = Guard(self.standing, lambda: self._served_as)
            self.worker = Worker(self.sessions, guard, max_value_bytes=max_value_bytes, capacity=capacity)
        self.direct = DirectLinks(identity, endpoint, self.standing, serves=direct and prekeys is not None)
        self._watching = role == "client"
        self._load_sent: tuple[int, int] = (0, 0)
        self._load_at = NEVER
        self._tidy_at = NEVER
        self._snapshot: list[Presence] = []

    # ---- events

    def handle(self, event: Event, now: float) -> Sequence[Effect]:
        """Take one event; return what must be done about it."""
        if isinstance(event, PacketReceived):
            return self._packet(event, now)
        if isinstance(event, CallRequested):
            return self.handle_all((event,), now)
        if isinstance(event, (Done, Yielded, Failed, Ended, Stopped)):
            return self._with_outcomes(self.worker.answer(event, now)) if self.worker is not None else []
        if isinstance(event, Woken):
            return self._with_outcomes(self._wake(now))
        if isinstance(event, ItemsTaken):
            return self.caller.taken(event.call, event.size)
        if isinstance(event, CallCancelled):
            return self.caller.cancel(event.call)
        return self._with_outcomes(self._rarely(event, now))

    def _with_outcomes(self, effects: Sequence[Effect]) -> Sequence[Effect]:
        """These, and how jobs have ended meanwhile."""
        worker = self.worker
        if worker is None or not worker.outcomes:
            return effects
        outcomes = [*effects, *worker.outcomes]
        worker.outcomes.clear()  # in place: desks know this list
        return outcomes

    def handle_all(self, events: Sequence[Event], now: float) -> Sequence[Effect]:
        """Take events that came together, in this order; return what must be done about them."""
        effects: list[Effect] = []
        request, worker = self.caller.request, self.worker
        for event in events:
            if type(event) is CallRequested:
                if self.attachment.relaxed:
                    self.attachment.hurry(now)
                effects += request(event, now)
            elif type(event) is Done and worker is not None:
                worker.done(event, now, effects)
            else:
                effects += self.handle(event, now)
        return self._with_outcomes(effects)

    def _rarely(self, event: Event, now: float) -> Sequence[Effect]:
        match event:
            case Joined():
                return self._joined(event, now)
            case OperationRequested(number=number, request=request):
                if not self.attachment.attached:
                    return [OperationDone(number, b"", "the gateway is out of reach at the moment")]
                self.attachment.say(Operate(number, request))
            case MailRequested(number=number, request=request):
                return self._post(number, request)
            case JobOpened() if self.worker is not None:
                return self.worker.open_job(event, now)
            case JobCancelled(key=key) if self.worker is not None:
                return self.worker.cancel_job(key)
            case LinkOpened():
                self._tidy_at = min(self._tidy_at, now + HOUSEKEEPING_SECONDS)
                return self.attachment.opened(now)
            case LinkClosed(reason=reason):
                self._snapshot = []
                self.directory.hold()
                return self.attachment.closed(reason)
            case DirectOpened():
                return self.direct.opened(event, now)
            case DirectClosed(link=link, reason=reason):
                return self._direct_closed(link, reason, now)
            case DialFailed(peer=peer):
                if (view := self.directory.nodes.get(peer)) is not None:
                    view.dial_later(now)
            case CardChanged():
                shown = Advertise(event.card, event.signature)
                self.direct.show(shown)
                if self.attachment.attached:
                    self.attachment.say(shown)
            case Offered(offer=offer) if self.worker is not None:
                self.worker.offer(offer)
            case Withdrawn(name=name) if self.worker is not None:
                self.worker.withdraw(name)
            case DrainStarted() if self.worker is not None:
                self.worker.draining = True
        return []

    def _post(self, number: int, request: bytes) -> list[Effect]:
        """Ask the gateway's mailbox."""
        if not self.attachment.attached:
            return [MailDone(number, b"", "the gateway is out of reach at the moment", "away")]
        if "mailbox" not in self.attachment.features:
            message = "this gateway has no mailbox: it is of an older version, or was started without one"
            return [MailDone(number, b"", message, "none")]
        self.attachment.say(Post(number, request))
        return []

    # ---- what comes over the link

    def _packet(self, packet: PacketReceived, now: float) -> Sequence[Effect]:
        effects: list[Effect] = []
        link = packet.link
        try:
            if link == RELAY:
                self.attachment.heard(now)
                for frame in packet.frames:
                    if isinstance(frame, Carry):
                        self._carried(frame.peer, frame.body, RELAY, now, effects)
                    else:
                        effects += self._control(frame, now)
            else:
                for frame in packet.frames:
                    if isinstance(frame, Carry):  # whoever it says it is from, it is from who said hello here
                        self._carried(self.direct.speaker(link), frame.body, link, now, effects)
                    else:
                        self._greeted(link, frame, effects)
        except RemoteProtocolError as error:
            effects.append(CloseLink(f"the other end broke the protocol: {error}", link))
        worker = self.worker
        if worker is not None:
            if self._load_at == NEVER and (worker.running, worker.waiting) != self._load_sent:
                self._load_at = now + LOAD_REPORT_SECONDS
            if self.attachment.relaxed and len(worker):
                self.attachment.hurry(now)
        return effects

    def _control(self, frame: Control, now: float) -> list[Effect]:
        record = decode(frame.data)
        if record is None:
            return []
        effects = self.attachment.take(record, now)
        if effects is not None:
            for effect in effects:
                if isinstance(effect, Attached):
                    self._served_as = effect.name
                    self._attached(now)
                elif isinstance(effect, Renewed):
                    self.sessions.present_again(self.standing.tokens)
            return effects
        match record:
            case Snapshot(more=True):
                self._snapshot += record.nodes
                if len(self._snapshot) > NODES_MAX:
                    raise RemoteProtocolError(f"a directory of more than {NODES_MAX:,} nodes")
            case Snapshot():
                whole = Snapshot(nodes=[*self._snapshot, *record.nodes])
                self._snapshot = []
                present = self.directory.take_snapshot(whole, now, self.attachment.lease_seconds)
                for endpoint in present:
                    self._peer_back(endpoint, now)
                return [Synced(), *self.caller.retry_waiting(now), *self._expire(now)]
            case Change():
                back = self.directory.take_change(record, now)
                if isinstance(record.event, Departed):
                    self._ask_directly(record.event.endpoint)
                if back is not None:
                    self._peer_back(back, now)
                return [*self.caller.retry_waiting(now), *self._expire(now)]
            case Undeliverable(peer=peer, head=head, reason=reason):
                self._undelivered(peer, head, now, reason)
            case Revoked(revocations=revocations):
                return self._revoked(revocations, now)
            case Operated(number=number, reply=reply, error=error):
                return [OperationDone(number, reply, error)]
            case Posted(number=number, reply=reply, error=error, code=code):
                return [MailDone(number, reply, error, code)]
            case Mail():
                return [MailCame()]
        return []

    def _greeted(self, link: int, frame: Control, effects: list[Effect]) -> None:
        """A direct link's own business."""
        record = decode(frame.data)
        if record is None:
            return
        if isinstance(record, Advertise) and (node := self.direct.dialled(link)):
            self.directory.take_card(node, record)
            return
        up, wanted = self.direct.take(link, record)
        effects += wanted
        if up is not None:
            self.sessions.open_route(link, up.peer, move=up.dialled)
            for channel in self.caller.channels() if up.dialled else ():
                if channel.peer == up.peer and channel.established:
                    channel.probe()  # the node answers by the way that the newest frame came
            if up.dialled and (view := self.directory.nodes.get(up.peer)) is not None:
                view.dial_failures = 0

    def _direct_closed(self, link: int, reason: str, now: float) -> list[Effect]:
        """What went over a direct link goes through the gateway from now on."""
        direct = self.direct.closed(link)
        if direct is None:
            return []
        self.sessions.close_route(link, now)
        if direct.dialled and (view := self.directory.nodes.get(direct.peer)) is not None:
            view.dial_later(now)
        return [Notice("direct link down", detail=reason)] if direct.up else []

    def _joined(self, joined: Joined, now: float) -> list[Effect]:
        """What the device keeps of its network, as it is now; another network makes all that is known void."""
        before = self.standing.list_number
        other = self.standing.join(
            joined.root, joined.gateway, joined.credential, joined.revocations, joined.grants
        )
        effects: list[Effect] = []
        if not other and self.standing.list_number > before:  # another process of this home heard it first
            effects += self._cast_out(now)
        if other:
            self.directory.clear()
            for channel in self.sessions:
                self._session_over(channel, now, effects)
        if self.sessions.tokens != self.standing.tokens:
            self.sessions.present_again(self.standing.tokens)
        return effects

    def _revoked(self, data: bytes, now: float) -> list[Effect]:
        """Who no longer counts is out at once: their calls here are stopped, and none go to them."""
        if not self.standing.take_revocations(data):
            return []
        return [RevocationsChanged(data), *self._cast_out(now)]

    def _cast_out(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if self.worker is not None:
            effects += self._with_outcomes(self.worker.cast_out())
        for view in self.directory.cast_out():
            effects += self.caller.node_lost(view, now)
        return [*effects, *self.direct.cast_out()]

    def _attached(self, now: float) -> None:
        if self._watching:
            self.attachment.say(Watch())
        if self.worker is not None:
            self._load_sent = (0, 0)
            self._load_at = now
        waited_for = self.caller.channels()
        for channel in self.sessions:
            if channel.route.link != RELAY:
                continue
            channel.resend_all(now)
            if channel in waited_for:
                channel.probe()  # the peer learns that we are back, and sends what we missed

    def _peer_back(self, endpoint: bytes, now: float) -> None:
        for channel in self.sessions:
            if channel.peer == endpoint and channel.absent_since < NEVER:
                channel.resend_all(now)

    def _undelivered(self, peer: bytes, head: bytes, now: float, reason: str) -> None:
        found = read_head(head)
        if found is None:
            return
        session, _, space = found
        channel = self.sessions.find(peer, session)
        if channel is not None and space == 0 and channel.route.link == RELAY:
            channel.undelivered(now, reason)

    def _carried(
        self, peer: bytes, body: bytes | memoryview, link: int, now: float, effects: list[Effect]
    ) -> None:
        """A sealed frame; what does not open is dropped, what breaks the protocol ends its session."""
        try:
            sealed = read_sealed(body)
        except RemoteProtocolError:
            self.sessions.refused += 1
            return
        if sealed.space == RESET:
            channel = self.sessions.find(peer, sealed.session)
            if channel is not None:
                self._session_over(channel, now, effects)
            return
        try:
            received = self.sessions.receive(peer, sealed, now, link)
            if received is None:
                return
            channel, bundles = received
            view = self.directory.nodes.get(peer)
            if view is not None:
                view.candidate.running = channel.peer_load
            for opened in bundles:
                self._opened(channel, opened, now, effects)
        except (RemoteProtocolError, SealError) as error:
            channel_or_none = self.sessions.find(peer, sealed.session)
            effects.append(Notice("session broken", detail=str(error)))
            if channel_or_none is not None:
                self.sessions.reset(peer, sealed.session, link)
                self._session_over(channel_or_none, now, effects)

    def _session_over(self, channel: Channel, now: float, effects: list[Effect]) -> None:
        effects += self.caller.session_reset(channel, now)
        if self.worker is not None:
            effects += self.worker.caller_lost(channel)

    def _opened(self, channel: Channel, opened: Opened, now: float, effects: list[Effect]) -> None:
        worker, caller = self.worker, self.caller
        for message in opened.messages:
            if type(message) is Result:
                caller.result(channel, message, now, effects)
            elif type(message) is Invoke:
                if worker is not None:
                    worker.invoke(channel, message, now, effects)
            elif isinstance(message, Part):
                body = channel.place(message, opened)
                if body is not None:
                    effects += caller.take_body(channel, message.body, body, now)
                    if worker is not None:
                        effects += worker.take_body(channel, message.body, body, now)
            elif isinstance(message, (Cancel, Window, Present, Again)):
                if worker is not None:
                    effects += worker.take(channel, message, now)
            else:
                effects += caller.take(channel, message, now)

    # ---- time

    @property
    def wake_at(self) -> float:
        """When the next timer of any part is due."""
        at = min(
            self.attachment.wake_at,
            self.directory.wake_at,
            self.caller.wake_at,
            self._tidy_at,
            self._load_at,
            self.direct.wake_at,
            self.sessions.wake_at(relay=self.attachment.attached),
        )
        return at if self.worker is None else min(at, self.worker.wake_at)

    def _wake(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if now >= self.attachment.wake_at:
            at_stake = len(self.caller) > 0 or (self.worker is not None and len(self.worker) > 0)
            effects += self.attachment.wake(now, at_stake=at_stake)
        for link in self.sessions.wake(now, relay=self.attachment.attached):
            reason = "the other end has fallen silent"
            effects += [CloseLink(reason, link), *self._direct_closed(link, reason, now)]
        while (channel := self.sessions.too_much()) is not None:
            effects.append(
                Notice("session broken", detail="too much waits for peers that do not acknowledge it")
            )
            self.sessions.reset(channel.peer, channel.session.id, channel.route.link)
            self._session_over(channel, now, effects)
        if now >= self.direct.wake_at:
            effects += self.direct.wake(now)
        effects += self._expire(now)
        effects += self.caller.wake(now)
        if self.worker is not None:
            effects += self.worker.wake(now)
            if now >= self._load_at:
                self._report_load(self.worker, now)
        if now >= self._tidy_at:
            self._tidy_at = now + HOUSEKEEPING_SECONDS
            busy = {channel.session.id for channel in self.caller.channels()}
            if self.worker is not None:
                busy |= self.worker.busy_sessions()
            self.sessions.forget_idle(now, busy)
        return effects

    def _expire(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if self.attachment.attached and now >= self.directory.wake_at:

            def speaks(endpoint: bytes) -> bool:
                return self._speaks(endpoint, now)

            for view in self.directory.suspects(now, speaks):
                effects.append(Notice("node missing", detail=view.card.name))
                effects += self.caller.node_missing(view, now)
            for view in self.directory.expire(now, speaks):
                effects.append(Notice("node lost", detail=view.card.name))
                effects += self.caller.node_lost(view, now)
        return effects

    def _speaks(self, endpoint: bytes, now: float) -> bool:
        """Whether a node that the gateway does not reach speaks to us directly."""
        if endpoint not in self.direct:
            return False
        self._ask_directly(endpoint)
        return any(
            channel.peer == endpoint
            and channel.route.link != RELAY
            and now - channel.heard_at < SPEAKS_SECONDS
            for channel in self.sessions
        )

    def _ask_directly(self, endpoint: bytes) -> None:
        """The gateway says that a node is gone: where there is a direct link, it is asked itself."""
        if endpoint in self.direct:
            for channel in self.sessions:
                if channel.peer == endpoint and channel.route.link != RELAY:
                    channel.probe()

    def _report_load(self, worker: Worker, now: float) -> None:
        """Tell the gateway how busy we are, when that changed, and not too often."""
        load = (worker.running, worker.waiting)
        self._load_at = NEVER
        if load != self._load_sent and self.attachment.attached:
            self._load_sent = load
            self.attachment.say(LoadReport(running=load[0], waiting=load[1]))
            self._load_at = now + LOAD_REPORT_SECONDS  # look once more: it may have changed again

    # ---- what goes over the link

    @property
    def answers_soon(self) -> bool:
        """Whether calls run here, of which some may end in this turn of the loop as well."""
        return self.worker is not None and self.worker.running > 0

    def due(self, now: float) -> list[int]:
        """The links that ``pull`` would give something for, by their numbers."""
        attachment = self.attachment
        links = self.sessions.due(now, relay=attachment.attached)
        if attachment.outgoing and RELAY not in links:
            links.append(RELAY)
        links += self.direct.due()
        return links

    def pull(self, now: float, link: int = RELAY) -> list[Pieces]:
        """The frames for the next packet: control first, then sealed ones up to a packet's size."""
        if link == RELAY:
            attachment = self.attachment
            frames, attachment.outgoing = attachment.outgoing, []
            if not attachment.attached:
                return frames
            most = attachment.packet_bytes
        else:
            greeting = self.direct.pull(link)
            if greeting is None:
                return []
            frames, most = greeting, MAX_PACKET_BYTES
        load = len(self.worker) if self.worker is not None else 0
        for peer, pieces in self.sessions.pull(now, load, most, link):
            frames.append(carry(peer, *pieces))
        return frames
