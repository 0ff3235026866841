"""NATS request and reply: the server from its wheel, ``nats-py`` on uvloop at both ends. The main yardstick.

Bytes go as they are. The server's limit for one message is raised to its highest, 64 MiB, so that an array
goes in one piece.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from loads import (
    PAYLOAD,
    SETTLE_SECONDS,
    Figures,
    Length,
    array_async,
    check,
    counted_async,
    from_bytes,
    in_flight,
    mapped,
    sequential_async,
    threads,
)
from turns import say, take_part, until_told

TIMEOUT_SECONDS = 30
PENDING_BYTES = 128 << 20


def broker(_: str) -> None:
    import sysconfig

    binary = Path(sysconfig.get_path("scripts")) / "nats-server"
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "nats.conf"
        settings.write_text("host: 127.0.0.1\nport: -1\nmax_payload: 64MB\nmax_pending: 256MB\n")
        command = [str(binary), "-c", str(settings), "--ports_file_dir", folder]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
            try:
                say(wait_for_address(Path(folder), server))
                until_told()
            finally:
                server.terminate()


def wait_for_address(folder: Path, server: subprocess.Popen[bytes]) -> str:
    """The address in the file that the server writes when it listens."""
    import json
    import time

    for _ in range(200):
        for file in folder.glob("*.ports"):
            text = file.read_text()
            if text.endswith("}"):
                return str(json.loads(text)["nats"][0])
        if server.poll() is not None:
            break
        time.sleep(0.05)
    raise SystemExit("nats-server did not start")


async def connect(address: str) -> Any:
    import nats

    return await nats.connect(address, pending_size=PENDING_BYTES, allow_reconnect=False)


def responder(address: str) -> None:
    import uvloop

    async def serve() -> None:
        link = await connect(address)

        async def echo(message: Any) -> None:
            await message.respond(message.data)

        async def numbers(message: Any) -> None:
            for number in range(int(message.data)):
                await link.publish(message.reply, b"%d" % number)
                if number % 1000 == 999:
                    await asyncio.sleep(0)  # the writer gets its turn

        await link.subscribe("echo", queue="nodes", cb=echo)
        await link.subscribe("numbers", cb=numbers)
        await link.flush()
        say("ready")
        await asyncio.to_thread(until_told)
        await link.close()

    uvloop.run(serve())


async def work(workload: str, address: str, length: Length) -> Figures:
    link = await connect(address)

    async def call(payload: bytes) -> bytes:
        reply = await link.request("echo", payload, timeout=TIMEOUT_SECONDS)
        return bytes(reply.data)

    async def call_array(value: Any) -> Any:
        reply = await link.request("echo", value.tobytes(), timeout=TIMEOUT_SECONDS)
        return from_bytes(reply.data)

    async def call_number(number: int) -> int:
        return int(await call(b"%d" % number))

    async def items() -> AsyncIterator[int]:
        inbox = link.new_inbox()
        subscription = await link.subscribe(inbox)
        await link.publish("numbers", b"%d" % length.items, reply=inbox)
        async for message in subscription.messages:
            yield int(message.data)

    try:
        if workload == "sequential":
            return await sequential_async(call, length)
        if workload == "array":
            return {"array": await array_async(call_array, length)}
        if workload == "map":
            return {"map": await mapped(call_number, length)}
        if workload == "stream":
            await call_number(0)
            return {"stream": await counted_async(items(), length)}
        if workload == "nodes":
            return {"nodes": await in_flight(call, length, settle_seconds=SETTLE_SECONDS)}
        return {workload: await in_flight(call, length, pausing=workload == "pausing")}
    finally:
        await link.close()


def in_coroutines(workload: str) -> Any:
    def measure(address: str, length: Length) -> Figures:
        import uvloop

        figures: Figures = uvloop.run(work(workload, address, length))
        return figures

    return measure


def in_threads(address: str, length: Length) -> Figures:
    """The package has no blocking client: threads hand their calls to a loop in one thread and wait."""
    import uvloop

    loop = uvloop.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    link = asyncio.run_coroutine_threadsafe(connect(address), loop).result()

    def call(payload: bytes) -> Any:
        request = link.request("echo", payload, timeout=TIMEOUT_SECONDS)
        return asyncio.run_coroutine_threadsafe(request, loop).result().data

    return {"threads": threads(lambda: call, length)}


def first(address: str) -> None:
    import uvloop

    async def ask() -> None:
        link = await connect(address)
        check((await link.request("echo", PAYLOAD, timeout=TIMEOUT_SECONDS)).data)

    uvloop.run(ask())


if __name__ == "__main__":
    names = ("sequential", "in_flight", "pausing", "array", "map", "stream", "nodes")
    measures = {name: in_coroutines(name) for name in names} | {"threads": in_threads}
    take_part({"broker": broker, "responder": responder}, measures, first)
