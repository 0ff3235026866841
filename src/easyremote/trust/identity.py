"""A device's identity: an Ed25519 pair (RFC 8032). The public key is the device's id.

A device id nobody needs a private key to sign for is no identity, so those few are refused: encodings of
small order, and those of RFC 8032, 5.1.3, that stand for a number above the field's.
"""

from __future__ import annotations

import base64
import binascii

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from easyremote.errors import IdentityError, SignatureError

DEVICE_BYTES = 32
SEED_BYTES = 32
SIGNATURE_BYTES = 64
DEVICE_TEXT_CHARACTERS = 52

_FIELD = 2**255 - 19
_ORDER_8 = 0x5FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER = frozenset([0, 1, _FIELD - 1, _ORDER_8, _FIELD - _ORDER_8])
"""The y of the eight points whose order divides 8; with them a signature fits many messages."""


class Identity:
    """The private half; it signs, and never shows itself."""

    __slots__ = ("_private", "device")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.device: bytes = private.public_key().public_bytes_raw()

    @classmethod
    def from_seed(cls, seed: bytes) -> Identity:
        """The identity of a 32-byte seed.

        Raises:
            IdentityError: The seed has another length.
        """
        if len(seed) != SEED_BYTES:
            raise IdentityError(f"an identity's seed has {SEED_BYTES} bytes, found {len(seed)}")
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, data: bytes) -> bytes:
        """The 64-byte signature of ``data``."""
        return self._private.sign(data)

    def seed(self) -> bytes:
        """The private half, for this room alone: tokens are signed by a library of its own."""
        return self._private.private_bytes_raw()

    def __repr__(self) -> str:
        """The public half only."""
        return f"<Identity {device_text(self.device)}>"

    def __reduce__(self) -> str:
        """An identity does not leave its process."""
        raise TypeError("an Identity holds a private key and is not pickled")


def verify(device: bytes, signature: bytes, data: bytes) -> None:
    """Check that the device signed this.

    Raises:
        SignatureError: It did not, or the key or the signature is malformed.
    """
    y = int.from_bytes(device, "little") & (1 << 255) - 1
    if y >= _FIELD or y in _SMALL_ORDER:
        raise SignatureError(f"{device_text(device)[:8]}… is not a device's key: anyone could sign for it")
    try:
        Ed25519PublicKey.from_public_bytes(device).verify(signature, data)
    except (InvalidSignature, ValueError):
        raise SignatureError(f"not signed by device {device_text(device)[:8]}…") from None


def device_text(device: bytes) -> str:
    """A device id as people see it: base32, lower case, without padding (RFC 4648)."""
    return base64.b32encode(device).decode("ascii").rstrip("=").lower()


def looks_like_device(text: str) -> bool:
    """Whether a text could be taken for a device id."""
    return len(text.strip()) == DEVICE_TEXT_CHARACTERS


def parse_device(text: str) -> bytes:
    """The device id in a text.

    Raises:
        IdentityError: It is not one.
    """
    padded = text.strip().upper() + "=" * (-len(text.strip()) % 8)
    try:
        device = base64.b32decode(padded)
    except (binascii.Error, ValueError):
        device = b""
    if len(device) != DEVICE_BYTES or device_text(device) != text.strip().lower():
        raise IdentityError(f"a device id is 52 characters of base32, not {text!r}")
    return device
