"""Dask: ``submit`` to a scheduler with one worker process, on loopback, without its dashboard.

Every call is a task of its own (``pure=False``): else Dask would answer equal calls from what it remembers.
An array is scattered to the worker and gathered from it, as its documentation advises for large arguments.
"""

from __future__ import annotations

from typing import Any

from loads import PAYLOAD, Figures, Length, array, check, in_chunks, in_flight, sequential, threads
from turns import say, take_part, until_told

MAP_CHUNK = 2000


def echo(value: Any) -> Any:
    return value


def cluster(_: str) -> None:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, processes=True, host="127.0.0.1", dashboard_address=None, silence_logs=50
    ) as made:
        say(made.scheduler_address)
        until_told()


def in_coroutines(workload: str, address: str, length: Length) -> Figures:
    import asyncio

    from distributed import Client

    async def work() -> float:
        async with Client(address, asynchronous=True) as client:

            async def call(value: Any) -> Any:
                return await client.submit(echo, value, pure=False)

            return await in_flight(call, length, pausing=workload == "pausing")

    return {workload: asyncio.run(work())}


def blocking(workload: str, address: str, length: Length) -> Figures:
    from distributed import Client

    with Client(address) as client:

        def call(value: Any) -> Any:
            return client.submit(echo, value, pure=False).result()

        def call_array(value: Any) -> Any:
            return client.submit(echo, client.scatter(value, hash=False), pure=False).result()

        def call_many(values: list[int]) -> list[Any]:
            return list(client.gather(client.map(echo, values, pure=False)))

        if workload == "sequential":
            return sequential(call, length)
        if workload == "threads":
            return {"threads": threads(lambda: call, length)}
        if workload == "array":
            return {"array": array(call_array, length)}
        return {"map": in_chunks(call_many, length, min(MAP_CHUNK, length.items // 5))}


def first(address: str) -> None:
    from distributed import Client

    check(Client(address).submit(echo, PAYLOAD, pure=False).result())


def measure(workload: str) -> Any:
    work = in_coroutines if workload in ("in_flight", "pausing") else blocking
    return lambda address, length: work(workload, address, length)


if __name__ == "__main__":
    names = ("sequential", "in_flight", "pausing", "threads", "array", "map")
    take_part({"cluster": cluster}, {name: measure(name) for name in names}, first)
