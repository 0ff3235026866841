"""``Operator``: asks the gateway what only operators may: who is a member, who may join, who is out.

The gateway checks the role; every process in the gateway's own home is an operator's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from easyremote.client.face import CONNECT_TIMEOUT_SECONDS, new_connection
from easyremote.errors import UsageError
from easyremote.links.address import check_address
from easyremote.links.loop import run_in_background
from easyremote.trust.identity import Identity, device_text
from easyremote.trust.invite import Invite, write_invite
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
    decode_devices,
    decode_network,
    encode_operation,
)


class Operator:
    """An operator's line to a gateway; a context manager, as clients are.

    Args:
        gateway: ``host:port``.
        connect_timeout: Seconds to wait for it.
        home: Where this device's key is kept.
    """

    def __init__(
        self, gateway: str, *, connect_timeout: float = CONNECT_TIMEOUT_SECONDS, home: Path | None = None
    ) -> None:
        self._connection = new_connection(gateway, connect_timeout=connect_timeout, home=home)

    def ask(self, operation: Operation) -> bytes:
        """Have an operation done; the bytes of the answer.

        Raises:
            MembershipError: This device is no operator, or it cannot be done; the message says why.
            LinkError: The gateway does not answer.
        """
        engine = self._connection.engine
        return run_in_background(engine.operate(encode_operation(operation)))

    def devices(self) -> list[DeviceRecord]:
        """Every device the gateway knows, in the order they came."""
        return decode_devices(self.ask(ListDevices()))

    def network(self) -> NetworkRecord:
        """The network as its gateway knows it."""
        return decode_network(self.ask(ShowNetwork()))

    def invite(
        self,
        role: str = "node",
        *,
        uses: int = 1,
        seconds: float = 3600.0,
        functions: Iterable[str] = (),
        name: str = "",
        account: str = "",
        addresses: Iterable[str] = (),
    ) -> str:
        """An invite, one line: whoever has it may join.

        Args:
            role: ``node``, ``client`` or ``operator``.
            uses: How many devices it lets in.
            seconds: How long it holds.
            functions: Patterns of what its devices may call, as in ``vision.*``; all if empty.
            name: What the device is called.
            account: Whose device it is; an account of its own if empty.
            addresses: How the gateway is reached from there; its own addresses if empty.
        """
        network, seed = self.network(), os.urandom(32)
        wanted = MakeInvite(
            key=Identity.from_seed(seed).device,
            role=role,
            uses=uses,
            expires=time.time() + seconds,
            functions=list(functions),
            name=name,
            account=account,
        )
        self.ask(wanted)
        invite = Invite(
            version=1,
            root=network.root,
            fingerprint=b"" if network.public else network.fingerprint,
            gateway=network.gateway,
            addresses=[check_address(one) for one in addresses] or network.addresses[:8],
            seed=seed,
            name=name,
        )
        return write_invite(invite)

    def approve(self, device: bytes, credential: bytes = b"") -> None:
        """Take a device that waits, or was revoked."""
        self.ask(ApproveDevice(device, credential))

    def revoke(self, device: bytes) -> None:
        """The device does not count from now on."""
        self.ask(RevokeDevice(device))

    def revoke_grant(self, grant: bytes) -> None:
        """The grant does not count from now on."""
        self.ask(RevokeGrant(grant))

    def rename(self, device: bytes, name: str, old: str = "") -> None:
        """Call a device, or one of its nodes, something else."""
        self.ask(RenameDevice(device, name, old))

    def rotate(self, charter: bytes = b"", seed: bytes = b"") -> None:
        """Sign memberships with a fresh key."""
        self.ask(RotateIssuer(charter, seed))

    def find(self, text: str) -> DeviceRecord:
        """The device of this name, id, or beginning of an id.

        Raises:
            UsageError: There is none, or more than one.
        """
        devices = self.devices()
        exact = [one for one in devices if text in (one.name, device_text(one.device)) or text in one.names]
        found = exact or [
            one for one in devices if len(text) >= 4 and device_text(one.device).startswith(text)
        ]
        active = [one for one in found if one.status != "revoked"] or found
        if len(active) == 1:
            return active[0]
        if not active:
            raise UsageError(f"no device is called {text!r}. Run `easynet devices` to see those there are")
        ids = ", ".join(device_text(one.device)[:12] for one in active)
        raise UsageError(f"{len(active)} devices are called {text!r}: give the beginning of an id, {ids}")

    def close(self) -> None:
        """Disconnect."""
        engine = self._connection.take()
        if engine is not None:
            run_in_background(engine.close())

    def __enter__(self) -> Operator:
        """Connects when it is first asked."""
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self.close()
