"""Celery with Redis as broker and as result backend, one worker with its default pool.

With msgpack, which carries bytes as they are: JSON, its default, would make text of them, and pickle it rightly
refuses to read as root. An array is sent as its bytes. Its client has no calls in flight from a
coroutine: many at a time are a group. Threads are left out, since a result backend belongs to one.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from loads import PAYLOAD, Figures, Length, array, batches, check, from_bytes, in_chunks, sequential
from turns import say, take_part, until_told

TIMEOUT_SECONDS = 60
MAP_CHUNK = 1000


def application(address: str) -> tuple[Any, Any]:
    """The application and its one task."""
    import celery

    made = celery.Celery("peers", broker=address, backend=address)
    made.conf.update(
        task_serializer="msgpack",
        result_serializer="msgpack",
        accept_content=["msgpack"],
        result_expires=300,
        broker_connection_retry_on_startup=True,
        worker_hijack_root_logger=False,
    )

    def echo(value: Any) -> Any:
        return value

    return made, made.task(echo, name="peers.echo")


def broker(_: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", folder]
        command += ["--save", "", "--appendonly", "no"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
            try:
                wait_for(port)
                say(f"redis://127.0.0.1:{port}/0")
                until_told()
            finally:
                server.terminate()


def free_port() -> int:
    """Redis cannot say which port it was given, so it is told one that was free just now."""
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


def wait_for(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("redis-server did not start")


def worker(address: str) -> None:
    command = [sys.executable, __file__, "pool", address]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as child:
        try:
            _, echo = application(address)
            check(echo.delay(PAYLOAD).get(timeout=TIMEOUT_SECONDS))
            say("ready")
            until_told()
        finally:
            child.terminate()


def pool(address: str) -> None:
    """The worker itself; it wants a main thread of its own."""
    made, _ = application(address)
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"]
    made.worker_main(["worker", *quiet])


def calls(address: str) -> tuple[Callable[[Any], Any], Callable[[list[Any]], list[Any]]]:
    """One call, and a group of calls."""
    import celery

    _, echo = application(address)

    def call(value: Any) -> Any:
        return echo.delay(value).get(timeout=TIMEOUT_SECONDS)

    def call_many(values: list[Any]) -> list[Any]:
        results = celery.group(echo.s(value) for value in values).apply_async()
        return list(results.get(timeout=TIMEOUT_SECONDS))

    return call, call_many


def work(workload: str) -> Any:
    def measure(address: str, length: Length) -> Figures:
        call, call_many = calls(address)
        if workload == "sequential":
            return sequential(call, length)
        if workload == "in_flight":
            return {"in_flight": batches(call_many, length)}
        if workload == "array":
            return {"array": array(lambda value: from_bytes(call(value.tobytes())), length)}
        return {"map": in_chunks(call_many, length, MAP_CHUNK)}

    return measure


def first(address: str) -> None:
    check(calls(address)[0](PAYLOAD))


if __name__ == "__main__":
    names = ("sequential", "in_flight", "array", "map")
    servers = {"broker": broker, "worker": worker, "pool": pool}
    take_part(servers, {name: work(name) for name in names}, first)
