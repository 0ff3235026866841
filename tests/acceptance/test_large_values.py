"""Values of any size pass through a gateway that holds only a little of them at a time."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from acceptance.memory import MIB, PeakGrowth, needs_proc
from acceptance.network import Network
from acceptance.processes import Program, until
from acceptance.programs.files import marks

from easyremote import Client
from easyremote.errors import CallTimeoutError, ValueTooLargeError

UNITS = {"B": 1, "bytes": 1, "byte": 1, "KiB": 1024, "MiB": MIB, "GiB": 1024 * MIB, "kB": 1000, "MB": 10**6}


def names_size(text: str, size: int) -> bool:
    """Whether a number with a unit in the text means the size, within 2 %."""
    found = re.findall(r"(\d[\d,_]*(?:\.\d+)?)\s*(bytes|byte|KiB|MiB|GiB|kB|MB|B)\b", text)
    return any(
        abs(float(re.sub("[,_]", "", number)) * UNITS[unit] - size) <= 0.02 * size for number, unit in found
    )


@needs_proc
def test_100_mib_pass_both_ways_and_the_gateway_holds_little_of_them(network: Network) -> None:
    client, size = network.client, 100 * MIB
    data = os.urandom(MIB) * 100
    growth = PeakGrowth(network.gateway.pid)
    assert client.execute("measure", data) == [size, zlib.crc32(data)]
    upward = growth.bytes
    growth = PeakGrowth(network.gateway.pid)
    result = client.execute("make", size)
    downward = growth.bytes
    assert result == bytes(range(256)) * (size // 256)
    assert max(upward, downward) < 32 * MIB, f"grew by {upward} bytes up and {downward} down"


def test_a_large_array_goes_there_and_back(client: Client) -> None:
    array = np.random.default_rng(1).standard_normal((1024, 2048))  # 16 MiB
    back = client.execute("add_one", array)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array + 1)


def test_small_calls_pass_while_large_ones_are_on_their_way(client: Client) -> None:
    large = [client.submit("make", 24 * MIB) for _ in range(2)]
    small = 0
    while not all(call.done() for call in large):
        assert client.execute("echo", small) == small
        small += 1
    assert small > 3
    assert [len(call.result()) for call in large] == [24 * MIB] * 2


@pytest.mark.parametrize("way", ["up", "down"])
def test_giving_up_in_the_middle_of_a_large_value_disturbs_nothing(client: Client, way: str) -> None:
    function, value = ("measure", bytes(100 * MIB)) if way == "up" else ("make", 200 * MIB)
    with pytest.raises(CallTimeoutError):
        client.execute(function, value, timeout=0.05)
    assert client.execute("echo", "at once", timeout=2) == "at once"
    assert client.execute("measure", b"abc", timeout=2) == [3, zlib.crc32(b"abc")]


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_large_value_arrives_whole_although_the_gateway_restarts_in_its_middle(
    own_network: Callable[..., Network], way: str
) -> None:
    own = own_network()
    own.spawn_node("workshop", name="workshop")
    data = os.urandom(MIB) * 64
    call = own.client.submit("measure", data) if way == "up" else own.client.submit("make", 64 * MIB)
    receiver = own.nodes["workshop"].pid if way == "up" else os.getpid()
    growth = PeakGrowth(receiver)
    until(lambda: growth.bytes > 8 * MIB or call.done(), what="some of it arrived")
    own.gateway.kill()
    own.restart_gateway()
    if way == "up":
        assert call.result(15) == [64 * MIB, zlib.crc32(data)]
    else:
        assert call.result(15) == bytes(range(256)) * (64 * MIB // 256)


def test_a_value_over_the_nodes_limit_is_an_error_naming_both_sizes(
    network: Network, spawn_node: Callable[..., Program], tmp_path: Path
) -> None:
    spawn_node("modest", name="modest")
    client, ran = network.client, tmp_path / "ran"
    held, gate, started = tmp_path / "held", tmp_path / "gate", tmp_path / "started"
    waiting = client.submit("gated", str(gate), started=str(started))
    until(lambda: marks(started) == 1)
    with pytest.raises(ValueTooLargeError) as caught:
        client.execute("modest.weigh", bytes(3 * MIB), ran=str(ran))
    message = str(caught.value)
    assert names_size(message, 3 * MIB), message
    assert names_size(message, 1 * MIB), message
    assert not ran.exists()
    assert client.execute("modest.weigh", bytes(MIB - 4096), ran=str(held)) == MIB - 4096
    gate.touch()
    assert waiting.result(5) == "through", "a call beside it is not disturbed"


def test_a_batch_of_too_large_values_leaves_the_connection_working(
    network: Network, spawn_node: Callable[..., Program]
) -> None:
    spawn_node("modest", name="modest")
    outcomes = list(
        network.client.map(
            "modest.weigh", [bytes(n * 256 * 1024) for n in range(1, 9)], return_exceptions=True
        )
    )
    assert outcomes[:3] == [n * 256 * 1024 for n in range(1, 4)]
    assert {type(outcome) for outcome in outcomes[4:]} == {ValueTooLargeError}
