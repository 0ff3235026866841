"""What this machine is called, where nobody said what to call a device or a node."""

from __future__ import annotations

import socket

MACHINE_NAME_CHARACTERS = 48


def machine_name() -> str:
    """The machine's own name in lower case, with nothing in it that a name may not have."""
    name = socket.gethostname().split(".")[0].lower()
    kept = "".join(c if c.isalnum() or c in "-_" else "-" for c in name).strip("-")
    return kept[:MACHINE_NAME_CHARACTERS] or "device"
