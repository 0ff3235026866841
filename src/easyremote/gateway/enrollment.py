"""How devices become members: by invite, or by asking where a network is open to all.

It never writes a device down that has not proved its key and, where it brings an invite, the invite's.
"""

from __future__ import annotations

from collections.abc import Callable

from easyremote.errors import (
    EasyRemoteError,
    InviteError,
    MembershipError,
    NameTakenError,
    SignatureError,
    TrustError,
)
from easyremote.gateway.memberships import Memberships
from easyremote.gateway.names import check_name
from easyremote.gateway.store import InviteRow, Store
from easyremote.protocol.limits import Attempts
from easyremote.trust.identity import device_text, verify
from easyremote.trust.invite import enroll_transcript
from easyremote.wire.messages import EnrollReply, EnrollRequest
from easyremote.wire.operations import DeviceRecord

ROLES = {
    "client": ("client",),
    "node": ("client", "node"),
    "operator": ("client", "node", "operator"),
}
"""What a device that joins as this may be."""
NEEDED = (
    "this network takes members by invite, and this device is none of them. Ask its operator to run "
    "`easynet invite` on the gateway's machine, and run here: easynet join LINE"
)


class Enrollment:
    """Where devices ask one gateway to become members."""

    def __init__(
        self,
        store: Store,
        memberships: Memberships,
        *,
        gateway: bytes,
        clock: Callable[[], float],
        attempts: Attempts,
    ) -> None:
        self._store = store
        self._memberships = memberships
        self._gateway = gateway
        self._clock = clock
        self._attempts = attempts

    def enroll(self, request: EnrollRequest, address: str) -> EnrollReply:
        """A device asks to become a member; why not is in the reply."""
        now = self._clock()
        if not self._attempts.allow(address, now):
            return EnrollReply(
                code="later", message="too many attempts from this address: try again in a minute"
            )
        try:
            return self._enroll(request, now)
        except InviteError as error:
            return EnrollReply(code="refused", message=str(error))
        except TrustError as error:
            return EnrollReply(code="needed" if not request.invite else "refused", message=str(error))
        except EasyRemoteError as error:
            return EnrollReply(code="refused", message=str(error))

    def _enroll(self, request: EnrollRequest, now: float) -> EnrollReply:
        transcript = enroll_transcript(
            self._gateway, request.device, request.name, request.role, request.invite
        )
        if not request.invite:
            if not self._memberships.keys.terms.open:
                raise MembershipError(NEEDED)
            if request.role not in ("node", "client"):
                raise MembershipError(
                    f"without an invite a device joins as node or client, not as {request.role!r}"
                )
            if not request.signature:  # it does not know yet to whom it would sign
                return EnrollReply(code="gateway", gateway=self._gateway)
            row = InviteRow(request.role, 1, now, ["*"], "", "")
        else:
            row = self._check_invite(request, transcript, now)
        try:
            verify(request.device, request.signature, transcript)
        except SignatureError:
            raise MembershipError("the request is not signed by the device it names") from None
        record = self._new_record(request, row, now)
        if request.invite:
            self._store.redeem(request.invite, record, now)
        else:
            self._store.put(record)
        self._store.claim(record.name, record.device)
        if record.status == "pending":
            return EnrollReply(
                code="pending",
                message=f"{record.name} waits to be approved: easynet approve {device_text(record.device)[:12]}",
                root=self._memberships.keys.root,
                gateway=self._gateway,
                name=record.name,
            )
        credential, _ = self._memberships.issue(record, record.name, now)
        return EnrollReply(
            membership=credential, root=self._memberships.keys.root, gateway=self._gateway, name=record.name
        )

    def _check_invite(self, request: EnrollRequest, transcript: bytes, now: float) -> InviteRow:
        row = self._store.invite(request.invite)
        if row is None:
            raise InviteError("this gateway has made no such invite, or forgot it long after it expired")
        try:
            verify(request.invite, request.proof, transcript)
        except SignatureError:
            raise InviteError("the request is not signed with the invite it names") from None
        if row.expires <= now:
            raise InviteError("this invite has expired. Ask for another: easynet invite")
        if row.uses <= 0:
            raise InviteError("this invite has been used already. Ask for another: easynet invite")
        return row

    def _new_record(self, request: EnrollRequest, row: InviteRow, now: float) -> DeviceRecord:
        known = self._store.device(request.device)
        if known is not None and known.status == "revoked":
            raise MembershipError(
                f"this device was revoked; an operator can take it back: easynet approve {device_text(request.device)[:12]}"
            )
        if row.role not in ROLES:
            raise MembershipError(f"a device joins as node or client, not as {row.role!r}")
        roles = set(ROLES[row.role]) | set(known.roles if known is not None else ())
        name = self._free_name(row, request)
        if known is not None and known.account:
            account = row.account or known.account
        else:
            account = row.account or device_text(request.device)[:16]
        return DeviceRecord(
            device=request.device,
            name=name,
            roles=sorted(roles),
            account=account,
            functions=row.functions,
            status="active" if self._memberships.keys.may_issue(tuple(roles)) else "pending",
            joined=now,
        )

    def _free_name(self, row: InviteRow, request: EnrollRequest) -> str:
        """What a new device is called: as its invite says, or as it wishes unless others go by that.

        Rules name devices and accounts alike, so no device may call itself what an account is called.
        """
        known = self._store.device(request.device)
        if known is not None and not row.name:
            return known.name
        wanted = row.name or request.name.rstrip("*") or f"device-{device_text(request.device)[:8]}"
        check_name(wanted)
        name, number = wanted, 1
        while not self._store.is_free(name, request.device, row.account):
            if row.name:
                raise NameTakenError(f"the name {name!r} of this invite belongs to somebody else by now")
            number += 1
            name = f"{wanted}-{number}"
        return name

    def enroll_self(self, record: DeviceRecord) -> bytes:
        """The gateway's own machine belongs to its network; a membership for those who share its home."""
        known = self._store.device(record.device)
        if known is None:
            self._store.claim(record.name, record.device)
            self._store.put(record)
            known = record
        if known.status != "active" or not self._memberships.keys.may_issue(tuple(known.roles)):
            return b""
        return self._memberships.issue(known, known.name, self._clock())[0]
