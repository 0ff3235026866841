"""A node whose functions call the network themselves, in each way a function can."""

import os

from acceptance.programs import ready

from easyremote import AsyncClient, Client, ComputeNode, remote, set_default_gateway

set_default_gateway(os.environ["GATEWAY"])
node = ComputeNode(os.environ["GATEWAY"], os.environ["NODE"])


@remote
def add(a: int, b: int) -> int:
    raise AssertionError("runs on the node only")


@remote
async def add_async(a: int, b: int) -> int:
    raise AssertionError("runs on the node only")


@node.register
def from_a_function(n: int) -> int:
    return add(n, 1)


@node.register
def from_a_client(n: int) -> int:
    with Client(os.environ["GATEWAY"]) as client:
        return client.execute("add", n, 1)


@node.register
async def from_a_coroutine(n: int) -> int:
    return await add_async(n, 1)


@node.register
async def from_an_async_client(n: int) -> int:
    async with AsyncClient() as client:
        return await client.execute("add", n, 1)


@node.register
async def blocking_the_loop(n: int) -> int:
    return add(n, 1)


ready.serve(node)
