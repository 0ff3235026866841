"""The first program, two of three: the node, on the device that does the work.

Usage::

    python examples/first/node.py [HOST:PORT]
"""

import os
import sys

from easyremote import ComputeNode

ADDRESS = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("EASYREMOTE_GATEWAY", "127.0.0.1:8080")


class your_local_model:
    """Stands where a model of your own would."""

    @staticmethod
    def generate(prompt: str) -> str:
        return f"I read: {prompt}"


node = ComputeNode(ADDRESS)


@node.register
def ai_inference(prompt: str) -> str:
    return your_local_model.generate(prompt)


node.serve()
