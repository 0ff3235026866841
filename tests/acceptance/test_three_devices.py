"""Three devices, three homes, an invite each: then the twelve lines run as printed."""

from __future__ import annotations

import sys
from pathlib import Path

from acceptance.commands import easynet
from acceptance.processes import Program, free_port, run

NODE = """
from easyremote import ComputeNode
node = ComputeNode("{gateway}")

@node.register
def ai_inference(prompt):
    return f"answer to {{prompt}}"

node.serve()
"""
CLIENT = """
from easyremote import Client
result = Client("{gateway}").execute("ai_inference", "Hello AI")
print(result)
"""
SERVER = """
from easyremote import Server
Server(port={port}).start()
"""


def test_a_gateway_a_node_and_a_client_on_devices_of_their_own(tmp_path: Path) -> None:
    port = free_port()
    gateway = f"127.0.0.1:{port}"
    cloud, lab, laptop = (
        {"EASYREMOTE_HOME": str(tmp_path / name), "EASYREMOTE_GATEWAY": None}
        for name in ("cloud", "lab", "laptop")
    )

    def python(text: str, environment: dict[str, str | None]) -> Program:
        return Program([sys.executable, "-c", text], environment=environment)

    def command(environment: dict[str, str | None], *words: str) -> str:
        ended = run(easynet(*words), environment=environment)
        assert ended.wait() == 0, ended
        return ended.output[0]

    with python(SERVER.format(port=port), cloud) as server:
        server.wait_for("gateway ready")
        before = run([sys.executable, "-c", CLIENT.format(gateway=gateway)], environment=laptop)
        assert before.wait() == 1
        assert "easynet join" in before.said
        at = {"EASYREMOTE_GATEWAY": gateway}
        line = command(cloud | at, "invite", "--role", "node", "--plain")
        command(lab, "join", line)
        with python(NODE.format(gateway=gateway), lab) as node:
            node.wait_for("serves 1 function")
            command(laptop, "join", command(cloud | at, "invite", "--role", "client", "--plain"))
            result = run([sys.executable, "-c", CLIENT.format(gateway=gateway)], environment=laptop)
            assert result.wait() == 0, result
            assert result.output == ["answer to Hello AI"]
            # Which gateway need not be said: the laptop has joined one.
            assert command(laptop, "call", "ai_inference", "you") == "answer to you"
            homes = [{path.name for path in (tmp_path / name).iterdir()} for name in ("lab", "laptop")]
            assert all("network" not in found for found in homes), "the root is on the gateway alone"
