"""A network of trust for tests and simulations: a root, an issuer, and whoever they are told to admit."""

from __future__ import annotations

from collections.abc import Callable

from easyremote.errors import NameTakenError
from easyremote.protocol.attachment import welcome_transcript
from easyremote.protocol.events import Joined
from easyremote.protocol.gateway_effects import Admit, Renew
from easyremote.protocol.gateway_events import (
    DeviceAdmitted,
    DeviceRefused,
    MembershipRenewed,
    RevocationsIssued,
    RouterEvent,
)
from easyremote.trust.charter import Charter, sign_charter
from easyremote.trust.identity import Identity
from easyremote.trust.membership import MEMBERSHIP_SECONDS, issue_membership
from easyremote.trust.revocation import Revocations, sign_revocations

EPOCH = 1_800_000_000.0
"""When simulated time begins, in seconds since 1970."""
BOTH = ("client", "node")


class Realm:
    """One network's keys, in memory.

    Args:
        randbytes: Where keys come from.
        clock: Seconds since 1970.
        roles: What the charter lets the issuer give.
        open: Whether anyone may join.
    """

    def __init__(
        self,
        randbytes: Callable[[int], bytes],
        clock: Callable[[], float] = lambda: EPOCH,
        *,
        roles: tuple[str, ...] = (*BOTH, "operator"),
        open: bool = False,
    ) -> None:
        self.clock = clock
        self.root = Identity.from_seed(randbytes(32))
        self.gateway = Identity.from_seed(randbytes(32))
        self._issuer_seed = randbytes(32)
        self.issuer = Identity.from_seed(self._issuer_seed)
        terms = Charter(
            1, self.root.device, self.issuer.device, "realm", list(roles), open, clock() + 3650 * 86400
        )
        self.charter = sign_charter(self.root, terms)
        self._names: dict[str, bytes] = {}
        self._credentials: dict[tuple[bytes, str], tuple[float, bytes]] = {}
        self._lists = 0
        self.membership_seconds = 365 * 86400.0
        self.revoked: set[bytes] = set()
        self.list = b""
        """The newest list of revocations, signed; empty while nothing was revoked."""

    def credential(
        self,
        device: bytes,
        name: str,
        *,
        roles: tuple[str, ...] = BOTH,
        account: str = "owner",
        functions: tuple[str, ...] = ("*",),
        seconds: float = MEMBERSHIP_SECONDS,
    ) -> bytes:
        """A membership."""
        return issue_membership(
            self._issuer_seed,
            self.charter,
            device=device,
            name=name,
            roles=roles,
            account=account,
            functions=functions,
            expires=self.clock() + seconds,
        )

    def joined(self, device: bytes, name: str, **terms: object) -> Joined:
        """What such a device keeps of the network."""
        credential = self.credential(device, name, **terms)  # type: ignore[arg-type]
        return Joined(self.root.device, self.gateway.device, credential)

    def revocations(self, *devices: bytes, grants: tuple[bytes, ...] = ()) -> bytes:
        """The next list, signed."""
        self._lists += 1
        revocations = Revocations(number=self._lists, devices=list(devices), grants=list(grants))
        return sign_revocations(self.issuer, self.charter, revocations)

    def admit(self, ask: Admit) -> RouterEvent:
        """What a gateway's office would answer: anyone, but a name belongs to whoever had it first."""
        device, name = ask.hello.endpoint[:32], ask.hello.name.rstrip("*") or "client"
        if device in self.revoked:
            return DeviceRefused(ask.link, "revoked", "this device has been revoked")
        try:
            if ask.hello.role == "node" and self._names.setdefault(name, device) != device:
                raise NameTakenError(f"the name {name!r} belongs to another device of this network")
        except NameTakenError as error:
            return DeviceRefused(ask.link, "name_taken", str(error))
        signature = self.gateway.sign(welcome_transcript(ask.transcript, name))
        half = self.membership_seconds / 2
        return DeviceAdmitted(ask.link, name, BOTH, self._fresh(device, name), half, signature)

    def renew(self, ask: Renew) -> RouterEvent:
        """The next membership, unless the device is out."""
        if ask.device in self.revoked:
            return MembershipRenewed(ask.link, b"", float("inf"))
        return MembershipRenewed(ask.link, self._fresh(ask.device, ask.name), self.membership_seconds / 2)

    def revoke(self, device: bytes, *, keep_link: bool = False) -> RouterEvent:
        """Put a device out; what the gateway's machine is to be told, which may leave its link be."""
        out = {*self.revoked, device}
        self.list = self.revocations(*sorted(out))
        if not keep_link:
            self.revoked = out
        return RevocationsIssued(self.list, frozenset(self.revoked))

    def _fresh(self, device: bytes, name: str) -> bytes:
        """A membership that has more than half of its time before it."""
        until, credential = self._credentials.get((device, name), (0.0, b""))
        if until - self.clock() <= self.membership_seconds / 2:
            credential = self.credential(device, name, seconds=self.membership_seconds)
            self._credentials[device, name] = (self.clock() + self.membership_seconds, credential)
        return credential
