"""Who gets in: the gateway's door.

It decides by what is written down: the store says who belongs, the charter what this gateway may sign. The
router proved, before it asks, that a device holds its key.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from easyremote.errors import MembershipError, NameTakenError
from easyremote.gateway.enrollment import NEEDED
from easyremote.gateway.memberships import Memberships
from easyremote.gateway.names import check_name
from easyremote.gateway.store import Store
from easyremote.protocol.limits import Attempts
from easyremote.trust.identity import device_text
from easyremote.wire.messages import Hello
from easyremote.wire.operations import DeviceRecord


class Entry(msgspec.Struct, frozen=True):
    """A device is let in."""

    name: str
    roles: tuple[str, ...]
    membership: bytes
    renew_seconds: float


class Admission:
    """One gateway's door."""

    def __init__(
        self, store: Store, memberships: Memberships, *, clock: Callable[[], float], attempts: Attempts
    ) -> None:
        self._store = store
        self._memberships = memberships
        self._clock = clock
        self._attempts = attempts

    def admit(self, hello: Hello, taken: Collection[str], address: str) -> Entry:
        """Let in a device that has proved its key.

        Raises:
            MembershipError: It is no member.
            NameTakenError: Its name is another's.
        """
        device, now = hello.endpoint[:32], self._clock()
        record = self._store.device(device)
        if record is None:
            record = self._take_shown(hello, device, address, now)
        if record.status == "revoked":
            raise MembershipError("this device has been revoked by an operator of the network")
        if record.status == "pending":
            raise MembershipError(
                "this device waits to be approved. An operator does that: "
                f"easynet approve {device_text(device)[:12]}"
            )
        roles = tuple(record.roles)
        if hello.role not in roles:
            raise MembershipError(
                f"this device joined as {' and '.join(roles)}, and now wants to be a {hello.role}. "
                f"An operator can invite it again: easynet invite --role {hello.role}"
            )
        if not self._memberships.keys.may_issue(roles):
            return self._entry_by_root(record, hello, now)
        return self._entry(record, self._name(hello, record, taken), hello.membership, now)

    def _take_shown(self, hello: Hello, device: bytes, address: str, now: float) -> DeviceRecord:
        """A device this gateway has not met: a membership that the network's root vouches for will do."""
        try:
            shown = self._memberships.check(hello.membership, device, now)
        except MembershipError as error:
            if not self._attempts.allow(address, now):
                raise MembershipError("too many strangers from this address: try again in a minute") from None
            if hello.membership:
                raise
            raise MembershipError(NEEDED) from error
        record = DeviceRecord(
            device=device,
            name=shown.name,
            roles=list(shown.roles),
            account=shown.account,
            functions=list(shown.functions),
            status="active",
            joined=now,
        )
        credential = b"" if self._memberships.keys.may_issue(shown.roles) else hello.membership
        self._store.claim(shown.name, device)
        self._store.put(record, credential)
        return record

    def _name(self, hello: Hello, record: DeviceRecord, taken: Collection[str]) -> str:
        """The name a device is let in under; a node's becomes its own."""
        if hello.role != "node":
            return record.name
        bare = hello.name.rstrip("*")
        wanted = self._store.renamed(record.device, bare)
        if wanted == bare:
            wanted = hello.name
        if not wanted.endswith("*"):
            check_name(wanted)
            if wanted not in record.names and self._store.is_account(wanted, record.account):
                raise NameTakenError(f"an account of this network is called {wanted!r}: choose another name")
            self._store.claim(wanted, record.device)
            return wanted
        base, number = wanted[:-1], 1
        check_name(base)
        while True:
            name = base if number == 1 else f"{base}-{number}"
            if self._store.is_free(name, record.device, record.account) and name not in taken:
                self._store.claim(name, record.device)
                return name
            number += 1

    def _entry(self, record: DeviceRecord, name: str, shown: bytes, now: float) -> Entry:
        roles = tuple(record.roles)
        half = self._memberships.seconds / 2
        kept = self._memberships.still_true(shown, record, name, now)
        if kept is not None and kept.expires - now > half:
            return Entry(name, roles, b"", kept.expires - now - half)
        credential, expires = self._memberships.issue(record, name, now)
        return Entry(name, roles, credential, max(expires - now - half, 0.0))

    def _entry_by_root(self, record: DeviceRecord, hello: Hello, now: float) -> Entry:
        """The roles are more than this gateway may give: the root must have given them, with the name."""
        for credential in (hello.membership, self._store.credential(record.device)):
            try:
                membership = self._memberships.check(credential, record.device, now)
            except MembershipError:
                continue
            if hello.role == "node" and not hello.name.endswith("*") and hello.name != membership.name:
                raise NameTakenError(
                    f"the network's root knows this device as {membership.name!r}, and this gateway cannot sign for "
                    f"another name: node_id={membership.name!r}"
                )
            self._store.claim(membership.name, record.device)
            fresh = b"" if credential == hello.membership else credential
            return Entry(membership.name, membership.roles, fresh, float("inf"))
        raise MembershipError(
            "this gateway's charter does not let it sign this device's membership. Whoever keeps the network's root "
            f"can: easynet approve {device_text(record.device)[:12]}"
        )

    def renew(self, device: bytes, name: str) -> Entry:
        """The next membership of a device that is connected.

        Raises:
            MembershipError: It is no longer in good standing.
        """
        record = self._store.device(device)
        if record is None or record.status != "active":
            raise MembershipError("this device is no longer in good standing")
        if not self._memberships.keys.may_issue(tuple(record.roles)):
            return Entry(name, tuple(record.roles), b"", float("inf"))  # the root's to renew
        self._memberships.forget(device, name=name)
        return self._entry(record, name, b"", self._clock())
