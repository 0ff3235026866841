"""A device and its gateway: challenge, hello, welcome, pulse."""

from __future__ import annotations

import math

import pytest
from unit.protocol.talk import REALM, standing

from easyremote.errors import (
    CertificateError,
    LinkError,
    MembershipError,
    NameTakenError,
    RemoteProtocolError,
    SignatureError,
    VersionError,
)
from easyremote.protocol.attachment import (
    PACKET_BYTES_MIN,
    VERSION,
    Attachment,
    hello_transcript,
    welcome_transcript,
)
from easyremote.protocol.effects import Attached, CloseLink, Detached, Turned
from easyremote.protocol.effects import Renewed as RenewedEffect
from easyremote.protocol.machine import NEVER
from easyremote.trust.identity import Identity, verify
from easyremote.wire.frame import Control, join, walk
from easyremote.wire.limits import LEASE_SECONDS, MAX_PACKET_BYTES
from easyremote.wire.messages import (
    Challenge,
    Goodbye,
    Hello,
    PacketLimit,
    Ping,
    Pong,
    Rejected,
    Renewed,
    Snapshot,
    Welcome,
    decode,
)
from easyremote.wire.messages import Control as Record

NONCE, GATEWAY = bytes(range(32)), REALM.gateway.device
IDENTITY = Identity.from_seed(bytes(32))
ENDPOINT = IDENTITY.device + bytes(8)


def detached() -> Attachment:
    return Attachment(IDENTITY, ENDPOINT, standing(IDENTITY.device), name="lab", role="node")


def welcome(name: str = "lab", **fields: object) -> Welcome:
    """As the gateway would sign it."""
    transcript = hello_transcript(NONCE, GATEWAY, ENDPOINT, "lab", "node")
    given = {"gateway": GATEWAY, "signature": REALM.gateway.sign(welcome_transcript(transcript, name))}
    return Welcome(name=name, **(given | fields))  # type: ignore[arg-type]


def attached(lease_seconds: float = 9.0) -> Attachment:
    attachment = detached()
    attachment.opened(0.0)
    attachment.take(Challenge(nonce=NONCE, version=VERSION, gateway=GATEWAY), 0.0)
    said(attachment)
    attachment.take(welcome(lease_seconds=lease_seconds), 0.0)
    return attachment


def said(attachment: Attachment) -> list[Record | None]:
    frames, attachment.outgoing = attachment.outgoing, []
    return [decode(frame.data) for frame in walk(join(frames)) if isinstance(frame, Control)]


def test_a_device_signs_what_it_was_challenged_with() -> None:
    attachment = detached()
    assert attachment.opened(0.0) == []
    assert said(attachment) == [], "the gateway speaks first"
    assert attachment.take(Challenge(nonce=NONCE, version=VERSION, gateway=GATEWAY), 0.1) == []
    (hello,) = said(attachment)
    assert isinstance(hello, Hello)
    verify(IDENTITY.device, hello.signature, hello_transcript(NONCE, GATEWAY, ENDPOINT, "lab", "node"))
    with pytest.raises(SignatureError):
        verify(
            IDENTITY.device, hello.signature, hello_transcript(bytes(32), GATEWAY, ENDPOINT, "lab", "node")
        )


def test_a_welcome_attaches_under_the_name_it_gives() -> None:
    attachment = detached()
    attachment.opened(0.0)
    attachment.take(Challenge(nonce=NONCE, version=VERSION, gateway=GATEWAY), 0.1)
    assert attachment.take(welcome("lab-2"), 0.2) == [Attached("lab-2", GATEWAY)]
    assert attachment.attached
    with pytest.raises(RemoteProtocolError):
        attachment.take(Challenge(nonce=NONCE, version=VERSION, gateway=GATEWAY), 0.3)


def test_another_gateways_welcome_is_not_believed() -> None:
    attachment = detached()
    attachment.opened(0.0)
    attachment.take(Challenge(nonce=NONCE, version=VERSION, gateway=GATEWAY), 0.1)
    with pytest.raises(RemoteProtocolError, match="not the one"):
        attachment.take(welcome(gateway=bytes([1]) * 32), 0.2)


def test_a_gateway_that_is_not_the_pinned_one_is_told_nothing() -> None:
    attachment = detached()
    attachment.opened(0.0)
    (turned,) = attachment.take(Challenge(nonce=NONCE, version=VERSION, gateway=bytes([1]) * 32), 0.1) or []
    assert isinstance(turned, Turned)
    assert isinstance(turned.error, CertificateError)
    assert said(attachment) == []


@pytest.mark.parametrize("forged", [welcome(signature=bytes(64)), welcome(signature=b"")])
def test_a_gateway_that_does_not_have_the_pinned_key_is_not_believed(forged: Welcome) -> None:
    attachment = detached()
    attachment.opened(0.0)
    attachment.take(Challenge(nonce=NONCE, version=VERSION, gateway=GATEWAY), 0.1)
    (turned,) = attachment.take(forged, 0.2) or []
    assert isinstance(turned, Turned)
    assert isinstance(turned.error, CertificateError)
    assert not attachment.attached


def test_a_fresh_membership_is_kept_and_one_that_is_not_ours_is_not() -> None:
    attachment = attached()
    fresh = REALM.credential(IDENTITY.device, "lab", seconds=9999.0)
    assert attachment.take(Renewed(fresh), 1.0) == [RenewedEffect(fresh)]
    assert attachment.take(Renewed(REALM.credential(bytes(32), "lab")), 1.0) == []


def test_packets_are_as_large_as_the_gateway_can_do_with_and_on_a_new_link_as_ever() -> None:
    attachment = attached()
    for said, kept in [(128 << 10, 128 << 10), (1, PACKET_BYTES_MIN), (1 << 60, MAX_PACKET_BYTES)]:
        assert attachment.take(PacketLimit(said), 1.0) == []
        assert attachment.packet_bytes == kept
    attachment.take(PacketLimit(64 << 10), 1.0)
    attachment.take(PacketLimit(0), 1.0)
    assert attachment.packet_bytes == MAX_PACKET_BYTES
    attachment.take(PacketLimit(64 << 10), 1.0)
    attachment.closed("gone")
    attachment.opened(2.0)
    assert attachment.packet_bytes == MAX_PACKET_BYTES


def test_a_device_that_is_revoked_does_not_come_back_by_itself() -> None:
    (effect,) = attached().take(Goodbye(code="revoked", message="revoked by an operator"), 1.0) or []
    assert isinstance(effect, Turned)
    assert isinstance(effect.error, MembershipError)


def test_a_gateway_of_another_version_is_named_as_such() -> None:
    attachment = detached()
    attachment.opened(0.0)
    (turned,) = attachment.take(Challenge(nonce=NONCE, version="2", gateway=GATEWAY), 0.1) or []
    assert isinstance(turned, Turned)
    assert "version 2" in str(turned.error)
    assert "upgrade" in str(turned.error)


def test_a_device_that_was_turned_away_does_not_try_again() -> None:
    attachment = detached()
    attachment.opened(0.0)
    (taken,) = attachment.take(Rejected(code="name_taken", message="another has it"), 0.1) or []
    assert isinstance(taken, Turned)
    assert isinstance(taken.error, NameTakenError)
    (other,) = attachment.take(Rejected(code="signature", message="no"), 0.1) or []
    assert isinstance(other, Turned)
    assert isinstance(other.error, LinkError)


def test_a_device_that_was_replaced_does_not_fight_for_its_name() -> None:
    (effect,) = attached().take(Goodbye(code="replaced", message="a newer process"), 1.0) or []
    assert isinstance(effect, Turned)
    assert isinstance(attached().take(Goodbye(message="later"), 1.0), list)


def pings_until(attachment: Attachment, end: float, *, at_stake: bool) -> int:
    """How often it says Ping until then, on a link over which something always comes."""
    now, pings = 0.0, 0
    while now < end:
        now = attachment.wake_at
        attachment.heard(now)
        assert attachment.wake(now, at_stake=at_stake) == []
        pings += sum(isinstance(one, Ping) for one in said(attachment))
    return pings


def test_a_pulse_is_felt_three_times_a_lease() -> None:
    attachment = attached(9.0)
    assert pings_until(attachment, 8.9, at_stake=True) == 3
    assert attachment.take(Ping(7), 9.0) == []
    assert said(attachment) == [Pong(7)]


def test_with_nothing_at_stake_it_is_felt_once_a_lease() -> None:
    assert pings_until(attached(9.0), 89.0, at_stake=False) in (10, 11)


def test_it_quickens_as_soon_as_something_is_at_stake() -> None:
    attachment = attached(9.0)
    attachment.wake(3.0, at_stake=False)
    attachment.heard(3.0)
    assert attachment.relaxed
    attachment.hurry(4.0)
    assert not attachment.relaxed
    said(attachment)
    assert attachment.wake_at == 7.0
    attachment.wake(7.0)
    assert [type(one) for one in said(attachment)] == [Ping]
    assert isinstance(attachment.wake(13.0)[0], CloseLink), "asked at 7, and nothing heard for two thirds"


def test_a_gateway_that_is_silent_while_nothing_is_at_stake_is_given_up_all_the_same() -> None:
    attachment, now = attached(9.0), 0.0
    effects: list[object] = []
    while not effects:
        now = attachment.wake_at
        effects = list(attachment.wake(now, at_stake=False))
    assert isinstance(effects[0], CloseLink)
    assert now == 9.0


def test_a_gateway_that_is_silent_for_a_lease_is_given_up() -> None:
    attachment = attached(9.0)
    now = 0.0
    effects: list[object] = []
    while not effects:
        now = attachment.wake_at
        effects = list(attachment.wake(now))
    assert now == 9.0
    assert isinstance(effects[0], CloseLink)
    assert attachment.wake_at > now, "it would be woken without end until the link is closed"


def test_a_gateway_that_never_says_welcome_is_given_up() -> None:
    attachment = detached()
    attachment.opened(0.0)
    while not (effects := attachment.wake(now := attachment.wake_at)):
        pass
    assert isinstance(effects[0], CloseLink)
    assert now == LEASE_SECONDS


def test_a_link_that_ends_is_told_once_and_leaves_nothing_behind() -> None:
    attachment = attached()
    attachment.leave()
    assert attachment.closed("broken") == [Detached("broken")]
    assert attachment.closed("broken") == []
    assert attachment.outgoing == []
    assert attachment.wake_at == NEVER
    assert attachment.wake(100.0) == []


@pytest.mark.parametrize("lease_seconds", [0.0, -1.0, math.nan, 1e-9])
def test_a_lease_that_means_nothing_is_the_usual_one(lease_seconds: float) -> None:
    assert attached(lease_seconds).lease_seconds == LEASE_SECONDS


def test_what_is_not_about_the_attachment_is_left_to_others() -> None:
    assert attached().take(Snapshot(), 1.0) is None


def test_a_gateway_of_another_version_is_an_error_of_its_own() -> None:
    attachment = detached()
    attachment.opened(0.0)
    (turned,) = attachment.take(Challenge(nonce=NONCE, version="2", gateway=GATEWAY), 0.1) or []
    assert isinstance(turned, Turned)
    assert isinstance(turned.error, VersionError)
    assert "version 2" in str(turned.error)
    assert said(attachment) == []
    attachment = detached()
    (turned,) = attachment.take(Rejected("version", "this device speaks version 1"), 0.1) or []
    assert isinstance(turned, Turned)
    assert isinstance(turned.error, VersionError)


def test_only_what_both_ends_know_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("easyremote.protocol.attachment.FEATURES", ["old", "mine"])
    attachment = detached()
    attachment.opened(0.0)
    attachment.take(Challenge(nonce=NONCE, version=VERSION, gateway=GATEWAY, features=["old", "theirs"]), 0.1)
    assert attachment.features == {"old"}
    (hello,) = said(attachment)
    assert isinstance(hello, Hello)
    assert hello.features == ["old", "mine"]
