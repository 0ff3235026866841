"""What every link must do, as one contract to be run against each kind.

``check_link`` takes a function that makes a fresh pair of connected ends, and tries them: order, whole
packets, closing from either side, what happens after, and that a writer waits for a reader. Only ``links.link``
is assumed; a link that passes may be used wherever a link is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from easyremote.errors import LinkError
from easyremote.links.link import Link

Pair: TypeAlias = Callable[[], AbstractAsyncContextManager[tuple[Link, Link]]]
"""Makes two ends of one fresh link, and takes them away afterwards."""
Clause: TypeAlias = Callable[[Link, Link], Awaitable[None]]
"""Tries one thing with a fresh link."""

PATIENCE_SECONDS = 10.0
LARGE_BYTES = 4 << 20
UNREAD_BYTES_MAX = 64 << 20
"""A writer nobody reads from must have to wait before it has written so much."""


async def check_link(pair: Pair) -> None:
    """Hold a kind of link to its contract.

    Raises:
        AssertionError: It does not keep it.
    """
    for clause in CLAUSES:
        await check_clause(pair, clause)


async def check_clause(pair: Pair, clause: Clause) -> None:
    """Hold a kind of link to one clause of the contract, both ways round."""
    name = getattr(clause, "__name__", "a clause")
    async with pair() as (one, other):
        await _within(clause(one, other), name)
    async with pair() as (one, other):
        await _within(clause(other, one), f"{name}, the other way round")


async def packets_arrive_in_order(near: Link, far: Link) -> None:
    """What is sent arrives, once, in order."""
    sent = [number.to_bytes(4, "big") for number in range(1, 301)]
    writing = asyncio.ensure_future(_send_all(near, sent))
    received = [await far.receive() for _ in sent]
    await writing
    assert received == sent, "packets were lost, repeated or out of order"


async def both_directions_at_once(near: Link, far: Link) -> None:
    """Neither direction waits for the other."""
    sent = [bytes([number]) * 1000 for number in range(100)]
    writing = asyncio.gather(_send_all(near, sent), _send_all(far, sent))
    assert [await near.receive() for _ in sent] == sent
    assert [await far.receive() for _ in sent] == sent
    await writing


async def packets_stay_whole(near: Link, far: Link) -> None:
    """A packet arrives as it was cut, whatever its size: never joined, split or changed."""
    for size in (1, 2, 1_000, 65_536, 1 << 20, LARGE_BYTES):
        packet = bytes(range(251)) * (size // 251 + 1)
        packet = packet[:size]
        writing = asyncio.ensure_future(near.send(packet))
        received = await far.receive()
        await writing
        assert received == packet, f"a packet of {size:,} bytes arrived as {len(received or b''):,} bytes"


async def closing_ends_both(near: Link, far: Link) -> None:
    """After one end closes, both ends' ``receive`` says that it is over, again and again."""
    await near.send(b"before")
    assert await far.receive() == b"before"
    await near.close("enough")
    for end in (far, near):
        assert await end.receive() is None
        assert await end.receive() is None, "an end that was over gave a packet"


async def closing_wakes_a_reader(near: Link, far: Link) -> None:
    """Who waits for a packet is told that none will come."""
    near_waits = asyncio.ensure_future(near.receive())
    far_waits = asyncio.ensure_future(far.receive())
    await asyncio.sleep(0)
    await near.close()
    assert await far_waits is None
    assert await near_waits is None


async def sending_after_the_end_fails(near: Link, far: Link) -> None:
    """A closed link refuses packets with LinkError, at both ends."""
    await near.close()
    assert await far.receive() is None
    for end in (near, far):
        try:
            await end.send(b"late")
        except LinkError:
            continue
        raise AssertionError("a packet could be sent over a link that is closed")


async def closing_twice_is_nothing(near: Link, far: Link) -> None:
    """Both ends may be closed, in any order, any number of times."""
    await near.close()
    await near.close("again")
    await far.close()
    await near.close()
    assert await near.receive() is None


async def a_writer_waits_for_its_reader(near: Link, far: Link) -> None:
    """Unread packets do not pile up without bound; once they are read, the rest arrives."""
    packet = bytes(256 << 10)
    count = UNREAD_BYTES_MAX // len(packet)
    written = 0

    async def write() -> None:
        nonlocal written
        for _ in range(count):
            await near.send(packet)
            written += 1

    writing = asyncio.ensure_future(write())
    before = -1
    while written != before and not writing.done():  # until it has not moved for a while
        before = written
        await asyncio.wait({writing}, timeout=0.2)
    assert not writing.done(), f"{UNREAD_BYTES_MAX:,} bytes were taken from a writer, and nobody read them"
    for _ in range(count):
        assert await far.receive() == packet
    await writing


async def closing_frees_a_waiting_writer(near: Link, far: Link) -> None:
    """A writer that waits for its reader learns that the link is over."""

    async def write() -> None:
        while True:
            await near.send(bytes(256 << 10))

    writing = asyncio.ensure_future(write())
    await asyncio.wait({writing}, timeout=0.2)
    await far.close()
    await asyncio.wait({writing}, timeout=PATIENCE_SECONDS / 2)
    assert writing.done(), "a writer waits for a reader that has closed the link"
    assert isinstance(writing.exception(), LinkError)


CLAUSES: tuple[Clause, ...] = (
    packets_arrive_in_order,
    both_directions_at_once,
    packets_stay_whole,
    closing_ends_both,
    closing_wakes_a_reader,
    sending_after_the_end_fails,
    closing_twice_is_nothing,
    a_writer_waits_for_its_reader,
    closing_frees_a_waiting_writer,
)
"""The whole contract."""


async def _send_all(link: Link, packets: list[bytes]) -> None:
    for packet in packets:
        await link.send(packet)


async def _within(work: Awaitable[None], what: str) -> None:
    try:
        await asyncio.wait_for(work, PATIENCE_SECONDS)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {PATIENCE_SECONDS:g} s") from None
