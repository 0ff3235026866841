"""What a device believes: one root key, and what has been revoked under it.

Everything a stranger shows is checked here, and what has been checked once is remembered: a node checks a
caller's membership once a session, not once a call.
"""

from __future__ import annotations

from collections import OrderedDict

from easyremote.errors import MembershipError, RevocationError
from easyremote.trust.charter import network_text
from easyremote.trust.identity import device_text
from easyremote.trust.membership import Membership, read_membership
from easyremote.trust.revocation import Revocations, read_revocations

CHECKED_MAX = 4096


class Authority:
    """One network's root key and revocations; pure but for what it remembers."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        self.revocations = Revocations()
        self.signed_revocations = b""
        """The list as it came, to be kept and passed on."""
        self._list_by = b""
        self._devices: frozenset[bytes] = frozenset()
        self._grants: frozenset[bytes] = frozenset()
        self._checked: OrderedDict[tuple[bytes, bytes], Membership] = OrderedDict()

    def __repr__(self) -> str:
        """Which network."""
        return f"<Authority of network {network_text(self.root)}>"

    def check(self, credential: bytes, device: bytes, now: float) -> Membership:
        """The membership a device shows.

        Raises:
            MembershipError: It shows none, or one that does not count, or it has been revoked.
        """
        if not credential:
            raise MembershipError(f"device {device_text(device)[:8]}… showed no membership")
        if device in self._devices:
            raise MembershipError(f"device {device_text(device)[:8]}… has been revoked")
        known = self._checked.get((device, credential))
        if known is None or known.expires <= now:
            known = read_membership(credential, device, self.root, now)
            self._checked[device, credential] = known
            if len(self._checked) > CHECKED_MAX:
                self._checked.popitem(last=False)
        if known.issuer in self.revocations.issuers:
            raise MembershipError(
                f"the membership of {known.name!r} was signed with a key that has been replaced"
            )
        return known

    def revoked(self, device: bytes) -> bool:
        """Whether a device no longer counts."""
        return device in self._devices

    def grant_revoked(self, grant: bytes) -> bool:
        """Whether a grant no longer counts."""
        return grant in self._grants

    def take_revocations(self, data: bytes, now: float) -> bool:
        """Take a list if it is newer than the one here; whether it was.

        Raises:
            RevocationError: It is not a list this network's issuer has signed.
        """
        fresh, issuer = read_revocations(data, self.root, now)
        if issuer in self.revocations.issuers:
            raise RevocationError("a list of revocations signed with a key that has been replaced")
        if fresh.number <= self.revocations.number and self._list_by not in fresh.issuers:
            return False  # but where the issuer has been replaced, its successor's list counts, whatever its number
        self.revocations, self.signed_revocations, self._list_by = fresh, data, issuer
        self._devices, self._grants = frozenset(fresh.devices), frozenset(fresh.grants)
        return True
