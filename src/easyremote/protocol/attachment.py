"""How a device is attached to its gateway: challenge, hello, welcome, and a pulse.

One question: is the gateway there, and does it know us? The gateway's first frame is a challenge; the
device signs it, so nobody can attach as a device whose key they do not hold. Afterwards there is a pulse:
three times a lease while calls are open here, once a lease while none are. Who was asked and has said nothing
for long is taken for gone, whatever TCP says.
"""

from __future__ import annotations

from easyremote.errors import (
    CertificateError,
    EasyRemoteError,
    LinkError,
    MembershipError,
    NameTakenError,
    RemoteProtocolError,
    SignatureError,
    VersionError,
)
from easyremote.protocol.effects import Attached, CloseLink, Detached, Effect, Renewed, Turned
from easyremote.protocol.machine import NEVER
from easyremote.protocol.standing import Standing
from easyremote.trust.identity import Identity, device_text, verify
from easyremote.wire.frame import Pieces, control
from easyremote.wire.limits import LEASE_SECONDS, MAX_PACKET_BYTES
from easyremote.wire.messages import (
    Challenge,
    Goodbye,
    Hello,
    PacketLimit,
    Ping,
    Pong,
    Rejected,
    Welcome,
    encode,
)
from easyremote.wire.messages import Control as Record
from easyremote.wire.messages import Renewed as RenewedRecord

VERSION = "1"
FEATURES = ["mailbox"]
"""What a device and a gateway of this version know of what not every one does."""

PACKET_BYTES_MIN = 16 << 10
"""Smaller packets than this a gateway cannot wish for: each costs as much as its bytes."""
LEASE_SECONDS_MIN = 0.05
"""A gateway that asks for shorter leases gets the usual one."""
HELLO_LABEL = b"easyremote/v1 hello"
WELCOME_LABEL = b"easyremote/v1 welcome"


def hello_transcript(nonce: bytes, gateway: bytes, endpoint: bytes, name: str, role: str) -> bytes:
    """What a device signs to attach; the lengths make it unambiguous."""
    fields = (HELLO_LABEL, nonce, gateway, endpoint, name.encode(), role.encode())
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def welcome_transcript(hello: bytes, name: str) -> bytes:
    """What the gateway signs in return: it is the one that was challenged with, and knows us as this."""
    return WELCOME_LABEL + len(hello).to_bytes(4, "big") + hello + name.encode()


class Attachment:
    """The device's side of being attached; ``detached → challenged → attached``."""

    def __init__(
        self, identity: Identity, endpoint: bytes, standing: Standing, *, name: str, role: str
    ) -> None:
        self._identity = identity
        self._standing = standing
        self._endpoint = endpoint
        self.name = name
        self.role = role
        self.state = "detached"
        self.lease_seconds = float(LEASE_SECONDS)
        self.outgoing: list[Pieces] = []
        self.packet_bytes = MAX_PACKET_BYTES
        """About what a packet may hold: less than usual while the gateway has others to serve as well."""
        self.wake_at = NEVER
        self.features: frozenset[str] = frozenset()
        """What both ends of the present link know, of what not everyone does."""
        self._gateway = b""
        self._transcript = b""
        self._heard_at = 0.0
        self.relaxed = False
        """Whether the pulse is slow: nothing was at stake when it last beat."""
        self._ping_at = NEVER
        self._asked_at = NEVER
        """Since when an answer to a ping is awaited, with nothing heard since."""
        self._pings = 0

    @property
    def attached(self) -> bool:
        """Whether the gateway has welcomed us on the present link."""
        return self.state == "attached"

    def opened(self, now: float) -> list[Effect]:
        """A fresh link stands; the gateway speaks first."""
        self.state = "challenged"
        self.outgoing = []
        self.packet_bytes = MAX_PACKET_BYTES
        self._heard(now)
        return []

    def closed(self, reason: str) -> list[Effect]:
        """The link is gone."""
        was_attached = self.attached
        self.state = "detached"
        self.outgoing = []
        self.wake_at = NEVER
        return [Detached(reason)] if was_attached else []

    def say(self, record: Record) -> None:
        """Queue a control frame for the gateway."""
        self.outgoing.append(control(encode(record)))

    def leave(self) -> None:
        """Say goodbye: the gateway tells everyone at once."""
        self.say(Goodbye(code="left"))

    def heard(self, now: float) -> None:
        """Something came over the link."""
        self._heard_at, self._asked_at = now, NEVER

    def hurry(self, now: float) -> None:
        """Something is at stake from now on: the pulse quickens."""
        self.relaxed = False
        if self.attached:
            self._ping_at = min(self._ping_at, now + self.lease_seconds / 3)
            self.wake_at = min(self.wake_at, self._ping_at)

    def take(self, record: Record, now: float) -> list[Effect] | None:
        """Take a control frame; None if it is not about the attachment."""
        match record:
            case Challenge(version=version) if version != VERSION:
                error = VersionError(
                    f"the gateway speaks version {version or 'unknown'} of the protocol, this program version {VERSION}. "
                    "Update the older of the two: pip install --upgrade easyremote"
                )
                return [Turned(error)]
            case Challenge(nonce=nonce, gateway=gateway, features=features):
                if self.state != "challenged":
                    raise RemoteProtocolError("the gateway challenged a device it had welcomed")
                if gateway != self._standing.gateway:
                    return [Turned(_another_gateway(self._standing.gateway, gateway))]
                self._gateway = gateway
                self.features = frozenset(FEATURES).intersection(features)
                transcript = hello_transcript(nonce, gateway, self._endpoint, self.name, self.role)
                self._transcript = transcript
                self.say(
                    Hello(
                        endpoint=self._endpoint,
                        signature=self._identity.sign(transcript),
                        version=VERSION,
                        features=FEATURES,
                        membership=self._standing.credential,
                        name=self.name,
                        role=self.role,
                    )
                )
                return []
            case Welcome(gateway=gateway) if gateway != self._gateway:
                raise RemoteProtocolError("the gateway that welcomed us is not the one that challenged us")
            case Welcome():
                if self.state != "challenged":
                    raise RemoteProtocolError("the gateway welcomed a device twice")
                try:
                    verify(self._gateway, record.signature, welcome_transcript(self._transcript, record.name))
                except SignatureError:
                    return [Turned(_another_gateway(self._gateway, b""))]
                self.state = "attached"
                lease = record.lease_seconds
                self.lease_seconds = lease if lease >= LEASE_SECONDS_MIN else float(LEASE_SECONDS)
                self._heard(now)
                return [*self._renew(record.membership), Attached(record.name, record.gateway)]
            case RenewedRecord(membership=membership):
                return self._renew(membership)
            case Rejected(code=code, message=message):
                return [Turned(_rejection(code, message))]
            case Goodbye(code=("replaced" | "revoked") as code, message=message):
                return [Turned(_rejection(code, message))]
            case Goodbye(message=message):
                return [CloseLink(message)]
            case Ping(token=token):
                self.say(Pong(token))
                return []
            case Pong():
                return []
            case PacketLimit(bytes=most):
                self.packet_bytes = (
                    min(max(most, PACKET_BYTES_MIN), MAX_PACKET_BYTES) if most else MAX_PACKET_BYTES
                )
                return []
        return None

    def wake(self, now: float, *, at_stake: bool = True) -> list[Effect]:
        """Ping in time; give up a link over which the answer does not come.

        Args:
            now: The time.
            at_stake: Whether calls are open here.
        """
        if self.state == "detached":
            return []
        lease = self.lease_seconds
        patience_at = self._asked_at + 2 * lease / 3 if self.attached else self._heard_at + lease
        if now >= patience_at:
            self.wake_at = now + lease
            return [CloseLink(f"the gateway has been silent for {now - self._heard_at:.3g} s")]
        if now >= self._ping_at:
            if self.attached:
                self._pings += 1
                self.say(Ping(self._pings))
                if self._asked_at == NEVER:
                    self._asked_at, patience_at = now, now + 2 * lease / 3
            self.relaxed = not at_stake
            self._ping_at = now + (lease / 3 if at_stake else lease)
        self.wake_at = min(self._ping_at, patience_at)
        return []

    def _renew(self, credential: bytes) -> list[Effect]:
        """The gateway gave us a membership; it counts if the network's issuer signed it for us."""
        if credential and self._standing.take_credential(credential):
            return [Renewed(credential)]
        return []

    def _heard(self, now: float) -> None:
        self.heard(now)
        self.relaxed = False
        self._ping_at = now + self.lease_seconds / 3
        self.wake_at = self._ping_at


def _rejection(code: str, message: str) -> EasyRemoteError:
    if code in ("name_taken", "replaced"):
        return NameTakenError(message)
    if code in ("membership", "revoked", "role"):
        return MembershipError(message)
    if code == "version":
        return VersionError(message)
    return LinkError(message)


def _another_gateway(wanted: bytes, found: bytes) -> CertificateError:
    shown = f"shows another ({device_text(found)[:16]}…)" if found else "cannot prove that it has it"
    return CertificateError(
        f"the gateway of this network has the key {device_text(wanted)[:16]}…, and the one that answers {shown}. "
        "Either it was set up anew, or somebody answers in its place: ask its operator, then join it again"
    )
