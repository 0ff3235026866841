"""The gateway's machine: welcomes devices, keeps the directory, routes what it cannot read.

It forwards a sealed frame by its endpoint alone; what it writes into the frame is the endpoint of the
link it came from, so nobody can speak as another. It holds no call, no key and no value.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from easyremote.errors import RemoteProtocolError, SignatureError
from easyremote.protocol.attachment import FEATURES, VERSION, check_hello
from easyremote.protocol.presence import Attached, PresenceTable
from easyremote.wire.frame import Carry, Control, Pieces, control, redirect
from easyremote.wire.limits import LEASE_SECONDS, MAX_CARD_BYTES
from easyremote.wire.messages import (
    Advertise,
    Challenge,
    Change,
    Departed,
    Goodbye,
    Hello,
    LoadReport,
    NodeLoad,
    Ping,
    Pong,
    Presence,
    Rejected,
    Snapshot,
    Undeliverable,
    Watch,
    Welcome,
    decode,
    encode,
)
from easyremote.wire.messages import Control as Record

HEAD_BYTES = 48
"""How much of a frame that could not be handed over goes back with the news."""


class GatewayLinkOpened(msgspec.Struct, frozen=True, gc=False):
    """A device connected; ``nonce`` is 32 fresh random bytes for it to sign."""

    link: int
    nonce: bytes


class GatewayLinkClosed(msgspec.Struct, frozen=True, gc=False):
    """A link is gone; ``reason`` is ``closed``, ``left`` or ``silent``."""

    link: int
    reason: str = "closed"


class GatewayPacketReceived(msgspec.Struct, frozen=True):
    """Frames came over a link, in this order."""

    link: int
    frames: list[Carry | Control]


class GatewayWoken(msgspec.Struct, frozen=True, gc=False):
    """The time the router asked to be woken at has come."""


RouterEvent: TypeAlias = GatewayLinkOpened | GatewayLinkClosed | GatewayPacketReceived | GatewayWoken


class Send(msgspec.Struct, frozen=True):
    """Put this frame on that link."""

    link: int
    frame: Pieces


class Close(msgspec.Struct, frozen=True, gc=False):
    """Close a link once what was sent to it is out."""

    link: int
    reason: str


class Report(msgspec.Struct, frozen=True, gc=False):
    """Tell the operator: a device joined, left or was turned away."""

    name: str
    device: bytes
    role: str
    event: str
    detail: str = ""


RouterEffect: TypeAlias = Send | Close | Report


class Router:
    """The whole of a gateway but its sockets."""

    def __init__(self, gateway: bytes, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._gateway = gateway
        self.lease_seconds = lease_seconds
        self.table = PresenceTable()
        self.wake_at = float("inf")
        self.routed = 0
        self.undeliverable = 0

    def handle(self, event: RouterEvent, now: float) -> list[RouterEffect]:
        """Take one event; return what must be done about it."""
        effects: list[RouterEffect] = []
        if isinstance(event, GatewayPacketReceived):
            attached = self.table.by_link.get(event.link)
            if attached is not None:
                attached.heard_at = now
                self._packet(attached, event.frames, effects)
            return effects
        match event:
            case GatewayLinkOpened(link=link, nonce=nonce):
                self.table.by_link[link] = Attached(link, nonce, now)
                self.wake_at = min(self.wake_at, now + self.lease_seconds / 4)
                self._say(
                    link,
                    Challenge(nonce=nonce, version=VERSION, features=FEATURES, gateway=self._gateway),
                    effects,
                )
            case GatewayLinkClosed(link=link, reason=reason):
                self._gone(link, reason, effects)
            case GatewayWoken():
                self._check_leases(now, effects)
        return effects

    # ---- frames

    def _packet(self, origin: Attached, frames: list[Carry | Control], effects: list[RouterEffect]) -> None:
        try:
            for frame in frames:
                if isinstance(frame, Carry):
                    self._route(origin, frame, effects)
                else:
                    record = decode(frame.data)
                    if record is not None:
                        self._control(origin, record, effects)
        except RemoteProtocolError as error:
            self._turn_away(origin, "protocol", str(error), effects)

    def _route(self, origin: Attached, frame: Carry, effects: list[RouterEffect]) -> None:
        if not origin.welcomed:
            raise RemoteProtocolError("a device must say hello before it sends anything else")
        target = self.table.by_endpoint.get(frame.peer)
        if target is None:
            self.undeliverable += 1
            head = bytes(frame.body[:HEAD_BYTES])
            self._say(origin.link, Undeliverable(peer=frame.peer, head=head, reason="not connected"), effects)
            return
        self.routed += 1
        effects.append(Send(target.link, redirect(frame, origin.endpoint)))

    def _control(self, origin: Attached, record: Record, effects: list[RouterEffect]) -> None:
        if isinstance(record, Hello):
            self._hello(origin, record, effects)
            return
        if not origin.welcomed:
            raise RemoteProtocolError("a device must say hello before it sends anything else")
        match record:
            case Ping(token=token):
                self._say(origin.link, Pong(token), effects)
            case Watch():
                origin.watching = True
                self.table.watchers[origin.link] = origin
                self._say(origin.link, Snapshot(nodes=self.table.nodes()), effects)
            case Advertise(card=card, signature=signature):
                self._advertise(origin, card, signature, effects)
            case LoadReport():
                origin.load = record
                self._tell_watchers(Change(event=NodeLoad(endpoint=origin.endpoint, load=record)), effects)
            case Goodbye():
                self._gone(origin.link, "left", effects)
                effects.append(Close(origin.link, "left"))

    def _hello(self, origin: Attached, hello: Hello, effects: list[RouterEffect]) -> None:
        if origin.welcomed:
            raise RemoteProtocolError("a device said hello twice on one link")
        try:
            check_hello(hello, origin.nonce, self._gateway)
        except SignatureError:
            self._turn_away(origin, "signature", "the hello is not signed by the device it names", effects)
            return
        if hello.role not in ("node", "client"):
            self._turn_away(origin, "role", f"a device is a node or a client, not a {hello.role!r}", effects)
            return
        name = hello.name
        before = self.table.by_endpoint.get(hello.endpoint)
        if before is not None:  # the same process, on a new link: the old one is dead
            self.table.remove(before.link)
            effects.append(Close(before.link, "the device connected again"))
        if hello.role == "node":
            taken = self._claim_name(origin, hello, effects)
            if taken is None:
                self._tell_departed(before, "closed", effects)
                return
            name = taken
            if before is not None and before.name == name:  # watchers know it by its card until the next
                origin.presence, origin.load = before.presence, before.load
            else:
                self._tell_departed(before, "replaced", effects)
        origin.endpoint, origin.name, origin.role = (
            hello.endpoint,
            name if hello.role == "node" else "",
            hello.role,
        )
        self.table.add(origin)
        welcome = Welcome(
            version=VERSION,
            features=FEATURES,
            lease_seconds=self.lease_seconds,
            name=name,
            gateway=self._gateway,
        )
        self._say(origin.link, welcome, effects)
        effects.append(Report(name, hello.endpoint[:32], hello.role, "joined"))

    def _claim_name(self, origin: Attached, hello: Hello, effects: list[RouterEffect]) -> str | None:
        """The name the node gets: as wanted; ``name*`` means that any free name like it will do."""
        if hello.name.endswith("*"):
            return self.table.free_name(hello.name[:-1])
        holder = self.table.by_name.get(hello.name)
        if holder is None or holder.endpoint == hello.endpoint:
            return hello.name
        if holder.endpoint[:32] != hello.endpoint[:32]:
            message = (
                f"the name {hello.name!r} belongs to another device that is connected. "
                "Give this node another: ComputeNode(…, node_id='another-name') or easynet node --name"
            )
            self._turn_away(origin, "name_taken", message, effects)
            return None
        message = f"a newer process on the same device took over the name {hello.name!r}"
        self._say(holder.link, Goodbye(code="replaced", message=message), effects)
        self._gone(holder.link, "replaced", effects)
        effects.append(Close(holder.link, message))
        return hello.name

    def _advertise(
        self, origin: Attached, card: bytes, signature: bytes, effects: list[RouterEffect]
    ) -> None:
        if origin.role != "node":
            raise RemoteProtocolError("only a node has a card")
        if len(card) > MAX_CARD_BYTES:
            raise RemoteProtocolError(f"a card of {len(card):,} bytes; at most {MAX_CARD_BYTES:,} are taken")
        shown = Presence(
            endpoint=origin.endpoint, name=origin.name, card=card, signature=signature, load=origin.load
        )
        origin.presence = shown
        self._tell_watchers(Change(event=shown), effects)

    # ---- comings and goings

    def _gone(self, link: int, reason: str, effects: list[RouterEffect]) -> None:
        attached = self.table.remove(link)
        if attached is None:
            return
        effects.append(Report(attached.name, attached.endpoint[:32], attached.role, "left", reason))
        self._tell_departed(attached, reason, effects)

    def _tell_departed(self, attached: Attached | None, reason: str, effects: list[RouterEffect]) -> None:
        if attached is not None and attached.presence is not None:
            departed = Departed(endpoint=attached.endpoint, reason=reason)
            self._tell_watchers(Change(event=departed), effects)

    def _turn_away(self, origin: Attached, code: str, message: str, effects: list[RouterEffect]) -> None:
        self._say(origin.link, Rejected(code=code, message=message), effects)
        effects.append(Report(origin.name, origin.endpoint[:32], origin.role, "turned away", message))
        self._gone(origin.link, "closed", effects)
        self.table.by_link.pop(origin.link, None)
        effects.append(Close(origin.link, message))

    def _check_leases(self, now: float, effects: list[RouterEffect]) -> None:
        for attached in list(self.table.by_link.values()):
            if now - attached.heard_at >= self.lease_seconds:
                self._gone(attached.link, "silent", effects)
                effects.append(Close(attached.link, f"silent for {self.lease_seconds:g} s"))
        self.wake_at = now + self.lease_seconds / 4 if self.table.by_link else float("inf")

    # ---- saying

    def _say(self, link: int, record: Record, effects: list[RouterEffect]) -> None:
        effects.append(Send(link, control(encode(record))))

    def _tell_watchers(self, change: Change, effects: list[RouterEffect]) -> None:
        if self.table.watchers:
            frame = control(encode(change))
            effects += [Send(link, frame) for link in self.table.watchers]
