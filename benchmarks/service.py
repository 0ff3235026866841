"""Our side of the benchmarks: a gateway and a node, each a process of its own."""

from __future__ import annotations

import sys
from typing import Any

from easyremote import ComputeNode, Server


def gateway() -> None:
    server = Server(port=0, host="127.0.0.1")
    server.start_background()
    print(server.address, flush=True)
    sys.stdin.read()
    server.stop()


def node(address: str) -> None:
    served = ComputeNode(address, node_id=sys.argv[3] if len(sys.argv) > 3 else "bench")

    @served.register
    async def echo(value: Any) -> Any:
        return value

    @served.register
    def echo_in_thread(value: Any) -> Any:
        return value

    served.serve(blocking=False)
    if not served.wait_for_connection(10):
        sys.exit("the node did not connect")
    print("ready", flush=True)
    sys.stdin.read()
    served.stop(0)


if __name__ == "__main__":
    gateway() if sys.argv[1] == "gateway" else node(sys.argv[2])
