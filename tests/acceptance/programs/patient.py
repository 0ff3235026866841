"""A node that durable calls are made to: what it does is counted on its disk."""

import os
import time
from typing import Any

from acceptance.programs import ready
from acceptance.programs.files import add_mark, await_file

from easyremote import ComputeNode, report_progress

node = ComputeNode(os.environ["GATEWAY"], os.environ["NODE"])


@node.register
def count(ledger: str, value: Any = None) -> Any:
    add_mark(ledger)
    return value


@node.register
def twice(value: str) -> list[str]:
    return [value, value]


@node.register
def hold(started: str, gate: str) -> str:
    add_mark(started)
    await_file(gate, 60)
    return "held"


@node.register(max_concurrent=1)
def hold_alone(started: str, gate: str) -> str:
    return hold(started, gate)


@node.register(idempotent=True)
def hold_repeatable(started: str, gate: str) -> str:
    return hold(started, gate)


@node.register(max_concurrent=1)
def one_at_a_time(ledger: str) -> int:
    time.sleep(0.002)
    return add_mark(ledger)


@node.register
def steps(many: int, gate: str) -> str:
    for done in range(many):
        report_progress(done, many, f"step {done}")
        time.sleep(0.02)
    report_progress(many, many, "waiting")
    await_file(gate, 60)
    return "stepped"


@node.register
def fail(ledger: str) -> None:
    add_mark(ledger)
    raise ValueError("the third layer is missing")


@node.register
def numbers():  # type: ignore[no-untyped-def]
    yield from range(3)


ready.serve(node)
