"""Ray: calls of one actor in a cluster of one machine, kept on loopback, without its dashboard.

On one machine Ray hands arrays over in shared memory instead of sending them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from loads import (
    PAYLOAD,
    Figures,
    Length,
    array,
    check,
    counted,
    in_chunks,
    in_flight,
    sequential,
    threads,
)
from turns import say, take_part, until_told

SETTINGS = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",  # it would tell its makers, over the Internet
    "RAY_AUTH_MODE": "disabled",
    "RAY_DEDUP_LOGS": "0",
}
NAMESPACE = "peers"
MAP_CHUNK = 10_000
STORE_BYTES = 512 << 20


def cluster(_: str) -> None:
    os.environ.update(SETTINGS)
    import ray

    context = ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=STORE_BYTES,
        log_to_driver=False,
        namespace=NAMESPACE,
        _node_ip_address="127.0.0.1",
    )

    class Echo:
        async def echo(self, value: Any) -> Any:
            return value

        async def numbers(self, count: int) -> Any:
            for number in range(count):
                yield number

    made = ray.remote(num_cpus=0)(Echo).options(name="echo", max_concurrency=1000)
    actor = made.remote()
    check(ray.get(actor.echo.remote(PAYLOAD), timeout=60))
    say(context.address_info["address"])
    until_told()
    ray.shutdown()


def attach(address: str) -> tuple[Any, Any]:
    """Ray and the actor, for a client process."""
    os.environ.update(SETTINGS)
    import ray

    ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, _node_ip_address="127.0.0.1")
    return ray, ray.get_actor("echo")


def in_coroutines(workload: str, address: str, length: Length) -> Figures:
    import asyncio

    _, actor = attach(address)

    async def call(value: Any) -> Any:
        return await actor.echo.remote(value)

    return {workload: asyncio.run(in_flight(call, length, pausing=workload == "pausing"))}


def blocking(workload: str, address: str, length: Length) -> Figures:
    ray, actor = attach(address)

    def call(value: Any) -> Any:
        return ray.get(actor.echo.remote(value))

    def call_many(values: list[int]) -> list[Any]:
        return list(ray.get([actor.echo.remote(value) for value in values]))

    def items() -> Iterator[int]:
        for reference in actor.numbers.options(num_returns="streaming").remote(length.items):
            yield ray.get(reference)

    if workload == "sequential":
        return sequential(call, length)
    if workload == "threads":
        return {"threads": threads(lambda: call, length)}
    if workload == "array":
        return {"array": array(call, length)}
    if workload == "map":
        return {"map": in_chunks(call_many, length, min(MAP_CHUNK, length.items // 5))}
    return {"stream": counted(items(), length)}


def first(address: str) -> None:
    ray, actor = attach(address)
    check(ray.get(actor.echo.remote(PAYLOAD)))


def measure(workload: str) -> Any:
    work = in_coroutines if workload in ("in_flight", "pausing") else blocking
    return lambda address, length: work(workload, address, length)


if __name__ == "__main__":
    names = ("sequential", "in_flight", "pausing", "threads", "array", "map", "stream")
    take_part({"cluster": cluster}, {name: measure(name) for name in names}, first)
