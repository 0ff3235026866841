"""A charter: the network's root lets a key sign memberships, of these roles, until then.

The root may be kept offline. What stands at the gateway is then a charter and the key it names: enough to
admit nodes and clients, never enough to make an operator, and worth nothing once it has expired.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from easyremote.errors import MembershipError, SignatureError
from easyremote.trust.identity import Identity, device_text, verify

LABEL = b"easyremote/v1 charter"
ROLES = ("node", "client", "operator")
CHARTER_BYTES_MAX = 1024

Key = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class Charter(msgspec.Struct, frozen=True, array_like=True):
    """What the root says of an issuer.

    Attributes:
        version: The form of the charter, 1.
        root: The network's root key; it names the network.
        issuer: The key that may sign memberships.
        network: What people call the network.
        roles: The roles it may give.
        open: Whether anyone may join. Functions of an open network are for their owner's devices unless
            their node says otherwise.
        expires: Seconds since 1970; memberships never outlive it.
    """

    version: int
    root: Key
    issuer: Key
    network: Annotated[str, msgspec.Meta(max_length=64)]
    roles: Annotated[list[str], msgspec.Meta(max_length=8)]
    open: bool
    expires: float


class _Signed(msgspec.Struct, frozen=True, array_like=True):
    body: Annotated[bytes, msgspec.Meta(max_length=CHARTER_BYTES_MAX)]
    signature: bytes


_encoder = msgspec.msgpack.Encoder()
_signed = msgspec.msgpack.Decoder(_Signed)
_charter = msgspec.msgpack.Decoder(Charter)


def sign_charter(root: Identity, charter: Charter) -> bytes:
    """The charter with the root's signature, as it is kept and shown."""
    body = _encoder.encode(charter)
    return _encoder.encode(_Signed(body, root.sign(LABEL + body)))


def read_charter(data: bytes) -> Charter:
    """A charter that its root has signed; whether that root is to be trusted is for the reader to say.

    Raises:
        MembershipError: It is malformed, or not signed.
    """
    try:
        signed = _signed.decode(data)
        charter = _charter.decode(signed.body)
        verify(charter.root, signed.signature, LABEL + signed.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, SignatureError):
        raise MembershipError("a charter is malformed, or not signed by its network's root") from None
    if charter.version != 1:
        raise MembershipError(f"a charter of version {charter.version}; this program reads version 1")
    return charter


def network_text(root: bytes) -> str:
    """A network as people see it: the beginning of its root key."""
    return device_text(root)[:16]
