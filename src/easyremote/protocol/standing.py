"""How a device stands in its network: what it believes, and what it can show.

Before a device has joined it believes nobody and can show nothing: no card counts, no caller is served.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from easyremote.errors import MembershipError, RevocationError
from easyremote.trust.authority import Authority
from easyremote.trust.membership import Membership
from easyremote.wire.limits import GRANTS_MAX

LEEWAY_SECONDS = 60.0
"""How far two clocks may be apart before the one calls expired what the other has just made."""


class Standing:
    """One device's network, membership and grants; shared by the parts of its machine.

    Args:
        device: This device's id.
        clock: Seconds since 1970. Tokens expire by the calendar, which the machine's own time is not.
    """

    def __init__(self, device: bytes, clock: Callable[[], float]) -> None:
        self.device = device
        self.clock = clock
        self.authority: Authority | None = None
        self.gateway = b""
        """The gateway's device id, once it is known and pinned."""
        self.credential = b""
        self.membership: Membership | None = None
        self.grants: tuple[bytes, ...] = ()

    def join(
        self, root: bytes, gateway: bytes, credential: bytes, revocations: bytes, grants: Sequence[bytes]
    ) -> bool:
        """Take what this device keeps of its network; True if it is another network than before."""
        other = self.authority is None or self.authority.root != root
        if self.authority is None or other:
            self.authority = Authority(root)
        self.gateway = gateway
        self.grants = tuple(grants)
        if revocations:
            with contextlib.suppress(RevocationError):  # a broken copy: the gateway sends the list again
                self.authority.take_revocations(revocations, 0.0)  # it was in time when it was kept
        self.take_credential(credential)
        return other

    def take_credential(self, credential: bytes) -> bool:
        """Show this from now on, if it is a membership of ours; whether it is."""
        self.credential = credential
        try:
            self.membership = self.check(credential, self.device)
        except MembershipError:
            self.membership = None
            return False
        return True

    def check(self, credential: bytes, device: bytes, as_of: float | None = None) -> Membership:
        """The membership another device shows, as of now or of another time.

        Raises:
            MembershipError: It does not count.
        """
        if self.authority is None:
            raise MembershipError("this device has not joined a network yet")
        return self.authority.check(credential, device, self.earliest() if as_of is None else as_of)

    def earliest(self) -> float:
        """What time it may still be, if the clock here is fast: what others show has not expired before."""
        return self.clock() - LEEWAY_SECONDS

    def revoked(self, device: bytes) -> bool:
        """Whether that device no longer counts."""
        return self.authority is not None and self.authority.revoked(device)

    def take_revocations(self, data: bytes) -> bool:
        """Take a newer list; whether it was one. A list that is not signed as it should be is ignored."""
        try:
            if self.authority is None or not self.authority.take_revocations(data, self.clock()):
                return False
        except RevocationError:
            return False
        self.take_credential(self.credential)  # the list may be about this device itself, either way
        return True

    @property
    def list_number(self) -> int:
        """Which list of revocations is believed here."""
        return self.authority.revocations.number if self.authority is not None else 0

    @property
    def network(self) -> bytes:
        """The network's root key; empty before this device has joined one."""
        return self.authority.root if self.authority is not None else b""

    @property
    def tokens(self) -> list[bytes]:
        """What to show a node: the membership, then the grants."""
        return [self.credential, *self.grants[:GRANTS_MAX]]
