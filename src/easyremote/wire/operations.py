"""What an operator asks of a gateway, and what it answers: msgpack records inside ``Operate`` and ``Operated``."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec

from easyremote.errors import RemoteProtocolError

Device: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=128)]


class MakeInvite(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Let whoever holds the private half of this key enroll.

    ``functions`` is empty for all; ``account`` is empty for an account of the device's own; ``expires`` is in seconds since 1970.
    """

    key: Device
    role: Text
    uses: int
    expires: float
    functions: Annotated[list[Text], msgspec.Meta(max_length=64)] = []
    name: Text = ""
    account: Text = ""


class ListDevices(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Who belongs to the network?"""


class ApproveDevice(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Take a device that waits, or was revoked; ``credential`` if the operator's own root signed one."""

    device: Device
    credential: bytes = b""


class RevokeDevice(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """This device does not count from now on, and its names are free."""

    device: Device


class RenameDevice(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Call a device, or the node of this old name on it, something else."""

    device: Device
    name: Text
    old: Text = ""


class RevokeGrant(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """This grant, and all that was narrowed from it, does not count from now on."""

    grant: Annotated[bytes, msgspec.Meta(max_length=64)]


class ShowNetwork(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """What is this network?"""


class RotateIssuer(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """Sign memberships with a fresh key, and believe the old one no longer; ``charter`` and ``seed`` if brought."""

    charter: bytes = b""
    seed: bytes = b""


Operation: TypeAlias = (
    MakeInvite
    | ListDevices
    | ApproveDevice
    | RevokeDevice
    | RenameDevice
    | RevokeGrant
    | ShowNetwork
    | RotateIssuer
)


class DeviceRecord(msgspec.Struct, frozen=True, array_like=True):
    """A device as its network's gateway knows it; ``status`` is ``active pending`` or ``revoked``."""

    device: Device
    name: str
    roles: list[str]
    account: str
    functions: list[str]
    status: str
    joined: float
    names: list[str] = []
    online: bool = False


class NetworkRecord(msgspec.Struct, frozen=True, array_like=True):
    """A network as its gateway knows it."""

    root: Device
    name: str
    open: bool
    roles: list[str]
    charter_expires: float
    root_here: bool
    gateway: Device
    fingerprint: bytes
    devices: int
    addresses: list[str] = []
    public: bool = False


_encoder = msgspec.msgpack.Encoder()
_operation = msgspec.msgpack.Decoder(Operation)
_devices = msgspec.msgpack.Decoder(list[DeviceRecord])
_network = msgspec.msgpack.Decoder(NetworkRecord)


def encode_operation(record: Operation | NetworkRecord | list[DeviceRecord]) -> bytes:
    """The bytes of a request or an answer."""
    return _encoder.encode(record)


def decode_operation(data: bytes) -> Operation:
    """The request in these bytes.

    Raises:
        RemoteProtocolError: There is none.
    """
    return _decode(_operation, data)  # type: ignore[no-any-return]


def decode_devices(data: bytes) -> list[DeviceRecord]:
    """The devices in an answer.

    Raises:
        RemoteProtocolError: There are none.
    """
    return _decode(_devices, data)  # type: ignore[no-any-return]


def decode_network(data: bytes) -> NetworkRecord:
    """The network in an answer.

    Raises:
        RemoteProtocolError: There is none.
    """
    return _decode(_network, data)  # type: ignore[no-any-return]


def _decode(decoder: Any, data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteProtocolError(f"this is not an operator's request or its answer: {error}") from None
