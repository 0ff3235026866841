"""The bare gRPC relay of ``benchmarks/relay.py``: one call a message, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from loads import (
    PAYLOAD,
    Figures,
    Length,
    array_async,
    check,
    from_bytes,
    in_flight,
    mapped,
    sequential_async,
)
from turns import leave_when_told, let_print, take_part

sys.path.insert(0, str(Path(__file__).parent.parent))


def serve(verb: str) -> Any:
    def server(address: str) -> None:
        import relay
        import uvloop

        let_print()
        leave_when_told()
        uvloop.run(relay.relay("typed") if verb == "relay" else relay.echo(address, "typed"))

    return server


async def work(workload: str, caller: Any, length: Length) -> Figures:
    """Every workload of a caller that has ``async call(payload)``."""

    async def call_array(value: Any) -> Any:
        return from_bytes(await caller.call(value.tobytes()))

    async def call_number(number: int) -> int:
        return int(await caller.call(b"%d" % number))

    try:
        if workload == "sequential":
            return await sequential_async(caller.call, length)
        if workload == "array":
            return {"array": await array_async(call_array, length)}
        if workload == "map":
            return {"map": await mapped(call_number, length)}
        return {workload: await in_flight(caller.call, length, pausing=workload == "pausing")}
    finally:
        await caller.close()


def measure(workload: str) -> Any:
    def run(address: str, length: Length) -> Figures:
        import relay
        import uvloop

        async def connected() -> Figures:
            return await work(workload, relay.Caller(address, "typed"), length)

        figures: Figures = uvloop.run(connected())
        return figures

    return run


def first(address: str) -> None:
    import relay
    import uvloop

    async def ask() -> None:
        check(await relay.Caller(address, "typed").call(PAYLOAD))

    uvloop.run(ask())


WORKLOADS = ("sequential", "in_flight", "pausing", "array", "map")

if __name__ == "__main__":
    take_part(
        {"relay": serve("relay"), "echo": serve("echo")},
        {name: measure(name) for name in WORKLOADS},
        first,
    )
