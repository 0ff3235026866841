"""A node whose owner allows values of at most 1 MiB."""

import os

from acceptance.programs import ready

from easyremote import ComputeNode

node = ComputeNode(os.environ["GATEWAY"], os.environ["NODE"], max_value_bytes=1024 * 1024)


@node.register
def weigh(data: bytes, ran: str = "") -> int:
    if ran:
        open(ran, "x").close()
    return len(data)


ready.serve(node)
