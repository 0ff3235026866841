"""Where a server listens, and what happens when it cannot."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Callable

import psutil
import pytest
from acceptance.network import Network
from acceptance.processes import Program, free_port, run, until

from easyremote import Client, ComputeNode, Server
from easyremote.errors import LinkError, ListenError, UsageError
from easyremote.links.certificates import look_at
from easyremote.links.loop import run_in_background
from easyremote.links.relay import connect


def test_a_second_server_on_the_port_fails_and_says_so(network: Network) -> None:
    port = network.address.rsplit(":", 1)[1]
    second = run([sys.executable, "-c", f"from easyremote import Server\nServer(port={port}).start()"])
    assert second.wait() != 0, second
    assert "ListenError" in second.said
    assert port in second.said
    assert re.search("in use|another program already", second.said)
    assert network.client.execute("echo", "undisturbed") == "undisturbed"


def test_a_second_server_in_the_background_fails_where_it_is_started(network: Network) -> None:
    port = int(network.address.rsplit(":", 1)[1])
    with pytest.raises(ListenError, match=str(port)) as caught:
        Server(port=port).start_background()
    assert isinstance(caught.value, LinkError)


def test_a_port_held_by_another_program_is_said_to_be_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ListenError, match=f"{port}.*(in use|another program already)"):
            Server(port=port).start_background()


def test_port_zero_picks_a_free_one_and_tells() -> None:
    with Server(port=0) as server:
        host, port = server.address.rsplit(":", 1)
        assert host == "127.0.0.1"
        assert int(port) > 0
        with Client(server.address) as client:
            assert client.list_nodes() == []


def test_a_stopped_server_frees_its_port() -> None:
    port = free_port()
    for _ in range(2):
        with Server(port=port) as server:
            assert server.address == f"127.0.0.1:{port}"


def test_a_server_started_again_looks_after_leases_again() -> None:
    server = Server(port=0, heartbeat_timeout_seconds=0.5)
    with server, Client(server.address) as client:
        client.connect()
    with server:
        shown = run_in_background(look_at(server.address, timeout_seconds=5))
        silent = run_in_background(connect(server.address, shown, timeout_seconds=5))
        assert run_in_background(silent.receive()) is not None, "the challenge"
        assert run_in_background(silent.receive(), 5) is None, "the end, for never having said hello"
        run_in_background(silent.close())


def test_who_closes_says_goodbye(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "easyremote")
    with Server(port=0) as server:
        node = ComputeNode(server.address, node_id="polite")
        node.serve(blocking=False)
        assert node.wait_for_connection(10)
        node.stop()
        until(lambda: "node polite left" in caplog.text, what="news of its departure")
        assert "node polite left (left)" in caplog.text


def listening_on(port: int) -> set[str]:
    """The local addresses that a process of this machine listens on at a port."""
    return {
        one.laddr.ip.removeprefix("::ffff:")  # as IPv6 writes an address of IPv4
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port
    }


# The whole world is what the network namespace holds: nothing but its own loopback.
ALONE = ["unshare", "--user", "--map-root-user", "--net"]
can_be_alone = subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_be_alone, reason="this machine gives no network namespaces")
def test_unless_told_otherwise_every_interface_is_listened_on(start: Callable[..., Program]) -> None:
    program = (
        "import psutil; from easyremote import Server\n"
        "server = Server(8080); server.start_background()\n"
        "print('on', *[c.laddr.ip for c in psutil.net_connections('tcp') if c.status == 'LISTEN'], flush=True)\n"
        "server.stop()"
    )
    gateway = start([*ALONE, sys.executable, "-c", program], environment={"EASYREMOTE_HOST": None})
    assert gateway.wait_for(r"^on (\S+)$")[1] in ("::", "0.0.0.0")


def test_a_host_narrows_where_it_listens() -> None:
    with Server(port=0, host="127.0.0.1") as server:
        assert listening_on(int(server.address.rpartition(":")[2])) == {"127.0.0.1"}


@pytest.mark.parametrize("port", [-1, 65536, "eighty"])
def test_a_port_that_cannot_be_one_is_refused(port: object) -> None:
    with pytest.raises((UsageError, ValueError, TypeError)):
        Server(port=port).start_background()  # type: ignore[arg-type]
