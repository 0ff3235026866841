"""Which gateway: what a program, the environment or this machine says."""

from __future__ import annotations

import os
from pathlib import Path

from easyremote.errors import TrustError, UsageError

DEFAULT_PORT = 8080
DEFAULT_GATEWAY = f"127.0.0.1:{DEFAULT_PORT}"

_default_gateway: str | None = None


def set_default_gateway(gateway_address: str, **_: object) -> None:
    """Let clients, nodes and ``@remote`` functions that name no gateway use this one, ``host:port``."""
    global _default_gateway
    _default_gateway = check_address(gateway_address)


def default_gateway() -> str:
    """The gateway to use when none is named: set in code, in the environment, joined, or on this machine."""
    named = (
        _default_gateway
        or os.environ.get("EASYREMOTE_GATEWAY")
        or os.environ.get("EASYREMOTE_GATEWAY_ADDRESS")
    )
    return check_address(named) if named else known_gateway(None) or DEFAULT_GATEWAY


def known_gateway(home: Path | None) -> str | None:
    """The gateway of the one network this home has joined; None if there is none, or a gateway of its own."""
    from easyremote.trust.keyring import Keyring
    from easyremote.trust.wallet import Wallet

    try:
        keyring = Keyring(home)
        if (keyring.home / "network" / "charter").exists():
            return None
        networks = [kept for kept in Wallet(keyring).networks() if kept.addresses]
    except TrustError:
        return None  # whoever needs the home says what is wrong with it
    return networks[0].addresses[-1] if len(networks) == 1 else None


def check_address(address: str) -> str:
    """``host:port``, as given, or with the port 8080 added.

    Raises:
        UsageError: It is not an address.
    """
    wrong = UsageError(f"a gateway's address is 'host:port', such as '{DEFAULT_GATEWAY}', not {address!r}")
    if not isinstance(address, str):
        raise wrong
    bare = address.strip().removeprefix("http://").removeprefix("https://").rstrip("/")
    if not bare or any(c.isspace() or c == "/" for c in bare):
        raise wrong
    host, colon, port = bare.rpartition(":")
    if not colon or bare.endswith("]"):
        return f"{bare}:{DEFAULT_PORT}"
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise wrong
    return bare
