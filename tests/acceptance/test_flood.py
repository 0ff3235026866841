"""One member that wants everything: the others are served, memory stays bounded, each limit says its name."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable

import psutil
import pytest
from acceptance.members import Club, Member
from acceptance.processes import until

from easyremote import Client
from easyremote.errors import EasyRemoteError, LinkError
from easyremote.links.link import Link
from easyremote.links.loop import run_in_background
from easyremote.wire.frame import carry, control, join
from easyremote.wire.messages import Advertise, Watch, encode

Clubs = Callable[..., Club]


def link_of(client: Client) -> Link:
    """The raw link of a member that means harm: it may write what it wants."""
    client.connect()
    link = client._connection.engine._driver.link
    assert link is not None
    return link


def echo_node(member: Member, name: str = "lab") -> None:
    node = member.node(name)
    node.register(lambda value: value, name="echo")
    node.serve(blocking=False)
    assert node.wait_for_connection(10)


def flooding(link: Link, packet: bytes, seconds: float) -> Awaitable[int]:
    async def flood() -> int:
        sent, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                await asyncio.wait_for(link.send(packet), 1.0)
            except (LinkError, TimeoutError):
                break
            sent += 1
        return sent

    return flood()


@pytest.mark.parametrize(
    "kind", ["small frames to nobody", "many frames a packet", "junk to the node", "large junk"]
)
def test_the_others_are_served_while_one_member_floods(clubs: Clubs, kind: str) -> None:
    club = clubs()
    echo_node(club.member("box", "node"))
    victim = club.member("carol").client()
    until(lambda: victim.list_nodes())
    flooder = club.member("mallory").client()
    link = link_of(flooder)
    (lab,) = [view.card.endpoint for view in flooder._connection.engine.directory]
    target, size, many = {
        "small frames to nobody": (os.urandom(40), 64, 1),
        "many frames a packet": (os.urandom(40), 64, 500),
        "junk to the node": (lab, 64, 1),
        "large junk": (lab, 500_000, 2),
    }[kind]
    packet = join([carry(target, os.urandom(size)) for _ in range(many)])
    gateway = psutil.Process(club.network.gateway.pid)
    before = gateway.memory_info().rss
    flood = asyncio.run_coroutine_threadsafe(
        flooding(link, packet, 1.5),  # type: ignore[arg-type]
        victim._connection.engine.loop,
    )
    times = []
    while not flood.done():
        began = time.perf_counter()
        assert victim.execute("echo", "still here", timeout=10) == "still here"
        times.append(time.perf_counter() - began)
    assert flood.result() * size * many > 1 << 20 or flood.result() > 100, "it did flood"
    assert len(times) > 20
    assert sorted(times)[int(len(times) * 0.99) - 1] < 1.0
    assert gateway.memory_info().rss - before < 150 << 20


def test_who_does_not_read_is_disconnected_and_memory_stays_bounded(clubs: Clubs) -> None:
    club = clubs(
        limits={
            "queue_bytes_per_connection": 8 << 20,
            "queue_bytes": 32 << 20,
            "shared_packet_bytes": 8 << 20,
        }
    )
    gateway = psutil.Process(club.network.gateway.pid)
    deaf = [club.member(f"deaf-{number}").client() for number in range(3)]
    endpoints = []
    for client in deaf:
        client.connect()
        endpoints.append(client._connection.engine._device.endpoint)
        deafen(client)
    before = gateway.memory_info().rss
    talker = club.member("talker").client()
    link = link_of(talker)
    body = os.urandom(400_000)
    packet = join([carry(endpoint, body) for endpoint in endpoints])
    sending = asyncio.run_coroutine_threadsafe(
        flooding(link, packet, 5.0),  # type: ignore[arg-type]
        talker._connection.engine.loop,
    )
    grew = 0
    while not sending.done():
        grew = max(grew, gateway.memory_info().rss - before)
    assert sending.result() * len(packet) > 450 << 20, "far more was sent than may wait"
    assert grew < 350 << 20
    assert club.member("other").client().list_nodes() == [], "others are served"


def deafen(client: Client) -> None:
    """From now on this device's process takes nothing from its link."""
    engine = client._connection.engine
    link = link_of(client)
    engine.loop.call_soon_threadsafe(link.connection.hold, link)  # type: ignore[attr-defined]


def test_each_limit_on_how_many_says_its_name(clubs: Clubs) -> None:
    club = clubs(
        limits={
            "connections_per_device": 3,
            "watches_per_device": 2,
            "functions_per_card": 5,
            "connections_per_address": 12,
        }
    )
    carol = club.member("carol")
    clients = [carol.client() for _ in range(2)]
    for client in clients:
        client.connect()
    with pytest.raises(LinkError, match="watches_per_device"):
        carol.client().connect()
    node = club.member("box", "node").node("lab")
    for number in range(6):
        node.register(lambda: 1, name=f"f{number}")
    node.serve(blocking=False)
    with pytest.raises(EasyRemoteError, match="functions_per_card"):
        _ = _until_refused(node)
    others = [club.member(f"m{number}").client(connect_timeout=3.0) for number in range(14)]
    with pytest.raises(LinkError, match="connections_per_address"):
        connect_all(others)


def connect_all(clients: list[Client]) -> None:
    for client in clients:
        client.connect()


def _until_refused(node: object) -> object:
    def failed() -> object:
        return node._failure  # type: ignore[attr-defined]

    raise until(failed, within_seconds=10, what="the refusal")


def test_a_card_that_is_too_large_is_refused(clubs: Clubs) -> None:
    club = clubs()
    node = club.member("box", "node").node("lab")
    node.serve(blocking=False)
    assert node.wait_for_connection(10)
    assert node._running is not None
    link = node._running._driver.link
    assert link is not None
    packet = join([control(encode(Advertise(bytes((1 << 20) + 1), bytes(64))))])
    with contextlib.suppress(LinkError):  # it may hang up before all is written
        run_in_background(link.send(packet), 10)
    club.network.gateway.wait_for("a card of 1,048,577 bytes; at most 1,048,576 are taken")


def test_watching_again_and_again_is_one_watch(clubs: Clubs) -> None:
    club = clubs(limits={"watches_per_device": 1})
    client = club.member("carol").client()
    link = link_of(client)
    run_in_background(link.send(join([control(encode(Watch()))] * 5)), 10)
    assert client.list_nodes() == []
