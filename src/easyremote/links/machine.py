"""What this machine is called, where nobody said what to call a device or a node, and where it is."""

from __future__ import annotations

import hashlib
import socket
import uuid
from pathlib import Path

MACHINE_NAME_CHARACTERS = 48


def machine_name() -> str:
    """The machine's own name in lower case, with nothing in it that a name may not have."""
    name = socket.gethostname().split(".")[0].lower()
    kept = "".join(c if c.isalnum() or c in "-_" else "-" for c in name).strip("-")
    return kept[:MACHINE_NAME_CHARACTERS] or "device"


def reachable(host: str) -> list[str]:
    """Where devices elsewhere may find this machine: its own addresses, those of this machine alone last."""
    import psutil

    if host and host not in ("::", "0.0.0.0"):
        return [f"[{host}]" if ":" in host else host]
    found = [
        one.address
        for several in psutil.net_if_addrs().values()
        for one in several
        if one.family == socket.AF_INET and not one.address.startswith("127.")
    ]
    return [*found[:6], "127.0.0.1"]


def machine_mark() -> str:
    """What tells this machine, since it was started, from others; the same for all its processes.

    It is a hash: a card that carries it gives nothing else of the machine away.
    """
    boot = Path("/proc/sys/kernel/random/boot_id")
    known = boot.read_bytes() if boot.exists() else f"{uuid.getnode()} {socket.gethostname()}".encode()
    return hashlib.sha256(b"easyremote/v1 machine" + known).hexdigest()[:16]
