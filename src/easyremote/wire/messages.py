"""Control frames as records, and back: the door to generated protobuf code."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import msgspec
from google.protobuf.message import DecodeError as ProtobufError

from easyremote.errors import RemoteProtocolError
from easyremote.wire._pb.easyremote.v1 import gateway_pb2 as pb
from easyremote.wire.limits import ENDPOINT_BYTES


class Challenge(msgspec.Struct, frozen=True):
    """The gateway's first words: who it is, and bytes for the device to sign."""

    nonce: bytes = b""
    version: str = ""
    features: list[str] = []
    gateway: bytes = b""


class Hello(msgspec.Struct, frozen=True):
    """Who the device is; the signature covers the challenge."""

    endpoint: bytes = b""
    signature: bytes = b""
    version: str = ""
    features: list[str] = []
    membership: bytes = b""
    name: str = ""
    role: str = ""


class Welcome(msgspec.Struct, frozen=True):
    """The device is attached, under this name; each side must be heard once a lease."""

    version: str = ""
    features: list[str] = []
    lease_seconds: float = 0.0
    name: str = ""
    gateway: bytes = b""
    membership: bytes = b""
    signature: bytes = b""


class Rejected(msgspec.Struct, frozen=True):
    """The device is not taken; trying again as it is would not help."""

    code: str = ""
    message: str = ""


class Advertise(msgspec.Struct, frozen=True):
    """A node's card, signed by it."""

    card: bytes = b""
    signature: bytes = b""


class LoadReport(msgspec.Struct, frozen=True):
    """How busy a node is."""

    running: int = 0
    waiting: int = 0
    capacity: int = 0
    cpu: float = 0.0


class Watch(msgspec.Struct, frozen=True):
    """Tell me who is there, and from now on what changes."""


class Presence(msgspec.Struct, frozen=True):
    """A node that is attached, with the card it signed."""

    endpoint: bytes = b""
    name: str = ""
    card: bytes = b""
    signature: bytes = b""
    load: LoadReport = LoadReport()


class Snapshot(msgspec.Struct, frozen=True):
    """Every node that is attached at this moment; ``more`` if the next snapshot goes on with it."""

    nodes: list[Presence] = []
    more: bool = False


class Departed(msgspec.Struct, frozen=True):
    """A node is no longer attached; ``reason`` is ``closed silent left`` or ``replaced``."""

    endpoint: bytes = b""
    reason: str = ""


class NodeLoad(msgspec.Struct, frozen=True):
    """A node's load has changed."""

    endpoint: bytes = b""
    load: LoadReport = LoadReport()


class Change(msgspec.Struct, frozen=True):
    """One thing in the directory has changed; ``Presence`` for a node that is new or has a new card."""

    event: Presence | Departed | NodeLoad | None = None


class Undeliverable(msgspec.Struct, frozen=True):
    """A carried frame could not be handed over; ``head`` is how it began."""

    peer: bytes = b""
    head: bytes = b""
    reason: str = ""


class Ping(msgspec.Struct, frozen=True):
    """Are you there?"""

    token: int = 0


class Pong(msgspec.Struct, frozen=True):
    """I am."""

    token: int = 0


class Goodbye(msgspec.Struct, frozen=True):
    """I am leaving, or you must."""

    code: str = ""
    message: str = ""


class Renewed(msgspec.Struct, frozen=True):
    """A membership that takes the place of the one before."""

    membership: bytes = b""


class Revoked(msgspec.Struct, frozen=True):
    """The list of revocations as it is now."""

    revocations: bytes = b""


class Operate(msgspec.Struct, frozen=True):
    """What an operator asks of the gateway."""

    number: int = 0
    request: bytes = b""


class Operated(msgspec.Struct, frozen=True):
    """What came of it; ``error`` says why it was not done."""

    number: int = 0
    reply: bytes = b""
    error: str = ""


class Post(msgspec.Struct, frozen=True):
    """What a device asks of the gateway's mailbox."""

    number: int = 0
    request: bytes = b""


class Posted(msgspec.Struct, frozen=True):
    """What came of it; ``error`` says why it was not done, ``code`` what kind of reason that is."""

    number: int = 0
    reply: bytes = b""
    error: str = ""
    code: str = ""


class Mail(msgspec.Struct, frozen=True):
    """Something waits for this node in the gateway's mailbox."""


class PacketLimit(msgspec.Struct, frozen=True):
    """Others send as well: send no packets larger than this, or, if 0, what packets you like."""

    bytes: int = 0


class EnrollRequest(msgspec.Struct, frozen=True):
    """A device that is not a member asks to be one."""

    device: bytes = b""
    name: str = ""
    role: str = ""
    invite: bytes = b""
    proof: bytes = b""
    signature: bytes = b""


class EnrollReply(msgspec.Struct, frozen=True):
    """What came of it; ``code`` is empty, or says why not: ``needed refused later pending``."""

    code: str = ""
    message: str = ""
    membership: bytes = b""
    root: bytes = b""
    gateway: bytes = b""
    name: str = ""


Control: TypeAlias = (
    Challenge
    | Hello
    | Welcome
    | Rejected
    | Advertise
    | LoadReport
    | Watch
    | Snapshot
    | Change
    | Undeliverable
    | Ping
    | Pong
    | Goodbye
    | Renewed
    | Revoked
    | Operate
    | Operated
    | PacketLimit
    | Post
    | Posted
    | Mail
)

_KINDS: dict[type, str] = {
    Challenge: "challenge",
    Hello: "hello",
    Welcome: "welcome",
    Rejected: "rejected",
    Advertise: "advertise",
    LoadReport: "load_report",
    Watch: "watch",
    Snapshot: "snapshot",
    Change: "change",
    Undeliverable: "undeliverable",
    Ping: "ping",
    Pong: "pong",
    Goodbye: "goodbye",
    Renewed: "renewed",
    Revoked: "revoked",
    Operate: "operate",
    Operated: "operated",
    PacketLimit: "packet_limit",
    Post: "post",
    Posted: "posted",
    Mail: "mail",
}
_RECORDS: dict[str, type] = {kind: record for record, kind in _KINDS.items()}
_EVENTS: dict[type, str] = {Presence: "arrived", Departed: "departed", NodeLoad: "load"}
_SIZES = {"endpoint": ENDPOINT_BYTES, "peer": ENDPOINT_BYTES, "nonce": 32, "gateway": 32}


def encode(record: Control) -> bytes:
    """The frame of a record, without the packet around it."""
    frame = pb.Frame()
    kind = _KINDS[type(record)]
    message = getattr(frame, kind)
    message.SetInParent()
    _fill(message, record)
    return bytes(frame.SerializeToString())


def decode(frame: bytes | memoryview) -> Control | None:
    """The record in a frame; None for a kind that is not known here, which is to be ignored.

    Raises:
        RemoteProtocolError: The bytes are not a frame, or a field has the wrong size or is out of range.
    """
    try:
        message = pb.Frame.FromString(bytes(frame))
    except ProtobufError as error:
        raise RemoteProtocolError(f"a control frame is not protobuf: {error}") from None
    kind = message.WhichOneof("kind")
    made = _RECORDS.get(kind or "")
    if made is None:
        return None
    return _read(made, getattr(message, kind))  # type: ignore[no-any-return]


def encode_enrollment(record: EnrollRequest | EnrollReply) -> bytes:
    """A request to enroll, or its reply, as gRPC carries it."""
    message = pb.EnrollRequest() if isinstance(record, EnrollRequest) else pb.EnrollReply()
    _fill(message, record)
    return bytes(message.SerializeToString())


def decode_enroll_request(data: bytes) -> EnrollRequest:
    """The request in these bytes.

    Raises:
        RemoteProtocolError: They are not one.
    """
    return _read_message(EnrollRequest, pb.EnrollRequest, data)  # type: ignore[no-any-return]


def decode_enroll_reply(data: bytes) -> EnrollReply:
    """The reply in these bytes.

    Raises:
        RemoteProtocolError: They are not one.
    """
    return _read_message(EnrollReply, pb.EnrollReply, data)  # type: ignore[no-any-return]


def _read_message(made: type, generated: Any, data: bytes) -> Any:
    try:
        message = generated.FromString(bytes(data))
    except ProtobufError as error:
        raise RemoteProtocolError(f"{made.__name__} is not protobuf: {error}") from None
    return made(**{name: getattr(message, name) for name in made.__struct_fields__})  # type: ignore[attr-defined]


def load_descriptors() -> Any:
    """The schema's descriptor; having been loaded is what lets gRPC's reflection show it."""
    return pb.DESCRIPTOR


def _fill(message: Any, record: Any) -> None:
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if isinstance(record, Change):
            if value is not None:
                part = getattr(message, _EVENTS[type(value)])
                part.SetInParent()
                _fill(part, value)
        elif isinstance(value, msgspec.Struct):
            part = getattr(message, name)
            part.SetInParent()
            _fill(part, value)
        elif isinstance(value, list):
            target = getattr(message, name)
            for one in value:
                if isinstance(one, msgspec.Struct):
                    _fill(target.add(), one)
                else:
                    target.append(one)
        else:
            setattr(message, name, value)


def _read(made: type, message: Any) -> Any:
    if made is Change:
        kind = message.WhichOneof("event")
        records = {name: record for record, name in _EVENTS.items()}
        return Change(None if kind is None else _read(records[kind], getattr(message, kind)))
    fields: dict[str, Any] = {}
    for name in made.__struct_fields__:  # type: ignore[attr-defined]
        value = getattr(message, name)
        if name == "load":
            value = _read(LoadReport, value)
        elif name == "nodes":
            value = [_read(Presence, one) for one in value]
        elif name == "features":
            value = list(value)
        elif name in _SIZES and len(value) != _SIZES[name]:
            raise RemoteProtocolError(f"the {name} of a frame has {_SIZES[name]} bytes, found {len(value)}")
        elif isinstance(value, float) and not 0.0 <= value < math.inf:
            raise RemoteProtocolError(f"the {name} of a frame is a number from 0 up, found {value}")
        fields[name] = value
    return made(**fields)
