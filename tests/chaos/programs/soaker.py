"""A client that keeps calling until it is told to end (SIGTERM), and writes down what became of every call.

Its only argument: JSON with ``address``, ``seed``, ``callers``, ``lost_after`` and ``outcomes``, the file for lines of a
key and an outcome: ``ok``, ``wrong``, or the name of the error.
"""

import asyncio
import json
import random
import signal
import sys
from pathlib import Path

import numpy as np

from easyremote import AsyncClient
from easyremote.errors import EasyRemoteError

plan = json.loads(sys.argv[1])
chance = random.Random(plan["seed"])
outcomes = Path(plan["outcomes"]).open("a", buffering=1)  # noqa: SIM115
over = asyncio.Event()


async def one(client: AsyncClient, key: str) -> bool:
    """One call of some kind; whether its answer was its own."""
    seconds = chance.choice([0.0, 0.0, 0.01, 0.1, 1.0, 4.0]) * chance.random()
    kind = chance.random()
    if kind < 0.5:
        return bool(await client.execute("nap", key, seconds) == key)
    if kind < 0.7:
        return bool(await client.execute("nap_in_thread", key, seconds / 4) == key)
    if kind < 0.72:
        job = await client.submit("nap_in_thread", key, seconds / 4, durable=True)
        return bool(await job.result() == key)
    if kind < 0.8:
        return bool(await client.execute("nap_again", f"{key}-again", seconds) == f"{key}-again")
    if kind < 0.95:
        items = chance.randint(0, 40)
        slowly = chance.random() < 0.1  # a consumer that holds the producer up
        found = []
        async for item in client.stream("count", key, items, seconds / 40):
            found.append(item)
            if slowly:
                await asyncio.sleep(0.02)
        return found == list(range(items))
    array = np.full(chance.randint(1, 1_000_000), float(len(key)), dtype=np.float32)
    return bool(np.array_equal(await client.execute("back", key, array), array))


async def caller(client: AsyncClient, name: str) -> None:
    number = 0
    while not over.is_set():
        number += 1
        key = f"{plan['seed']}-{name}-{number}"
        try:
            outcome = "ok" if await one(client, key) else "wrong"
        except EasyRemoteError as error:
            outcome = type(error).__name__
            await asyncio.sleep(0.05)
        outcomes.write(f"{key} {outcome}\n")


async def main() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    async with AsyncClient(plan["address"], lost_after=plan["lost_after"]) as client:
        callers = [asyncio.create_task(caller(client, str(number))) for number in range(plan["callers"])]
        print("calling", flush=True)
        await asyncio.gather(*callers)
    print("over", flush=True)


asyncio.run(main())
