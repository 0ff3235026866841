"""How a device is attached to its gateway: challenge, hello, welcome, and a pulse.

One question: is the gateway there, and does it know us? The gateway's first frame is a challenge; the
device signs it, so nobody can attach as a device whose key they do not hold. Afterwards each side must
hear the other at least once a lease; silence longer than that means the link is dead, whatever TCP says.
"""

from __future__ import annotations

from easyremote.errors import EasyRemoteError, LinkError, NameTakenError, RemoteProtocolError
from easyremote.protocol.effects import Attached, CloseLink, Detached, Effect, Turned
from easyremote.protocol.machine import NEVER
from easyremote.trust.identity import Identity, verify
from easyremote.wire.frame import Pieces, control
from easyremote.wire.limits import LEASE_SECONDS
from easyremote.wire.messages import Challenge, Goodbye, Hello, Ping, Pong, Rejected, Welcome, encode
from easyremote.wire.messages import Control as Record

VERSION = "1"
FEATURES: list[str] = []

LEASE_SECONDS_MIN = 0.05
"""A gateway that asks for shorter leases gets the usual one."""
HELLO_LABEL = b"easyremote/v1 hello"


def hello_transcript(nonce: bytes, gateway: bytes, endpoint: bytes, name: str, role: str) -> bytes:
    """What a device signs to attach; the lengths make it unambiguous."""
    fields = (HELLO_LABEL, nonce, gateway, endpoint, name.encode(), role.encode())
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def check_hello(hello: Hello, nonce: bytes, gateway: bytes) -> None:
    """The gateway's side: is this really that device?

    Raises:
        SignatureError: The signature does not fit.
    """
    transcript = hello_transcript(nonce, gateway, hello.endpoint, hello.name, hello.role)
    verify(hello.endpoint[:32], hello.signature, transcript)


class Attachment:
    """The device's side of being attached; ``detached → challenged → attached``."""

    def __init__(self, identity: Identity, endpoint: bytes, *, name: str, role: str) -> None:
        self._identity = identity
        self._endpoint = endpoint
        self.name = name
        self.role = role
        self.state = "detached"
        self.lease_seconds = float(LEASE_SECONDS)
        self.outgoing: list[Pieces] = []
        self.wake_at = NEVER
        self._gateway = b""
        self._heard_at = 0.0
        self._ping_at = NEVER
        self._pings = 0

    @property
    def attached(self) -> bool:
        """Whether the gateway has welcomed us on the present link."""
        return self.state == "attached"

    def opened(self, now: float) -> list[Effect]:
        """A fresh link stands; the gateway speaks first."""
        self.state = "challenged"
        self.outgoing = []
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
        self._heard_at = now

    def take(self, record: Record, now: float) -> list[Effect] | None:
        """Take a control frame; None if it is not about the attachment."""
        match record:
            case Challenge(version=version) if version != VERSION:
                error = LinkError(
                    f"the gateway speaks version {version or 'unknown'} of the protocol, this program version {VERSION}. "
                    "Update the older of the two: pip install --upgrade easyremote"
                )
                return [Turned(error)]
            case Challenge(nonce=nonce, gateway=gateway):
                if self.state != "challenged":
                    raise RemoteProtocolError("the gateway challenged a device it had welcomed")
                self._gateway = gateway
                transcript = hello_transcript(nonce, gateway, self._endpoint, self.name, self.role)
                self.say(
                    Hello(
                        endpoint=self._endpoint,
                        signature=self._identity.sign(transcript),
                        version=VERSION,
                        features=FEATURES,
                        name=self.name,
                        role=self.role,
                    )
                )
                return []
            case Welcome(gateway=gateway) if gateway != self._gateway:
                raise RemoteProtocolError("the gateway that welcomed us is not the one that challenged us")
            case Welcome():
                self.state = "attached"
                lease = record.lease_seconds
                self.lease_seconds = lease if lease >= LEASE_SECONDS_MIN else float(LEASE_SECONDS)
                self._heard(now)
                return [Attached(record.name, record.gateway)]
            case Rejected(code=code, message=message):
                return [Turned(_rejection(code, message))]
            case Goodbye(code="replaced", message=message):
                return [Turned(NameTakenError(message))]
            case Goodbye(message=message):
                return [CloseLink(message)]
            case Ping(token=token):
                self.say(Pong(token))
                return []
            case Pong():
                return []
        return None

    def wake(self, now: float) -> list[Effect]:
        """Ping in time; give up a link that has been silent for a whole lease."""
        if self.state == "detached":
            return []
        if now - self._heard_at >= self.lease_seconds:
            self.wake_at = now + self.lease_seconds
            return [CloseLink(f"the gateway has been silent for {self.lease_seconds:g} s")]
        if now >= self._ping_at:
            if self.attached:
                self._pings += 1
                self.say(Ping(self._pings))
            self._ping_at = now + self.lease_seconds / 3
        self.wake_at = min(self._ping_at, self._heard_at + self.lease_seconds)
        return []

    def _heard(self, now: float) -> None:
        self._heard_at = now
        self._ping_at = now + self.lease_seconds / 3
        self.wake_at = self._ping_at


def _rejection(code: str, message: str) -> EasyRemoteError:
    return NameTakenError(message) if code == "name_taken" else LinkError(message)
