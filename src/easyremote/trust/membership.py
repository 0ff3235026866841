"""Memberships: who a device is in its network.

A membership is a Biscuit token signed by an issuer, and travels with the issuer's charter, which the
network's root signed: anyone who knows the root key can check both, and nobody else's word is needed. It
says which device, which name, which roles, whose account, which functions, until when. It is bound to the
device's key, so showing somebody else's gains nothing.
"""

from __future__ import annotations

import re
from collections.abc import Container
from fnmatch import fnmatchcase
from typing import Annotated, Any

import msgspec

from easyremote.errors import MembershipError, TrustError
from easyremote.trust.charter import CHARTER_BYTES_MAX, Charter, network_text, read_charter
from easyremote.trust.identity import Identity, device_text, looks_like_device
from easyremote.trust.tokens import build, moment, open_token, query
from easyremote.wire.limits import TOKEN_BYTES_MAX

MEMBERSHIP_SECONDS = 24 * 3600.0
"""How long a membership lasts; a device in good standing is given the next long before."""
_EVERYTHING = "*"


class Membership(msgspec.Struct, frozen=True):
    """A membership that has been checked.

    Attributes:
        device: The device's id.
        name: Its name in the network; a node's is what callers call it by.
        roles: Of ``node client operator``.
        account: Whose device it is: credits and ``allow="account"`` go by it.
        functions: Patterns of the functions it may call, ``*`` for any; as in ``vision.*``.
        expires: Seconds since 1970.
        issuer: Who signed it.
        network: The network's root key.
        open: Whether anyone may join that network.
    """

    device: bytes
    name: str
    roles: tuple[str, ...]
    account: str
    functions: tuple[str, ...]
    expires: float
    issuer: bytes
    network: bytes
    open: bool = False

    def may_call(self, *names: str) -> bool:
        """Whether the membership lets its device call a function of one of these names."""
        return any(fnmatchcase(name, pattern) for pattern in self.functions for name in names)


def role_of(roles: Container[str]) -> str:
    """The one role that says most of several; empty if there is none."""
    return next((role for role in ("operator", "node", "client") if role in roles), "")


class _Credential(msgspec.Struct, frozen=True, array_like=True):
    version: int
    charter: Annotated[bytes, msgspec.Meta(max_length=CHARTER_BYTES_MAX + 128)]
    token: Annotated[bytes, msgspec.Meta(max_length=TOKEN_BYTES_MAX)]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Credential)
_FACT = re.compile(
    r'device\(hex:[0-9a-f]{64}\)|(?:name|account|role|functions)\("[^"\n]{0,128}"\)'
    r"|expires\(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\)"
)


def issue_membership(
    issuer_seed: bytes,
    charter: bytes,
    *,
    device: bytes,
    name: str,
    roles: tuple[str, ...],
    account: str,
    functions: tuple[str, ...] = (_EVERYTHING,),
    expires: float,
) -> bytes:
    """A fresh credential: the charter, and the membership under it.

    Raises:
        MembershipError: The charter is not for this key, does not allow one of the roles, or ends before.
    """
    terms = read_charter(charter)
    if terms.issuer != Identity.from_seed(issuer_seed).device:
        raise MembershipError("this charter was given to another key")
    beyond = [role for role in roles if role not in terms.roles]
    if beyond:
        raise MembershipError(
            f"this gateway's charter does not let it admit a device as {beyond[0]!r}, only as "
            f"{' or '.join(terms.roles)}. Whoever keeps the network's root can: easynet approve"
        )
    for text in (name, account, *roles, *functions):
        if '"' in text or len(text) > 128 or not text.isprintable():
            raise MembershipError(
                f"a name in a membership has no quotes and at most 128 characters, not {text!r}"
            )
    code = "device({device}); name({name}); account({account}); expires({expires});"
    values: dict[str, Any] = {
        "device": device,
        "name": name,
        "account": account,
        "expires": moment(min(expires, terms.expires)),
    }
    for kind, several in (("role", roles), ("functions", functions)):
        for number, one in enumerate(several):
            code += f" {kind}({{{kind}{number}}});"
            values[f"{kind}{number}"] = one
    return _encoder.encode(_Credential(1, charter, build(issuer_seed, code, values)))


def read_membership(credential: bytes, device: bytes, root: bytes, now: float) -> Membership:
    """Check a credential against the network's root and the device that shows it.

    Raises:
        MembershipError: It is malformed, another network's, another device's, or expired; the message says which.
    """
    if len(credential) > TOKEN_BYTES_MAX:
        raise MembershipError(
            f"a credential of {len(credential):,} bytes; at most {TOKEN_BYTES_MAX:,} are read"
        )
    try:
        shown = _decoder.decode(credential)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise MembershipError("this is not a membership") from None
    charter = read_charter(shown.charter)
    if charter.root != root:
        raise MembershipError(
            f"a membership of another network ({network_text(charter.root)}, wanted {network_text(root)})"
        )
    if charter.expires <= now:
        raise MembershipError(
            "the charter behind this membership has expired; whoever keeps the network's root can renew it: "
            "easynet network rotate"
        )
    membership = _read_token(shown.token, charter)
    if membership.device != device:
        raise MembershipError(
            f"a membership of device {device_text(membership.device)[:8]}…, shown by device {device_text(device)[:8]}…"
        )
    if looks_like_device(membership.name) or looks_like_device(membership.account):
        raise MembershipError("a membership whose name or account could be taken for a device id")
    if membership.expires <= now:
        raise MembershipError(f"the membership of {membership.name!r} has expired")
    beyond = [role for role in membership.roles if role not in charter.roles]
    if beyond:
        raise MembershipError(f"its issuer was not allowed to make {membership.name!r} a {beyond[0]}")
    return membership


def network_of(credential: bytes) -> bytes:
    """The network a credential is of, unchecked; empty if it is none."""
    try:
        return read_charter(_decoder.decode(credential).charter).root if credential else b""
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, MembershipError):
        return b""


def _read_token(token: bytes, charter: Charter) -> Membership:
    try:
        opened = open_token(token, charter.issuer, _FACT)
        found = {
            kind: [terms[0] for terms in query(opened, kind)]
            for kind in ("device", "name", "account", "expires", "role", "functions")
        }
        (device,), (name,), (account,), (expires,) = (
            found["device"],
            found["name"],
            found["account"],
            found["expires"],
        )
        return Membership(
            device=bytes(device),
            name=msgspec.convert(name, str),
            roles=tuple(sorted(msgspec.convert(found["role"], list[str]))),
            account=msgspec.convert(account, str),
            functions=tuple(sorted(msgspec.convert(found["functions"], list[str]))),
            expires=min(float(expires.timestamp()), charter.expires),
            issuer=charter.issuer,
            network=charter.root,
            open=charter.open,
        )
    except MembershipError:
        raise
    except (TrustError, ValueError, TypeError, AttributeError) as error:
        raise MembershipError(f"this is not a membership: {error}") from None
