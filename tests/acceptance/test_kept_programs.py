"""Programs written for easyremote 2.0.2 keep running."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import pytest
from acceptance.network import Network
from acceptance.processes import PROGRAMS, Program, free_port

from easyremote import Client, ComputeNode, Server
from easyremote.errors import EasyRemoteError


@pytest.fixture(scope="module")
def kept(network: Network) -> Iterator[Client]:
    """A client on a network whose server and node are old programs."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    given = {**network.environment, "GATEWAY": address, "NODE": "old-node"}
    with (
        Program([str(PROGRAMS / "kept_server.py"), str(port)], environment=given) as server,
        Program([str(PROGRAMS / "kept_node.py")], environment=given) as node,
    ):
        node.wait_for("^serving$")
        assert server.running
        with Client(gateway_address=address) as client:
            yield client


def test_execute(kept: Client) -> None:
    assert kept.execute("add_numbers", 10, 20) == 30
    assert kept.execute("describe", path="a.png", detail=2) == {"path": "a.png", "detail": 2}
    assert kept.execute("heavy", 12) == 144
    assert kept.execute("extra") == "extra"


def test_execute_on_node(kept: Client) -> None:
    assert kept.execute_on_node("old-node", "add_numbers", 1, 2) == 3
    assert kept.execute_on_node("old-node", "add_numbers", a=1, b=2) == 3
    with pytest.raises(EasyRemoteError):
        kept.execute_on_node("another-node", "add_numbers", 1, 2)


def test_stream_and_stream_on_node(kept: Client) -> None:
    assert list(kept.stream("tokens", "to be or not")) == ["to", "be", "or", "not"]
    assert list(kept.stream_on_node("old-node", "tokens", "a b")) == ["a", "b"]


def test_nodes_are_listed_found_and_asked(kept: Client) -> None:
    (node,) = kept.list_nodes()
    assert node["node_id"] == "old-node"
    assert {"add_numbers", "describe", "heavy", "tokens"} <= set(node["functions"])
    assert set(node["capabilities"]) == {"camera", "gpu"}
    assert [found["node_id"] for found in kept.find_nodes(required_capabilities=["camera"])] == ["old-node"]
    assert kept.find_nodes(required_capabilities=["printer"]) == []
    status = kept.get_node_status("old-node")
    assert (status["node_id"], status["status"]) == ("old-node", "online")


def test_the_registration_of_old_shows_in_the_record(kept: Client) -> None:
    record = next(each for each in kept.functions() if each.name == "describe")
    assert (record.description, record.version) == ("Describe a picture", "1.2.0")
    assert set(record.tags) == {"vision", "text"}
    assert record.timeout_seconds == 30


def test_a_client_as_context_manager(kept: Client, network: Network) -> None:
    with Client(network.address) as client:
        assert client.execute("add", 1, 2) == 3


def test_a_server_in_the_background_and_a_node_that_does_not_block() -> None:
    port = free_port()
    server = Server(port=port, heartbeat_timeout_seconds=5)
    server.start_background()
    node = ComputeNode(f"localhost:{port}", node_id="worker-1")

    @node.register(name="times_two")
    def double(x):
        return x * 2

    assert double(4) == 8
    node.serve(blocking=False)
    try:
        assert node.wait_for_connection(timeout=10)
        with Client(f"localhost:{port}") as client:
            assert client.execute("times_two", 21) == 42
            node.unregister("times_two")
    finally:
        node.stop()
        server.stop()


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (lambda address: Server(0, max_queue_size=10), "max_queue_size"),
        (lambda address: Server(0, enable_security=False, log_level="info"), "enable_security"),
        (lambda address: Client(address, enable_caching=True, log_level="info"), "enable_caching"),
        (lambda address: ComputeNode(address, node_id="n").register(priority=5)(len), "priority"),
        (
            lambda address: ComputeNode(address, node_id="n").register(enable_caching=True)(len),
            "enable_caching",
        ),
    ],
    ids=["Server", "Server-security", "Client", "register-priority", "register-caching"],
)
def test_an_old_option_without_meaning_is_a_warning_and_never_an_error(
    network: Network, make: Callable[[str], object], option: str
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = make(network.address)
    assert any(option in str(warning.message) for warning in caught)
    assert made is not None
    if isinstance(made, Client):
        made.close()


def test_old_timeouts_of_a_client_hold(network: Network) -> None:
    with (
        Client(network.address, connection_timeout_ms=2000, request_timeout_ms=300) as client,
        pytest.raises(TimeoutError),
    ):
        client.execute("nap", 2.0)
