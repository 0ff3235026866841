"""The gateway's machine: welcomes devices, keeps the directory, routes what it cannot read.

It forwards a sealed frame by its endpoint alone; what it writes into the frame is the endpoint of the
link it came from, so nobody can speak as another. It holds no call, no key and no value.
"""

from __future__ import annotations

from collections.abc import Sequence

from easyremote.errors import DecodeError, RemoteProtocolError, SignatureError
from easyremote.protocol.attachment import FEATURES, VERSION, hello_transcript
from easyremote.protocol.directory import card_transcript
from easyremote.protocol.gateway_effects import (
    Admit,
    Close,
    Mailing,
    Operation,
    Pause,
    Renew,
    Report,
    RouterEffect,
    Send,
)
from easyremote.protocol.gateway_events import (
    DeviceAdmitted,
    DeviceRefused,
    DeviceRenamed,
    GatewayLinkClosed,
    GatewayLinkOpened,
    GatewayPacketReceived,
    GatewayWoken,
    MailAnswered,
    MailArrived,
    MembershipRenewed,
    OperationFinished,
    RevocationsIssued,
    RouterEvent,
)
from easyremote.protocol.limits import DEFAULT_LIMITS, Limits, Traffic
from easyremote.protocol.presence import Attached, PresenceTable
from easyremote.trust.identity import verify
from easyremote.wire.cards import decode_card
from easyremote.wire.frame import Carry, Control, control, redirect
from easyremote.wire.limits import LEASE_SECONDS, MAX_CARD_BYTES, MAX_PACKET_BYTES, MAX_SEALED_BYTES
from easyremote.wire.messages import (
    Advertise,
    Challenge,
    Change,
    Departed,
    Goodbye,
    Hello,
    LoadReport,
    Mail,
    NodeLoad,
    Operate,
    Operated,
    PacketLimit,
    Ping,
    Pong,
    Post,
    Posted,
    Presence,
    Rejected,
    Renewed,
    Revoked,
    Snapshot,
    Undeliverable,
    Watch,
    Welcome,
    decode,
    encode,
)
from easyremote.wire.messages import Control as Record

RETURNED_MAX = 8
"""How many frames of one turn are told to have found nobody."""
HEAD_BYTES = 48
"""How much of a frame that could not be handed over goes back with the news."""


class Router:
    """The whole of a gateway but its sockets."""

    def __init__(
        self,
        gateway: bytes,
        *,
        lease_seconds: float = LEASE_SECONDS,
        limits: Limits = DEFAULT_LIMITS,
        revocations: bytes = b"",
        features: Sequence[str] = FEATURES,
    ) -> None:
        self._gateway = gateway
        self._features = list(features)
        self.limits = limits
        self._revocations = revocations
        self.lease_seconds = lease_seconds
        self.table = PresenceTable()
        self.wake_at = float("inf")
        self.routed = 0
        self.undeliverable = 0
        self._returned = 0
        self._now = 0.0
        self._slept_at = float("-inf")
        """When this gateway last found that it had been asleep itself."""
        self._traffic = Traffic()

    def handle(self, event: RouterEvent, now: float) -> list[RouterEffect]:
        """Take one event; return what must be done about it."""
        effects: list[RouterEffect] = []
        self._now = now
        if isinstance(event, GatewayPacketReceived):
            attached = self.table.by_link.get(event.link)
            if attached is not None:
                attached.heard(now, self.lease_seconds)
                share, pace = self._traffic.share(event.link, attached.role, now), attached.pace
                small_since = pace.small_since
                pause = pace.count(event.frames, event.size, share, now)
                if pause > 0.0:
                    effects.append(Pause(event.link, pause))
                if pace.small_since != small_since:
                    most = self.limits.shared_packet_bytes if pace.small_since is not None else 0
                    self._say(event.link, PacketLimit(most), effects)
                self._packet(attached, event.frames, now, effects)
            return effects
        match event:
            case GatewayLinkOpened():
                self._opened(event, now, effects)
            case GatewayLinkClosed(link=link, reason=reason):
                self._gone(link, reason, effects)
            case GatewayWoken():
                self._check_leases(now, effects)
            case DeviceAdmitted():
                self._admitted(event, now, effects)
            case DeviceRefused(link=link, code=code, message=message):
                if (origin := self.table.by_link.get(link)) is not None:
                    self._turn_away(origin, code, message, effects)
            case MembershipRenewed(link=link, membership=membership, renew_seconds=renew_seconds):
                origin = self.table.by_link.get(link)
                if origin is not None and origin.welcomed:
                    origin.renew_at = now + renew_seconds
                    if membership:
                        self._say(link, Renewed(membership), effects)
            case OperationFinished(link=link, number=number, reply=reply, error=error):
                if link in self.table.by_link:
                    self._say(link, Operated(number, reply, error), effects)
            case MailAnswered(link=link, number=number, reply=reply, error=error, code=code):
                if link in self.table.by_link:
                    self._say(link, Posted(number, reply, error, code), effects)
            case MailArrived(device=device, node=node):
                holder = self.table.by_name.get(node)
                if holder is not None and holder.endpoint[:32] == device:
                    self._say(holder.link, Mail(), effects)
            case DeviceRenamed(device=device):
                for attached in [
                    one for one in self.table.by_endpoint.values() if one.endpoint[:32] == device
                ]:
                    self._say(attached.link, Goodbye("renamed", "an operator renamed this device"), effects)
                    self._gone(attached.link, "closed", effects)
                    effects.append(Close(attached.link, "renamed"))
            case RevocationsIssued():
                self._revoke(event, effects)
        return effects

    def _opened(self, event: GatewayLinkOpened, now: float, effects: list[RouterEffect]) -> None:
        origin = Attached(event.link, event.nonce, event.address, self.limits, now)
        self.table.open(origin)
        self.wake_at = min(self.wake_at, now + min(self.lease_seconds / 4, self.limits.hello_seconds))
        crowd, most = len(self.table.by_address[event.address]), self.limits.connections_per_address
        if crowd > most:
            message = f"this gateway takes {most} connections from one address (connections_per_address)"
            self._turn_away(origin, "crowded", message, effects)
            return
        challenge = Challenge(
            nonce=event.nonce, version=VERSION, features=self._features, gateway=self._gateway
        )
        self._say(event.link, challenge, effects)

    # ---- frames

    def _packet(
        self, origin: Attached, frames: list[Carry | Control], now: float, effects: list[RouterEffect]
    ) -> None:
        self._returned = 0
        try:
            for frame in frames:
                if isinstance(frame, Carry):
                    self._route(origin, frame, now, effects)
                else:
                    record = decode(frame.data)
                    if record is not None:
                        self._control(origin, record, now, effects)
        except RemoteProtocolError as error:
            self._turn_away(origin, "protocol", str(error), effects)
        if self._returned:
            origin.pace.wasted(self._returned)

    def _route(self, origin: Attached, frame: Carry, now: float, effects: list[RouterEffect]) -> None:
        if not origin.welcomed:
            raise RemoteProtocolError("a device must say hello before it sends anything else")
        if len(frame.body) > MAX_SEALED_BYTES:
            raise RemoteProtocolError(
                f"a sealed frame of {len(frame.body):,} bytes; at most {MAX_SEALED_BYTES:,} are carried"
            )
        target = self.table.by_endpoint.get(frame.peer)
        if target is None:
            self.undeliverable += 1
            self._returned += 1
            if self._returned > RETURNED_MAX:
                return  # who floods nobody hears of a few of these; devices resend what matters
            head = bytes(frame.body[:HEAD_BYTES])
            reason = self.table.gone.get(frame.peer, "not connected")
            self._say(origin.link, Undeliverable(peer=frame.peer, head=head, reason=reason), effects)
            return
        self.routed += 1
        if target.asked_at > now:
            target.asked_at = now
        effects.append(Send(target.link, redirect(frame, origin.endpoint), origin.link))

    def _control(self, origin: Attached, record: Record, now: float, effects: list[RouterEffect]) -> None:
        if isinstance(record, Hello):
            self._hello(origin, record, now, effects)
            return
        if not origin.welcomed:
            raise RemoteProtocolError("a device must say hello before it sends anything else")
        match record:
            case Ping(token=token):
                self._say(origin.link, Pong(token), effects)
            case Watch():
                self._check_watches(origin)
                self.table.watchers[origin.link] = origin
                for snapshot in _snapshots(self.table.nodes()):
                    self._say(origin.link, snapshot, effects)
            case Advertise(card=card, signature=signature):
                self._advertise(origin, card, signature, effects)
            case LoadReport():
                origin.load = record
                self._tell_watchers(Change(event=NodeLoad(endpoint=origin.endpoint, load=record)), effects)
            case Operate(number=number, request=request):
                if "operator" not in origin.roles:
                    reason = "only an operator of the network may ask this of its gateway"
                    self._say(origin.link, Operated(number, b"", reason), effects)
                else:
                    effects.append(Operation(origin.link, number, origin.endpoint[:32], request))
            case Post(number=number, request=request):
                effects.append(Mailing(origin.link, number, origin.endpoint[:32], request))
            case Goodbye():
                self._gone(origin.link, "left", effects)
                effects.append(Close(origin.link, "left"))

    def _hello(self, origin: Attached, hello: Hello, now: float, effects: list[RouterEffect]) -> None:
        if origin.welcomed or origin.transcript:
            raise RemoteProtocolError("a device said hello twice on one link")
        origin.transcript = hello_transcript(
            origin.nonce, self._gateway, hello.endpoint, hello.name, hello.role
        )
        try:
            verify(hello.endpoint[:32], hello.signature, origin.transcript)
        except SignatureError:
            self._turn_away(origin, "signature", "the hello is not signed by the device it names", effects)
            return
        if hello.version != VERSION:
            message = (
                f"this device speaks version {hello.version or 'unknown'} of the protocol, the gateway version {VERSION}. "
                "Update the older of the two: pip install --upgrade easyremote"
            )
            self._turn_away(origin, "version", message, effects)
            return
        if hello.role not in ("node", "client"):
            self._turn_away(origin, "role", f"a device is a node or a client, not a {hello.role!r}", effects)
            return
        origin.hello = hello
        before, taken = self.table.by_endpoint.get(hello.endpoint), self.table.by_name.keys()
        effects.append(
            Admit(
                origin.link, hello, taken - {before.name} if before is not None else taken, origin.transcript
            )
        )

    def _admitted(self, admitted: DeviceAdmitted, now: float, effects: list[RouterEffect]) -> None:
        origin = self.table.by_link.get(admitted.link)
        if origin is None or origin.hello is None:
            return  # it hung up meanwhile
        hello, name = origin.hello, admitted.name
        origin.hello = None
        before = self.table.by_endpoint.get(hello.endpoint)
        if before is not None:  # the same process, on a new link: the old one is dead
            self.table.remove(before.link)
            effects.append(Close(before.link, "the device connected again"))
        crowd, most = self.table.links_of(hello.endpoint[:32]), self.limits.connections_per_device
        if crowd >= most:
            message = f"this gateway takes {most} connections of one device (connections_per_device)"
            self._turn_away(origin, "crowded", message, effects)
            self._tell_departed(before, "closed", effects)
            return
        if hello.role == "node":
            self._replace_holder(hello, name, effects)
            if before is not None and before.name == name:  # watchers know it by its card until the next
                origin.presence, origin.load = before.presence, before.load
            else:
                self._tell_departed(before, "replaced", effects)
        origin.endpoint, origin.role, origin.roles = hello.endpoint, hello.role, admitted.roles
        origin.name = name if hello.role == "node" else ""
        origin.shown_name = name
        origin.renew_at = now + admitted.renew_seconds
        self.table.add(origin)
        welcome = Welcome(
            version=VERSION,
            features=self._features,
            lease_seconds=self.lease_seconds,
            name=name,
            gateway=self._gateway,
            membership=admitted.membership,
            signature=admitted.signature,
        )
        if self._revocations:  # first, because it may be what makes the membership in the welcome count again
            self._say(origin.link, Revoked(self._revocations), effects)
        self._say(origin.link, welcome, effects)
        effects.append(Report(name, hello.endpoint[:32], hello.role, "joined"))

    def _replace_holder(self, hello: Hello, name: str, effects: list[RouterEffect]) -> None:
        """The name is this device's; if another process of it holds it, that one is out."""
        holder = self.table.by_name.get(name)
        if holder is None or holder.endpoint == hello.endpoint:
            return
        message = f"a newer process on the same device took over the name {name!r}"
        self._say(holder.link, Goodbye(code="replaced", message=message), effects)
        self._gone(holder.link, "replaced", effects)
        effects.append(Close(holder.link, message))

    def _revoke(self, issued: RevocationsIssued, effects: list[RouterEffect]) -> None:
        """Everybody hears it, and those who are out are out at once."""
        self._revocations = issued.revocations
        frame = control(encode(Revoked(issued.revocations)))
        for attached in list(self.table.by_endpoint.values()):
            effects.append(Send(attached.link, frame))
            if attached.endpoint[:32] in issued.devices:
                message = "this device has been revoked by an operator of the network"
                self._say(attached.link, Goodbye(code="revoked", message=message), effects)
                self._gone(attached.link, "left", effects)
                effects.append(Close(attached.link, "revoked"))

    def _advertise(
        self, origin: Attached, card: bytes, signature: bytes, effects: list[RouterEffect]
    ) -> None:
        if origin.role != "node" or "node" not in origin.roles:
            raise RemoteProtocolError("only a node has a card")
        if len(card) > MAX_CARD_BYTES:
            raise RemoteProtocolError(f"a card of {len(card):,} bytes; at most {MAX_CARD_BYTES:,} are taken")
        self._check_card(origin, card, signature)
        shown = Presence(
            endpoint=origin.endpoint, name=origin.name, card=card, signature=signature, load=origin.load
        )
        origin.presence = shown
        self._tell_watchers(Change(event=shown), effects)

    def _check_watches(self, origin: Attached) -> None:
        device, most = origin.endpoint[:32], self.limits.watches_per_device
        watching = sum(1 for one in self.table.watchers.values() if one.endpoint[:32] == device)
        if origin.link not in self.table.watchers and watching >= most:
            raise RemoteProtocolError(
                f"this gateway tells one device of changes on {most} connections (watches_per_device)"
            )

    def _check_card(self, origin: Attached, card: bytes, signature: bytes) -> None:
        """Nobody is shown a card that its readers would have to refuse."""
        try:
            verify(origin.endpoint[:32], signature, card_transcript(card))
            shown = decode_card(card)
        except (SignatureError, DecodeError) as error:
            raise RemoteProtocolError(f"a card that does not hold: {error}") from None
        if shown.endpoint != origin.endpoint or shown.name != origin.name:
            raise RemoteProtocolError("a node showed a card that is not its own")
        most = self.limits.functions_per_card
        if len(shown.functions) > most:
            raise RemoteProtocolError(
                f"a card with {len(shown.functions)} functions; this gateway takes {most} (functions_per_card)"
            )

    # ---- comings and goings

    def _gone(self, link: int, reason: str, effects: list[RouterEffect]) -> None:
        attached = self.table.remove(link)
        if attached is None:
            return
        now, lease = self._now, self.lease_seconds
        if reason == "closed" and (attached.fell_silent(now, lease) or now - self._slept_at < lease):
            reason = "broken"  # its network did it, and not its end
        self.table.note_gone(attached.endpoint, reason)
        effects.append(Report(attached.name, attached.endpoint[:32], attached.role, "left", reason))
        self._tell_departed(attached, reason, effects)

    def _tell_departed(self, attached: Attached | None, reason: str, effects: list[RouterEffect]) -> None:
        if attached is not None and attached.presence is not None:
            departed = Departed(endpoint=attached.endpoint, reason=reason)
            self._tell_watchers(Change(event=departed), effects)

    def _turn_away(self, origin: Attached, code: str, message: str, effects: list[RouterEffect]) -> None:
        self._say(origin.link, Rejected(code=code, message=message), effects)
        effects.append(
            Report(origin.name, origin.endpoint[:32], origin.role, "turned away", message, origin.address)
        )
        self._gone(origin.link, "closed", effects)
        effects.append(Close(origin.link, message))

    def _check_leases(self, now: float, effects: list[RouterEffect]) -> None:
        if (
            now - self.wake_at > self.lease_seconds / 2
        ):  # we were asleep, and have not heard who spoke meanwhile
            self._slept_at = now
            for attached in self.table.by_link.values():
                attached.heard_at = now
        for attached in list(self.table.by_link.values()):
            if attached.gone(now, self.lease_seconds):
                self._gone(attached.link, "silent", effects)
                effects.append(Close(attached.link, f"silent for {now - attached.heard_at:.3g} s"))
            elif attached.welcomed and now >= attached.renew_at:
                attached.renew_at = now + self.lease_seconds  # asked again if nothing comes of it
                effects.append(
                    Renew(attached.link, attached.endpoint[:32], attached.shown_name, attached.role)
                )
            elif not attached.welcomed and now - attached.opened_at >= self.limits.hello_seconds:
                self._turn_away(
                    attached,
                    "late",
                    f"a device says hello within {self.limits.hello_seconds:g} s (hello_seconds)",
                    effects,
                )
        pause = self.lease_seconds / 4
        if len(self.table.by_link) > len(self.table.by_endpoint):  # somebody has not said who they are
            pause = min(pause, self.limits.hello_seconds)
        self.wake_at = now + pause if self.table.by_link else float("inf")

    # ---- saying

    def _say(self, link: int, record: Record, effects: list[RouterEffect]) -> None:
        effects.append(Send(link, control(encode(record))))

    def _tell_watchers(self, change: Change, effects: list[RouterEffect]) -> None:
        if self.table.watchers:
            frame = control(encode(change))
            effects += [Send(link, frame) for link in self.table.watchers]


def _snapshots(nodes: list[Presence]) -> list[Snapshot]:
    """The directory in frames of a packet's size or, where one card is larger, a little over."""
    snapshots: list[Snapshot] = []
    part: list[Presence] = []
    size = 0
    for node in nodes:
        if part and size + len(node.card) > MAX_PACKET_BYTES:
            snapshots.append(Snapshot(nodes=part, more=True))
            part, size = [], 0
        part.append(node)
        size += len(node.card) + 256
    return [*snapshots, Snapshot(nodes=part)]
