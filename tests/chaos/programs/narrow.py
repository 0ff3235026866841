"""A node with ten places for one function that takes 20 ms: 500 calls a second, and no more."""

import asyncio
import os

from acceptance.programs import ready

from easyremote import ComputeNode

node = ComputeNode(os.environ["GATEWAY"], os.environ["NODE"])


@node.register(max_concurrent=10)
async def work(number: int) -> int:
    await asyncio.sleep(0.02)
    return number


ready.serve(node)
