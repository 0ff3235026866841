"""Two ends of a session, and devices with a directory, without a network between them."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence

from easyremote.protocol.caller import Caller
from easyremote.protocol.channel import Channel, Opened
from easyremote.protocol.directory import Directory, card_transcript
from easyremote.protocol.effects import CallEnded, Effect, Notice
from easyremote.protocol.sessions import Sessions
from easyremote.protocol.standing import Standing
from easyremote.testing.realm import Realm
from easyremote.trust.handshake import CLASSIC, Keys, Prekeys
from easyremote.trust.identity import Identity
from easyremote.trust.session import Session
from easyremote.wire.bundle import Message, Present, read_sealed
from easyremote.wire.cards import FunctionCard, NodeCard, PrekeyCard, encode_card
from easyremote.wire.frame import Pieces
from easyremote.wire.messages import Change, Departed, Presence, Snapshot

BUDGET = 1 << 20
VALUE = b"\xa5hello"
_sessions = itertools.count(1)
REALM = Realm(random.Random("realm").randbytes)
"""The network everybody here belongs to."""


def standing(device: bytes, name: str = "client", **terms: object) -> Standing:
    """A device's standing in it, with a membership."""
    made = Standing(device, REALM.clock)
    joined = REALM.joined(device, name, **terms)
    made.join(joined.root, joined.gateway, joined.credential, b"", ())
    return made


def channels(now: float = 0.0) -> tuple[Channel, Channel]:
    """Both ends of one session: the caller's, the node's."""
    keys = Keys(next(_sessions), "aes256gcm", bytes(32), bytes([1]) * 32, bytes(12), bytes([2]) * 12)
    return (
        Channel(Session(keys, initiator=True), bytes(40), now),
        Channel(Session(keys, initiator=False), bytes([1]) * 40, now),
    )


def pull(channel: Channel, now: float, budget: int = BUDGET) -> list[Pieces]:
    """What a channel would send now."""
    return channel.pull(now, 0, budget) if channel.ready(now) else []


def give(channel: Channel, frames: Iterable[Pieces], now: float) -> list[Opened]:
    """Frames arrive, in this order."""
    opened: list[Opened] = []
    for pieces in frames:
        opened += channel.receive(read_sealed(b"".join(pieces)), now)
    return opened


def said(opened: list[Opened]) -> list[Message]:
    """The messages in opened bundles."""
    return [message for one in opened for message in one.messages]


def heard(channel: Channel, other: Channel, now: float) -> list[Message]:
    """Everything ``channel`` has to say, as the other end hears it."""
    return said(give(other, pull(channel, now), now))


def did(effects: Sequence[Effect]) -> list[Effect]:
    """What is to be done, without what is only to be told or written down."""
    return [effect for effect in effects if not isinstance(effect, (Notice, CallEnded))]


def ended(effects: Sequence[Effect]) -> list[CallEnded]:
    """What is to be written down of calls that ended."""
    return [effect for effect in effects if isinstance(effect, CallEnded)]


class FakeNode:
    """A node as others see it: a card and its prekeys, but no machine."""

    def __init__(self, name: str, *functions: FunctionCard, seed: int = 0) -> None:
        chance = random.Random(f"{name} {seed}")
        self.identity = Identity.from_seed(chance.randbytes(32))
        self.endpoint = self.identity.device + chance.randbytes(8)
        self.name, self.functions = name, list(functions)
        self.prekeys = Prekeys(suite=CLASSIC)
        self.prekeys.rotate(chance.randbytes)
        self.number = 1
        self.credential = REALM.credential(self.identity.device, name)
        self.sessions = Sessions(self.identity, self.endpoint, chance.randbytes, self.prekeys)

    def presence(self, **changes: object) -> Presence:
        """Its card, signed; ``changes`` make it another card."""
        prekey = self.prekeys.current
        fields: dict[str, object] = {
            "endpoint": self.endpoint,
            "name": self.name,
            "number": self.number,
            "functions": self.functions,
            "prekey": PrekeyCard(id=prekey.id, suite=prekey.suite, aead=prekey.aead, key=prekey.key),
            "membership": self.credential,
            "features": ["again"],
        }
        card = encode_card(NodeCard(**(fields | changes)))  # type: ignore[arg-type]
        return Presence(
            endpoint=self.endpoint,
            name=self.name,
            card=card,
            signature=self.identity.sign(card_transcript(card)),
        )

    def hears(self, asker: Asker, now: float) -> list[Message]:
        """What the asker has to say to this node, once it has said who it is."""
        return [message for message in self.hears_all(asker, now) if not isinstance(message, Present)]

    def hears_all(self, asker: Asker, now: float) -> list[Message]:
        """What the asker has to say to this node."""
        for peer, pieces in asker.sessions.pull(now, 0, BUDGET):
            asker.letters[peer].append(b"".join(pieces))
        heard: list[Message] = []
        for letter in asker.letters.pop(self.endpoint, []):
            received = self.sessions.receive(asker.sessions.endpoint, read_sealed(letter), now)
            heard += said(received[1]) if received is not None else []
        return heard


class Asker:
    """A caller's machine with its directory and sessions."""

    def __init__(self, *nodes: FakeNode, max_value_bytes: int = 1 << 20) -> None:
        chance = random.Random(7)
        identity = Identity.from_seed(chance.randbytes(32))
        self.sessions = Sessions(identity, identity.device + bytes(8), chance.randbytes, None)
        self.letters: defaultdict[bytes, list[bytes]] = defaultdict(list)
        self.standing = standing(identity.device)
        self.sessions.tokens = self.standing.tokens
        self.directory = Directory(self.standing)
        self.caller = Caller(self.sessions, self.directory, chance.random, max_value_bytes=max_value_bytes)
        if nodes:
            self.directory.take_snapshot(Snapshot(nodes=[node.presence() for node in nodes]), 0.0, 10.0)

    def channel(self, node: FakeNode) -> Channel:
        """The session with a node."""
        return next(one for one in self.sessions if one.peer == node.endpoint)

    def loses(self, node: FakeNode, now: float) -> list[object]:
        """The gateway says that the node has left."""
        self.directory.take_change(Change(Departed(endpoint=node.endpoint, reason="left")), now)
        return [e for view in self.directory.expire(now) for e in self.caller.node_lost(view, now)]
