"""A gateway whose operator means harm: the real protocol over real links, with what it sends rewritten.

It has its own keys and its certificate, and every member knows it as their gateway. What it does not have is
the network's issuing key: memberships were signed elsewhere, as for a root that is kept offline.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from easyremote import Client, ComputeNode, Server
from easyremote.gateway.certificate import own_certificate
from easyremote.links.loop import background_loop, run_in_background
from easyremote.protocol.attachment import welcome_transcript
from easyremote.protocol.gateway_effects import Admit, Renew, RouterEffect, Send
from easyremote.protocol.gateway_events import DeviceAdmitted, GatewayPacketReceived, RouterEvent
from easyremote.protocol.router import Router
from easyremote.testing.realm import BOTH, Realm
from easyremote.trust.identity import Identity
from easyremote.trust.keyring import Keyring
from easyremote.trust.wallet import Kept, Wallet
from easyremote.wire.frame import Carry, Control, Pieces, carry, control, join, walk
from easyremote.wire.messages import Change, EnrollReply, EnrollRequest, Presence, Snapshot, decode, encode
from easyremote.wire.messages import Control as Record

Rewrite = Callable[[int, Record | Carry], Sequence[Record | Carry]]
"""What is sent in place of this frame, to that link."""


class _Office:
    """Lets anybody in under any name, and signs nothing but the welcome."""

    def __init__(self, realm: Realm, home: Path) -> None:
        self._realm = realm
        self.certificate = own_certificate(Keyring(home), time.time())
        self.gateway = realm.gateway.device
        self.revocations = b""

    def admit(self, ask: Admit, address: str) -> RouterEvent:
        name = ask.hello.name.rstrip("*") or "client"
        signature = self._realm.gateway.sign(welcome_transcript(ask.transcript, name))
        return DeviceAdmitted(ask.link, name, (*BOTH, "operator"), b"", float("inf"), signature)

    def renew(self, ask: Renew) -> RouterEvent:
        raise AssertionError("nothing is ever due")

    def enroll(self, request: EnrollRequest, address: str) -> EnrollReply:
        return EnrollReply(code="needed")

    def operate(self, ask: object, online: object, attached: object) -> list[RouterEvent]:
        return []

    def listening(self, host: str, address: str) -> None:
        pass

    def close(self) -> None:
        pass


class _Router(Router):
    """The product's router, but for what it sends and hears."""

    rewrite: Rewrite = staticmethod(lambda link, frame: [frame])  # type: ignore[assignment]
    wiretap: Callable[[GatewayPacketReceived], None] = staticmethod(lambda event: None)  # type: ignore[assignment]

    def handle(self, event: RouterEvent, now: float) -> list[RouterEffect]:
        if isinstance(event, GatewayPacketReceived):
            self.wiretap(event)
        effects: list[RouterEffect] = []
        for effect in super().handle(event, now):
            effects += self._rewritten(effect) if isinstance(effect, Send) else [effect]
        return effects

    def _rewritten(self, send: Send) -> list[RouterEffect]:
        made: list[RouterEffect] = []
        for frame in walk(join([send.frame])):
            record = decode(frame.data) if isinstance(frame, Control) else frame
            if record is not None:
                made += [Send(send.link, pieces_of(one)) for one in self.rewrite(send.link, record)]
        return made

    def _check_card(self, origin: Any, card: bytes, signature: bytes) -> None:
        """A hostile gateway shows any card."""


def pieces_of(frame: Record | Carry) -> Pieces:
    return carry(frame.peer, frame.body) if isinstance(frame, Carry) else control(encode(frame))


class HostileGateway(Server):
    """One such gateway, in this process."""

    def __init__(self, folder: Path) -> None:
        super().__init__(port=0, host="127.0.0.1", home=folder / "gateway", mailbox=None)
        self.realm = Realm(os.urandom, time.time)
        self.folder = folder
        self.heard: list[GatewayPacketReceived] = []

    def _open(self) -> None:
        office = self._office = _Office(self.realm, self.folder / "gateway")  # type: ignore[assignment]
        self.router = self._router = _Router(self.realm.gateway.device, lease_seconds=30.0)
        self.router.wiretap = self.heard.append  # type: ignore[method-assign]
        run_in_background(self._listen(office))  # type: ignore[arg-type]

    # ---- what the test does

    def rewrites(self, rewrite: Rewrite) -> None:
        """From now on this is what it sends instead."""
        self.router.rewrite = rewrite  # type: ignore[method-assign]

    def rewrites_presences(self, change: Callable[[Presence], Presence | None]) -> None:
        """From now on every card that is shown goes through this."""

        def rewrite(link: int, frame: Record | Carry) -> Sequence[Record | Carry]:
            if isinstance(frame, Snapshot):
                return [Snapshot(nodes=[new for one in frame.nodes if (new := change(one)) is not None])]
            if isinstance(frame, Change) and isinstance(frame.event, Presence):
                changed = change(frame.event)
                return [Change(event=changed)] if changed is not None else []
            return [frame]

        self.rewrites(rewrite)

    def says(self, link: int, *frames: Record | Carry) -> None:
        """Send somebody frames out of the blue."""

        def send() -> None:
            for frame in frames:
                self._ports[link].send(pieces_of(frame))
            self._ports[link].write()

        background_loop().call_soon_threadsafe(send)

    def link_of(self, device: bytes) -> int:
        return next(one.link for one in self.router.table.by_endpoint.values() if one.endpoint[:32] == device)

    def endpoint_of(self, device: bytes) -> bytes:
        return next(one for one in self.router.table.by_endpoint if one[:32] == device)

    # ---- members, whose memberships were signed elsewhere

    def home_of(self, name: str, *, credential: bytes | None = None, **terms: Any) -> tuple[Path, Identity]:
        """The home of a device that has joined; with somebody else's credential if one is given."""
        home = self.folder / name
        identity = Keyring(home).identity(os.urandom(32))
        shown = self.realm.credential(identity.device, name, **terms) if credential is None else credential
        office = self._office
        assert office is not None
        Wallet(Keyring(home)).keep(
            Kept(
                root=self.realm.root.device,
                gateway=self.realm.gateway.device,
                certificate=office.certificate.der,
                credential=shown,
                addresses=[self.address],
                name=name,
            )
        )
        return home, identity

    def client(self, name: str, **options: Any) -> Client:
        return Client(self.address, home=self.home_of(name, **options)[0])

    def node(self, name: str, home_name: str | None = None, **options: Any) -> ComputeNode:
        return ComputeNode(self.address, name, home=self.home_of(home_name or name, **options)[0])


def change_card(presence: Presence, signer: Identity | None = None, **changes: Any) -> Presence:
    """The presence with another card; the old signature, or one of this signer."""
    from easyremote.protocol.directory import card_transcript
    from easyremote.wire.cards import decode_card, encode_card

    card = encode_card(msgspec.structs.replace(decode_card(presence.card), **changes))
    signature = presence.signature if signer is None else signer.sign(card_transcript(card))
    return msgspec.structs.replace(presence, card=card, signature=signature)
