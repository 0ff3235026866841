"""``easynet network``: make a network, look at it, change its keys."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

from easyremote.cli.durations import seconds_of
from easyremote.cli.members import ROOT_KEY, operator, root_credential
from easyremote.cli.output import Output
from easyremote.cli.settings import Settings
from easyremote.errors import MembershipError, UsageError
from easyremote.gateway.authority import (
    CHARTER,
    NetworkKeys,
    delegate,
    install,
    read_delegation,
    write_delegation,
)
from easyremote.gateway.certificate import own_certificate
from easyremote.gateway.office import OWNER
from easyremote.links.address import check_address
from easyremote.links.machine import machine_name, reachable
from easyremote.trust.charter import network_text
from easyremote.trust.identity import device_text
from easyremote.trust.invite import Invite, write_invite
from easyremote.trust.keyring import Keyring
from easyremote.trust.wallet import Kept, Wallet, fingerprint

ROLES = ("client", "node", "operator")


def make_network(
    settings: Settings, out: Output, *, name: str | None, offline: bool, expires: str, roles: list[str]
) -> None:
    """Make the network's root here; offline, print what a gateway elsewhere needs."""
    keyring = Keyring(settings.home)
    called = name or machine_name()
    if not offline:
        if keyring.read(CHARTER) is not None:
            raise UsageError(f"there is a network in {settings.home} already: easynet network show")
        keys = NetworkKeys.load(keyring, time.time(), network=called)
        out.line(f"made network {network_text(keys.root)} in {settings.home / 'network'}")
        out.line("Start its gateway here: easynet gateway")
        return
    _print_delegation(keyring, out, called, roles, expires)


def _print_delegation(keyring: Keyring, out: Output, network: str, roles: list[str], expires: str) -> None:
    beyond = [role for role in roles if role not in ROLES[:2]]
    if beyond:
        raise UsageError(
            f"a gateway elsewhere may admit client and node, not {beyond[0]!r}: operators are the root's"
        )
    delegation = delegate(
        keyring,
        time.time(),
        network=network,
        roles=tuple(roles),
        seconds=seconds_of(expires),
        open_to_all=False,
    )
    root = keyring.key(ROOT_KEY)
    if root is None:
        raise MembershipError(f"the root key vanished from {keyring.home / ROOT_KEY}")
    identity = keyring.identity(os.urandom(32))
    wallet = Wallet(keyring)
    credential = root_credential(
        root, network, device=identity.device, name=network, roles=ROLES, account=OWNER
    )
    known = wallet.of(root.device)
    wallet.keep(
        Kept(
            root=root.device,
            gateway=known.gateway if known is not None else b"",
            certificate=known.certificate if known is not None else b"",
            credential=credential,
            revocations=known.revocations if known is not None else b"",
            addresses=known.addresses if known is not None else [],
            name=network,
        )
    )
    out.line(write_delegation(delegation))
    if out.terminal:
        ends = datetime.fromtimestamp(time.time() + seconds_of(expires), UTC)
        out.line(
            f"This line is a secret. It lets a gateway admit {' and '.join(roles)} until {ends:%Y-%m-%d}."
        )
        out.line(
            "On the gateway's machine: easynet network install LINE; then here: easynet join the line it prints."
        )


def install_charter(
    line: str, settings: Settings, out: Output, *, addresses: list[str], running: bool
) -> None:
    """On the gateway's machine: work under a charter whose root is elsewhere; print how to be found."""
    delegation = read_delegation(line)
    if running:
        with operator(settings) as asked:
            asked.rotate(delegation.charter, delegation.seed)
        out.line("the gateway signs with the new key from now on")
        return
    keyring = Keyring(settings.home)
    keys = install(keyring, delegation, time.time())
    certificate = own_certificate(keyring, time.time())
    introduction = Invite(
        version=1,
        root=keys.root,
        fingerprint=fingerprint(certificate.der),
        gateway=keyring.identity(os.urandom(32)).device,
        addresses=[check_address(one) for one in addresses]
        or [f"{one}:{settings.port}" for one in reachable(settings.host)][:8],
        seed=b"",
    )
    out.line(write_invite(introduction))
    if out.terminal:
        out.line("Start the gateway: easynet gateway. Then, where the root is kept: easynet join LINE")


def show_network(settings: Settings, out: Output) -> None:
    """Say what network this is, and what its gateway may do."""
    with operator(settings) as asked:
        network = asked.network()
    shown = {
        "network": network_text(network.root),
        "name": network.name,
        "open": network.open,
        "gateway": device_text(network.gateway)[:16],
        "fingerprint": "SHA256:" + network.fingerprint.hex(":"),
        "certificate": "vouched for by a public authority" if network.public else "of its own making, pinned",
        "addresses": network.addresses,
        "admits": network.roles,
        "charter until": datetime.fromtimestamp(network.charter_expires, UTC).strftime("%Y-%m-%d"),
        "root": "on the gateway's machine" if network.root_here else "kept elsewhere",
        "devices": network.devices,
    }
    if out.as_json:
        out.value(shown | {"root_key": device_text(network.root)})
        return
    for key, value in shown.items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        out.line(f"{key:<14} {text}" if out.terminal else f"{key}\t{text}")


def rotate(settings: Settings, out: Output, *, offline: bool, expires: str, roles: list[str]) -> None:
    """Sign memberships with a fresh key, and believe the old one no longer."""
    if offline:
        keyring = Keyring(settings.home)
        root = keyring.key(ROOT_KEY)
        if root is None:
            raise MembershipError(f"the network's root is not in {settings.home}: run this where it is kept")
        known = Wallet(keyring).of(root.device)
        _print_delegation(keyring, out, known.name if known is not None else "network", roles, expires)
        return
    with operator(settings) as asked:
        asked.rotate()
    out.line(
        "the gateway signs memberships with a fresh key; members got theirs anew, the old key counts no more"
    )


def forget(address: str, settings: Settings, out: Output) -> None:
    """Know the gateway at this address no longer."""
    if not Wallet(Keyring(settings.home)).forget(address):
        raise UsageError(f"no gateway is known at {address}: easynet id lists those that are")
    out.line(f"the gateway at {address} is not known any more; join again with an invite")
