"""How a device gets to its gateway: which network is there, how it is known, and what to show.

Same home, nothing to do: the network's file is there. A new device brings an invite, or asks a gateway
that is open to all. A gateway that is known is reached only under the certificate it was known by.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable

from easyremote.errors import CertificateError, EasyRemoteError, InviteError, LinkError, MembershipError
from easyremote.links.certificates import changed_certificate, fingerprint_text, look_at
from easyremote.links.link import Link
from easyremote.links.relay import connect, enroll, unreachable
from easyremote.protocol.events import Joined
from easyremote.trace import log
from easyremote.trust.identity import Identity
from easyremote.trust.invite import Invite, enroll_transcript, read_invite
from easyremote.trust.keyring import Keyring
from easyremote.trust.wallet import Kept, Wallet, fingerprint
from easyremote.wire.messages import EnrollReply, EnrollRequest

INVITE_VARIABLE = "EASYREMOTE_INVITE"


class Entrance:
    """One device's way to one gateway.

    Args:
        address: ``host:port``; None for where the invite leads.
        identity: The device.
        keyring: Its home.
        invite: A line from ``easynet invite``; default ``EASYREMOTE_INVITE``.
        name: What the device wants to be called, should it have to enroll.
        role: ``node`` or ``client``.
    """

    def __init__(
        self, address: str, identity: Identity, keyring: Keyring, *, invite: str | None, name: str, role: str
    ) -> None:
        self.address = address
        self._identity = identity
        self._wallet = Wallet(keyring)
        line = invite or os.environ.get(INVITE_VARIABLE) or ""
        self._invite = read_invite(line) if line else None
        self._name, self._role = name, role
        self._root = b""

    async def connect(self, timeout_seconds: float, joined: Callable[[Joined], None]) -> Link:
        """A fresh link; ``joined`` is told what this device keeps of the network before it is used.

        Raises:
            LinkError: The gateway does not answer.
            CertificateError: It is not the one that is known here.
            MembershipError: This device does not belong to its network.
            InviteError: The invite does not open the door.
        """
        kept = await self._kept(timeout_seconds)
        link = await connect(self.address, kept.certificate, timeout_seconds=timeout_seconds)
        self._root = kept.root
        joined(
            Joined(
                kept.root,
                kept.gateway,
                kept.credential,
                kept.revocations,
                self._wallet.grants(kept.root, time.time()),
            )
        )
        return link

    def keep_credential(self, credential: bytes) -> None:
        """The gateway gave this device a fresh membership."""
        self._wallet.remember(self._root, credential=credential)

    def keep_revocations(self, revocations: bytes) -> None:
        """There is a newer list of revocations."""
        self._wallet.remember(self._root, revocations=revocations)

    async def _kept(self, timeout_seconds: float) -> Kept:
        if self._invite is not None:
            kept = self._wallet.of(self._invite.root)
            if kept is None:
                kept = await self._redeem(self._invite, timeout_seconds)
            elif self.address not in kept.addresses:
                self._wallet.settle(kept, self.address)
            return kept
        kept = self._wallet.at(self.address)
        if kept is not None:
            return kept
        shown = await self._look(timeout_seconds)
        kept = self._wallet.with_certificate(fingerprint(shown))
        if kept is not None:
            self._wallet.settle(kept, self.address)
            return kept
        return await self._ask_to_enter(shown, timeout_seconds)

    async def _look(self, timeout_seconds: float) -> bytes:
        """The certificate shown there, as soon as somebody shows one."""
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while True:
            try:
                return await look_at(self.address, timeout_seconds=timeout_seconds)
            except LinkError as error:
                if "TLS" in str(error):
                    raise
                if asyncio.get_running_loop().time() + 0.05 > deadline:
                    raise unreachable(self.address, timeout_seconds) from None
                await asyncio.sleep(0.05)

    # ---- enrolling

    async def _redeem(self, invite: Invite, timeout_seconds: float) -> Kept:
        if invite.fingerprint:
            shown = await self._look(timeout_seconds)
            if fingerprint(shown) != invite.fingerprint:
                raise InviteError(
                    f"the gateway at {self.address} is not the one this invite is for: it shows the certificate "
                    f"{fingerprint_text(shown)}. Ask its operator for a fresh invite"
                )
        else:
            shown = b""  # a public authority vouches for it
        known = self._wallet.of(invite.root)
        if known is not None and known.certificate and known.certificate != shown:
            raise changed_certificate(self.address, known.certificate, shown)
        reply = await self._enroll(shown, invite.gateway, timeout_seconds, invite)
        if not reply.code and (reply.root, reply.gateway) != (invite.root, invite.gateway):
            raise InviteError(f"the gateway at {self.address} serves another network than this invite's")
        return self._keep(reply, shown)

    async def _ask_to_enter(self, shown: bytes, timeout_seconds: float) -> Kept:
        """Nothing is known of this gateway: it may be one that is open to all."""
        with contextlib.suppress(CertificateError, LinkError):
            await look_at(self.address, timeout_seconds=timeout_seconds, vouched=True)
            shown = b""  # a public authority vouches for it, and will for its next certificate
        reply = await self._enroll(shown, b"", timeout_seconds, None)
        if reply.code == "gateway":  # open to all: its id goes into what is signed
            reply = await self._enroll(shown, reply.gateway, timeout_seconds, None)
        if reply.code == "needed":
            raise MembershipError(
                f"this device is not a member of the network at {self.address}. Ask its operator to run "
                "`easynet invite` on the gateway's machine, and run here: easynet join LINE"
            )
        kept = self._keep(reply, shown)
        log.warning(
            "joined the open network %s at %s, whose key was not known before; its certificate from now on: %s",
            kept.network,
            self.address,
            fingerprint_text(shown) if shown else "any that a public authority vouches for",
        )
        return kept

    async def _enroll(
        self, shown: bytes, gateway: bytes, timeout_seconds: float, invite: Invite | None
    ) -> EnrollReply:
        key = invite.key if invite is not None else b""
        name = (invite.name if invite is not None else "") or self._name
        device = self._identity.device
        transcript = enroll_transcript(gateway, device, name, self._role, key)
        request = EnrollRequest(
            device=device,
            name=name,
            role=self._role,
            invite=key,
            proof=Identity.from_seed(invite.seed).sign(transcript) if invite is not None else b"",
            signature=self._identity.sign(transcript) if gateway else b"",
        )
        return await enroll(self.address, shown, request, timeout_seconds=timeout_seconds)

    def _keep(self, reply: EnrollReply, shown: bytes) -> Kept:
        if reply.code == "refused":
            raise InviteError(f"the gateway at {self.address} refused: {reply.message}")
        if reply.code not in ("", "pending"):
            raise LinkError(f"the gateway at {self.address} says: {reply.message}")
        if len(reply.root) != 32 or len(reply.gateway) != 32:
            raise LinkError(f"what answers at {self.address} is no gateway: its reply names no network")
        known = self._wallet.of(reply.root)
        if known is not None and known.certificate != shown and known.certificate:
            raise changed_certificate(self.address, known.certificate, shown)
        kept = Kept(
            root=reply.root,
            gateway=reply.gateway,
            certificate=shown,
            credential=reply.membership,
            revocations=known.revocations if known is not None else b"",
            addresses=known.addresses if known is not None else [],
            name=reply.name,
        )
        self._wallet.settle(kept, self.address)
        return kept


async def join(line: str, identity: Identity, keyring: Keyring, *, name: str, timeout_seconds: float) -> Kept:
    """Redeem an invite at the first of its addresses that answers; what is kept of the network.

    Raises:
        InviteError: The invite does not open the door.
        LinkError: None of its gateway's addresses answers.
    """
    failure: EasyRemoteError | None = None
    for address in read_invite(line).addresses:
        entrance = Entrance(address, identity, keyring, invite=line, name=name, role="node")
        try:
            return await entrance._redeem(read_invite(line), timeout_seconds)
        except LinkError as error:
            failure = error
    raise failure or LinkError("the invite names no address")
