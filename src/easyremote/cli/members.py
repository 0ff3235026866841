"""``easynet invite``, ``join``, ``devices``, ``approve``, ``revoke``, ``rename`` and ``id``: who belongs."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

from easyremote.cli.durations import seconds_of
from easyremote.cli.output import Output
from easyremote.cli.settings import Settings
from easyremote.client.operator import Operator
from easyremote.errors import MembershipError, TrustError
from easyremote.links.machine import machine_name
from easyremote.trust.authority import Authority
from easyremote.trust.charter import Charter, sign_charter
from easyremote.trust.grant import PREFIX as GRANT_PREFIX
from easyremote.trust.grant import Grant, read_grant
from easyremote.trust.identity import Identity, device_text
from easyremote.trust.invite import Invite, read_invite
from easyremote.trust.keyring import Keyring
from easyremote.trust.membership import issue_membership, read_membership, role_of
from easyremote.trust.wallet import Kept, Wallet
from easyremote.wire.operations import DeviceRecord, NetworkRecord

ROOT_KEY = "network/root.key"
QR_BORDER = 2
SIGNED_SECONDS = 365 * 86400.0
"""How long a membership lasts that the root itself signed: nothing renews it."""


def operator(settings: Settings) -> Operator:
    """An operator's line to the gateway of these settings."""
    return Operator(settings.gateway, connect_timeout=settings.connect_timeout, home=settings.home)


def make_invite(
    settings: Settings,
    out: Output,
    *,
    role: str,
    uses: int,
    expires: str,
    functions: list[str],
    name: str,
    account: str,
    addresses: list[str],
    plain: bool,
) -> None:
    """Print an invite, and the same as a QR code."""
    seconds = seconds_of(expires)
    with operator(settings) as asked:
        line = asked.invite(
            role,
            uses=uses,
            seconds=seconds,
            functions=functions,
            name=name,
            account=account,
            addresses=addresses,
        )
    if plain or not out.terminal:
        out.line(line)
        return
    _show_qr(line, out)
    times = "once" if uses == 1 else f"{uses} times"
    out.line(f"It lets a {role} in, {times}, until {_when(time.time() + seconds)}.")
    out.line(f"It leads to {', '.join(read_invite(line).addresses)}; --address names another way in.")
    out.line("On the other device, once:\n")
    out.line(f"easynet join {line}")  # last, so that it is in sight however small the terminal is


def _show_qr(line: str, out: Output) -> None:
    import segno

    code = segno.make(line, error="l")
    wide, high = code.symbol_size(border=QR_BORDER)
    rows = (high + 1) // 2  # two modules a character, one above the other
    if wide > out.console.width or rows > out.console.height:
        out.line(f"(A terminal of {wide} columns and {rows} rows shows this as a QR code as well.)")
        return
    code.terminal(out=out.stream, compact=True, border=QR_BORDER)


def join_with(line: str, settings: Settings, out: Output, *, name: str | None) -> None:
    """Redeem an invite, or keep a grant, or learn where the gateway of one's own network is."""
    keyring = Keyring(settings.home)
    if line.strip().startswith(GRANT_PREFIX):
        grant = Wallet(keyring).keep_grant(read_grant(line))
        out.line(f"kept grant {grant.id.hex()[:8]}; calls from this home use it from now on")
        return
    identity = keyring.identity(os.urandom(32))
    invite = read_invite(line)
    if not invite.seed:
        _meet(invite, keyring, out)
        return
    from easyremote.links.entrance import join
    from easyremote.links.loop import run_in_background

    wanted = name or machine_name()
    kept = run_in_background(
        join(line, identity, keyring, name=wanted, timeout_seconds=settings.connect_timeout)
    )
    where = kept.addresses[-1]
    if not kept.credential:
        out.line(
            f"{kept.name} waits to be approved by an operator of the network at {where}: easynet approve"
        )
        return
    out.line(f"this device is {kept.name} in the network at {where}")
    if "node" in read_membership(kept.credential, identity.device, kept.root, 0.0).roles:
        out.line(f"Serve functions: easynet node FILE.py --gateway {where}")
    out.line(f"Call them:       easynet functions --gateway {where}")


def _meet(introduction: Invite, keyring: Keyring, out: Output) -> None:
    """The gateway that works under a charter of this home's root says where it is."""
    from easyremote.links.certificates import look_at
    from easyremote.links.loop import run_in_background
    from easyremote.trust.wallet import fingerprint

    wallet = Wallet(keyring)
    kept = wallet.of(introduction.root)
    if kept is None:
        raise MembershipError(
            "this line introduces a gateway to its network's own root, which is not in this home"
        )
    for address in introduction.addresses:
        try:
            shown = run_in_background(look_at(address, timeout_seconds=5.0))
        except ConnectionError:
            continue
        if fingerprint(shown) == introduction.fingerprint:
            kept.certificate, kept.gateway = shown, introduction.gateway
            wallet.settle(kept, address)
            out.line(f"the gateway at {address} is the one of this home's network")
            return
    raise MembershipError(
        f"the gateway does not answer under its certificate at {', '.join(introduction.addresses)}: is it running?"
    )


def list_devices(settings: Settings, out: Output) -> None:
    """Show every device the gateway knows."""
    with operator(settings) as asked:
        devices = asked.devices()
    rows = [
        {
            "device": device_text(one.device)[:12],
            "name": one.name,
            "role": role_of(one.roles),
            "account": one.account,
            "status": "online" if one.online and one.status == "active" else one.status,
            "nodes": [name for name in one.names if name != one.name],
            "functions": "" if one.functions == ["*"] else ", ".join(one.functions),
            "joined": _when(one.joined)[:10],
        }
        for one in devices
    ]
    records = [
        {
            "device": device_text(one.device),
            "name": one.name,
            "roles": one.roles,
            "account": one.account,
            "functions": one.functions,
            "status": one.status,
            "online": one.online,
            "names": one.names,
            "joined": one.joined,
        }
        for one in devices
    ]
    out.table(rows, records=records, empty="no devices")


def approve(text: str, settings: Settings, out: Output) -> None:
    """Take a device that waits, or was revoked; with the root's own signature where the gateway has no right to."""
    with operator(settings) as asked:
        record, network = asked.find(text), asked.network()
        beyond = not set(record.roles) <= set(network.roles)
        credential = _sign_with_root(record, network, settings) if beyond else b""
        asked.approve(record.device, credential)
    out.line(f"{record.name} is a member from now on, as {role_of(record.roles)}")


def _sign_with_root(record: DeviceRecord, network: NetworkRecord, settings: Settings) -> bytes:
    root = Keyring(settings.home).key(ROOT_KEY)
    if root is None or root.device != network.root:
        raise MembershipError(
            f"the gateway may not admit a {role_of(record.roles)}: its charter is for {' and '.join(network.roles)}. Approve "
            "on the machine where the network's root is kept"
        )
    return root_credential(
        root,
        network.name,
        device=record.device,
        name=record.name,
        roles=tuple(record.roles),
        account=record.account,
        functions=tuple(record.functions),
    )


def root_credential(
    root: Identity,
    network: str,
    *,
    device: bytes,
    name: str,
    roles: tuple[str, ...],
    account: str,
    functions: tuple[str, ...] = ("*",),
) -> bytes:
    """A membership that the network's root signs itself."""
    ends = time.time() + SIGNED_SECONDS
    charter = Charter(1, root.device, root.device, network, ["client", "node", "operator"], False, ends)
    return issue_membership(
        root.seed(),
        sign_charter(root, charter),
        device=device,
        name=name,
        roles=roles,
        account=account,
        functions=functions,
        expires=ends,
    )


def revoke(text: str, settings: Settings, out: Output) -> None:
    """A device, or a grant, does not count from now on."""
    with operator(settings) as asked:
        if text.strip().startswith(GRANT_PREFIX):
            grant = Grant(read_grant(text))
            asked.revoke_grant(grant.id)
            out.line(f"grant {grant.id.hex()[:8]}, and all that was narrowed from it, no longer counts")
            return
        record = asked.find(text)
        asked.revoke(record.device)
    freed = f"; free again: {', '.join(record.names)}" if record.names else ""
    out.line(f"{record.name} ({device_text(record.device)[:12]}) is out{freed}")


def rename(text: str, name: str, settings: Settings, out: Output) -> None:
    """Call a device, or one of its nodes, something else."""
    with operator(settings) as asked:
        record = asked.find(text)
        old = text if text in record.names else record.name
        asked.rename(record.device, name, old)
    out.line(f"{old} is {name} from now on")


def show_id(settings: Settings, out: Output) -> None:
    """Say who this device is, and where it belongs."""
    keyring = Keyring(settings.home)
    identity = keyring.identity(os.urandom(32))
    networks = [_network_row(kept, identity.device) for kept in Wallet(keyring).networks()]
    if out.as_json:
        out.value({"device": device_text(identity.device), "home": str(settings.home), "networks": networks})
        return
    out.line(device_text(identity.device))
    if out.terminal:
        out.line(f"kept in {settings.home}")
        out.table(networks, records=networks, empty="a member of no network yet: easynet join LINE")


def _network_row(kept: Kept, device: bytes) -> dict[str, object]:
    row: dict[str, object] = {
        "network": kept.network,
        "name": kept.name,
        "role": "",
        "account": "",
        "until": "",
        "status": "waits to be approved",
        "gateway": kept.addresses[-1] if kept.addresses else "",
    }
    if not kept.credential:
        return row
    try:
        membership = read_membership(kept.credential, device, kept.root, 0.0)
    except MembershipError as error:
        return row | {"status": str(error)}
    return row | {
        "name": membership.name,
        "role": role_of(membership.roles),
        "account": membership.account,
        "until": _when(membership.expires),
        "status": _status(kept, device, membership.expires),
    }


def _status(kept: Kept, device: bytes, expires: float) -> str:
    """Whether a membership counts, as far as this home has heard."""
    authority, now = Authority(kept.root), time.time()
    try:
        if kept.revocations:
            authority.take_revocations(kept.revocations, 0.0)
        authority.check(kept.credential, device, 0.0)
    except TrustError as error:
        return "revoked" if authority.revoked(device) else str(error)
    if expires <= now:
        return "ended; the gateway gives the next, if this device is in good standing"
    return "active"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
