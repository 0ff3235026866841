"""A gateway does not even load what opens sealed things, nor a client's or a node's code."""

from __future__ import annotations

import subprocess
import sys

NEVER = (
    "easyremote.trust.handshake",
    "easyremote.trust.session",
    "easyremote.trust.letter",
    "easyremote.client",
    "easyremote.node",
)


def test_a_gateway_loads_no_code_that_opens_what_it_carries() -> None:
    program = (
        "import sys, tempfile\n"
        "from pathlib import Path\n"
        "from easyremote import Server\n"
        "with tempfile.TemporaryDirectory() as home, Server(port=0, host='127.0.0.1', home=Path(home)):\n"
        "    print('\\n'.join(sys.modules))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = ended.stdout.split()
    assert "easyremote.gateway.mailbox" in loaded
    assert [name for name in loaded if name.startswith(NEVER)] == []
