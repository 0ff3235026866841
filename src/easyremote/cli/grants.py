"""``easynet grant``: give a capability away, or narrow one that was given; neither needs the gateway."""

from __future__ import annotations

import os
import time

from easyremote.cli.durations import seconds_of
from easyremote.cli.members import operator
from easyremote.cli.output import Output
from easyremote.cli.settings import Settings
from easyremote.errors import EasyRemoteError, IdentityError, MembershipError, UsageError
from easyremote.trust.grant import Grant, Terms, issue_grant, read_grant, write_grant
from easyremote.trust.identity import parse_device
from easyremote.trust.keyring import Keyring
from easyremote.trust.wallet import Wallet

ACCOUNT_PREFIX = "account:"


def grant(
    functions: list[str],
    settings: Settings,
    out: Output,
    *,
    to: list[str],
    accounts: list[str],
    expires: str | None,
    max_calls: int | None,
    narrow: str | None,
) -> None:
    """Print a grant, or a narrower one made from it."""
    devices, named = _receivers(to, settings)
    terms = Terms(
        functions=tuple(functions),
        devices=tuple(devices),
        accounts=(*accounts, *named),
        expires=None if expires is None else time.time() + seconds_of(expires),
        max_calls=max_calls,
    )
    if narrow is not None:
        out.line(write_grant(Grant(read_grant(narrow)).narrowed(terms, os.urandom(16))))
        return
    if not functions:
        raise UsageError("say which function: easynet grant 'vision.*' --to DEVICE")
    if not terms.devices and not terms.accounts:
        raise UsageError("say for whom: --to DEVICE, or --account NAME")
    if terms.expires is None:
        raise UsageError("say until when: --expires 7d")
    keyring = Keyring(settings.home)
    identity = keyring.identity(os.urandom(32))
    kept = Wallet(keyring).at(settings.gateway)
    if kept is None:
        known = Wallet(keyring).networks()
        if len(known) != 1:
            raise MembershipError(
                f"the gateway {settings.gateway} is not known here: say which one with --gateway, or join it first"
            )
        kept = known[0]
    line = write_grant(issue_grant(identity, kept.credential, terms, os.urandom(16)))
    out.line(line)
    if out.terminal:
        out.line(
            "There: easynet join LINE, or Client(…, grants=[LINE]). It can be narrowed: easynet grant --narrow LINE"
        )


def _receivers(to: list[str], settings: Settings) -> tuple[list[bytes], list[str]]:
    """Devices by id or name, and accounts; only operators can look names up."""
    devices: list[bytes] = []
    accounts: list[str] = []
    for text in to:
        if text.startswith(ACCOUNT_PREFIX):
            accounts.append(text.removeprefix(ACCOUNT_PREFIX))
            continue
        try:
            devices.append(parse_device(text))
        except IdentityError:
            devices.append(_look_up(text, settings))
    return devices, accounts


def _look_up(name: str, settings: Settings) -> bytes:
    try:
        with operator(settings) as asked:
            return asked.find(name).device
    except UsageError:
        raise
    except EasyRemoteError as error:
        raise UsageError(
            f"cannot look up the device {name!r} ({error}). Give its id, which `easynet id` prints there, or "
            "--account NAME"
        ) from None
