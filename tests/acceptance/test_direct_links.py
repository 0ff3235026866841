"""Nodes reached without their gateway: traffic moves there and back, and no call notices."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from acceptance.members import Club
from acceptance.network import Network
from acceptance.processes import free_port, until
from acceptance.programs.files import marks

from easyremote import Client, ComputeNode
from easyremote.errors import EasyRemoteError, LinkError, ListenError, NodeLostError, UsageError
from easyremote.links.loop import run_in_background
from easyremote.links.stream import dial
from easyremote.trace import TraceEvent, subscribe

Clubs = Callable[..., Club]


class Seen:
    """What the trace told."""

    def __init__(self) -> None:
        self.events: list[TraceEvent] = []

    def named(self, name: str) -> list[str]:
        return [one.detail for one in self.events if one.name == name]

    def path(self) -> str:
        """Where the newest call went."""
        return (self.named("call sent") or [""])[-1].rpartition(" ")[2]


@pytest.fixture
def seen() -> Iterator[Seen]:
    found = Seen()
    stop = subscribe(found.events.append)
    yield found
    stop()


def goes_directly(client: Client, seen: Seen) -> None:
    """Call until calls go to the node itself."""

    def direct() -> bool:
        client.execute("whoami")
        return seen.path() == "direct"

    until(direct, within_seconds=5, what="a direct link")


def test_calls_move_to_the_node_itself_once_it_answers(
    own_network: Callable[..., Network], seen: Seen
) -> None:
    own = own_network()
    own.spawn_node("holder", name="a")
    with Client(own.address, direct=True) as client:
        client.list_nodes()
        assert client.execute("whoami") == "a"
        assert seen.path() == "relay", "the first call does not wait for anything"
        goes_directly(client, seen)
        assert client.execute("a.whoami") == "a"


def test_direct_links_can_be_turned_off_at_either_end(clubs: Clubs, seen: Seen) -> None:
    club = clubs()
    box, laptop = club.member("box", "node"), club.member("laptop")
    for number, listen in enumerate([None, "local"]):
        node = box.node(f"lab-{number}", listen=listen)
        node.register(lambda: "here", name="whoami")
        node.serve(blocking=False)
        assert node.wait_for_connection(10)
    with_direct, without = laptop.client(direct=True), laptop.client(direct=False)
    for client, name in [(with_direct, "lab-0"), (without, "lab-1")]:
        until(lambda c=client: len(c.list_nodes()) == 2)  # type: ignore[misc]
        for _ in range(50):
            assert client.execute(f"{name}.whoami") == "here"
    assert seen.named("direct link up") == []
    assert "direct" not in {detail.rpartition(" ")[2] for detail in seen.named("call sent")}


def test_calls_go_on_while_the_gateway_is_away(
    own_network: Callable[..., Network], seen: Seen, tmp_path: Path
) -> None:
    own = own_network()
    own.spawn_node("holder", name="a")
    started, gate = tmp_path / "started", tmp_path / "gate"
    with Client(own.address, direct=True, connect_timeout=1.0) as client:
        goes_directly(client, seen)
        held = client.submit("hold", str(started), str(gate))
        until(lambda: marks(started) == 1)
        own.gateway.kill()
        for _ in range(20):
            assert client.execute("whoami", timeout=5) == "a"
        later = client.submit("hold", str(started), str(gate))
        until(lambda: marks(started) == 2)
        own.restart_gateway()
        until(lambda: len(client.list_nodes()) == 1, within_seconds=10, what="the node at the new gateway")
        assert client.execute("whoami", timeout=5) == "a"
        gate.touch()
        assert (held.result(10), later.result(10)) == ("a", "a")
        assert marks(started) == 2, "nothing ran twice"


def test_a_direct_link_that_breaks_costs_no_call_and_no_item(
    own_network: Callable[..., Network], seen: Seen, tmp_path: Path
) -> None:
    own = own_network()
    own.spawn_node("holder", name="a")
    with Client(own.address, direct=True) as client:
        goes_directly(client, seen)
        started, gate = tmp_path / "started", tmp_path / "gate"
        held = [client.submit("hold", str(started), str(gate)) for _ in range(10)]
        until(lambda: marks(started) == 10)
        items = iter(client.stream("drip"))
        first = [next(items) for _ in range(5)]
        broken = break_direct_links(client)
        assert broken == 1
        assert client.execute("whoami", timeout=5) == "a"
        rest = [next(items) for _ in range(20)]
        gate.touch()
        assert [one.result(10) for one in held] == ["a"] * 10
        assert marks(started) == 10, "nothing ran twice"
        assert first + rest == ["a"] * 25
        assert seen.named("direct link down")
        goes_directly(client, seen)  # and it is made again


def break_direct_links(client: Client) -> int:
    """Cut the cables under a client, as a network does."""
    driver = client._connection.engine._driver

    async def cut() -> int:
        lines = [line for number, line in driver._lines.items() if number]
        for line in lines:
            line.link._transport.abort()  # type: ignore[attr-defined]
        return len(lines)

    return run_in_background(cut(), 5)


async def swallow(packet: bytes) -> None:
    """What a network does with packets that lead nowhere."""


def test_a_direct_link_that_says_nothing_more_is_left(
    own_network: Callable[..., Network], seen: Seen
) -> None:
    """The cable stands and nothing comes through, as when a machine changes its network."""
    own = own_network()
    own.spawn_node("holder", name="a")
    with Client(own.address, direct=True) as client:
        goes_directly(client, seen)
        driver = client._connection.engine._driver
        (line,) = [line for number, line in driver._lines.items() if number]
        line.link.send = swallow  # type: ignore[method-assign]
        assert client.execute("whoami", timeout=10) == "a"
        assert "the other end has fallen silent" in seen.named("direct link down")


def test_a_node_that_dies_is_lost_as_without_a_direct_link(
    own_network: Callable[..., Network], seen: Seen, tmp_path: Path
) -> None:
    own = own_network()
    node = own.spawn_node("holder", name="a")
    started, gate = tmp_path / "started", tmp_path / "gate"
    with Client(own.address, direct=True) as client:
        goes_directly(client, seen)
        held = client.submit("hold", str(started), str(gate))
        until(lambda: marks(started) == 1)
        node.kill()
        with pytest.raises(NodeLostError):
            held.result(5)


def test_large_values_and_many_callers_cross_a_direct_link(
    own_network: Callable[..., Network], seen: Seen
) -> None:
    own = own_network()
    own.spawn_node("workshop", name="shop")
    with Client(own.address, direct=True) as client:

        def direct() -> bool:
            client.execute("echo", 1)
            return seen.path() == "direct"

        until(direct, within_seconds=5, what="a direct link")
        data = os.urandom(20 << 20)
        wrong: list[object] = []

        def calls() -> None:
            wrong.extend(one for one in range(200) if client.execute("echo", one) != one)

        threads = [threading.Thread(target=calls) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert client.execute("echo", data) == data
        for thread in threads:
            thread.join()
        assert wrong == []
        assert list(client.map("echo", range(2000))) == list(range(2000))


# ---- who gets in


def card_of(member_client: Client) -> tuple[str, bytes]:
    (view,) = member_client._connection.engine.directory
    return view.card.addresses[0].rpartition("/")[2], view.card.fingerprint


def lab(club: Club, **options: object) -> ComputeNode:
    node = club.member("box", "node").node("lab", **options)
    node.register(lambda: "here", name="whoami")
    node.serve(blocking=False)
    assert node.wait_for_connection(10)
    return node


@pytest.mark.parametrize("shown", ["nothing", "nonsense", "another's membership"])
def test_who_is_no_member_hears_a_challenge_and_nothing_else(clubs: Clubs, shown: str) -> None:
    club = clubs()
    lab(club)
    insider = club.member("laptop").client()
    until(lambda: insider.list_nodes())
    address, fingerprint = card_of(insider)
    outsider = club.member("mallory").client()
    outsider.list_nodes()
    engine = outsider._connection.engine
    engine._device.standing.credential = {
        "nothing": b"",
        "nonsense": os.urandom(200),
        "another's membership": insider._connection.engine._device.standing.credential,
    }[shown]
    (view,) = insider._connection.engine.directory

    async def knock() -> list[bytes]:
        link = await dial(address, fingerprint, timeout_seconds=5)
        heard: list[bytes] = []
        receive = link.receive

        async def listening() -> bytes | None:
            packet = await receive()
            if packet is not None:
                heard.append(packet)
            return packet

        link.receive = listening  # type: ignore[method-assign]
        await engine._driver._live_directly(link, view.card.endpoint)
        return heard

    heard = run_in_background(knock(), 10)
    assert len(heard) <= 2, "a challenge, and at most a word that it is not let in"
    assert view.card.endpoint not in engine._device.direct


def test_another_certificate_than_the_cards_is_not_spoken_to(clubs: Clubs) -> None:
    club = clubs()
    lab(club)
    client = club.member("laptop").client()
    until(lambda: client.list_nodes())
    address, fingerprint = card_of(client)
    with pytest.raises(LinkError, match="another certificate"):
        run_in_background(dial(address, bytes(32), timeout_seconds=5), 10)
    with pytest.raises(LinkError, match="nothing answers"):
        run_in_background(dial(f"127.0.0.1:{free_port()}", fingerprint, timeout_seconds=5), 10)


def test_older_tls_is_not_spoken(clubs: Clubs) -> None:
    club = clubs()
    lab(club)
    client = club.member("laptop").client()
    until(lambda: client.list_nodes())
    host, _, port = card_of(client)[0].rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection((host, int(port)), 5) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain)


def test_a_revoked_caller_is_out_over_its_direct_link_as_well(clubs: Clubs, seen: Seen) -> None:
    club = clubs()
    lab(club)
    laptop = club.member("laptop")
    client = laptop.client(direct=True)
    until(lambda: client.list_nodes())
    goes_directly(client, seen)
    club.operator.revoke(laptop.device)

    def out() -> bool:
        try:
            client.execute("whoami", timeout=1)
        except EasyRemoteError:
            return True
        return False

    until(out, within_seconds=2.0, what="the refusal")


def test_floods_of_links_that_say_nothing_are_bounded(clubs: Clubs, seen: Seen) -> None:
    club = clubs()
    node = lab(club)
    client = club.member("laptop").client(direct=True)
    until(lambda: client.list_nodes())
    address, fingerprint = card_of(client)

    async def crowd() -> list[object]:
        tries = (dial(address, fingerprint, timeout_seconds=10) for _ in range(100))
        return list(await asyncio.gather(*tries, return_exceptions=True))

    links = run_in_background(crowd(), 30)
    assert node._running is not None
    assert len(node._running._device.direct._links) <= 64
    goes_directly_in_the_end = client.execute("whoami")
    assert goes_directly_in_the_end == "here"
    for link in links:
        if not isinstance(link, BaseException):
            run_in_background(link.close(), 5)  # type: ignore[attr-defined]


# ---- where nodes listen


def test_a_node_listens_where_its_owner_says(clubs: Clubs, seen: Seen) -> None:
    club = clubs()
    port = free_port()
    node = lab(club, listen=f"127.0.0.1:{port}")
    client = club.member("laptop").client(direct=True)
    until(lambda: client.list_nodes())
    assert card_of(client)[0] == f"127.0.0.1:{port}"
    goes_directly(client, seen)
    assert node.is_connected


def test_a_place_that_is_taken_or_none_is_a_clear_error(clubs: Clubs) -> None:
    with pytest.raises(UsageError, match=r"listen= is 'local'.*not 'over there'"):
        ComputeNode("127.0.0.1:1", "x", listen="over there")
    club = clubs()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        node = club.member("box", "node").node("lab", listen=f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ListenError, match="direct links"):
            node.serve(blocking=False)
