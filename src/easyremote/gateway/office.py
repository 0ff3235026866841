"""The gateway's office: its keys, its store and its door, opened together and asked by the server.

Everything here is quick and local; what it decides is on disk before anybody is told.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import msgspec

from easyremote.errors import EasyRemoteError, MembershipError, NameTakenError
from easyremote.gateway.admission import Admission
from easyremote.gateway.authority import NetworkKeys
from easyremote.gateway.certificate import given_certificate, own_certificate
from easyremote.gateway.enrollment import ROLES, Enrollment
from easyremote.gateway.mailbox import Member
from easyremote.gateway.memberships import Memberships
from easyremote.gateway.operations import Operations
from easyremote.gateway.store import Store
from easyremote.links.machine import machine_name, reachable
from easyremote.protocol.attachment import welcome_transcript
from easyremote.protocol.gateway_effects import Admit, Operation, Renew
from easyremote.protocol.gateway_events import (
    DeviceAdmitted,
    DeviceRefused,
    DeviceRenamed,
    MembershipRenewed,
    OperationFinished,
    RevocationsIssued,
    RouterEvent,
)
from easyremote.protocol.limits import Attempts, Limits
from easyremote.protocol.presence import Attached
from easyremote.trace import log
from easyremote.trust.keyring import Keyring
from easyremote.trust.membership import MEMBERSHIP_SECONDS
from easyremote.trust.wallet import Kept, Wallet, fingerprint
from easyremote.wire.messages import EnrollReply, EnrollRequest
from easyremote.wire.operations import DeviceRecord, NetworkRecord

DATABASE = "network/gateway.db"
OWNER = "owner"
"""The account of the gateway's own machine."""
RENEW_AGAIN_SECONDS = 60.0


class Office:
    """One gateway's, while it runs."""

    def __init__(
        self,
        keyring: Keyring,
        *,
        open_to_all: bool,
        files: tuple[Path, Path] | None,
        addresses: Sequence[str],
        limits: Limits,
        membership_seconds: float = MEMBERSHIP_SECONDS,
    ) -> None:
        self._keyring = keyring
        self._addresses = list(addresses)
        self._identity = keyring.identity(os.urandom(32))
        self.certificate = (
            own_certificate(keyring, time.time()) if files is None else given_certificate(*files)
        )
        keys = NetworkKeys.load(keyring, time.time(), network=machine_name(), open_to_all=open_to_all)
        self._store = Store(keyring.home / DATABASE)
        store, clock = self._store, time.time
        self._memberships = Memberships(keys, clock=clock, seconds=membership_seconds)
        attempts = Attempts(limits.enrollments_per_minute)  # at the door and the counter together
        self._admission = Admission(store, self._memberships, clock=clock, attempts=attempts)
        self._enrollment = Enrollment(
            store, self._memberships, gateway=self.gateway, clock=clock, attempts=attempts
        )
        self._operations = Operations(
            store, self._memberships, gateway=self.gateway, clock=clock, describe=self._describe
        )
        self.revocations, _ = self._operations.signed_revocations()
        self._keep_own_membership()

    @property
    def home(self) -> Path:
        """Where the gateway keeps what it must not forget."""
        return self._keyring.home

    @property
    def gateway(self) -> bytes:
        """The gateway's device id."""
        return self._identity.device

    def close(self) -> None:
        """Nothing is asked any more."""
        self._store.close()

    def listening(self, host: str, address: str) -> None:
        """The gateway can be reached from now on: processes of this home find it without a look."""
        port = address.rpartition(":")[2]
        wallet = Wallet(self._keyring)
        kept = wallet.of(self._memberships.keys.root)
        if kept is not None:
            for known in dict.fromkeys((address, f"127.0.0.1:{port}", f"localhost:{port}")):
                wallet.settle(kept, known)
        if not self._addresses:
            self._addresses = [f"{one}:{port}" for one in reachable(host)]

    def _keep_own_membership(self) -> None:
        """The gateway's own user is the network's first operator, without an invite."""
        keys, wallet = self._memberships.keys, Wallet(self._keyring)
        known = wallet.of(keys.root)
        credential = known.credential if known is not None else b""
        if keys.root_here:
            record = DeviceRecord(
                device=self.gateway,
                name=machine_name(),
                roles=list(ROLES["operator"]),
                account=OWNER,
                functions=["*"],
                status="active",
                joined=time.time(),
            )
            credential = self._enrollment.enroll_self(record) or credential
        kept = Kept(
            root=keys.root,
            gateway=self.gateway,
            certificate=self.certificate.der,
            credential=credential,
            revocations=self.revocations or (known.revocations if known is not None else b""),
            addresses=known.addresses if known is not None else [],
            name=machine_name(),
        )
        wallet.keep(kept)

    # ---- what the router asks

    def admit(self, ask: Admit, address: str) -> RouterEvent:
        """May this device in?"""
        try:
            entry = self._admission.admit(ask.hello, ask.taken, address)
        except NameTakenError as error:
            return DeviceRefused(ask.link, "name_taken", str(error))
        except MembershipError as error:
            return DeviceRefused(ask.link, "membership", str(error))
        except EasyRemoteError as error:
            return DeviceRefused(ask.link, "refused", str(error))
        signature = self._identity.sign(welcome_transcript(ask.transcript, entry.name))
        return DeviceAdmitted(
            ask.link, entry.name, entry.roles, entry.membership, entry.renew_seconds, signature
        )

    def renew(self, ask: Renew) -> RouterEvent:
        """A membership is due for the next."""
        try:
            entry = self._admission.renew(ask.device, ask.name)
        except EasyRemoteError as error:
            log.warning("did not renew the membership of %s: %s", ask.name, error)
            return MembershipRenewed(ask.link, b"", RENEW_AGAIN_SECONDS)
        return MembershipRenewed(ask.link, entry.membership, entry.renew_seconds)

    def operate(
        self, ask: Operation, online: Collection[bytes], attached: Iterable[Attached]
    ) -> list[RouterEvent]:
        """Do what an operator asks, and tell everybody whom it concerns."""
        operations, memberships = self._operations, self._memberships
        keys = memberships.keys
        try:
            reply, error = operations.operate(ask.request, online), ""
        except EasyRemoteError as failure:
            reply, error = b"", str(failure)
        events: list[RouterEvent] = []
        if memberships.keys is not keys:  # before anybody hears that the old ones no longer count
            self._keep_own_membership()
            events += [
                self.renew(Renew(one.link, one.endpoint[:32], one.shown_name, one.role)) for one in attached
            ]
        if operations.revocations_changed:
            operations.revocations_changed = False
            self.revocations, devices = operations.signed_revocations()
            Wallet(self._keyring).remember(memberships.keys.root, revocations=self.revocations)
            events.append(RevocationsIssued(self.revocations, devices))
        events += [DeviceRenamed(device, old, new) for device, old, new in operations.renamed]
        operations.renamed.clear()
        return [*events, OperationFinished(ask.link, ask.number, reply, error)]

    def member(self, device: bytes) -> Member | None:
        """A device that may use the mailbox, and whose it is."""
        record = self._store.device(device)
        return Member(device, record.account) if record is not None and record.status == "active" else None

    def holder(self, name: str) -> bytes | None:
        """Whose a node's name is."""
        return self._store.holder(name)

    def enroll(self, request: EnrollRequest, address: str) -> EnrollReply:
        """A device asks to become a member."""
        reply = self._enrollment.enroll(request, address)
        if reply.code in ("", "pending"):
            log.info("%s joined the network from %s%s", reply.name, address, reply.code and " and waits")
        elif reply.code != "gateway":
            log.warning("turned away a device at %s that asked to join: %s", address, reply.message)
        return reply

    def _describe(self, record: NetworkRecord) -> NetworkRecord:
        return msgspec.structs.replace(
            record,
            fingerprint=fingerprint(self.certificate.der),
            addresses=self._addresses,
            public=self.certificate.public,
        )
