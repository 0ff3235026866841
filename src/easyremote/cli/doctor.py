"""``easynet doctor``: what may be wrong on this machine, looked at in order, each with its remedy.

It looks with the product's own parts: a check that passes here is a thing that works.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import stat
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

from easyremote.cli.exits import Exit, exit_for
from easyremote.cli.findings import Finding
from easyremote.cli.output import Output, printable
from easyremote.cli.settings import Settings
from easyremote.errors import CertificateError, EasyRemoteError, InviteError, MembershipError

if TYPE_CHECKING:
    from easyremote.client.blocking import Client
    from easyremote.node.node import ComputeNode
    from easyremote.trust.membership import Membership

__all__ = ["Finding", "examine", "run_doctor", "too_old"]

OLDEST_PYTHON = (3, 11)
JOIN_SECONDS = 5.0
DIRECT_SECONDS = 3.0
CALLS = 20
CERTIFICATE_DAYS = 14
"""One that ends sooner is told of."""
ECHO = "doctor_echo"
MARKS = {"ok": ("✓", "green"), "note": ("–", "yellow"), "wrong": ("✗", "red")}


def run_doctor(settings: Settings, out: Output) -> int:
    """Look at everything, show each finding as it is made; returns the exit code."""
    code = Exit.OK
    for finding in examine(settings):
        if finding.state == "wrong" and code == Exit.OK:
            code = finding.exit
        _show(finding, out)
    return code


def examine(settings: Settings) -> Iterator[Finding]:
    """All checks; those of the network only as far as it is there."""
    yield _python()
    yield _packages()
    yield _settings(settings)
    yield _home(settings.home)
    yield _key(settings.home)
    reached = _gateway(settings)
    yield reached
    if reached.state == "ok":
        yield from _network(settings)


def _show(finding: Finding, out: Output) -> None:
    if out.as_json:
        out.value(finding)
    elif out.terminal:
        _show_rich(finding, out)
    else:
        out.line("\t".join((finding.state, finding.check, finding.found, finding.remedy)).rstrip("\t"))


def _show_rich(finding: Finding, out: Output) -> None:
    from rich.text import Text

    mark, colour = MARKS[finding.state]
    line = Text.assemble(
        (mark, f"bold {colour}"), " ", (f"{finding.check:<12}", "bold"), printable(finding.found)
    )
    if finding.remedy:
        line.append(f"\n  {'':<12}→ {printable(finding.remedy)}", colour)
    out.console.print(line, soft_wrap=True)


# ---- this machine


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return Finding(check="python", state="ok", found=f"{found} at {sys.executable}")
    remedy = "install Python 3.11 or newer, and EasyRemote there"
    return Finding(check="python", state="wrong", found=found, remedy=remedy)


def _packages() -> Finding:
    """Whether what EasyRemote stands on is there, and new enough."""
    wrong = []
    needed = [line for line in requires("easyremote") or () if "extra ==" not in line and "win32" not in line]
    for line in needed:
        name, least = _named(line)
        try:
            found = version(name)
        except PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        if least and too_old(found, least):
            wrong.append(f"{name} is {found}, wanted {least} or newer")
    mine = f"easyremote {version('easyremote')}"
    if not wrong:
        return Finding(check="packages", state="ok", found=f"{mine} and the {len(needed)} it needs")
    remedy = "pip install --upgrade easyremote"
    return Finding(check="packages", state="wrong", found=f"{mine}: {', '.join(wrong)}", remedy=remedy)


def _named(requirement: str) -> tuple[str, str | None]:
    """A requirement's name and the version it starts from."""
    name = re.match(r"[\w.-]+", requirement)
    least = re.search(r">=\s*([\d.]+)", requirement)
    return name[0] if name else requirement, least[1] if least else None


def too_old(found: str, least: str) -> bool:
    """Whether a version comes before another, by their numbers."""

    def numbers(text: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", text)[:3]]

    return numbers(found) < numbers(least)


def _settings(settings: Settings) -> Finding:
    source = settings.sources.get("gateway", "the default")
    others = [f"{name} from {where}" for name, where in sorted(settings.sources.items()) if name != "gateway"]
    found = f"gateway {settings.gateway} from {source}"
    return Finding(check="settings", state="ok", found="; ".join([found, *others]))


def _home(home: Path) -> Finding:
    if not home.exists():
        return Finding(check="home", state="ok", found=f"{home} is not there yet; it is made on first use")
    if not home.is_dir():
        remedy = "move the file away, or set EASYREMOTE_HOME to a folder"
        return Finding(check="home", state="wrong", found=f"{home} is not a folder", remedy=remedy)
    mode = stat.S_IMODE(home.stat().st_mode)
    if os.name == "posix" and mode & 0o077:
        found = f"{home} is open to other users (mode {mode:04o})"
        return Finding(check="home", state="wrong", found=found, remedy=f"chmod 700 {home}")
    if not os.access(home, os.W_OK | os.X_OK):
        return Finding(
            check="home", state="wrong", found=f"{home} is not writable", remedy=f"chmod 700 {home}"
        )
    return Finding(check="home", state="ok", found=f"{home} is this user's alone")


def _key(home: Path) -> Finding:
    from easyremote.trust.identity import device_text
    from easyremote.trust.keyring import Keyring

    if not (home / "device.key").exists():
        return Finding(check="key", state="ok", found="none yet; it is made on first use")
    try:
        identity = Keyring(home).identity(secrets.token_bytes(32))
    except EasyRemoteError as error:
        found, *remedy = re.split(r"\.? (?=Run: |Restore |Make )", str(error), maxsplit=1)
        return Finding(check="key", state="wrong", found=found, remedy="".join(remedy), exit=Exit.FAILED)
    return Finding(check="key", state="ok", found=f"device {device_text(identity.device)}")


# ---- the network


def _gateway(settings: Settings) -> Finding:
    """Whether anything listens there at all."""
    from easyremote.client.blocking import Client

    address = Client(settings.gateway).gateway_address  # with its port, if none was said
    host, _, port = address.rpartition(":")
    began = time.perf_counter()
    try:
        with socket.create_connection((host.strip("[]"), int(port)), settings.connect_timeout):
            took = time.perf_counter() - began
    except OSError as error:
        remedy = "start one there with `easynet gateway`, or name another with --gateway HOST:PORT"
        found = f"nothing answers at {address}: {error}"
        return Finding(check="gateway", state="wrong", found=found, remedy=remedy, exit=Exit.UNREACHABLE)
    return Finding(check="gateway", state="ok", found=f"{address} answers after {took * 1e3:.1f} ms")


def _network(settings: Settings) -> Iterator[Finding]:
    """What is there beyond an open port: a gateway that knows this device, nodes, and a way for calls."""
    from easyremote.cli.doctor_nodes import check_health, check_ports, check_version
    from easyremote.client.blocking import Client

    try:
        with Client(
            settings.gateway, connect_timeout=settings.connect_timeout, home=settings.home, direct=False
        ) as client:
            records = client.list_nodes()
            yield check_version(client)
            yield _certificate(settings, client.gateway_address)
            yield _clock(settings, client.gateway_address)
            membership = _membership(settings, client.gateway_address)
            yield _belonging(membership)
            yield _nodes(settings, [record.name for record in records])
            yield from check_health(client, records)
            if (ports := check_ports(client, records)) is not None:
                yield ports
            yield from _round_trips(settings, client, membership)
    except (MembershipError, CertificateError, InviteError) as error:
        yield _turned_away(error)
    except EasyRemoteError as error:
        remedy = "see that it is an EasyRemote gateway of this version: easynet --version there and here"
        first = str(error).split("\n", 1)[0]
        yield Finding(check="protocol", state="wrong", found=first, remedy=remedy, exit=exit_for(error))


def _certificate(settings: Settings, address: str) -> Finding:
    """What the gateway has shown, which was as it should be, and how long it holds."""
    from datetime import UTC, datetime

    from cryptography.x509 import load_der_x509_certificate

    from easyremote.trust.keyring import Keyring
    from easyremote.trust.wallet import Wallet, fingerprint

    kept = Wallet(Keyring(settings.home)).at(address)
    if kept is None or not kept.certificate:
        return Finding(check="certificate", state="ok", found="a public authority vouches for the gateway's")
    ends = load_der_x509_certificate(kept.certificate).not_valid_after_utc
    days = (ends - datetime.now(UTC)).days
    found = f"the one that is pinned here, {fingerprint(kept.certificate).hex()[:16]}…, until {ends:%Y-%m-%d}"
    if days > CERTIFICATE_DAYS:
        return Finding(check="certificate", state="ok", found=found)
    remedy = "ask the gateway's owner to replace it, then join again with an invite"
    return Finding(check="certificate", state="note", found=found, remedy=remedy)


def _clock(settings: Settings, address: str) -> Finding:
    """Memberships, grants and certificates end by the clock: those of two devices must not be far apart."""
    from easyremote.links.loop import run_in_background
    from easyremote.links.relay import clock_error
    from easyremote.protocol.standing import LEEWAY_SECONDS
    from easyremote.trust.keyring import Keyring
    from easyremote.trust.wallet import Wallet

    kept = Wallet(Keyring(settings.home)).at(address)
    certificate = kept.certificate if kept is not None else b""
    ahead = run_in_background(clock_error(address, certificate, timeout_seconds=settings.connect_timeout))
    if ahead is None:
        return Finding(check="clock", state="note", found="the gateway does not say what time it is there")
    if abs(ahead) < LEEWAY_SECONDS / 2:
        return Finding(check="clock", state="ok", found="agrees with the gateway's")
    found = f"the gateway's is {abs(ahead):,.0f} s {'ahead' if ahead > 0 else 'behind'}"
    remedy = "set the one that is wrong, for instance with: timedatectl set-ntp true"
    return Finding(check="clock", state="wrong" if abs(ahead) > 3600 else "note", found=found, remedy=remedy)


def _membership(settings: Settings, address: str) -> Membership:
    """What the gateway at this address has just let this device in with."""
    from easyremote.trust.keyring import Keyring
    from easyremote.trust.membership import read_membership
    from easyremote.trust.wallet import Wallet

    keyring = Keyring(settings.home)
    kept = Wallet(keyring).at(address)
    if kept is None:
        raise MembershipError(f"this device keeps nothing of the network at {address}")
    return read_membership(kept.credential, keyring.identity(secrets.token_bytes(32)).device, kept.root, 0.0)


def _belonging(membership: Membership) -> Finding:
    from easyremote.trust.membership import role_of

    found = f"{membership.name!r}, {role_of(membership.roles)}, of account {membership.account!r}"
    if "*" not in membership.functions:
        found += f", for {', '.join(membership.functions)}"
    return Finding(check="membership", state="ok", found=found)


def _turned_away(error: EasyRemoteError) -> Finding:
    """The gateway is there, and it is the question of who belongs that is in the way."""
    check = "certificate" if isinstance(error, CertificateError) else "membership"
    found, *rest = re.split(r"(?<=[.:])\s+(?=Ask |An operator |If |  known)", str(error), maxsplit=1)
    remedy = " ".join("".join(rest).split())
    if not remedy:
        remedy = (
            "ask an operator of the network: easynet devices and easynet approve on the gateway's machine"
        )
    return Finding(check=check, state="wrong", found=found, remedy=remedy, exit=exit_for(error))


def _nodes(settings: Settings, names: list[str]) -> Finding:
    if not names:
        remedy = f"serve a file's functions: easynet node FILE.py --gateway {settings.gateway}"
        return Finding(check="nodes", state="note", found="none is connected", remedy=remedy)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return Finding(check="nodes", state="ok", found=f"{len(names)} connected: {', '.join(names[:5])}{more}")


def _round_trips(settings: Settings, client: Client, membership: Membership) -> Iterator[Finding]:
    """Call a node of our own through the gateway and directly, sealed both ways, and take it away again."""
    from easyremote.cli.doctor_nodes import check_large
    from easyremote.client.blocking import Client
    from easyremote.node.node import ComputeNode
    from easyremote.trust.identity import device_text
    from easyremote.trust.membership import role_of

    if "node" not in membership.roles:
        found = (
            f"not tried: this device joined as a {role_of(membership.roles)}, which calls and does not serve"
        )
        remedy = "easynet functions lists what it may call"
        yield Finding(check="round trip", state="note", found=found, remedy=remedy)
        return
    # One name a device, whoever runs this how often: the gateway keeps names for those who had them.
    name = f"doctor-{device_text(membership.device)[:8]}"
    node = ComputeNode(settings.gateway, name, audit=False, jobs=False, home=settings.home)
    node.register(name=ECHO, description="Says the same again.", allow="network", listed=False)(_doctor_echo)
    if not membership.may_call(ECHO, f"{name}.{ECHO}"):
        found = f"not tried: this device may call {', '.join(membership.functions)}, and nothing of its own"
        yield Finding(check="round trip", state="note", found=found, remedy="easynet functions lists them")
        return
    try:
        node.serve(blocking=False)
        yield _took("round trip", "through the gateway", _echo_times(client, node))
        yield check_large(client, f"{node.name}.{ECHO}")
        with Client(settings.gateway, home=settings.home, direct=True) as near:
            yield _directly(near, node)
    except (EasyRemoteError, TimeoutError) as error:
        first = str(error).split("\n", 1)[0]
        remedy = "see what the gateway says with `easynet gateway --verbose`"
        yield Finding(check="round trip", state="wrong", found=first, remedy=remedy)
    finally:
        node.stop()


def _took(check: str, way: str, times: list[float]) -> Finding:
    p50 = times[len(times) // 2] * 1e3
    return Finding(
        check=check, state="ok", found=f"a sealed call {way} to a node here and back: p50 {p50:.2f} ms"
    )


def _directly(client: Client, node: ComputeNode) -> Finding:
    """The same over a direct link; which calls go over it, the trace tells."""
    from easyremote.trace import TraceEvent, subscribe

    paths: list[str] = []

    def note(event: TraceEvent) -> None:
        if event.name == "call sent":
            paths.append(event.detail.rpartition(" ")[2])

    stop = subscribe(note)
    try:
        deadline = time.monotonic() + DIRECT_SECONDS
        while "direct" not in paths and time.monotonic() < deadline:
            _echo_times(client, node)
        times = _echo_times(client, node)
    finally:
        stop()
    if paths[-1] == "direct":
        return _took("direct", "over a direct link", times)
    remedy = (
        "calls go through the gateway, which works as well; see that programs here may listen on 127.0.0.1"
    )
    return Finding(check="direct", state="note", found="no direct link came to stand", remedy=remedy)


def _echo_times(client: Client, node: ComputeNode) -> list[float]:
    """How long each of a few calls took, in seconds, the shortest first.

    Raises:
        TimeoutError: The node did not join.
    """
    deadline = time.monotonic() + JOIN_SECONDS
    while all(record.name != node.name for record in client.list_nodes()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"a node of our own did not join within {JOIN_SECONDS:g} s")
        time.sleep(0.01)
    times = []
    for number in range(CALLS):
        began = time.perf_counter()
        if client.options(timeout=JOIN_SECONDS).execute(f"{node.name}.{ECHO}", number) != number:
            raise TimeoutError(f"an echo did not bring {number} back")
        times.append(time.perf_counter() - began)
    return sorted(times)


def _doctor_echo(value: object) -> object:
    return value
