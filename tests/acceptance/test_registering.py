"""Every way to offer a function. The node runs in the test's own process; the gateway does not."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from acceptance.network import Network
from acceptance.processes import free_port, until

from easyremote import Client, ComputeNode
from easyremote.errors import NameTakenError, RefusedError, UnknownFunctionError, UsageError


@pytest.fixture
def node(network: Network) -> Iterator[ComputeNode]:
    made = ComputeNode(network.address, "bench")
    yield made
    made.stop()
    network.wait_for_departure("bench")


def serve(node: ComputeNode, network: Network) -> Client:
    node.serve(blocking=False)
    assert node.wait_for_connection(10) is True
    network.wait_for_node("bench")
    return network.client


class Counter:
    def __init__(self, start: int) -> None:
        self.value = start

    def step(self, by: int = 1) -> int:
        """Count on."""
        self.value += by
        return self.value

    def __call__(self, by: int) -> int:
        return self.step(by)


def test_registering_returns_the_very_function(node: ComputeNode, network: Network) -> None:
    def bare(x: int) -> int:
        return x + 1

    def with_options(x: int) -> int:
        return x + 2

    async def called_directly(x: int) -> int:
        return x + 3

    assert node.register(bare) is bare
    assert node.register(name="renamed", tags=["t"])(with_options) is with_options
    assert node.register(called_directly, name="direct") is called_directly
    assert (bare(1), with_options(1)) == (2, 3)
    client = serve(node, network)
    assert client.execute("bench.bare", 1) == 2
    assert client.execute("bench.renamed", 1) == 3
    assert client.execute("bench.direct", 1) == 4
    with pytest.raises(UnknownFunctionError, match="'with_options'"):
        client.execute("bench.with_options", 1)


def test_all_kinds_of_callables_can_be_registered(node: ComputeNode, network: Network) -> None:
    @node.register
    def plain() -> str:
        return "plain"

    @node.register
    async def coroutine() -> str:
        return "coroutine"

    @node.register
    def generator() -> Iterator[int]:
        yield from (1, 2)

    @node.register
    async def async_generator() -> AsyncIterator[int]:
        yield 1
        yield 2

    counter = Counter(10)
    node.register(lambda x: x * 2, name="double")
    node.register(counter.step)
    node.register(Counter(100), name="instance")
    node.register(functools.partial(pow, 2), name="power_of_two")
    client = serve(node, network)
    assert client.execute("bench.plain") == "plain"
    assert client.execute("bench.coroutine") == "coroutine"
    assert list(client.stream("bench.generator")) == [1, 2]
    assert list(client.stream("bench.async_generator")) == [1, 2]
    assert client.execute("bench.double", 21) == 42
    assert [client.execute("bench.step"), client.execute("bench.step", by=5)] == [11, 16]
    assert counter.value == 16
    assert client.execute("bench.instance", 1) == 101
    assert client.execute("bench.power_of_two", 10) == 1024
    described = {record.name: record.description for record in client.functions()}
    assert described["step"] == "Count on."


def test_functions_can_be_added_and_taken_away_while_serving(node: ComputeNode, network: Network) -> None:
    @node.register
    def early() -> str:
        return "early"

    client = serve(node, network)

    def listed() -> set[str]:
        return {record.name for record in client.functions() if "bench" in record.nodes}

    assert listed() == {"early"}

    @node.register
    def late() -> str:
        return "late"

    until(lambda: listed() == {"early", "late"}, within_seconds=3)
    assert client.execute("bench.late") == "late"
    node.unregister("early")
    until(lambda: listed() == {"late"}, within_seconds=3)
    with pytest.raises(UnknownFunctionError, match="'early'"):
        client.execute("bench.early")
    assert client.execute("late") == "late"


def test_a_function_can_be_replaced_only_when_asked(node: ComputeNode, network: Network) -> None:
    node.register(lambda: 1, name="version")
    with pytest.raises(UsageError, match="version"):
        node.register(lambda: 2, name="version")
    client = serve(node, network)
    assert client.execute("bench.version") == 1
    node.register(lambda: 2, name="version", replace=True)
    until(lambda: client.execute("bench.version") == 2, within_seconds=3)


def test_a_lambda_needs_a_name(node: ComputeNode) -> None:
    with pytest.raises(UsageError, match="name="):
        node.register(lambda x: x)


@pytest.mark.parametrize("name", ["", "with.dot", "with space", "1st"])
def test_a_name_that_cannot_be_called_is_refused(node: ComputeNode, name: str) -> None:
    with pytest.raises(UsageError):
        node.register(lambda x: x, name=name)


@pytest.mark.parametrize("thing", [5, "text", None.__class__])
def test_what_cannot_be_called_is_refused(node: ComputeNode, thing: object) -> None:
    with pytest.raises((UsageError, TypeError)):
        node.register(thing, name=None)  # type: ignore[call-overload]


def test_an_unlisted_function_is_called_by_its_full_name_only(node: ComputeNode, network: Network) -> None:
    node.register(lambda: "found", name="hidden", listed=False)
    node.register(lambda: "seen", name="shown")
    client = serve(node, network)
    assert client.execute("bench.hidden") == "found"
    assert "hidden" not in {record.name for record in client.functions()}
    with pytest.raises(UnknownFunctionError):
        client.execute("hidden")


def test_a_stopped_node_can_serve_again(network: Network) -> None:
    for answer in (1, 2):
        node = ComputeNode(network.address, "bench")
        node.register(lambda answer=answer: answer, name="turn")
        client = serve(node, network)
        assert client.execute("bench.turn") == answer
        node.stop()
        network.wait_for_departure("bench")


def test_a_second_node_of_the_same_name_is_told_apart(node: ComputeNode, network: Network, start) -> None:
    """Two devices may not both be ``bench``: the second is refused."""
    node.register(lambda: "first", name="which")
    client = serve(node, network)
    second = start(
        [
            sys.executable,
            "-c",
            "import sys\nfrom easyremote import ComputeNode\n"
            "node = ComputeNode(sys.argv[1], 'bench')\n"
            "node.register(lambda: 'second', name='which')\n"
            "node.serve()",
            network.address,
        ],
        environment={
            "EASYREMOTE_HOME": str(network.home) + "-of-another-device",
            "EASYREMOTE_INVITE": network.invite("node"),
        },
    )
    assert second.wait(within_seconds=10) != 0
    assert "NameTakenError" in second.said or "'bench'" in second.said
    assert client.execute("bench.which") == "first"


def test_a_node_without_a_name_gets_one(network: Network) -> None:
    node = ComputeNode(network.address)
    node.register(lambda: "here", name="nameless_function")
    node.serve(blocking=False)
    assert node.wait_for_connection(10)
    until(lambda: "nameless_function" in {record.name for record in network.client.functions()})
    assert node.name
    assert network.client.execute(f"{node.name}.nameless_function") == "here"
    node.stop()
    network.wait_for_departure(node.name)


def test_waiting_for_a_gateway_that_is_not_there_ends() -> None:
    node = ComputeNode(f"127.0.0.1:{free_port()}", "lonely")
    node.register(lambda: 1, name="one")
    node.serve(blocking=False)
    assert node.wait_for_connection(0.3) is False
    node.stop()


def test_an_old_time_to_live_keeps_nothing_when_caching_is_switched_off(
    node: ComputeNode, network: Network
) -> None:
    runs: list[int] = []
    with pytest.warns(FutureWarning, match="enable_caching"):
        node.register(runs.append, name="count", enable_caching=False, cache_ttl_seconds=60.0)
    client = serve(node, network)
    for _ in range(2):
        client.execute("bench.count", 1)
    assert runs == [1, 1]


def test_a_function_changed_by_many_threads_is_served_as_it_is_registered(
    node: ComputeNode, network: Network
) -> None:
    client = serve(node, network)

    def change() -> None:
        for _ in range(20):
            node.register(lambda: 0, name="changing", replace=True)
            node.unregister("changing")

    threads = [threading.Thread(target=change) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    node.register(lambda: 42, name="changing", replace=True)

    def served() -> bool:
        try:
            return client.execute("bench.changing") == 42
        except (UnknownFunctionError, RefusedError):
            return False

    until(served, what="the function")


# ---- names


def test_a_name_that_is_taken_is_told_to_who_waits_for_the_connection(
    node: ComputeNode, network: Network, tmp_path: Path
) -> None:
    serve(node, network)
    other = ComputeNode(network.address, "bench", home=tmp_path, invite=network.invite("node"))
    for _ in range(2):
        thread = other.serve(blocking=False)
        with pytest.raises(NameTakenError, match="bench"):
            other.wait_for_connection(10)
        assert thread is not None
        thread.join(5)
        assert not thread.is_alive()
    assert node.is_connected


def test_nodes_named_after_their_machine_keep_their_names_through_a_restart_of_the_gateway(
    own_network: Callable[..., Network],
) -> None:
    own = own_network()
    nodes = [ComputeNode(own.address) for _ in range(2)]
    try:
        for each in nodes:
            each.serve(blocking=False)
            assert each.wait_for_connection(10)
        names = [each.name for each in nodes]
        assert len(set(names)) == 2
        for _ in range(3):
            own.gateway.kill()
            until(lambda: not any(each.is_connected for each in nodes))
            own.restart_gateway()
            until(lambda: all(each.is_connected for each in nodes))
            assert [each.name for each in nodes] == names
    finally:
        for each in nodes:
            each.stop(0)


# ---- stopping


def test_a_node_cannot_be_stopped_from_its_own_loop_but_by_a_thread(
    node: ComputeNode, network: Network
) -> None:
    @node.register
    async def stop_here() -> None:
        node.stop()

    @node.register
    async def stop_soon() -> None:
        threading.Thread(target=node.stop).start()

    client = serve(node, network)
    with pytest.raises(ValueError, match="Thread"):
        client.execute("bench.stop_here", timeout=5)
    assert client.execute("bench.stop_soon", timeout=5) is None
    network.wait_for_departure("bench")
