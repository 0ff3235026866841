"""A client with many calls in flight: of all kinds, and of all lengths. Its only argument: a ``Plan`` as JSON.

Says ``in flight`` when all are asked for, and at the end, as JSON, how many were answered as they should be and
what became of the others.
"""

import asyncio
import json
import random
import sys
from collections import Counter

from chaos.crowd import Plan

from easyremote import AsyncClient
from easyremote.errors import EasyRemoteError

plan = Plan(**json.loads(sys.argv[1]))
chance = random.Random(plan.seed)
failures: Counter[str] = Counter()


def note(key: str, error: EasyRemoteError | str) -> None:
    if isinstance(error, EasyRemoteError):
        failures[f"{type(error).__name__}: {getattr(error, 'ran', '')}"] += 1
        print(key, error, file=sys.stderr)
    else:
        failures[error] += 1


async def ask(client: AsyncClient, number: int) -> bool:
    key, seconds = f"{plan.seed}-{number}", chance.uniform(0.0, plan.longest_seconds)
    try:
        if number % 10 < 7:
            answer = await client.execute(plan.function, key, seconds)
        elif number % 10 < 9:
            answer = await client.execute("nap_in_thread", key, seconds / 8)
        else:
            items = chance.randint(0, 60)
            name = "count" if number % 20 < 10 else "count_in_thread"
            found = [item async for item in client.stream(name, key, items, seconds / 60)]
            answer = key if found == list(range(items)) else f"a stream of {items} items came as {found}"
    except EasyRemoteError as error:
        note(key, error)
        return False
    if answer != key:
        note(key, f"another answer: {answer}")
        return False
    return True


async def main() -> None:
    async with AsyncClient(plan.address, lost_after=plan.lost_after) as client:
        tasks = [asyncio.create_task(ask(client, number)) for number in range(plan.calls)]
        await asyncio.sleep(0)
        print("in flight", flush=True)
        answered = sum(await asyncio.gather(*tasks))
    print(json.dumps({"answered": answered, "failures": failures}), flush=True)


asyncio.run(main())
