"""What a client can learn of nodes and functions: typed records, always fresh."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.network import Network
from acceptance.processes import Program, until

from easyremote import Client
from easyremote.errors import UnknownNodeError


def function_record(client: Client, name: str):
    return next(record for record in client.functions() if record.name == name)


def test_a_function_record_tells_what_its_source_told(client: Client) -> None:
    record = function_record(client, "greet")
    assert record.nodes == ["workshop"]
    assert record.description.startswith("Say hello.")
    assert record.signature == "(name: str, *, excited: bool = False) -> str"
    assert record.stream is False
    properties = record.parameters["properties"]
    assert properties["name"]["type"] == "string"
    assert properties["excited"]["type"] == "boolean"
    assert properties["excited"]["default"] is False
    assert record.parameters["required"] == ["name"]
    assert record.returns["type"] == "string"
    json.dumps([record.parameters, record.returns])  # plain JSON Schema


def test_a_function_record_tells_what_its_registration_told(client: Client) -> None:
    record = function_record(client, "resize")
    assert record.description == "How big the picture becomes."
    assert list(record.tags) == ["image", "size"]
    assert record.version == "2.1.0"
    assert set(record.parameters["properties"]["mode"]["enum"]) == {"fit", "fill"}
    assert (record.returns["type"], record.returns["items"]["type"]) == ("array", "integer")
    assert function_record(client, "strict").timeout_seconds == 0.5
    assert function_record(client, "percent").parameters["properties"]["value"]["maximum"] == 100


def test_streams_are_marked_with_the_schema_of_an_item(client: Client) -> None:
    for name in ("countdown", "countdown_async"):
        record = function_record(client, name)
        assert record.stream is True
        assert record.returns["type"] == "integer"


def test_a_function_without_hints_is_listed_too(client: Client) -> None:
    record = function_record(client, "echo")
    assert record.signature == "(value)"
    assert list(record.parameters["properties"]) == ["value"]


def test_a_node_record_tells_who_it_is(client: Client) -> None:
    record = next(each for each in client.list_nodes() if each.name == "workshop")
    assert record.status == "online"
    assert {"echo", "greet", "countdown"} <= set(record.functions)
    assert record.capabilities == ["tools"]
    assert record.labels == {"room": "cellar"}
    assert record.facts["python"].startswith(platform.python_version()) or platform.python_version() in str(
        record.facts
    )
    assert platform.system().lower() in str(record.facts).lower()
    assert len(record.device) == 52
    assert record.device.islower()


def test_a_node_record_answers_like_a_dictionary(client: Client) -> None:
    record = next(each for each in client.list_nodes() if each["node_id"] == "workshop")
    assert record["functions"] == record.functions
    assert record["capabilities"] == ["tools"]
    assert record["status"] == "online"
    assert record["load"] == record.load
    with pytest.raises(KeyError):
        record["no_such_field"]


def test_the_load_of_a_node_follows_its_calls(
    network: Network, spawn_node: Callable[..., Program], tmp_path: Path
) -> None:
    spawn_node("holder", name="loaded")
    client, started, gate = network.client, tmp_path / "started", tmp_path / "gate"

    def running() -> int:
        return client.get_node_status("loaded").load.running

    assert running() == 0
    calls = [client.submit("loaded.hold", str(started), str(gate)) for _ in range(3)]
    until(lambda: running() == 3, within_seconds=5, what="three running calls in the load")
    gate.touch()
    assert [call.result(5) for call in calls] == ["loaded"] * 3
    until(lambda: running() == 0, within_seconds=5, what="the load gone")
    assert client.get_node_status("loaded").load.capacity > 0


def test_nodes_come_and_go_in_the_directory_of_a_waiting_client(
    network: Network, spawn_node: Callable[..., Program]
) -> None:
    spawn_node("holder", name="guest")
    assert function_record(network.client, "whoami").nodes == ["guest"]
    network.dismiss("guest")
    assert "whoami" not in {record.name for record in network.client.functions()}


def test_find_nodes_by_function_and_capability(client: Client) -> None:
    assert [node["node_id"] for node in client.find_nodes(required_functions=["echo"])] == ["workshop"]
    assert [node["node_id"] for node in client.find_nodes(required_capabilities=["tools"])] == ["workshop"]
    assert list(client.find_nodes(required_functions=["echo", "no_such_thing"])) == []
    assert list(client.find_nodes(required_capabilities=["teleport"])) == []


def test_the_status_of_an_unknown_node_is_an_error_with_the_nearest_name(client: Client) -> None:
    assert client.get_node_status("workshop")["node_id"] == "workshop"
    with pytest.raises(UnknownNodeError, match="'workshop'"):
        client.get_node_status("workshp")
