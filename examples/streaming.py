"""Items that come one by one, while the function still runs.

Usage::

    python examples/streaming.py node [HOST:PORT]      serves
    python examples/streaming.py client [HOST:PORT]    calls
    python examples/streaming.py                       does both
"""

import os
import sys
from collections.abc import Iterator

from easyremote import Client, ComputeNode

PART = sys.argv[1] if len(sys.argv) > 1 else "both"
ADDRESS = sys.argv[2] if len(sys.argv) > 2 else os.environ.get("EASYREMOTE_GATEWAY", "127.0.0.1:8080")

node = ComputeNode(ADDRESS)


@node.register
def tell_story(subject: str) -> Iterator[str]:
    """A story, word by word, as a language model would tell it."""
    yield from f"Once there was {subject} that was called from far away, and it answered.".split()


@node.register
def count_up() -> Iterator[int]:
    """Count until nobody listens."""
    number = 0
    while True:
        yield number
        number += 1


def call() -> None:
    with Client(ADDRESS) as client:
        for word in client.stream("tell_story", "a function"):
            print(word, end=" ", flush=True)
        print()

        numbers = client.stream("count_up")  # never gets further ahead than we read
        print("counting:", [next(numbers) for _ in range(5)])


if PART == "node":
    node.serve()
elif PART == "client":
    call()
else:
    node.serve(blocking=False)
    if not node.wait_for_connection(timeout=10):
        sys.exit(f"No gateway at {ADDRESS}. Start one with: easynet gateway")
    call()
    node.stop()
