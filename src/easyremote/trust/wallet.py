"""The networks this device belongs to, and how it knows their gateways.

One small file a network, which every process of this home reads. What it holds is no secret but for the
grants, and of no use without the device's key.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec

from easyremote.errors import CertificateError, GrantError
from easyremote.trust.charter import network_text
from easyremote.trust.grant import Grant
from easyremote.trust.keyring import Keyring
from easyremote.trust.membership import network_of
from easyremote.wire.limits import GRANTS_MAX

FOLDER = "networks"
GRANTS = "grants"
ADDRESSES_MAX = 64


class Kept(msgspec.Struct, kw_only=True):
    """What a device keeps of one network.

    Attributes:
        root: The network's root key.
        gateway: Its gateway's device id.
        certificate: The gateway's certificate (DER), which alone is accepted; empty if a public authority
            vouches for it.
        credential: This device's membership.
        revocations: The newest list it has seen.
        addresses: Where the gateway was found.
        name: This device's name there.
    """

    root: bytes
    gateway: bytes
    certificate: bytes = b""
    credential: bytes = b""
    revocations: bytes = b""
    addresses: Annotated[list[str], msgspec.Meta(max_length=ADDRESSES_MAX)] = []
    name: str = ""

    @property
    def network(self) -> str:
        """The network as people see it."""
        return network_text(self.root)

    @property
    def fingerprint(self) -> bytes:
        """Of the certificate; empty if a public authority vouches for it."""
        return fingerprint(self.certificate) if self.certificate else b""


def fingerprint(certificate: bytes) -> bytes:
    """SHA-256 of a certificate (DER)."""
    return hashlib.sha256(certificate).digest()


class Wallet:
    """What a home holds of networks; read afresh each time, because other processes write it too."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def networks(self) -> list[Kept]:
        """Every network this device knows.

        Raises:
            CertificateError: One of the files is broken.
        """
        found = []
        for name in self._keyring.names(FOLDER, ".json"):
            data = self._keyring.read(name)
            if data is None:
                continue
            try:
                found.append(msgspec.json.decode(data, type=Kept))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                raise CertificateError(
                    f"the file {self._keyring.home / name} is broken. Move it away, and join that network again"
                ) from None
        return found

    def at(self, address: str) -> Kept | None:
        """The network whose gateway is known at this address."""
        return next((kept for kept in self.networks() if address in kept.addresses), None)

    def of(self, root: bytes) -> Kept | None:
        """The network of this root key."""
        return next((kept for kept in self.networks() if kept.root == root), None)

    def with_certificate(self, found: bytes) -> Kept | None:
        """The network whose gateway has the certificate of this fingerprint."""
        return next((kept for kept in self.networks() if kept.fingerprint == found), None)

    def keep(self, kept: Kept) -> None:
        """Write down what is known of a network."""
        kept.addresses = kept.addresses[-ADDRESSES_MAX:]
        self._keyring.write(f"{FOLDER}/{kept.network}.json", msgspec.json.encode(kept))

    def remember(self, root: bytes, **changes: object) -> None:
        """Change some of what is kept of a network."""
        kept = self.of(root)
        if kept is not None:
            self.keep(msgspec.structs.replace(kept, **changes))

    def forget(self, address: str) -> bool:
        """Know the network whose gateway is at this address no longer; whether it was known."""
        known = [kept for kept in self.networks() if address in kept.addresses]
        for kept in known:
            self._keyring.remove(f"{FOLDER}/{kept.network}.json")
        return bool(known)

    def settle(self, kept: Kept, address: str) -> None:
        """The network's gateway is at this address, and no other's is any more."""
        for other in self.networks():
            if address in other.addresses and other.root != kept.root:
                other.addresses.remove(address)
                self.keep(other)
        if address not in kept.addresses:
            kept.addresses.append(address)
        self.keep(kept)

    # ---- grants

    def grants(self, root: bytes, now: float) -> tuple[bytes, ...]:
        """Grants of this network that this device was given and that have not ended, the newest first."""
        found = []
        for name in self._keyring.names(GRANTS, ".grant", newest_first=True):
            try:
                grant = Grant(self._keyring.read(name) or b"")
            except GrantError:
                continue  # a broken file gives nothing
            if 0.0 < grant.expires <= now or network_of(grant.credential) not in (root, b""):
                continue
            found.append(grant.data)
        return tuple(found[:GRANTS_MAX])

    def keep_grant(self, data: bytes) -> Grant:
        """Write down a grant.

        Raises:
            GrantError: It is none.
        """
        grant = Grant(data)
        mark = hashlib.sha256(data).hexdigest()[:16]
        self._keyring.write(f"{GRANTS}/{mark}.grant", data)
        return grant
