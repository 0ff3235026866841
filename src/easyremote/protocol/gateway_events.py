"""All that can happen to a gateway's machine; records, which decide nothing."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from easyremote.wire.frame import Carry, Control


class GatewayLinkOpened(msgspec.Struct, frozen=True, gc=False):
    """A device connected from this address; ``nonce`` is 32 fresh random bytes for it to sign."""

    link: int
    nonce: bytes
    address: str = ""


class GatewayLinkClosed(msgspec.Struct, frozen=True, gc=False):
    """A link is gone; ``reason`` is ``closed``, ``left`` or ``silent``."""

    link: int
    reason: str = "closed"


class GatewayPacketReceived(msgspec.Struct, frozen=True):
    """Frames came over a link, in this order."""

    link: int
    frames: list[Carry | Control]
    size: int = 0


class GatewayWoken(msgspec.Struct, frozen=True, gc=False):
    """The time the router asked to be woken at has come."""


class DeviceAdmitted(msgspec.Struct, frozen=True):
    """A device that said hello is a member, and is to be known by this name.

    ``membership`` is what it is to show from now on, empty if what it showed will do; it is due for the
    next after ``renew_seconds``.
    """

    link: int
    name: str
    roles: tuple[str, ...]
    membership: bytes
    renew_seconds: float
    signature: bytes


class DeviceRefused(msgspec.Struct, frozen=True, gc=False):
    """A device that said hello does not get in."""

    link: int
    code: str
    message: str


class MembershipRenewed(msgspec.Struct, frozen=True, gc=False):
    """A member gets its next membership."""

    link: int
    membership: bytes
    renew_seconds: float


class OperationFinished(msgspec.Struct, frozen=True, gc=False):
    """What came of what an operator asked."""

    link: int
    number: int
    reply: bytes = b""
    error: str = ""


class MailAnswered(msgspec.Struct, frozen=True, gc=False):
    """What came of what a device asked of the mailbox."""

    link: int
    number: int
    reply: bytes = b""
    error: str = ""
    code: str = ""


class MailArrived(msgspec.Struct, frozen=True, gc=False):
    """There is something in the mailbox for the node of this name on this device."""

    device: bytes
    node: str


class DeviceRenamed(msgspec.Struct, frozen=True, gc=False):
    """A device has another name now; it must connect again to be known by it."""

    device: bytes
    old: str = ""
    new: str = ""


class RevocationsIssued(msgspec.Struct, frozen=True):
    """There is a new list of revocations: everybody is told, and these devices are out."""

    revocations: bytes
    devices: frozenset[bytes]


RouterEvent: TypeAlias = (
    GatewayLinkOpened
    | GatewayLinkClosed
    | GatewayPacketReceived
    | GatewayWoken
    | DeviceAdmitted
    | DeviceRefused
    | MembershipRenewed
    | OperationFinished
    | MailAnswered
    | MailArrived
    | DeviceRenamed
    | RevocationsIssued
)
