"""All that can happen to a device's machine."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from easyremote.schedule.requirements import Requirement
from easyremote.trust.rules import Rule
from easyremote.wire.frame import Carry, Control
from easyremote.wire.values import Segments

Encoded: TypeAlias = bytes | Segments
CallKey: TypeAlias = tuple[bytes, int]
"""A call as its node knows it: the caller's endpoint and the caller's number for it."""


class Woken(msgspec.Struct, frozen=True, gc=False):
    """The time a machine asked to be woken at has come."""


class Joined(msgspec.Struct, frozen=True):
    """What this device keeps of its network, read afresh before each link.

    ``root`` is the network's root key, ``gateway`` the gateway's device id, ``credential`` this device's
    membership, ``revocations`` the newest list it has seen, ``grants`` what it was given.
    """

    root: bytes
    gateway: bytes
    credential: bytes
    revocations: bytes = b""
    grants: tuple[bytes, ...] = ()


class OperationRequested(msgspec.Struct, frozen=True, gc=False):
    """The program, an operator's, asks something of the gateway."""

    number: int
    request: bytes


class MailRequested(msgspec.Struct, frozen=True, gc=False):
    """The program asks something of the gateway's mailbox."""

    number: int
    request: bytes


class JobOpened(msgspec.Struct, frozen=True):
    """A letter was opened: the call in it is to be made now, as if its caller asked for it.

    ``tokens`` is what the caller shows of itself; they are to have counted at ``as_of``, in seconds since 1970.
    """

    key: CallKey
    function: str
    arguments: bytes
    timeout: float | None
    tokens: list[bytes]
    as_of: float


class JobCancelled(msgspec.Struct, frozen=True, gc=False):
    """Nobody wants the job's result any more."""

    key: CallKey


class LinkOpened(msgspec.Struct, frozen=True, gc=False):
    """A fresh link to the gateway stands."""


class LinkClosed(msgspec.Struct, frozen=True, gc=False):
    """The link to the gateway is gone."""

    reason: str = ""


class PacketReceived(msgspec.Struct, frozen=True):
    """Frames came over the link, in this order; ``link`` is a direct link's number, 0 for the gateway's."""

    frames: list[Carry | Control]
    link: int = 0


class DirectOpened(msgspec.Struct, frozen=True, gc=False):
    """A fresh direct link stands: to the endpoint ``peer`` that was dialled, or from whoever dialled here.

    ``nonce`` are 32 random bytes for them to sign.
    """

    link: int
    peer: bytes = b""
    nonce: bytes = b""


class DirectClosed(msgspec.Struct, frozen=True, gc=False):
    """A direct link is gone."""

    link: int
    reason: str = ""


class DialFailed(msgspec.Struct, frozen=True, gc=False):
    """None of the endpoint's addresses answered."""

    peer: bytes


class CallRequested(msgspec.Struct, frozen=True):
    """The program wants a call made.

    ``timeout`` and ``patience`` are seconds; ``patience`` bounds how long a call waits for a node
    with room. ``stream`` asks for items instead of one value. ``beside`` is another call, whose node is to be left out.
    """

    call: int
    function: str
    arguments: Encoded
    node: str | None = None
    timeout: float | None = None
    stream: bool = False
    policy: str = "prequal"
    requirement: Requirement | None = None
    patience: float = 30.0
    beside: int = 0


class CallCancelled(msgspec.Struct, frozen=True, gc=False):
    """The program no longer wants the answer."""

    call: int


class ItemsTaken(msgspec.Struct, frozen=True, gc=False):
    """The program consumed items of a stream, of this size in all."""

    call: int
    size: int


class Offer(msgspec.Struct, frozen=True, gc=False):
    """What the worker must know of a function to admit calls to it."""

    name: str
    max_concurrent: int | None = None
    timeout_seconds: float | None = None
    rule: Rule | None = None
    idempotent: bool = False


class Offered(msgspec.Struct, frozen=True, gc=False):
    """A function is served from now on."""

    offer: Offer


class Withdrawn(msgspec.Struct, frozen=True, gc=False):
    """A function is served no longer."""

    name: str


class CardChanged(msgspec.Struct, frozen=True, gc=False):
    """The node's signed card is new and must be advertised."""

    card: bytes
    signature: bytes


class DrainStarted(msgspec.Struct, frozen=True, gc=False):
    """Nothing new is to be taken; what runs may finish."""


class Done(msgspec.Struct, frozen=True, gc=False):
    """A call's function returned."""

    key: CallKey
    value: Encoded


class Failed(msgspec.Struct, frozen=True, gc=False):
    """A call's function raised, or could not be run; ``kind`` as in ``bundle.Fault``."""

    key: CallKey
    kind: str
    type_name: str
    message: str
    traceback: str = ""
    builtin: str = ""


class Yielded(msgspec.Struct, frozen=True, gc=False):
    """A call's generator gave an item."""

    key: CallKey
    value: Encoded


class Ended(msgspec.Struct, frozen=True, gc=False):
    """A call's generator is finished."""

    key: CallKey


class Stopped(msgspec.Struct, frozen=True, gc=False):
    """Code that was told to stop has really ended; its place is free."""

    key: CallKey


Answer: TypeAlias = Done | Failed | Yielded | Ended | Stopped

Event: TypeAlias = (
    Woken
    | Joined
    | OperationRequested
    | MailRequested
    | JobOpened
    | JobCancelled
    | LinkOpened
    | LinkClosed
    | PacketReceived
    | DirectOpened
    | DirectClosed
    | DialFailed
    | CallRequested
    | CallCancelled
    | ItemsTaken
    | Offered
    | Withdrawn
    | CardChanged
    | DrainStarted
    | Answer
)
