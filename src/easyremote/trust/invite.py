"""Invites: one line of text that lets a new device in.

The line holds the network's root key, where its gateway is and how to know it, and the seed of a key pair
made for this invite. The gateway keeps the public half only, so what lies on its disk redeems nothing; the
new device signs its request with the other half, so the seed never travels.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Annotated

import msgspec

from easyremote.errors import InviteError
from easyremote.trust.identity import SEED_BYTES, Identity

PREFIX = "easyremote-invite:"
ENROLL_LABEL = b"easyremote/v1 enroll"
INVITE_BYTES_MAX = 2048
_CHECK_BYTES = 4

Key = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class Invite(msgspec.Struct, frozen=True, array_like=True):
    """What an invite says.

    Attributes:
        version: The form of the invite, 1.
        root: The network's root key.
        fingerprint: SHA-256 of the gateway's certificate; empty if a public authority vouches for it.
        gateway: The gateway's device id.
        addresses: Where to look for the gateway, each ``host:port``.
        seed: The invite's own secret; empty where the line only introduces a gateway to the network's own root.
        name: A name for the new device; empty if it may choose.
    """

    version: int
    root: Key
    fingerprint: Annotated[bytes, msgspec.Meta(max_length=32)]
    gateway: Key
    addresses: Annotated[list[str], msgspec.Meta(min_length=1, max_length=8)]
    seed: Annotated[bytes, msgspec.Meta(max_length=SEED_BYTES)]
    name: str = ""

    def __repr__(self) -> str:
        """Where it leads; never its secret."""
        return f"<Invite to {self.addresses[0]}>"

    @property
    def key(self) -> bytes:
        """The public half of the invite's key pair, by which the gateway knows it."""
        return Identity.from_seed(self.seed).device


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Invite)


def write_invite(invite: Invite) -> str:
    """The invite as one line."""
    body = _encoder.encode(invite)
    return PREFIX + base64.urlsafe_b64encode(body + _check(body)).decode("ascii").rstrip("=")


def read_invite(line: str) -> Invite:
    """The invite in a line.

    Raises:
        InviteError: The line is not an invite, or was cut or altered on its way.
    """
    text = "".join(line.split())
    if not text.startswith(PREFIX):
        raise InviteError(
            f"an invite begins with {PREFIX!r}, this line with {text[:18]!r}. Ask for one: `easynet invite`, "
            "on the gateway's machine"
        )
    text = text.removeprefix(PREFIX)
    damaged = InviteError("this invite was cut or altered on its way: copy the whole line again")
    if len(text) > INVITE_BYTES_MAX:
        raise damaged
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise damaged from None
    body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if _check(body) != check:
        raise damaged
    try:
        invite = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise damaged from None
    if len(invite.seed) not in (0, SEED_BYTES) or len(invite.fingerprint) not in (0, 32):
        raise damaged
    if invite.version != 1:
        raise InviteError(
            f"an invite of version {invite.version}; this program reads version 1: pip install --upgrade easyremote"
        )
    return invite


def enroll_transcript(gateway: bytes, device: bytes, name: str, role: str, invite: bytes) -> bytes:
    """What a new device signs, with its own key and with the invite's."""
    fields = (ENROLL_LABEL, gateway, device, name.encode(), role.encode(), invite)
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def _check(body: bytes) -> bytes:
    """Finds slips of copying; an attacker can make it, and gains nothing: the gateway does not know the key."""
    return hashlib.sha256(body).digest()[:_CHECK_BYTES]
