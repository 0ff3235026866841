"""Three times as many calls as a node can take: it goes on at its pace, and turns the others away at once."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable

from acceptance.network import Network
from chaos.crowd import PROGRAMS
from chaos.lengths import FULL

from easyremote import AsyncClient
from easyremote.errors import BusyError
from easyremote.protocol.worker import QUEUE_MAX

CAPACITY_PER_SECOND = 500.0
"""Ten places of 20 ms; what a loop's turns cost comes off that."""
SECONDS = 10.0 if FULL else 3.0


async def peak(client: AsyncClient, seconds: float) -> float:
    """Calls a second of callers who wait for their answers before they call again, just enough to fill all places."""
    done, until = 0, time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await client.execute("work", 1)
            done += 1

    await asyncio.gather(*(caller() for _ in range(20)))
    return done / seconds


async def overload(client: AsyncClient, rate: float, seconds: float) -> tuple[float, list[float]]:
    """Answered calls a second, and how long each refusal took, when calls come at this rate whatever becomes of them."""
    answered, refused = 0, []

    async def call() -> None:
        nonlocal answered
        began = time.perf_counter()
        try:
            await client.execute("work", 1, patience=0.0)
            answered += 1
        except BusyError:
            refused.append(time.perf_counter() - began)

    tasks: list[asyncio.Task[None]] = []
    began = time.perf_counter()
    while (now := time.perf_counter() - began) < seconds:
        tasks += [asyncio.create_task(call()) for _ in range(round(now * rate) - len(tasks))]
        await asyncio.sleep(0.002)
    await asyncio.gather(*tasks)
    return answered / (time.perf_counter() - began), refused


def test_goodput_stays_refusals_are_quick_and_recovery_is_immediate(
    own_network: Callable[..., Network],
) -> None:
    own = own_network()
    own.spawn_node(PROGRAMS / "narrow.py", name="narrow")

    async def main() -> None:
        async with AsyncClient(own.address) as client:
            await peak(client, 0.5)
            best = await peak(client, SECONDS)
            assert best > 0.6 * CAPACITY_PER_SECOND
            goodput, refused = await overload(client, 3 * best, SECONDS)
            print(
                f"{best:.0f} calls/s at best, {goodput:.0f} at three times that; {len(refused)} refused, ",
                end="",
            )
            print(f"median {statistics.median(refused) * 1e3:.1f} ms, slowest {max(refused) * 1e3:.1f} ms")
            assert goodput >= 0.9 * best
            assert len(refused) > SECONDS * best
            assert statistics.quantiles(refused, n=100)[98] < 0.05
            waits = (
                QUEUE_MAX / 10 + 2
            ) * 0.02  # what was in the queue when the load ended is worked off by now
            began = time.perf_counter()
            await client.execute("work", 1, patience=0.0)
            assert time.perf_counter() - began < waits
            began = time.perf_counter()
            await client.execute("work", 1, patience=0.0)
            assert time.perf_counter() - began < 0.05

    asyncio.run(main())
