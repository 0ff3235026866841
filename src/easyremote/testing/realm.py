"""A network of trust for tests and simulations: a root, an issuer, and whoever they are told to admit."""

from __future__ import annotations

from collections.abc import Callable

from easyremote.errors import NameTakenError
from easyremote.protocol.attachment import welcome_transcript
from easyremote.protocol.events import Joined
from easyremote.protocol.router import Admit, DeviceAdmitted, DeviceRefused, RouterEvent
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
        self._credentials: dict[tuple[bytes, str], bytes] = {}
        self._lists = 0

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
        try:
            if ask.hello.role == "node" and self._names.setdefault(name, device) != device:
                raise NameTakenError(f"the name {name!r} belongs to another device of this network")
        except NameTakenError as error:
            return DeviceRefused(ask.link, "name_taken", str(error))
        credential = self._credentials.get((device, name))
        if credential is None:
            credential = self._credentials[device, name] = self.credential(
                device, name, seconds=365 * 86400.0
            )
        signature = self.gateway.sign(welcome_transcript(ask.transcript, name))
        return DeviceAdmitted(ask.link, name, BOTH, credential, float("inf"), signature)
