"""The network's keys at its gateway: the root if it is here, and the key that signs memberships.

The root may be kept elsewhere; then only a charter lies here, with an end, and the key it names. What the
charter does not allow, nobody who takes over this machine can do either.
"""

from __future__ import annotations

import base64
import binascii
import os

import msgspec

from easyremote.errors import MembershipError
from easyremote.trust.charter import Charter, network_text, read_charter, sign_charter
from easyremote.trust.identity import Identity
from easyremote.trust.keyring import Keyring
from easyremote.trust.membership import issue_membership
from easyremote.trust.revocation import Revocations, sign_revocations

ROOT_KEY, ISSUER_KEY, CHARTER = "network/root.key", "network/issuer.key", "network/charter"
CHARTER_SECONDS = 10 * 365 * 86400.0
"""A charter whose root lies beside it ends late: it could be renewed at any moment."""
DELEGATED_SECONDS = 90 * 86400.0
DELEGATION_PREFIX = "easyremote-charter:"


class Delegation(msgspec.Struct, frozen=True, array_like=True):
    """What a gateway needs when the root is elsewhere: a charter, and the key it names."""

    charter: bytes
    seed: bytes

    def __repr__(self) -> str:
        """Never the key."""
        return "<Delegation>"


class NetworkKeys:
    """What this gateway may sign."""

    def __init__(self, keyring: Keyring, charter: bytes, issuer: Identity) -> None:
        self._keyring = keyring
        self.charter = charter
        self.terms: Charter = read_charter(charter)
        self._issuer = issuer

    @classmethod
    def load(
        cls, keyring: Keyring, now: float, *, network: str = "", open_to_all: bool = False
    ) -> NetworkKeys:
        """The keys in this home; a new network if there is none.

        Raises:
            MembershipError: The charter is broken, for another key, or has expired.
            IdentityError: A file cannot be read or written.
        """
        charter = keyring.read(CHARTER)
        if charter is None:
            root = keyring.identity(os.urandom(32), ROOT_KEY)
            issuer = keyring.identity(os.urandom(32), ISSUER_KEY)
            charter = keyring.create(CHARTER, _own_charter(root, issuer.device, network, open_to_all, now))
        found = keyring.key(ISSUER_KEY)
        if found is None:
            raise MembershipError(f"{keyring.home / ISSUER_KEY} is missing. Restore it from a backup")
        keys = cls(keyring, charter, found)
        if keys.terms.issuer != found.device:
            raise MembershipError(f"{keyring.home / CHARTER} was given to another key than {ISSUER_KEY}")
        if keys.terms.expires <= now:
            raise MembershipError(
                "the charter of this gateway has expired. On the machine that keeps the network's root: "
                "easynet network rotate --offline; then here: easynet network install LINE"
            )
        return keys._opened(open_to_all, now)

    def _opened(self, open_to_all: bool, now: float) -> NetworkKeys:
        """The same network, open to all from now on or no longer, if its root is here to say so."""
        if self.terms.open == open_to_all:
            return self
        root = self._keyring.key(ROOT_KEY)
        if root is None:
            wanted = "open=True" if open_to_all else "open=False"
            raise MembershipError(
                f"whether a network is open is its root's to say, which is not here; wanted {wanted}"
            )
        terms = self.terms
        charter = _own_charter(root, terms.issuer, terms.network, open_to_all, now)
        self._keyring.write(CHARTER, charter)
        return NetworkKeys(self._keyring, charter, self._issuer)

    @property
    def root(self) -> bytes:
        """The network's root key, the public half."""
        return self.terms.root

    @property
    def root_here(self) -> bool:
        """Whether the root's private half lies on this machine."""
        return self._keyring.key(ROOT_KEY) is not None

    def may_issue(self, roles: tuple[str, ...]) -> bool:
        """Whether the charter lets this gateway give these roles."""
        return set(roles) <= set(self.terms.roles)

    def issue(self, **terms: object) -> bytes:
        """A membership; the arguments are those of ``issue_membership``.

        Raises:
            MembershipError: The charter does not allow it.
        """
        return issue_membership(self._issuer.seed(), self.charter, **terms)  # type: ignore[arg-type]

    def sign_revocations(self, revocations: Revocations) -> bytes:
        """The list, signed."""
        return sign_revocations(self._issuer, self.charter, revocations)

    def rotated(self, now: float, delegation: Delegation | None = None) -> NetworkKeys:
        """The same network with a fresh issuer, on disk.

        Raises:
            MembershipError: The root is not here, and no delegation of it was brought.
        """
        if delegation is None:
            root = self._keyring.key(ROOT_KEY)
            if root is None:
                raise MembershipError(
                    "the network's root is not on this machine. Where it is: easynet network rotate --offline"
                )
            seed = os.urandom(32)
            terms = self.terms
            charter = _own_charter(root, Identity.from_seed(seed).device, terms.network, terms.open, now)
        else:
            charter, seed = delegation.charter, delegation.seed
            if read_charter(charter).root != self.root:
                raise MembershipError(f"a charter of another network; this one is {network_text(self.root)}")
        return install(self._keyring, Delegation(charter, seed), now)


def install(keyring: Keyring, delegation: Delegation, now: float) -> NetworkKeys:
    """Put a delegation in its place.

    Raises:
        MembershipError: It is not whole, or has expired.
    """
    terms = read_charter(delegation.charter)
    issuer = Identity.from_seed(delegation.seed)
    if terms.issuer != issuer.device or terms.expires <= now:
        raise MembershipError("this charter has expired, or was given to another key")
    keyring.write(ISSUER_KEY, issuer.seed().hex().encode("ascii") + b"\n")
    keyring.write(CHARTER, delegation.charter)
    return NetworkKeys(keyring, delegation.charter, issuer)


def delegate(
    keyring: Keyring, now: float, *, network: str, roles: tuple[str, ...], seconds: float, open_to_all: bool
) -> Delegation:
    """On the owner's machine: make the root if there is none, and a charter for a gateway elsewhere."""
    root = keyring.identity(os.urandom(32), ROOT_KEY)
    seed = os.urandom(32)
    issuer = Identity.from_seed(seed).device
    charter = Charter(1, root.device, issuer, network, list(roles), open_to_all, now + seconds)
    return Delegation(sign_charter(root, charter), seed)


def write_delegation(delegation: Delegation) -> str:
    """The delegation as one line; it is a secret."""
    data = msgspec.msgpack.encode(delegation)
    return DELEGATION_PREFIX + base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def read_delegation(line: str) -> Delegation:
    """The delegation in a line.

    Raises:
        MembershipError: It is none.
    """
    text = "".join(line.split())
    if not text.startswith(DELEGATION_PREFIX) or len(text) > 4096:
        raise MembershipError(
            f"a charter's line begins with {DELEGATION_PREFIX!r}, this one with {text[:19]!r}"
        )
    text = text.removeprefix(DELEGATION_PREFIX)
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return msgspec.msgpack.decode(data, type=Delegation)
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        raise MembershipError(
            "this charter was cut or altered on its way: copy the whole line again"
        ) from None


def _own_charter(root: Identity, issuer: bytes, network: str, open_to_all: bool, now: float) -> bytes:
    roles = ["node", "client", "operator"]
    return sign_charter(
        root, Charter(1, root.device, issuer, network, roles, open_to_all, now + CHARTER_SECONDS)
    )
