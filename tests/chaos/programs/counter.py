"""A node that writes down on disk which calls' bodies began: one line each, in the file that LEDGER names."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator

import numpy as np
from acceptance.programs import ready

from easyremote import ComputeNode

node = ComputeNode(os.environ["GATEWAY"], os.environ["NODE"])
ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def began(key: str) -> None:
    os.write(ledger, f"{key}\n".encode())


@node.register
async def nap(key: str, seconds: float) -> str:
    began(key)
    await asyncio.sleep(seconds)
    return key


@node.register
def nap_in_thread(key: str, seconds: float) -> str:
    began(key)
    time.sleep(seconds)
    return key


@node.register(idempotent=True)
async def nap_again(key: str, seconds: float) -> str:
    began(key)
    await asyncio.sleep(seconds)
    return key


@node.register
def back(key: str, array: np.ndarray) -> np.ndarray:
    began(key)
    return array


@node.register
async def count(key: str, items: int, seconds: float) -> AsyncIterator[int]:
    began(key)
    for number in range(items):
        yield number
        await asyncio.sleep(seconds)


@node.register
def count_in_thread(key: str, items: int, seconds: float) -> Iterator[int]:
    began(key)
    for number in range(items):
        yield number
        time.sleep(seconds)


ready.serve(node)
