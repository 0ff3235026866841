"""A device among peers and a gateway that mean harm: it may lose a session or a link, never its balance."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, structs
from unit.protocol.talk import REALM, VALUE, FakeNode, did, ended, said

from easyremote.errors import UnknownFunctionError
from easyremote.protocol.attachment import VERSION, hello_transcript, welcome_transcript
from easyremote.protocol.channel import Channel
from easyremote.protocol.device import Device
from easyremote.protocol.effects import Answered, Faulted, Notice, RevocationsChanged, Start, Stop
from easyremote.protocol.events import (
    CallRequested,
    Done,
    LinkClosed,
    LinkOpened,
    Offer,
    Offered,
    PacketReceived,
    Woken,
)
from easyremote.protocol.sessions import Sessions
from easyremote.testing.realm import EPOCH, Realm
from easyremote.trust.grant import Terms, issue_grant
from easyremote.trust.handshake import CLASSIC, Prekeys
from easyremote.trust.identity import Identity
from easyremote.trust.revocation import Revocations, sign_revocations
from easyremote.wire.bundle import (
    RESET,
    Cancel,
    End,
    Fault,
    Invoke,
    Item,
    Message,
    Part,
    Present,
    Refuse,
    Result,
    Window,
    read_sealed,
    write_sealed,
)
from easyremote.wire.cards import FunctionCard
from easyremote.wire.frame import Carry, Control, join, walk
from easyremote.wire.messages import Challenge, Renewed, Revoked, Snapshot, Welcome, encode

numbers = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.sampled_from([-1, 0, 1, 2, 5, 65_536, 100_000, 2**31, 2**40])
)
calls = st.sampled_from([0, 1, 1, 1, 2, -1, 2**64 - 1])
seconds = st.one_of(st.none(), st.floats(), st.sampled_from([math.nan, math.inf, -1.0, 0.0]))
values = st.sampled_from([Raw(VALUE), Raw(b"\xc0"), Raw(b"\x01")])
names = st.sampled_from(["resize", "", "x" * 10_000, "a.b"])
texts = st.text(max_size=20)
PEER = FakeNode("other", FunctionCard(name="resize"))
tokens = st.one_of(
    st.binary(max_size=50),
    st.sampled_from(
        [
            PEER.credential,
            PEER.credential[:-1],
            REALM.credential(PEER.identity.device, "other", functions=()),
            REALM.credential(bytes(32), "stranger"),
            issue_grant(
                PEER.identity,
                PEER.credential,
                Terms(functions=("*",), expires=EPOCH + 9, max_calls=1),
                bytes(16),
            ),
        ]
    ),
)
messages = st.one_of(
    st.builds(Invoke, calls, names, values, numbers, numbers, seconds, numbers),
    st.builds(Result, calls, values, numbers, numbers),
    st.builds(
        Fault,
        calls,
        st.sampled_from(["error", "argument", "timeout", "unknown", "?"]),
        texts,
        texts,
        texts,
        st.sampled_from(["ValueError", "SystemExit", "KeyError", "OSError", "UnicodeDecodeError", "?"]),
    ),
    st.builds(Item, calls, values, numbers, numbers),
    st.builds(End, calls),
    st.builds(
        Refuse,
        calls,
        st.sampled_from(["busy", "unknown", "draining", "repeated", "?"]),
        texts,
        st.floats(),
        numbers,
    ),
    st.builds(Cancel, calls),
    st.builds(Window, calls, numbers),
    st.builds(Part, numbers, numbers, numbers),
    st.builds(Present, st.lists(tokens, max_size=4) | st.just([b"x"] * 40)),
)


class Victim:
    """A device that is attached to a gateway we play, and a session with it whose other end is ours."""

    def __init__(self, role: str) -> None:
        chance = random.Random(3)
        identity = Identity.from_seed(chance.randbytes(32))
        prekeys = None
        if role == "node":
            prekeys = Prekeys(suite=CLASSIC)
            prekeys.rotate(chance.randbytes)
        self.device = Device(
            identity,
            identity.device + bytes(8),
            name="lab",
            role=role,
            entropy=chance.randbytes,
            dice=chance.random,
            prekeys=prekeys,
            max_value_bytes=1 << 20,
            clock=REALM.clock,
        )
        self.node = FakeNode("other", FunctionCard(name="resize"))
        self.role = role
        self.device.handle(REALM.joined(identity.device, "lab"), 0.0)
        self.attach(0.0)
        if prekeys is not None:
            self.device.handle(Offered(Offer("resize")), 0.0)
            self.sessions = Sessions(self.node.identity, self.node.endpoint, chance.randbytes, None)
            self.sessions.tokens = [self.node.credential]
            self.channel: Channel = self.sessions.to(self.device.endpoint, prekeys.current, 0.0)
        else:
            self.control(Snapshot(nodes=[self.node.presence()]))
            self.sessions = self.node.sessions
            self.device.handle(CallRequested(1, "resize", VALUE), 0.0)
            self.listen(0.0)
            (self.channel,) = self.sessions

    def attach(self, now: float) -> None:
        """A link to the gateway stands, and the gateway welcomes the device."""
        self.device.handle(LinkOpened(), now)
        gateway = REALM.gateway
        self.control(Challenge(nonce=bytes(32), version=VERSION, gateway=gateway.device))
        self.device.pull(now)  # its hello
        transcript = hello_transcript(bytes(32), gateway.device, self.device.endpoint, "lab", self.role)
        signature = gateway.sign(welcome_transcript(transcript, "lab"))
        self.control(Welcome(lease_seconds=10.0, name="lab", gateway=gateway.device, signature=signature))

    def control(self, record: object) -> list[object]:
        return list(self.device.handle(PacketReceived([Control(encode(record))]), 0.0))  # type: ignore[arg-type]

    def listen(self, now: float) -> None:
        """Take in what the device sends us."""
        for frame in walk(join(self.device.pull(now))):
            if isinstance(frame, Carry) and frame.peer == self.node.endpoint:
                self.sessions.receive(self.device.endpoint, read_sealed(frame.body), now)

    def hears(self, now: float, *said: Message) -> list[object]:
        """We say something to the device."""
        for message in said:
            self.channel.say(message)
        frames = [
            Carry(self.node.endpoint, b"".join(pieces)) for _, pieces in self.sessions.pull(now, 0, 1 << 20)
        ]
        return list(self.device.handle(PacketReceived(list(frames)), now))

    def keeps_its_balance(self, now: float) -> None:
        """Its clock still means something, and time can pass."""
        assert not math.isnan(self.device.wake_at)
        self.device.handle(Woken(), now)
        self.device.pull(now)
        assert self.device.wake_at > now


@given(st.lists(st.lists(messages, min_size=1, max_size=4), min_size=1, max_size=4))
def test_no_peer_can_throw_a_node_off_its_balance(bundles: list[list[Message]]) -> None:
    victim, now = Victim("node"), 1.0
    for bundle in bundles:
        victim.hears(now, *bundle)
        victim.listen(now)
        now += 0.5
    victim.keeps_its_balance(now)


@given(st.lists(st.lists(messages, min_size=1, max_size=4), min_size=1, max_size=4))
def test_no_node_can_throw_a_caller_off_its_balance(bundles: list[list[Message]]) -> None:
    victim, now = Victim("client"), 1.0
    for bundle in bundles:
        effects = victim.hears(now, *bundle)
        assert sum(isinstance(effect, (Answered, Faulted)) for effect in effects) <= 1
        victim.listen(now)
        now += 0.5
    victim.keeps_its_balance(now)


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_no_frame_from_a_gateway_throws_a_device_off_its_balance(frames: list[bytes]) -> None:
    victim = Victim("node")
    known = victim.channel.session.id
    for data in frames:
        sealed = b"".join(bytes(piece) for piece in write_sealed(known, 0, 0, data, data, data))
        packet = [Carry(victim.node.endpoint, data), Carry(victim.node.endpoint, sealed), Control(data)]
        victim.device.handle(PacketReceived(packet), 1.0)  # type: ignore[arg-type]
    assert not list(victim.device.sessions)


def test_a_session_that_breaks_the_protocol_costs_its_own_calls_only() -> None:
    victim = Victim("node")
    (start,) = victim.hears(0.1, Invoke(1, "resize", Raw(VALUE)))
    assert isinstance(start, Start)
    effects = victim.hears(0.2, Invoke(2, "resize", Raw(VALUE), timeout=math.nan))
    assert did(effects) == [Stop(start.key, "cancelled")]
    assert [one.outcome for one in ended(effects)] == ["cancelled"]
    resets = [
        read_sealed(frame.body) for frame in walk(join(victim.device.pull(0.3))) if isinstance(frame, Carry)
    ]
    assert [one.space for one in resets] == [RESET], "the peer is told that the session is over"
    assert list(victim.device.sessions) == []


def test_a_node_that_is_told_that_its_caller_knows_no_session_stops_working_for_it() -> None:
    victim = Victim("node")
    (start,) = victim.hears(0.1, Invoke(1, "resize", Raw(VALUE)))
    assert isinstance(start, Start)
    reset = b"".join(bytes(piece) for piece in write_sealed(victim.channel.session.id, 0, RESET, b""))
    effects = victim.device.handle(PacketReceived([Carry(victim.node.endpoint, reset)]), 0.2)
    assert did(effects) == [Stop(start.key, "cancelled")]
    assert [one.outcome for one in ended(effects)] == ["cancelled"]
    assert victim.device.pull(1.0) == []
    assert list(victim.device.sessions) == []


def test_a_frame_of_a_session_that_was_forgotten_is_answered_even_when_its_handshake_was_seen() -> None:
    victim = Victim("node")
    victim.channel.say(Invoke(1, "resize", Raw(VALUE)))
    ((_, pieces),) = victim.sessions.pull(0.0, 0, 1 << 20)
    first = Carry(victim.node.endpoint, b"".join(pieces))
    victim.device.handle(PacketReceived([first]), 0.1)
    (channel,) = victim.device.sessions
    victim.device.sessions.close(channel)
    victim.device.pull(0.1)
    assert victim.device.handle(PacketReceived([first]), 0.2) == [], "never run again"
    (frame,) = walk(join(victim.device.pull(0.2)))
    assert isinstance(frame, Carry)
    assert read_sealed(frame.body).space == RESET, "else the caller would wait for ever"


def test_a_peer_that_never_acknowledges_is_forgotten() -> None:
    victim = Victim("node")
    victim.hears(0.1, Invoke(1, "nothing", Raw(VALUE)))
    now = 0.1
    while list(victim.device.sessions):
        now = victim.device.wake_at
        victim.device.handle(PacketReceived([]), now)  # the gateway is there; the peer is not
        victim.device.handle(Woken(), now)
        victim.device.pull(now)
    assert 600 < now < 700


def test_a_directory_in_parts_is_believed_once_it_is_whole() -> None:
    victim, other = Victim("client"), FakeNode("another", FunctionCard(name="crop"))
    assert victim.control(Snapshot(nodes=[other.presence()], more=True)) == []
    names = {view.card.name for view in victim.device.directory}
    assert names == {"other"}, "whom a part does not name may be in the next"
    victim.control(Snapshot(nodes=[victim.node.presence()]))
    assert {view.card.name for view in victim.device.directory} == {"another", "other"}


def test_a_part_of_a_directory_does_not_outlast_its_link() -> None:
    victim, gone = Victim("client"), FakeNode("gone", FunctionCard(name="crop"))
    victim.control(Snapshot(nodes=[gone.presence()], more=True))
    victim.device.handle(LinkClosed(), 0.1)
    victim.attach(0.2)
    victim.control(Snapshot(nodes=[victim.node.presence()]))
    assert [view.card.name for view in victim.device.directory] == ["other"]


# ---- the network's word


def joined_anew(victim: Victim, revocations: bytes) -> list[object]:
    """The device reads afresh what it keeps of its network, as before each link."""
    kept = REALM.joined(victim.device.endpoint[:32], "lab")
    return list(victim.device.handle(structs.replace(kept, revocations=revocations), 1.0))


def test_a_caller_that_is_revoked_is_out_as_soon_as_the_gateway_says_so() -> None:
    victim = Victim("node")
    (start,) = victim.hears(0.1, Invoke(1, "resize", Raw(VALUE)))
    assert isinstance(start, Start)
    revocations = REALM.revocations(PEER.identity.device)
    effects = victim.control(Revoked(revocations))
    assert effects[0] == RevocationsChanged(revocations), "kept, so that an old list is never believed again"
    assert Stop(start.key, "cancelled") in effects
    assert did(victim.hears(0.2, Invoke(2, "resize", Raw(VALUE)))) == []
    assert victim.control(Revoked(revocations)) == [], "told once"


def test_a_caller_is_out_also_when_another_process_of_the_device_heard_that_it_was_revoked() -> None:
    victim = Victim("node")
    (start,) = victim.hears(0.1, Invoke(1, "resize", Raw(VALUE)))
    assert isinstance(start, Start)
    revocations = REALM.revocations(PEER.identity.device)
    effects = joined_anew(victim, revocations) + victim.control(Revoked(revocations))
    assert Stop(start.key, "cancelled") in effects
    assert did(victim.hears(0.2, Invoke(2, "resize", Raw(VALUE)))) == []


def test_a_node_that_is_revoked_is_called_no_more() -> None:
    victim = Victim("client")
    effects = victim.control(Revoked(REALM.revocations(PEER.identity.device)))
    assert [effect.call for effect in effects if isinstance(effect, Faulted)] == [1]
    (again,) = victim.device.handle(CallRequested(2, "resize", VALUE), 0.2)
    assert isinstance(again, Faulted)
    assert isinstance(again.error, UnknownFunctionError)


def test_a_node_is_called_no_more_when_another_process_of_the_device_heard_that_it_was_revoked() -> None:
    victim = Victim("client")
    revocations = REALM.revocations(PEER.identity.device)
    effects = joined_anew(victim, revocations) + victim.control(Revoked(revocations))
    assert [effect.call for effect in effects if isinstance(effect, Faulted)] == [1]
    assert list(victim.device.directory) == []


def test_a_list_of_revocations_that_no_issuer_signed_changes_nothing() -> None:
    victim = Victim("node")
    victim.hears(0.1, Invoke(1, "resize", Raw(VALUE)))
    forged = sign_revocations(
        PEER.identity, REALM.charter, Revocations(number=99, devices=[PEER.identity.device])
    )
    for data in (forged, b"", b"nonsense"):
        assert victim.control(Revoked(data)) == []
    (start,) = victim.hears(0.2, Invoke(2, "resize", Raw(VALUE)))
    assert isinstance(start, Start)


def test_a_fresh_membership_is_shown_in_the_sessions_there_are() -> None:
    victim = Victim("client")
    device = victim.device.endpoint[:32]
    fresh = REALM.credential(device, "lab", seconds=9999.0)
    victim.control(Renewed(fresh))
    frames = [frame for frame in walk(join(victim.device.pull(0.3))) if isinstance(frame, Carry)]
    received = [
        victim.sessions.receive(victim.device.endpoint, read_sealed(frame.body), 0.3) for frame in frames
    ]
    messages = [message for one in received if one is not None for message in said(one[1])]
    assert messages == [Present([fresh])]


def test_in_another_network_nothing_of_the_one_before_holds() -> None:
    victim = Victim("node")
    (start,) = victim.hears(0.1, Invoke(1, "resize", Raw(VALUE)))
    assert isinstance(start, Start)
    other = Realm(random.Random("other").randbytes)
    effects = victim.device.handle(other.joined(victim.device.endpoint[:32], "lab"), 0.2)
    assert Stop(start.key, "cancelled") in effects
    assert list(victim.device.sessions) == []


def test_what_waits_for_all_peers_together_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("easyremote.protocol.sessions.RETAINED_BYTES_MAX", 5_000)
    victim = Victim("node")
    for number in (1, 2):
        victim.hears(0.1, Invoke(number, "resize", Raw(VALUE)))
        victim.device.handle(Done((victim.node.endpoint, number), bytes(2_000)), 0.2)
        victim.device.pull(0.2)  # it is on its way, and nobody acknowledges it
        victim.device.handle(Woken(), 0.3)
        assert len(list(victim.device.sessions)) == 1
    victim.hears(0.4, Invoke(3, "resize", Raw(VALUE)))
    victim.device.handle(Done((victim.node.endpoint, 3), bytes(2_000)), 0.5)
    victim.device.pull(0.5)
    effects = victim.device.handle(Woken(), 0.6)
    assert list(victim.device.sessions) == []
    assert any(isinstance(effect, Notice) and "too much" in effect.detail for effect in effects)
    assert victim.device.handle(Woken(), 0.7) == []
