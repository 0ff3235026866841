"""``codec="pickle"``: any object, between two ends whose owners both said so; nothing otherwise.

The node runs in the test's own process or in one of its own; the gateway never does. All devices of one home
have the machine's name, and the account "owner".
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from acceptance.network import Network
from acceptance.processes import Program, until

from easyremote import AsyncClient, Client, ComputeNode, remote
from easyremote.client import asking
from easyremote.errors import ArgumentError, DecodeError, EncodeError, UsageError, ValueTooLargeError
from easyremote.node import registry, running
from easyremote.wire import pickled


class Odd:
    """A class that has no form on the wire."""

    def __init__(self, inside: Any) -> None:
        self.inside = inside


class Trap:
    """Loading its pickle makes a file: what it could do instead is anything."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture
def node(network: Network) -> Iterator[ComputeNode]:
    made = ComputeNode(network.address, "bench")
    yield made
    made.stop()
    network.wait_for_departure("bench")


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    return tmp_path / "sprung"


@pytest.fixture
def client(network: Network) -> Iterator[Client]:
    """One that loads the node's pickles."""
    with Client(network.address, pickle_with=["bench"]) as made:
        yield made


def serve(node: ComputeNode, network: Network) -> None:
    node.serve(blocking=False)
    assert node.wait_for_connection(10) is True
    network.wait_for_node("bench")


def offer(node: ComputeNode, network: Network, **options: Any) -> list[Any]:
    """Serve ``keep``, which keeps what it is given, and gives it back; returns what it was given."""
    kept: list[Any] = []

    @node.register(**options)
    def keep(value: Any) -> Any:
        kept.append(value)
        return value

    serve(node, network)
    return kept


OWNER = {"codec": "pickle", "pickle_from": ["owner"]}


# ---- with the consent of both


def test_objects_travel_by_every_verb_of_a_client(
    node: ComputeNode, network: Network, client: Client
) -> None:
    kept = offer(node, network, **OWNER)

    @node.register(**OWNER)
    async def later(value: Any) -> Any:
        return value

    @node.register(**OWNER)
    def each(values: list[Any]) -> Iterator[Any]:
        yield from values

    odd = Odd(re.compile("a+"))
    with pytest.raises(EncodeError):
        client.execute("bench.keep", odd)
    found = client.execute("bench.keep", odd, codec="pickle")
    assert type(found) is Odd
    assert found.inside.pattern == "a+"
    assert type(kept[0]) is Odd
    pickling = client.options(codec="pickle", node="bench")
    assert pickling.execute("keep", value=len) is len
    assert pickling.execute("later", len) is len
    assert pickling.submit("keep", len).result(10) is len
    assert list(pickling.map("keep", [len, print])) == [len, print]
    assert list(pickling.stream("each", [len, print])) == [len, print]
    assert list(client.stream("bench.each", [len, print], codec="pickle")) == [len, print]


def test_objects_travel_by_every_verb_of_an_async_client(node: ComputeNode, network: Network) -> None:
    offer(node, network, **OWNER)

    @node.register(**OWNER)
    async def each(values: list[Any]) -> Any:
        for value in values:
            yield value

    async def main() -> None:
        async with AsyncClient(network.address, pickle_with=["bench"]) as client:
            assert await client.execute("bench.keep", len, codec="pickle") is len
            pickling = client.options(codec="pickle", node="bench")
            assert await pickling.submit("keep", len) is len
            assert [one async for one in pickling.map("keep", [len, print])] == [len, print]
            assert [one async for one in pickling.stream("each", [len, print])] == [len, print]
            found = [one async for one in client.stream("bench.each", [len], codec="pickle")]
            assert found == [len]

    asyncio.run(main())


def test_a_remote_function_may_be_called_with_pickles(node: ComputeNode, network: Network) -> None:
    offer(node, network, **OWNER)

    @remote(node_id="bench", codec="pickle", pickle_with=["bench"], gateway_address=network.address)
    def keep(value: Any) -> Any:
        raise NotImplementedError

    assert keep(len) is len


@pytest.mark.parametrize("items", [10, 2_000_000])
def test_arrays_inside_objects_travel_and_can_be_written_to(
    node: ComputeNode, network: Network, client: Client, items: int
) -> None:
    kept = offer(node, network, **OWNER)
    sent = Odd(np.arange(items))
    found = client.execute("bench.keep", sent, codec="pickle")
    assert (found.inside == sent.inside).all()
    found.inside[0] = 7
    kept[0].inside[0] = 8


def test_both_ends_are_warned_once(
    node: ComputeNode,
    network: Network,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(asking, "_pickles", itertools.count())
    monkeypatch.setattr(registry, "_pickles", itertools.count())
    offer(node, network, **OWNER)
    with caplog.at_level(logging.WARNING, "easyremote"):
        for _ in range(3):
            client.execute("bench.keep", 1, codec="pickle")
    told = [
        record.getMessage() for record in caplog.records if "any code on this machine" in record.getMessage()
    ]
    here, there = told if "pickle_with=" in told[0] else reversed(told)
    assert "pickle_with=" in here
    assert "pickle_from=" in there


def test_a_trap_springs_where_both_consented(
    node: ComputeNode, network: Network, client: Client, trap: Path
) -> None:
    """What the other tests show not to happen does happen: the trap is a real one."""
    offer(node, network, **OWNER)
    client.execute("bench.keep", Trap(trap), codec="pickle")
    assert trap.exists()


# ---- without the node's


@pytest.mark.parametrize("size", [0, 1_000_000])
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, r"pickle_from=\[the caller\]"),
        ({"codec": "pickle", "pickle_from": ["somebody-else"]}, "'owner' is in the pickle_from="),
    ],
)
def test_a_pickled_argument_is_refused_unread(
    node: ComputeNode,
    network: Network,
    client: Client,
    trap: Path,
    options: dict[str, Any],
    told: str,
    size: int,
) -> None:
    kept = offer(node, network, **options)
    with pytest.raises(ArgumentError, match=told):
        client.execute("bench.keep", [Trap(trap), b"x" * size], codec="pickle")
    assert not trap.exists()
    assert client.execute("bench.keep", [1]) == [1]
    assert kept == [[1]]


def test_a_pickle_inside_a_plain_argument_is_refused_unread(
    node: ComputeNode,
    network: Network,
    client: Client,
    trap: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer(node, network, **OWNER)
    inner = pickled.encode(Trap(trap))
    monkeypatch.setattr(asking, "encode_arguments", lambda args, kwargs: b"\x92\x91" + inner + b"\x80")
    with pytest.raises(ArgumentError, match="pickled value"):
        client.execute("bench.keep", 1)
    assert not trap.exists()


def test_registering_without_saying_whose_is_refused(node: ComputeNode) -> None:
    with pytest.raises(UsageError, match=r"pickle_from=.*runs any code"):
        node.register(codec="pickle")(print)
    assert node.registered_functions == {}


# ---- without the client's


def test_nothing_is_sent_without_the_clients_word(node: ComputeNode, network: Network, trap: Path) -> None:
    kept = offer(node, network, **OWNER)
    with Client(network.address, pickle_with=["another"]) as client:
        for call in (client.execute, client.submit, client.stream):
            with pytest.raises(UsageError, match=r"Client\(pickle_with=\['bench'\]\)"):
                call("bench.keep", Trap(trap), codec="pickle")
        with pytest.raises(UsageError, match="pickle_with="):
            list(client.options(codec="pickle", node="bench").map("keep", [Trap(trap)]))
        assert client.execute("bench.keep", 1) == 1
    assert not trap.exists()
    assert kept == [1]


def test_a_pickled_call_names_its_node(node: ComputeNode, network: Network, client: Client) -> None:
    kept = offer(node, network, **OWNER)
    with pytest.raises(UsageError, match=r"names its node.*node="):
        client.execute("keep", 1, codec="pickle")
    assert kept == []


@pytest.mark.parametrize("size", [0, 1_000_000])
def test_a_pickled_result_nobody_asked_for_is_refused_unread(
    node: ComputeNode,
    network: Network,
    client: Client,
    trap: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
) -> None:
    @node.register
    def evil(number: int = 0) -> Any:
        return [Trap(trap), b"x" * size]

    @node.register
    def evils() -> Iterator[Any]:
        yield evil()

    serve(node, network)
    monkeypatch.setattr(running, "encode", pickled.encode)  # a node that keeps to no rules
    with Client(network.address) as careful:
        for each in (client, careful):
            with pytest.raises(DecodeError, match=r"node 'bench' answered.*pickle_with=\['bench'\]"):
                each.execute("bench.evil")
            with pytest.raises(DecodeError, match="pickle_with="):
                each.submit("evil").result(10)
            with pytest.raises(DecodeError, match="pickle_with="):
                list(each.stream("evils"))
            with pytest.raises(DecodeError, match="pickle_with="):
                list(each.options(node="bench").map("evil", range(2)))

        async def main() -> None:
            async with AsyncClient(network.address) as other:
                with pytest.raises(DecodeError, match="pickle_with="):
                    await other.execute("evil")

        asyncio.run(main())
    assert not trap.exists()


def test_a_trap_comes_back_only_to_who_asked_for_pickles(
    node: ComputeNode, network: Network, client: Client, trap: Path
) -> None:
    @node.register(**OWNER)
    def evil() -> Any:
        return Trap(trap)

    serve(node, network)
    with pytest.raises(EncodeError, match="Trap"):
        client.execute("bench.evil")
    assert not trap.exists()
    client.execute("bench.evil", codec="pickle")
    assert trap.exists()


# ---- what else may go wrong


def test_how_large_a_pickle_may_be_is_what_each_end_takes_of_any_value(
    node: ComputeNode, network: Network, client: Client
) -> None:
    @node.register(**OWNER)
    def many(size: int) -> Any:
        return Odd(b"x" * size)

    serve(node, network)
    with (
        Client(network.address, pickle_with=["bench"], max_value_bytes=100_000) as small,
        pytest.raises(ValueTooLargeError),
    ):
        small.execute("bench.many", 200_000, codec="pickle")
    assert len(client.execute("bench.many", 200_000, codec="pickle").inside) == 200_000


def test_what_cannot_be_pickled_is_said_where_it_is(
    node: ComputeNode, network: Network, client: Client
) -> None:
    @node.register(**OWNER)
    def made() -> Any:
        return lambda: 1

    serve(node, network)
    with pytest.raises(EncodeError, match="an argument cannot be pickled"):
        client.execute("bench.made", lambda: 1, codec="pickle")
    with pytest.raises(EncodeError, match=r"'made' on 'bench'.*cannot be pickled"):
        client.execute("bench.made", codec="pickle")


def test_options_that_make_no_sense_are_refused(network: Network) -> None:
    for wrong in ("bench", [1], None):
        with pytest.raises(UsageError, match="pickle_with="):
            Client(network.address, pickle_with=wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'msgpack' or 'pickle'"):
        network.client.options(codec="dill")
    with pytest.raises(UsageError, match="pickle_with"):
        network.client.options(pickle_with=["bench"])  # a program's word, not a call's option


# ---- in separate processes

PROGRAM = """
import os
from easyremote import ComputeNode

node = ComputeNode(os.environ["GATEWAY"], os.environ["NODE"])

@node.register(codec="pickle", pickle_from=["owner"])
def apply(function, value):
    return function, function(value)

@node.register(codec="pickle", pickle_from=["nobody-here"])
def closed(function, value):
    return function, function(value)

@node.register
def plain(function, value):
    return function, function(value)

node.serve(blocking=False)
assert node.wait_for_connection(10)
print("serving", flush=True)
node._stopped.wait()
"""


def test_between_processes(
    network: Network, spawn_node: Callable[..., Program], tmp_path: Path, trap: Path
) -> None:
    program = tmp_path / "pickles.py"
    program.write_text(PROGRAM)
    spawn_node(program, name="press")
    with Client(network.address, pickle_with=["press"]) as client:
        assert client.execute("press.apply", len, [1, 2], codec="pickle") == (len, 2)
        for closed in ("press.closed", "press.plain"):
            with pytest.raises(ArgumentError, match="pickle_from="):
                client.execute(closed, Trap(trap), 1, codec="pickle")
        assert not trap.exists()
        with pytest.raises(Exception, match="NoneType"):  # what Path.touch gives is no function
            client.execute("press.apply", Trap(trap), 1, codec="pickle")
        until(trap.exists, within_seconds=3)
