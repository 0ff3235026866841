"""EasyRemote as it comes: TLS, sealing, types, memberships and the audit log are on.

Through the gateway, or with direct links where this version has them. The words after the address say which.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from loads import (
    PAYLOAD,
    SETTLE_SECONDS,
    Figures,
    Length,
    array_async,
    check,
    counted,
    in_flight,
    sequential,
    sequential_async,
    threads,
)
from turns import say, take_part, until_told


def has_direct_links() -> bool:
    """Whether this version's clients can be told to use direct links or not."""
    import easyremote

    return "direct" in inspect.signature(easyremote.Client.__init__).parameters


def options(way: str) -> dict[str, Any]:
    return {"direct": way == "direct"} if has_direct_links() else {}


def check_way(address: str, way: str) -> None:
    """Raise unless this process talks to the gateway alone, or to others as well, as it was told to.

    Else a link that was not there, or not asked for, would be measured under the wrong name.
    """
    import psutil

    port = int(address.rsplit(":", 1)[1])
    links = psutil.Process().net_connections("tcp")
    others = any(link.status == psutil.CONN_ESTABLISHED and link.raddr.port != port for link in links)
    if others != (way == "direct"):
        raise SystemExit(f"WayError: wanted {way}, but {'other' if others else 'no other'} links are open")


def gateway(_: str) -> None:
    from easyremote import Server

    server = Server(port=0, host="127.0.0.1")
    server.start_background()
    say(str(server.address))
    until_told()
    server.stop()


def node(address: str) -> None:
    from easyremote import ComputeNode

    served = ComputeNode(address)

    @served.register
    async def echo(value: Any) -> Any:
        return value

    @served.register
    def echo_in_thread(value: Any) -> Any:
        return value

    @served.register
    def numbers(count: int) -> Iterator[int]:
        yield from range(count)

    served.serve(blocking=False)
    if not served.wait_for_connection(20):
        raise SystemExit("the node did not connect")
    say("ready")
    until_told()
    served.stop(0)


def in_coroutines(workload: str, address: str, length: Length, way: str) -> Figures:
    import uvloop

    from easyremote import AsyncClient

    async def work() -> Figures:
        async with AsyncClient(address, **options(way)) as client:

            async def call(value: Any) -> Any:
                return await client.execute("echo", value)

            async def call_in_thread(value: Any) -> Any:
                return await client.execute("echo_in_thread", value)

            if way == "direct":  # it takes a moment until the link is upgraded
                await in_flight(call, length)
            else:
                await call(PAYLOAD)
            check_way(address, way)
            if workload == "sequential":
                return await sequential_async(call, length)
            if workload == "in_threads":
                return {"in_threads": await in_flight(call_in_thread, length)}
            if workload == "pausing":
                return {"pausing": await in_flight(call, length, pausing=True)}
            if workload == "array":
                return {"array": await array_async(call, length)}
            if workload == "nodes":
                return {"nodes": await in_flight(call, length, settle_seconds=SETTLE_SECONDS)}
            return {"in_flight": await in_flight(call, length)}

    figures: Figures = uvloop.run(work())
    return figures


def blocking(workload: str, address: str, length: Length, way: str) -> Figures:
    from easyremote import Client

    with Client(address, **options(way)) as client:

        def call(value: Any) -> Any:
            return client.execute("echo", value)

        if way == "direct":
            sequential(call, length)
        call(0)
        check_way(address, way)
        if workload == "sequential_blocking":
            return {"blocking_p50": sequential(call, length)["p50"]}
        if workload == "threads":
            return {"threads": threads(lambda: call, length)}
        if workload == "map":
            return {"map": counted(client.map("echo", range(length.items)), length)}
        with client.stream("numbers", length.items) as items:
            return {"stream": counted(items, length)}


def importing(address: str, length: Length, way: str) -> Figures:
    import time

    began = time.perf_counter()
    from easyremote import Client  # noqa: F401 - the package alone holds no more than names

    return {"import": time.perf_counter() - began}


def first(address: str, way: str) -> None:
    from easyremote import Client

    check(Client(address, **options(way)).execute("echo", PAYLOAD))


def measure(workload: str) -> Any:
    work = blocking if workload in ("sequential_blocking", "threads", "map", "stream") else in_coroutines
    return lambda address, length, way: work(workload, address, length, way)


if __name__ == "__main__":
    names = "sequential sequential_blocking in_flight in_threads pausing threads array map stream nodes"
    measures = {name: measure(name) for name in names.split()} | {"import": importing}
    take_part({"gateway": gateway, "node": node}, measures, first)
