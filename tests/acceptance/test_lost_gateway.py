"""Gateways that are not there, go away, and come back."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.network import Network
from acceptance.processes import free_port, run, until
from acceptance.programs.files import marks

from easyremote import Client, Server
from easyremote.errors import EasyRemoteError, LinkError


def unreachable(client: Client) -> bool:
    """Whether the client knows that its gateway is gone; until then a call is one in flight, which waits for it."""
    try:
        client.list_nodes()
    except LinkError:
        return True
    return False


def test_no_gateway_is_a_clear_error_within_the_connect_timeout() -> None:
    address = f"127.0.0.1:{free_port()}"
    began = time.perf_counter()

    def call() -> None:
        with Client(address, connect_timeout=1.0) as lonely:
            lonely.execute("echo", 1)

    with pytest.raises(LinkError, match=address) as caught:
        call()
    assert time.perf_counter() - began < 1.5
    assert "easynet gateway" in str(caught.value), "it says what to do next"
    assert isinstance(caught.value, ConnectionError)


def test_an_unknown_host_is_a_clear_error() -> None:
    with (
        pytest.raises(LinkError, match=r"nowhere\.invalid"),
        Client("nowhere.invalid:8080", connect_timeout=1) as lost,
    ):
        lost.execute("echo", 1)


@pytest.mark.parametrize("address", ["", "no port", "127.0.0.1:99999", "127.0.0.1:http"])
def test_an_address_that_cannot_be_one_is_refused(address: str) -> None:
    with pytest.raises((ValueError, LinkError)), Client(address, connect_timeout=0.5) as lost:
        lost.execute("echo", 1)


def test_something_else_on_the_port_is_a_clear_error() -> None:
    program = (
        "import socket, sys\n"
        "from easyremote import Client\n"
        "with socket.create_server(('127.0.0.1', 0)) as other:\n"
        "    address = f'127.0.0.1:{other.getsockname()[1]}'\n"
        "    try:\n"
        "        Client(address, connect_timeout=1).execute('echo', 1)\n"
        "    except ConnectionError as error:\n"
        "        sys.exit(0 if address in str(error) else str(error))\n"
    )
    ended = run([sys.executable, "-c", program])
    assert ended.wait() == 0, ended


def test_client_and_node_find_the_gateway_again_by_themselves(own_network: Callable[..., Network]) -> None:
    own = own_network(heartbeat_timeout_seconds=2)
    node = own.spawn_node("holder", name="a")
    with Client(own.address, connect_timeout=0.5) as client:
        assert client.execute("whoami") == "a"
        own.gateway.kill()
        until(lambda: unreachable(client), within_seconds=5, what="a client that has noticed")
        began = time.perf_counter()
        with pytest.raises(LinkError, match=own.address) as caught:
            client.execute("whoami")
        assert time.perf_counter() - began < 1.5
        assert "easynet" in str(caught.value)
        own.restart_gateway()

        def answered() -> bool:
            try:
                return client.execute("whoami") == "a"
            except EasyRemoteError:
                return False

        until(answered, within_seconds=10, what="an answer through the new gateway")
        assert node.running
        assert [record.name for record in client.list_nodes()] == ["a"]


def test_the_directory_is_not_shown_as_it_was_while_the_gateway_is_gone(
    own_network: Callable[..., Network],
) -> None:
    own = own_network()
    own.spawn_node("holder", name="a")
    with Client(own.address, connect_timeout=0.5) as client:
        assert [record.name for record in client.list_nodes()] == ["a"]
        own.gateway.kill()
        until(lambda: unreachable(client), within_seconds=5, what="an error instead of an old list")


def test_a_call_waits_for_the_link_anew_each_time_it_is_lost(
    own_network: Callable[..., Network], tmp_path: Path
) -> None:
    own = own_network()
    own.spawn_node("holder", name="a")
    started, gate = tmp_path / "started", tmp_path / "gate"
    with Client(own.address, connect_timeout=2.0, lost_after=3.0) as client:
        assert client.execute("whoami") == "a"
        own.gateway.kill()
        time.sleep(0.3)
        call = client.submit("hold", str(started), str(gate))  # asked for while there is no link
        own.restart_gateway()
        until(lambda: marks(started) == 1)
        time.sleep(0.7)
        own.gateway.kill()
        time.sleep(
            2.2
        )  # longer than the first loss and the connect timeout leave it, shorter than this loss does
        own.restart_gateway()
        gate.touch()
        assert call.result(15) == "a"


def test_a_client_that_was_turned_away_works_once_the_gateway_welcomes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = free_port()
    with monkeypatch.context() as patch, Server(port=port):
        patch.setattr("easyremote.protocol.router.VERSION", "9")
        client = Client(f"127.0.0.1:{port}", connect_timeout=1.0)
        with pytest.raises(LinkError, match="version 9"):
            client.list_nodes()

    def welcomed() -> bool:
        try:
            return client.list_nodes() == []
        except LinkError:
            return False

    with Server(port=port):
        until(welcomed, within_seconds=15, what="the repaired gateway's welcome")
        client.close()


def test_a_gateway_that_was_silent_for_longer_than_the_lease_is_found_again(
    own_network: Callable[..., Network],
) -> None:
    own = own_network(heartbeat_timeout_seconds=1)
    node = own.spawn_node("holder", name="a")
    assert own.client.execute("whoami") == "a"
    own.gateway.freeze()
    node.wait_for("lost its gateway", within_seconds=5)
    with pytest.raises(EasyRemoteError):
        own.client.execute("whoami", timeout=2)
    own.gateway.thaw()

    def answered() -> bool:
        try:
            return own.client.execute("whoami", timeout=2) == "a"
        except EasyRemoteError:
            return False

    until(answered, within_seconds=10, what="an answer through the thawed gateway")


def test_a_node_may_start_before_its_gateway(own_network: Callable[..., Network]) -> None:
    own = own_network()
    own.gateway.kill()
    early = own.launch_node("holder", name="early")
    own.restart_gateway()
    early.wait_for("^serving$", within_seconds=10)
    own.wait_for_node("early")
    assert own.client.execute("whoami") == "early"


def test_a_call_survives_a_restart_of_the_gateway_and_runs_once(
    own_network: Callable[..., Network], tmp_path: Path
) -> None:
    own = own_network()
    own.spawn_node("holder", name="a")
    started, gate = tmp_path / "started", tmp_path / "gate"
    call = own.client.submit("hold", str(started), str(gate))
    until(lambda: marks(started) == 1)
    own.gateway.kill()
    own.restart_gateway()
    gate.touch()
    assert call.result(15) == "a"
    assert marks(started) == 1
