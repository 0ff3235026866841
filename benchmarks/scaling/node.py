"""A node as a program. ``echo_8`` is offered by eight of the nodes, so one run can call any number of them.

``echo`` answers at once; ``work`` keeps one of a node's few places for a while, as work that matters does.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from easyremote import ComputeNode
from scaling.programs import say

WORK_SECONDS = 0.02
PLACES = 4


async def echo(value: Any) -> Any:
    return value


async def work(value: Any) -> Any:
    await asyncio.sleep(WORK_SECONDS)
    return value


def main() -> None:
    address, number, groups = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(",")
    node = ComputeNode(address, f"worker-{number}")
    for group in groups:
        if number < int(group):
            node.register(name=f"echo_{group}")(echo)
            node.register(name=f"work_{group}", max_concurrent=PLACES)(work)
    node.serve(blocking=False)
    if not node.wait_for_connection(60):
        sys.exit("the node did not connect")
    say(ready=True)
    sys.stdin.read()
    node.stop(0)


if __name__ == "__main__":
    main()
