"""Who gets in: the gateway's door, its invites, and what operators ask of it.

It decides by what is written down: the store says who belongs, the charter what this gateway may sign. The
router proved, before it asks, that a device holds its key.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from easyremote.errors import (
    EasyRemoteError,
    InviteError,
    MembershipError,
    NameTakenError,
    RemoteProtocolError,
    SignatureError,
    TrustError,
)
from easyremote.gateway.authority import Delegation, NetworkKeys
from easyremote.gateway.store import InviteRow, Store
from easyremote.protocol.limits import Attempts, Limits
from easyremote.trust.authority import Authority
from easyremote.trust.identity import device_text, looks_like_device, verify
from easyremote.trust.invite import enroll_transcript
from easyremote.trust.membership import MEMBERSHIP_SECONDS, Membership
from easyremote.wire.messages import EnrollReply, EnrollRequest, Hello
from easyremote.wire.operations import (
    ApproveDevice,
    DeviceRecord,
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

ROLES = {
    "client": ("client",),
    "node": ("client", "node"),
    "operator": ("client", "node", "operator"),
}
NAME_MAX = 64
USES_MAX = 100_000


class Entry(msgspec.Struct, frozen=True):
    """A device is let in."""

    name: str
    roles: tuple[str, ...]
    membership: bytes
    renew_seconds: float


class Admission:
    """One gateway's door."""

    def __init__(
        self,
        store: Store,
        keys: NetworkKeys,
        *,
        gateway: bytes,
        clock: Callable[[], float],
        limits: Limits,
        describe: Callable[[NetworkRecord], NetworkRecord],
        membership_seconds: float = MEMBERSHIP_SECONDS,
    ) -> None:
        self._store = store
        self.keys = keys
        self._gateway = gateway
        self._clock = clock
        self._attempts = Attempts(limits.enrollments_per_minute)
        self._describe = describe
        self._membership_seconds = membership_seconds
        self._authority = Authority(keys.root)
        self._issued: dict[tuple[bytes, str], tuple[bytes, float]] = {}
        self.revocations_changed = False
        """Whether an operation since the last look revoked something."""
        self.renamed: set[bytes] = set()
        """Devices that were renamed since the last look."""

    # ---- saying hello

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
        if not self.keys.may_issue(roles):
            return self._entry_by_root(record, hello, now)
        return self._entry(record, self._name(hello, record, taken), hello.membership, now)

    def _take_shown(self, hello: Hello, device: bytes, address: str, now: float) -> DeviceRecord:
        """A device this gateway has not met: a membership that the network's root vouches for will do."""
        try:
            shown = self._authority.check(hello.membership, device, now)
        except MembershipError as error:
            if not self._attempts.allow(address, now):
                raise MembershipError("too many strangers from this address: try again in a minute") from None
            if hello.membership:
                raise
            raise MembershipError(_NEEDED) from error
        record = DeviceRecord(
            device=device,
            name=shown.name,
            roles=list(shown.roles),
            account=shown.account,
            functions=list(shown.functions),
            status="active",
            joined=now,
        )
        credential = b"" if self.keys.may_issue(shown.roles) else hello.membership
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
            _check_name(wanted)
            if wanted not in record.names and self._store.is_account(wanted, record.account):
                raise NameTakenError(f"an account of this network is called {wanted!r}: choose another name")
            self._store.claim(wanted, record.device)
            return wanted
        base, number = wanted[:-1], 1
        _check_name(base)
        while True:
            name = base if number == 1 else f"{base}-{number}"
            if self._store.is_free(name, record.device, record.account) and name not in taken:
                self._store.claim(name, record.device)
                return name
            number += 1

    def _entry(self, record: DeviceRecord, name: str, shown: bytes, now: float) -> Entry:
        roles = tuple(record.roles)
        half = self._membership_seconds / 2
        kept = self._shown(shown, record, name, now)
        if kept is not None and kept.expires - now > half:
            return Entry(name, roles, b"", kept.expires - now - half)
        credential, expires = self._issue(record, name, now)
        return Entry(name, roles, credential, max(expires - now - half, 0.0))

    def _entry_by_root(self, record: DeviceRecord, hello: Hello, now: float) -> Entry:
        """The roles are more than this gateway may give: the root must have given them, with the name."""
        for credential in (hello.membership, self._store.credential(record.device)):
            try:
                membership = self._authority.check(credential, record.device, now)
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

    def _shown(self, credential: bytes, record: DeviceRecord, name: str, now: float) -> Membership | None:
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

    def _issue(self, record: DeviceRecord, name: str, now: float) -> tuple[bytes, float]:
        known = self._issued.get((record.device, name))
        if known is not None and known[1] - now > self._membership_seconds / 2:
            return known
        expires = min(now + self._membership_seconds, self.keys.terms.expires)
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

    def renew(self, device: bytes, name: str) -> Entry:
        """The next membership of a device that is connected.

        Raises:
            MembershipError: It is no longer in good standing.
        """
        record = self._store.device(device)
        if record is None or record.status != "active":
            raise MembershipError("this device is no longer in good standing")
        if not self.keys.may_issue(tuple(record.roles)):
            return Entry(name, tuple(record.roles), b"", float("inf"))  # the root's to renew
        self._issued.pop((device, name), None)
        return self._entry(record, name, b"", self._clock())

    # ---- enrolling

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
            if not self.keys.terms.open:
                raise MembershipError(_NEEDED)
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
                root=self.keys.root,
                gateway=self._gateway,
                name=record.name,
            )
        credential, _ = self._issue(record, record.name, now)
        return EnrollReply(
            membership=credential, root=self.keys.root, gateway=self._gateway, name=record.name
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
            status="active" if self.keys.may_issue(tuple(roles)) else "pending",
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
        _check_name(wanted)
        name, number = wanted, 1
        while not self._store.is_free(name, request.device, row.account):
            if row.name:
                raise NameTakenError(f"the name {name!r} of this invite belongs to somebody else by now")
            number += 1
            name = f"{wanted}-{number}"
        return name

    # ---- what operators ask

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
                self._issued = {key: one for key, one in self._issued.items() if key[0] != device}
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
            _check_name(wanted.name)
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
            shown = self._authority.check(credential, device, self._clock())
            self._store.claim(shown.name, device)
        elif not self.keys.may_issue(tuple(record.roles)):
            raise MembershipError(
                "this gateway's charter does not let it give these roles: approve where the network's root is kept"
            )
        was_revoked = record.status == "revoked"
        self._store.reinstate(device, credential)
        self.revocations_changed = self.revocations_changed or was_revoked

    def _rename(self, device: bytes, name: str, old: str) -> None:
        record = self._store.device(device)
        if record is None:
            raise MembershipError("no device of this id is known: easynet devices lists them")
        _check_name(name)
        if self._store.is_account(name, record.account):
            raise NameTakenError(f"an account of this network is called {name!r}: choose another name")
        before = old or record.name
        if before != record.name and before not in record.names:
            raise MembershipError(f"device {device_text(device)[:8]}… has no node called {before!r}")
        self._store.rename(device, before, name)
        self.renamed.add(device)
        self._issued = {key: one for key, one in self._issued.items() if key[0] != device}

    def _rotate(self, delegation: Delegation | None) -> None:
        before = self.keys.terms.issuer
        self.keys = self.keys.rotated(self._clock(), delegation)
        self._issued.clear()
        self._store.revoke("issuer", before)
        self.revocations_changed = True

    def _network(self) -> NetworkRecord:
        terms = self.keys.terms
        return self._describe(
            NetworkRecord(
                root=terms.root,
                name=terms.network,
                open=terms.open,
                roles=terms.roles,
                charter_expires=terms.expires,
                root_here=self.keys.root_here,
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
        signed = self.keys.sign_revocations(revocations)
        self._authority.take_revocations(signed, self._clock())
        return signed, frozenset(revocations.devices)

    def enroll_self(self, record: DeviceRecord) -> bytes:
        """The gateway's own machine belongs to its network; a membership for those who share its home."""
        known = self._store.device(record.device)
        if known is None:
            self._store.claim(record.name, record.device)
            self._store.put(record)
            known = record
        if known.status != "active" or not self.keys.may_issue(tuple(known.roles)):
            return b""
        return self._issue(known, known.name, self._clock())[0]


_NEEDED = (
    "this network takes members by invite, and this device is none of them. Ask its operator to run "
    "`easynet invite` on the gateway's machine, and run here: easynet join LINE"
)


def _check_name(name: str) -> None:
    if looks_like_device(name):
        raise RemoteProtocolError(
            f"a name is not what a device id looks like, as {name!r} is: rules go by either"
        )
    if not name or len(name) > NAME_MAX or not name.isprintable() or set(name) & set(" */\\'\""):
        raise RemoteProtocolError(
            f"a name is 1 to {NAME_MAX} printable characters without blanks, quotes, slashes or '*', not {name!r}"
        )
