"""RPyC: a threaded server, called directly; there is no gateway between.

Bytes travel by value. An array is sent as its bytes, which is quicker than what RPyC does with an array itself:
it would hand out a reference and fetch piece by piece.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

from loads import (
    IN_FLIGHT,
    PAYLOAD,
    Figures,
    Length,
    array,
    check,
    counted,
    from_bytes,
    payload,
    sequential,
    threads,
)
from turns import leave_when_told, say, take_part

SETTINGS = {"sync_request_timeout": 60}
ITEMS_A_FETCH = 1000


def server(_: str) -> None:
    import rpyc
    from rpyc.utils.server import ThreadedServer

    class Echo(rpyc.Service):  # type: ignore[misc]
        def exposed_echo(self, value: Any) -> Any:
            return value

        def exposed_numbers(self, count: int) -> Iterator[int]:
            return iter(range(count))

    leave_when_told()
    served = ThreadedServer(Echo, hostname="127.0.0.1", port=0, backlog=512, protocol_config=SETTINGS)
    say(f"127.0.0.1:{served.port}")
    served.start()


def connect(address: str) -> Any:
    import rpyc

    host, port = address.split(":")
    return rpyc.connect(host, int(port), config=SETTINGS)


def echo(address: str) -> Callable[[Any], Any]:
    """The remote function, over a connection of its own."""
    link = connect(address)
    remote = link.root.echo
    kept.append(link)
    return remote  # type: ignore[no-any-return]


kept: list[Any] = []
"""Connections end when nobody holds them."""


def pump(address: str, values: Iterator[Any], answered: Callable[[Any], bool]) -> None:
    """Keep 256 asynchronous requests in flight until there are no values left or ``answered`` says stop."""
    import rpyc

    link = connect(address)
    request = rpyc.async_(link.root.echo)
    open_requests = 0
    going = True

    def send() -> None:
        nonlocal open_requests
        for value in values:
            open_requests += 1
            request(value).add_callback(functools.partial(settle, value))
            return

    def settle(value: Any, result: Any) -> None:
        nonlocal open_requests, going
        open_requests -= 1
        check(result.value, value)
        going = answered(result.value) and going
        if going:
            send()

    for _ in range(IN_FLIGHT):
        send()
    while open_requests:
        link.serve(1)


def in_flight(address: str, length: Length) -> Figures:
    done = 0
    began = time.perf_counter()
    until = began + length.seconds

    def answered(_: bytes) -> bool:
        nonlocal done
        done += 1
        return time.perf_counter() < until

    pump(address, map(payload, itertools.count()), answered)
    return {"in_flight": done / (time.perf_counter() - began)}


def mapped(address: str, length: Length) -> Figures:
    """There is no map; 256 asynchronous requests at a time are the nearest."""
    results: list[int] = []
    began = time.perf_counter()
    until = began + length.patience_seconds

    def answered(value: int) -> bool:
        results.append(value)
        return time.perf_counter() < until

    pump(address, iter(range(length.items)), answered)
    took = time.perf_counter() - began
    check(sorted(results), list(range(len(results))))
    return {"map": len(results) / took}


def streamed(address: str, length: Length) -> Figures:
    from rpyc.utils.helpers import buffiter

    link = connect(address)
    items = buffiter(link.root.numbers(length.items), chunk=ITEMS_A_FETCH)
    return {"stream": counted(items, length)}


def arrays(address: str, length: Length) -> Figures:
    remote = echo(address)
    return {"array": array(lambda value: from_bytes(remote(value.tobytes())), length)}


def first(address: str) -> None:
    check(echo(address)(PAYLOAD))


if __name__ == "__main__":
    measures: dict[str, Callable[[str, Length], Figures]] = {
        "sequential": lambda address, length: sequential(echo(address), length),
        "threads": lambda address, length: {"threads": threads(lambda: echo(address), length)},
        "in_flight": in_flight,
        "array": arrays,
        "map": mapped,
        "stream": streamed,
    }
    take_part({"server": server}, measures, first)
