"""Direct links: how two devices greet each other, and how their traffic moves."""

from __future__ import annotations

import random

import msgspec
import pytest

from easyremote.errors import RemoteProtocolError
from easyremote.protocol.attachment import VERSION, hello_transcript, welcome_transcript
from easyremote.protocol.direct import GREETING_SECONDS, GREETINGS_MAX, ROLE, DirectLinks
from easyremote.protocol.effects import CloseLink, Effect, Notice
from easyremote.protocol.events import DirectOpened
from easyremote.protocol.machine import NEVER
from easyremote.protocol.standing import Standing
from easyremote.testing.realm import EPOCH, Realm
from easyremote.trust.identity import Identity
from easyremote.wire.frame import Control, join, walk
from easyremote.wire.messages import Advertise, Challenge, Goodbye, Hello, Ping, Rejected, Welcome, decode
from easyremote.wire.messages import Control as Record

_chance = random.Random("direct")
REALM = Realm(_chance.randbytes)
NONCE = _chance.randbytes(32)


class Side:
    """One device's direct links."""

    def __init__(self, name: str, *, serves: bool, realm: Realm = REALM) -> None:
        self.identity = Identity.from_seed(_chance.randbytes(32))
        self.endpoint = self.identity.device + _chance.randbytes(8)
        self.standing = Standing(self.identity.device, lambda: EPOCH)
        joined = realm.joined(self.identity.device, name)
        self.standing.join(joined.root, joined.gateway, joined.credential, b"", ())
        self.links = DirectLinks(self.identity, self.endpoint, self.standing, serves=serves)

    def says(self, link: int = 1) -> list[Record]:
        frames = walk(join(self.links.pull(link) or []))
        found = [decode(frame.data) for frame in frames if isinstance(frame, Control)]
        return [record for record in found if record is not None]

    def hears(self, *records: Record, link: int = 1) -> list[Effect]:
        effects: list[Effect] = []
        for record in records:
            effects += self.links.take(link, record)[1]
        return effects


def met(caller: Side, node: Side) -> None:
    """The caller has dialled the node; nothing is said yet."""
    assert caller.links.opened(DirectOpened(1, node.endpoint, b""), 0.0) == []
    assert node.links.opened(DirectOpened(1, b"", NONCE), 0.0) == []


def pair() -> tuple[Side, Side]:
    caller, node = Side("laptop", serves=False), Side("lab", serves=True)
    met(caller, node)
    return caller, node


def closes(effects: list[Effect]) -> list[str]:
    return [one.reason for one in effects if isinstance(one, CloseLink)]


def test_two_devices_greet_each_other_and_then_know_who_speaks() -> None:
    caller, node = pair()
    (challenge,) = node.says()
    assert caller.hears(challenge) == []
    (hello,) = caller.says()
    assert isinstance(hello, Hello)
    assert node.hears(hello) == [Notice("direct link up", detail="from laptop")]
    assert node.links.speaker(1) == caller.endpoint
    (welcome,) = node.says()
    assert [type(one) for one in caller.hears(welcome)] == [Notice]
    assert caller.links.speaker(1) == node.endpoint
    assert node.endpoint in caller.links
    assert caller.endpoint in node.links
    assert caller.links.wake(GREETING_SECONDS * 2) == node.links.wake(GREETING_SECONDS * 2) == []


def test_a_node_shows_its_card_to_callers_that_want_it_then_and_whenever_it_is_new() -> None:
    caller, node = pair()
    node.links.show(Advertise(b"first", b"signed"))
    (challenge,) = node.says()
    caller.hears(challenge)
    (hello,) = caller.says()
    node.hears(hello)
    welcome, first = node.says()
    assert first == Advertise(b"first", b"signed")
    caller.hears(welcome)
    assert caller.links.dialled(1) == node.endpoint
    assert node.links.dialled(1) == b""  # it is shown no cards by those who dialled it
    assert list(node.links.due()) == []
    node.links.show(Advertise(b"second", b"signed"))
    assert list(node.links.due()) == [1]
    assert node.says() == [Advertise(b"second", b"signed")]
    assert list(node.links.due()) == []


def test_a_caller_of_an_older_version_is_shown_no_cards() -> None:
    caller, node = pair()
    node.links.show(Advertise(b"card", b"signed"))
    caller.hears(*node.says())
    (hello,) = caller.says()
    assert isinstance(hello, Hello)
    node.hears(msgspec.structs.replace(hello, features=[]))
    assert [type(one) for one in node.says()] == [Welcome]
    node.links.show(Advertise(b"card", b"signed"))
    assert node.says() == []


def test_nobody_speaks_before_they_have_said_who_they_are() -> None:
    caller, node = pair()
    for side in (caller, node):
        with pytest.raises(RemoteProtocolError, match="must say hello"):
            side.links.speaker(1)
        with pytest.raises(RemoteProtocolError, match="has no place"):
            side.hears(Ping(1))
    with pytest.raises(RemoteProtocolError):
        caller.hears(Welcome(gateway=node.identity.device))
    with pytest.raises(RemoteProtocolError):
        node.hears(Challenge(nonce=NONCE, gateway=caller.identity.device))


def test_who_is_no_member_is_told_so_and_let_go() -> None:
    node = Side("lab", serves=True)
    stranger = Side("laptop", serves=False, realm=Realm(random.Random("elsewhere").randbytes))
    met(stranger, node)
    stranger.hears(*node.says())
    (reason,) = closes(node.hears(*stranger.says()))
    assert "another network" in reason
    (rejected,) = node.says()
    assert isinstance(rejected, Rejected)
    assert closes(stranger.hears(rejected)) == [reason]


def test_anothers_membership_gains_nothing() -> None:
    caller, node = pair()
    caller.standing.credential = node.standing.credential
    caller.hears(*node.says())
    assert closes(node.hears(*caller.says()))


def test_a_hello_made_for_a_gateway_is_worth_nothing_here() -> None:
    caller, node = pair()
    node.says()
    for role, speaker in [("client", node.identity.device), (ROLE, REALM.gateway.device)]:
        signature = caller.identity.sign(hello_transcript(NONCE, speaker, caller.endpoint, "", role))
        hello = Hello(caller.endpoint, signature, VERSION, [], caller.standing.credential, "", ROLE)
        assert closes(node.hears(hello))


def test_a_node_that_is_not_the_one_dialled_is_left() -> None:
    caller, node = pair()
    other = Side("other", serves=True)
    assert closes(caller.hears(Challenge(nonce=NONCE, version=VERSION, gateway=other.identity.device)))
    assert closes(caller.hears(Challenge(nonce=NONCE, version="9", gateway=node.identity.device)))
    caller.hears(*node.says())
    transcript = hello_transcript(NONCE, node.identity.device, caller.endpoint, "", ROLE)
    forged = other.identity.sign(welcome_transcript(transcript, ""))
    welcome = Welcome(version=VERSION, gateway=node.identity.device, signature=forged)
    assert closes(caller.hears(welcome))
    assert node.endpoint not in caller.links


def test_a_greeting_takes_no_longer_than_it_may() -> None:
    caller, node = pair()
    for side in (caller, node):
        assert side.links.wake_at == GREETING_SECONDS
        assert side.links.wake(GREETING_SECONDS - 0.1) == []
        assert closes(side.links.wake(GREETING_SECONDS)) == ["nobody said who they are"]
        assert side.links.wake_at == NEVER


def test_only_so_many_may_greet_at_a_time_and_only_where_one_serves() -> None:
    node, client = Side("lab", serves=True), Side("laptop", serves=False)
    for number in range(GREETINGS_MAX):
        assert node.links.opened(DirectOpened(number, b"", NONCE), 0.0) == []
    assert closes(node.links.opened(DirectOpened(GREETINGS_MAX, b"", NONCE), 0.0))
    node.links.closed(3)
    assert node.links.opened(DirectOpened(GREETINGS_MAX + 1, b"", NONCE), 0.0) == []
    assert closes(client.links.opened(DirectOpened(1, b"", NONCE), 0.0))


def test_who_dials_again_takes_the_place_of_its_older_link() -> None:
    caller, node = pair()
    caller.hears(*node.says())
    node.hears(*caller.says())
    caller.links.closed(1)
    caller.links.opened(DirectOpened(2, node.endpoint, b""), 1.0)
    node.links.opened(DirectOpened(2, b"", NONCE), 1.0)
    caller.hears(*node.says(2), link=2)
    effects = node.hears(*caller.says(2), link=2)
    assert [one.link for one in effects if isinstance(one, CloseLink)] == [1]
    node.links.closed(1)
    assert node.links.speaker(2) == caller.endpoint
    assert caller.endpoint in node.links, "the older link's end takes nothing away"


def test_two_links_to_one_node_are_one_too_many() -> None:
    caller, node = pair()
    caller.hears(*node.says())
    node.hears(*caller.says())
    caller.hears(*node.says())
    assert closes(caller.links.opened(DirectOpened(2, node.endpoint, b""), 1.0))


def test_links_of_who_is_put_out_are_closed() -> None:
    caller, node = pair()
    caller.hears(*node.says())
    node.hears(*caller.says())
    assert node.links.cast_out() == []
    assert node.standing.take_revocations(REALM.revocations(caller.identity.device))
    assert closes(node.links.cast_out()) == ["revoked"]


def test_a_goodbye_ends_the_link() -> None:
    caller, _ = pair()
    assert closes(caller.hears(Goodbye(message="enough"))) == ["enough"]
