"""A function that is called like any other, and runs on a node: ``@remote``.

Usage::

    python examples/decorator.py [HOST:PORT]
"""

import os
import sys

from easyremote import ComputeNode, remote, set_default_gateway

ADDRESS = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("EASYREMOTE_GATEWAY", "127.0.0.1:8080")
set_default_gateway(ADDRESS)


@remote
def count_words(text: str) -> int:
    """How many words a text has."""
    return len(text.split())


# On a device of its own this would be all of a program.
node = ComputeNode(ADDRESS)


@node.register(name="count_words")
def count_words_there(text: str) -> int:
    print(f"  the node was asked about {text!r}")
    return len(text.split())


node.serve(blocking=False)
if not node.wait_for_connection(timeout=10):
    sys.exit(f"No gateway at {ADDRESS}. Start one with: easynet gateway")

print("on a node:", count_words("to be or not to be"))
print("here:", count_words.local("to be or not to be"))
print("many at once:", list(count_words.map(["one", "one two", "one two three"])))

node.stop()
