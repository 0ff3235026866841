"""A node that durable calls are made to; each call is a line in its ledger before it does anything else."""

import os
import time

from acceptance.programs import ready

from easyremote import ComputeNode

node = ComputeNode(os.environ["GATEWAY"], os.environ["NODE"])


def note(ledger: str, line: str) -> None:
    handle = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(handle, f"{line}\n".encode())
    finally:
        os.close(handle)


@node.register
def once(ledger: str, name: str, seconds: float) -> str:
    note(ledger, name)
    time.sleep(seconds)
    return name


@node.register(idempotent=True)
def often(ledger: str, name: str, seconds: float) -> str:
    return once(ledger, name, seconds)


ready.serve(node)
