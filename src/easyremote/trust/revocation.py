"""Lists of revocations: which devices, grants and issuers no longer count.

A list is whole, numbered, and signed by an issuer under its charter. A device keeps the newest it has seen,
also over restarts, so a gateway cannot bring an old one back; it can only be late with a new one, for as
long as memberships last.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from easyremote.errors import MembershipError, RevocationError, SignatureError
from easyremote.trust.charter import CHARTER_BYTES_MAX, read_charter
from easyremote.trust.identity import Identity, verify
from easyremote.wire.limits import REVOCATIONS_MAX

LABEL = b"easyremote/v1 revocations"

_Names = Annotated[list[bytes], msgspec.Meta(max_length=REVOCATIONS_MAX)]


class Revocations(msgspec.Struct, frozen=True, array_like=True):
    """What no longer counts in a network; ``number`` grows with each list."""

    version: int = 1
    number: int = 0
    devices: _Names = []
    grants: _Names = []
    issuers: _Names = []


class _Signed(msgspec.Struct, frozen=True, array_like=True):
    charter: Annotated[bytes, msgspec.Meta(max_length=CHARTER_BYTES_MAX + 128)]
    body: bytes
    signature: bytes


_encoder = msgspec.msgpack.Encoder()
_signed = msgspec.msgpack.Decoder(_Signed)
_revocations = msgspec.msgpack.Decoder(Revocations)


def sign_revocations(issuer: Identity, charter: bytes, revocations: Revocations) -> bytes:
    """The list with its issuer's signature and charter."""
    body = _encoder.encode(revocations)
    return _encoder.encode(_Signed(charter, body, issuer.sign(LABEL + body)))


def read_revocations(data: bytes, root: bytes, now: float) -> tuple[Revocations, bytes]:
    """A list that an issuer of this network has signed, and which issuer that was.

    Raises:
        RevocationError: It is malformed, not signed, or another network's.
    """
    try:
        signed = _signed.decode(data)
        charter = read_charter(signed.charter)
        verify(charter.issuer, signed.signature, LABEL + signed.body)
        revocations = _revocations.decode(signed.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise RevocationError("a list of revocations is malformed") from None
    except (SignatureError, MembershipError) as error:
        raise RevocationError(f"a list of revocations is not signed as it should be: {error}") from None
    if charter.root != root or revocations.version != 1:
        raise RevocationError("a list of revocations of another network, or of a version not known here")
    if charter.expires <= now:
        raise RevocationError("a list of revocations by an issuer whose charter has expired")
    return revocations, charter.issuer
