"""Pyro5: a threaded daemon, called directly; there is no gateway between.

With msgpack as its serializer, because serpent, the default, turns bytes into text. A proxy belongs to a thread
and waits for each answer: many calls at a time are a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from loads import (
    IN_FLIGHT,
    PAYLOAD,
    Figures,
    Length,
    array,
    batches,
    check,
    counted,
    from_bytes,
    in_chunks,
    sequential,
    threads,
)
from turns import leave_when_told, say, take_part

MAP_CHUNK = 1000


def server(_: str) -> None:
    import Pyro5.api

    @Pyro5.api.expose  # type: ignore[untyped-decorator, unused-ignore]
    class Echo:
        def echo(self, value: Any) -> Any:
            return value

        def numbers(self, count: int) -> Iterator[int]:
            yield from range(count)

    leave_when_told()
    Pyro5.config.THREADPOOL_SIZE = IN_FLIGHT + 8  # a thread for every connection
    daemon = Pyro5.api.Daemon(host="127.0.0.1", port=0)
    say(str(daemon.register(Echo, "echo")))
    daemon.requestLoop()


def proxy(address: str) -> Any:
    import Pyro5.api

    Pyro5.config.SERIALIZER = "msgpack"
    made = Pyro5.api.Proxy(address)
    made._pyroBind()
    return made


def echo(address: str) -> Callable[[Any], Any]:
    return proxy(address).echo  # type: ignore[no-any-return]


def many(address: str) -> Callable[[list[Any]], list[Any]]:
    """A batch: all calls in one message, and all answers in one."""
    import Pyro5.api

    remote = proxy(address)

    def call_many(values: list[Any]) -> list[Any]:
        batch = Pyro5.api.BatchProxy(remote)
        for value in values:
            batch.echo(value)
        return list(batch())

    return call_many


def arrays(address: str, length: Length) -> Figures:
    remote = echo(address)
    return {"array": array(lambda value: from_bytes(remote(value.tobytes())), length)}


def streamed(address: str, length: Length) -> Figures:
    return {"stream": counted(proxy(address).numbers(length.items), length)}


def first(address: str) -> None:
    check(echo(address)(PAYLOAD))


if __name__ == "__main__":
    measures: dict[str, Callable[[str, Length], Figures]] = {
        "sequential": lambda address, length: sequential(echo(address), length),
        "threads": lambda address, length: {"threads": threads(lambda: echo(address), length)},
        "in_flight": lambda address, length: {"in_flight": batches(many(address), length)},
        "array": arrays,
        "map": lambda address, length: {"map": in_chunks(many(address), length, MAP_CHUNK)},
        "stream": streamed,
    }
    take_part({"server": server}, measures, first)
