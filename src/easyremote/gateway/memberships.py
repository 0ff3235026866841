"""The memberships a gateway signs for its members, and whether those that devices show still count.

Whoever asks for one has decided that the device is to have it; the charter bounds what can be signed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from easyremote.errors import MembershipError
from easyremote.gateway.authority import Delegation, NetworkKeys
from easyremote.trust.authority import Authority
from easyremote.trust.membership import MEMBERSHIP_SECONDS, Membership
from easyremote.trust.revocation import Revocations
from easyremote.wire.operations import DeviceRecord


class Memberships:
    """What one gateway has signed, and signs next."""

    def __init__(
        self, keys: NetworkKeys, *, clock: Callable[[], float], seconds: float = MEMBERSHIP_SECONDS
    ) -> None:
        self.keys = keys
        self.seconds = seconds
        """How long a membership holds."""
        self._clock = clock
        self._authority = Authority(keys.root)
        self._issued: dict[tuple[bytes, str], tuple[bytes, float]] = {}

    def check(self, credential: bytes, device: bytes, now: float) -> Membership:
        """The membership a device shows.

        Raises:
            MembershipError: It shows none, or one that does not count, or it has been revoked.
        """
        return self._authority.check(credential, device, now)

    def still_true(self, credential: bytes, record: DeviceRecord, name: str, now: float) -> Membership | None:
        """What a device shows, if it says what a fresh one would."""
        try:
            shown = self._authority.check(credential, record.device, now)
        except MembershipError:
            return None
        same = (
            shown.name == name
            and shown.account == record.account
            and sorted(shown.roles) == sorted(record.roles)
            and sorted(shown.functions) == sorted(record.functions)
            and shown.issuer == self.keys.terms.issuer
            and shown.open == self.keys.terms.open
        )
        return shown if same else None

    def issue(self, record: DeviceRecord, name: str, now: float) -> tuple[bytes, float]:
        """A membership under this name and when it ends; one signed not long ago will do."""
        known = self._issued.get((record.device, name))
        if known is not None and known[1] - now > self.seconds / 2:
            return known
        expires = min(math.ceil(now + self.seconds), self.keys.terms.expires)  # tokens count whole seconds
        credential = self.keys.issue(
            device=record.device,
            name=name,
            roles=tuple(record.roles),
            account=record.account,
            functions=tuple(record.functions),
            expires=expires,
        )
        self._issued[record.device, name] = (credential, expires)
        return credential, expires

    def forget(self, device: bytes, *, name: str | None = None) -> None:
        """Sign afresh when this device is due next; ``name`` for one of its names alone."""
        if name is not None:
            self._issued.pop((device, name), None)
        else:
            self._issued = {key: one for key, one in self._issued.items() if key[0] != device}

    def rotate(self, delegation: Delegation | None) -> bytes:
        """Sign with a fresh key from now on; the device id of the one before.

        Raises:
            MembershipError: The root is not here, and no delegation of it was brought.
        """
        before = self.keys.terms.issuer
        self.keys = self.keys.rotated(self._clock(), delegation)
        self._issued.clear()
        return before

    def sign_revocations(self, revocations: Revocations) -> bytes:
        """The list, signed; from now on it counts here too."""
        signed = self.keys.sign_revocations(revocations)
        self._authority.take_revocations(signed, self._clock())
        return signed
