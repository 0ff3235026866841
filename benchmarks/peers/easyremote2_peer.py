"""easyremote 2.0.2, the version before this one, as its own documentation uses it.

But for one thing: its client answers a call that it has made before from its memory, unless that is turned off.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

from loads import PAYLOAD, Figures, Length, array, check, counted, sequential, threads
from turns import say, take_part, until_told


def stay_on_loopback() -> None:
    """Its gateway listens on every address and has no option for that."""
    import grpc.aio

    listen = grpc.aio.Server.add_insecure_port

    def on_loopback(self: Any, address: str) -> Any:
        return listen(self, f"127.0.0.1:{address.rsplit(':', 1)[1]}")

    grpc.aio.Server.add_insecure_port = on_loopback  # type: ignore[method-assign]


def gateway(_: str) -> None:
    stay_on_loopback()
    import easyremote

    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        port = int(tried.getsockname()[1])
    easyremote.Server(port=port).start_background()
    say(f"127.0.0.1:{port}")
    until_told()
    os._exit(0)  # its own way out takes seconds


def node(address: str) -> None:
    import easyremote

    served = easyremote.ComputeNode(address, node_id="bench")

    def echo(value: Any) -> Any:
        return value

    def numbers(count: int) -> Iterator[int]:
        yield from range(count)

    served.register(echo)
    with contextlib.suppress(TypeError):
        served.register(numbers)
    served.serve(blocking=False)
    served.wait_for_connection(20)
    say("ready")
    until_told()
    os._exit(0)  # its own way out takes seconds


def client(address: str) -> Any:
    import easyremote

    return easyremote.Client(address, enable_caching=False)


def echo(address: str) -> Callable[[Any], Any]:
    connected = client(address)
    return lambda value: connected.execute("echo", value)


def shared(address: str, length: Length) -> Figures:
    call = echo(address)
    check(call(PAYLOAD))
    return {"threads": threads(lambda: call, length)}


def streamed(address: str, length: Length) -> Figures:
    return {"stream": counted(client(address).stream("numbers", length.items), length)}


def first(address: str) -> None:
    check(echo(address)(PAYLOAD))


if __name__ == "__main__":
    measures: dict[str, Callable[[str, Length], Figures]] = {
        "sequential": lambda address, length: sequential(echo(address), length),
        "threads": shared,
        "array": lambda address, length: {"array": array(echo(address), length)},
        "stream": streamed,
    }
    take_part({"gateway": gateway, "node": node}, measures, first)
