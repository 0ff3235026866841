"""What operators ask of a gateway: invites, approvals, names, revocations, and how the network stands.

It does not look who asks: the router lets nobody but operators through.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from easyremote.errors import InviteError, MembershipError, NameTakenError
from easyremote.gateway.authority import Delegation
from easyremote.gateway.enrollment import ROLES
from easyremote.gateway.memberships import Memberships
from easyremote.gateway.names import check_name
from easyremote.gateway.store import InviteRow, Store
from easyremote.trust.identity import device_text
from easyremote.wire.operations import (
    ApproveDevice,
    ListDevices,
    MakeInvite,
    NetworkRecord,
    Operation,
    RenameDevice,
    RevokeDevice,
    RevokeGrant,
    RotateIssuer,
    ShowNetwork,
    decode_operation,
    encode_operation,
)

USES_MAX = 100_000


class Operations:
    """One gateway's operators' desk.

    Attributes:
        revocations_changed: Whether an operation since the last look revoked something.
        renamed: Devices that were renamed since the last look, each with its old name and its new one.
    """

    def __init__(
        self,
        store: Store,
        memberships: Memberships,
        *,
        gateway: bytes,
        clock: Callable[[], float],
        describe: Callable[[NetworkRecord], NetworkRecord],
    ) -> None:
        self._store = store
        self._memberships = memberships
        self._gateway = gateway
        self._clock = clock
        self._describe = describe
        self.revocations_changed = False
        self.renamed: list[tuple[bytes, str, str]] = []

    def operate(self, request: bytes, online: Collection[bytes]) -> bytes:
        """Do what an operator asks; the bytes of the answer.

        Raises:
            EasyRemoteError: It cannot be done; the message says why.
        """
        operation: Operation = decode_operation(request)
        match operation:
            case MakeInvite():
                self._make_invite(operation)
            case ListDevices():
                return encode_operation(
                    [
                        msgspec.structs.replace(one, online=one.device in online)
                        for one in self._store.devices()
                    ]
                )
            case ApproveDevice(device=device, credential=credential):
                self._approve(device, credential)
            case RevokeDevice(device=device):
                if device == self._gateway:
                    raise MembershipError(
                        "this is the gateway's own device: without it nobody could let it in again"
                    )
                self._store.revoke_device(device)
                self._memberships.forget(device)
                self.revocations_changed = True
            case RevokeGrant(grant=grant):
                self._store.revoke("grant", grant)
                self.revocations_changed = True
            case RenameDevice(device=device, name=name, old=old):
                self._rename(device, name, old)
            case RotateIssuer(charter=charter, seed=seed):
                self._rotate(Delegation(charter, seed) if charter else None)
            case ShowNetwork():
                return encode_operation(self._network())
        return b""

    def _make_invite(self, wanted: MakeInvite) -> None:
        now = self._clock()
        if wanted.role not in ROLES:
            raise InviteError(f"an invite is for a node, a client or an operator, not for {wanted.role!r}")
        if not 0 < wanted.uses <= USES_MAX or wanted.expires <= now:
            raise InviteError(f"an invite has 1 to {USES_MAX:,} uses, and expires in the future")
        if wanted.name:
            check_name(wanted.name)
        if wanted.account and self._store.names_another(wanted.account):
            raise InviteError(
                f"a device goes by {wanted.account!r}: rules could not tell it from an account of that name"
            )
        self._store.add_invite(
            wanted.key,
            InviteRow(
                wanted.role,
                wanted.uses,
                wanted.expires,
                wanted.functions or ["*"],
                wanted.name,
                wanted.account,
            ),
        )

    def _approve(self, device: bytes, credential: bytes) -> None:
        record = self._store.device(device)
        if record is None:
            raise MembershipError("no device of this id is known: easynet devices lists them")
        if credential:
            shown = self._memberships.check(credential, device, self._clock())
            self._store.claim(shown.name, device)
        elif not self._memberships.keys.may_issue(tuple(record.roles)):
            raise MembershipError(
                "this gateway's charter does not let it give these roles: approve where the network's root is kept"
            )
        else:
            holder = self._store.holder(record.name)
            if holder not in (None, device):
                raise NameTakenError(
                    f"another device is called {record.name!r} meanwhile. Give this one another name first: "
                    f"easynet rename {device_text(device)[:12]} NAME"
                )
            self._store.claim(record.name, device)
        was_revoked = record.status == "revoked"
        self._store.reinstate(device, credential)
        self.revocations_changed = self.revocations_changed or was_revoked

    def _rename(self, device: bytes, name: str, old: str) -> None:
        record = self._store.device(device)
        if record is None:
            raise MembershipError("no device of this id is known: easynet devices lists them")
        check_name(name)
        if self._store.is_account(name, record.account):
            raise NameTakenError(f"an account of this network is called {name!r}: choose another name")
        before = old or record.name
        if before != record.name and before not in record.names:
            raise MembershipError(f"device {device_text(device)[:8]}… has no node called {before!r}")
        self._store.rename(device, before, name)
        self.renamed.append((device, before, name))
        self._memberships.forget(device)

    def _rotate(self, delegation: Delegation | None) -> None:
        self._store.revoke("issuer", self._memberships.rotate(delegation))
        self.revocations_changed = True

    def _network(self) -> NetworkRecord:
        terms = self._memberships.keys.terms
        return self._describe(
            NetworkRecord(
                root=terms.root,
                name=terms.network,
                open=terms.open,
                roles=terms.roles,
                charter_expires=terms.expires,
                root_here=self._memberships.keys.root_here,
                gateway=self._gateway,
                fingerprint=b"",
                devices=self._store.count(),
            )
        )

    def signed_revocations(self) -> tuple[bytes, frozenset[bytes]]:
        """The list as it is now, signed, and the devices on it; empty if nothing was ever revoked."""
        revocations = self._store.revocations()
        if not revocations.number:
            return b"", frozenset()
        return self._memberships.sign_revocations(revocations), frozenset(revocations.devices)
