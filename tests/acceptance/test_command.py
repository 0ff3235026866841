"""The command ``easynet``, as a person types it and as a script reads it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from acceptance.commands import easynet
from acceptance.network import Network
from acceptance.processes import Program, free_port, run, until

from easyremote import Client
from easyremote.errors import EasyRemoteError


@pytest.fixture
def command(network: Network) -> Callable[..., Program]:
    """Runs ``easynet …`` to its end, with the shared network as its gateway."""

    def ended(*words: str, **environment: str | None) -> Program:
        given = {**network.environment, "EASYREMOTE_GATEWAY": network.address, **environment}
        return run([*easynet(), *words], environment=given)

    return ended


def test_the_installed_command_tells_its_version() -> None:
    for words in ([str(Path(sys.executable).parent / "easynet")], easynet()):
        ended = run([*words, "--version"])
        assert ended.wait() == 0, ended
        assert "3.0.0a1" in ended.said


def test_help_names_every_verb(command: Callable[..., Program]) -> None:
    ended = command("--help")
    assert ended.wait() == 0
    for verb in ("gateway", "node", "call", "functions", "nodes", "demo", "doctor"):
        assert verb in ended.said


# ---- call


def test_call_prints_the_result(command: Callable[..., Program]) -> None:
    ended = command("call", "greet", "Ada", "excited=true")
    assert ended.wait() == 0, ended
    assert ended.output == ["Hello Ada!"]


def test_call_takes_json_and_plain_words_and_prints_json(command: Callable[..., Program]) -> None:
    words = ["7", "1.5", "true", "null", "plain", '{"a": [1, 2]}', '"7"', "two words", "key=value", "n=3"]
    ended = command("call", "workshop.echo_all", *words, "--json")
    assert ended.wait() == 0, ended
    assert json.loads(ended.output[0]) == [
        [7, 1.5, True, None, "plain", {"a": [1, 2]}, "7", "two words"],
        {"key": "value", "n": 3},
    ]


def test_a_stream_prints_each_item_as_it_comes(
    network: Network, start: Callable[..., Program], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    printing = start(
        [*easynet(), "call", "gated_stream", str(gate)], environment={"EASYREMOTE_GATEWAY": network.address}
    )
    printing.wait_for("^first$")
    assert printing.running
    gate.touch()
    assert printing.wait(within_seconds=5) == 0, printing
    assert printing.output == ["first", "second"]


def test_a_stream_as_json_is_one_line_an_item(command: Callable[..., Program]) -> None:
    ended = command("call", "countdown", "3", "--json")
    assert [json.loads(line) for line in ended.output] == [3, 2, 1], ended


def test_exit_codes_tell_what_kind_of_thing_went_wrong(
    network: Network, start: Callable[..., Program]
) -> None:
    def call(*words: str, gateway: str = network.address) -> Program:
        given = {"EASYREMOTE_GATEWAY": gateway, "EASYREMOTE_CONNECT_TIMEOUT": "1.5"}
        return start([*easynet(), "call", *words], environment=given)

    away = call("greet", "Ada", gateway=f"127.0.0.1:{free_port()}")
    raised = call("fail", "ValueError", "bad 5")
    unknown = call("gret", "Ada")
    argument = call("resize", "abc")
    timeout = call("nap", "5", "--timeout", "0.3")
    usage = call()
    codes = [program.wait() for program in (raised, unknown, argument, timeout, away, usage)]
    assert 0 not in codes
    assert len({raised.wait(), unknown.wait(), timeout.wait(), away.wait()}) == 4, codes
    assert "bad 5" in "\n".join(raised.errors)
    assert "'greet'" in "\n".join(unknown.errors), "the nearest name"
    assert "width" in "\n".join(argument.errors)
    assert "easynet gateway" in "\n".join(away.errors)
    for program in (raised, unknown, argument, timeout, away):
        assert program.output == [], "errors go to the other stream"
        assert "site-packages" not in program.said, "no traceback of our own"


def test_call_on_a_named_node(command: Callable[..., Program]) -> None:
    assert command("call", "add", "1", "2", "--node", "workshop").output == ["3"]
    assert command("call", "add", "1", "2", "--node", "nobody").wait() != 0


# ---- looking around


def test_functions_and_nodes_as_json(command: Callable[..., Program]) -> None:
    """One JSON object a line, so that each line can be read as it comes."""
    functions = {each["name"]: each for each in map(json.loads, command("functions", "--json").output)}
    assert functions["greet"]["signature"] == "(name: str, *, excited: bool = False) -> str"
    assert functions["greet"]["nodes"] == ["workshop"]
    nodes = [json.loads(line) for line in command("nodes", "--json").output]
    assert [node["name"] for node in nodes] == ["workshop"]
    assert "greet" in nodes[0]["functions"]


def test_functions_and_nodes_as_plain_text_when_piped(command: Callable[..., Program]) -> None:
    functions, nodes = command("functions"), command("nodes")
    assert any("greet" in line and "workshop" in line for line in functions.output), functions
    assert any("workshop" in line for line in nodes.output), nodes
    for program in (functions, nodes):
        assert "\x1b" not in program.said, "no colours in a pipe"
        assert "┃" not in program.said
        assert "│" not in program.said


def test_doctor_finds_nothing_wrong_with_a_working_network(command: Callable[..., Program]) -> None:
    ended = command("doctor")
    assert ended.wait() == 0, ended
    told = command("doctor", "--json")
    assert told.wait() == 0, told
    checks = [json.loads(line) for line in told.output]
    assert len(checks) >= 4
    assert {check["state"] for check in checks} <= {"ok", "note"}, told


def test_doctor_says_what_is_wrong_and_what_to_do(command: Callable[..., Program]) -> None:
    address = f"127.0.0.1:{free_port()}"
    ended = command("doctor", EASYREMOTE_GATEWAY=address)
    assert ended.wait() != 0, ended
    assert address in ended.said
    assert "easynet gateway" in ended.said


# ---- serving


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("tools")
    (folder / "tools.py").write_text(
        '"""Plain functions, and a node of its own."""\n'
        "from easyremote import ComputeNode\n"
        "def shout(text: str) -> str:\n"
        '    """Say it loudly."""\n'
        "    return text.upper()\n"
        "def _private(): ...\n"
        "served = ComputeNode()\n"
        "@served.register\n"
        "def whisper(text: str) -> str:\n"
        "    return text.lower()\n"
    )
    (folder / "plain.py").write_text(
        "from os.path import join\nimport json\n"
        "def shout(text: str) -> str:\n"
        '    """Say it loudly."""\n'
        "    return text.upper()\n"
        "async def later(n: int) -> int:\n"
        "    return n + 1\n"
        "def _private(): ...\n"
    )
    return folder


def functions_of(client: Client, name: str) -> set[str]:
    return {function for node in client.list_nodes() if node.name == name for function in node.functions}


@pytest.mark.parametrize("module", ["plain.py", "plain"])
def test_node_serves_the_functions_of_a_file(
    network: Network, start: Callable[..., Program], tools: Path, module: str
) -> None:
    serving = start(
        [*easynet(), "node", module, "--gateway", network.address, "--name", "plain-tools"], directory=tools
    )
    network.wait_for_node("plain-tools")
    assert functions_of(network.client, "plain-tools") == {"shout", "later"}
    assert network.client.execute("plain-tools.shout", "hey") == "HEY"
    assert network.client.execute("plain-tools.later", 1) == 2
    serving.interrupt()
    assert serving.wait(within_seconds=5) == 0, serving
    network.wait_for_departure("plain-tools")


def test_node_serves_a_node_object_of_a_file(
    network: Network, start: Callable[..., Program], tools: Path
) -> None:
    serving = start(
        [*easynet(), "node", "tools:served", "--gateway", network.address, "--name", "own-tools"],
        directory=tools,
    )
    network.wait_for_node("own-tools")
    assert functions_of(network.client, "own-tools") == {"whisper"}
    assert network.client.execute("own-tools.whisper", "HEY") == "hey"
    serving.interrupt()
    assert serving.wait(within_seconds=5) == 0, serving
    network.wait_for_departure("own-tools")


def test_node_reloads_when_its_file_changes(
    network: Network, start: Callable[..., Program], tmp_path: Path
) -> None:
    source = tmp_path / "changing.py"
    source.write_text("def answer():\n    return 'old'\n")
    serving = start(
        [*easynet(), "node", "changing.py", "--reload", "--gateway", network.address, "--name", "changing"],
        directory=tmp_path,
    )
    network.wait_for_node("changing")
    assert network.client.execute("changing.answer") == "old"
    source.write_text("def answer():\n    return 'new, and longer'\n")

    def reloaded() -> bool:
        try:
            return network.client.execute("changing.answer", timeout=2) == "new, and longer"
        except EasyRemoteError:
            return False

    until(reloaded, within_seconds=10)
    serving.interrupt()
    serving.wait(within_seconds=5)
    network.wait_for_departure("changing")


def test_node_of_a_module_that_is_not_there_says_so(command: Callable[..., Program]) -> None:
    ended = command("node", "no_such_module.py")
    assert ended.wait() != 0
    assert "no_such_module" in ended.said
    assert "Traceback" not in ended.said


def test_gateway_on_a_port_in_use_says_so(network: Network, command: Callable[..., Program]) -> None:
    port = network.address.rsplit(":", 1)[1]
    ended = command("gateway", "--port", port)
    assert ended.wait() != 0
    assert port in ended.said
    assert "in use" in ended.said or "another program already" in ended.said
    assert "Traceback" not in ended.said


def test_gateway_serves_until_ctrl_c(start: Callable[..., Program]) -> None:
    gateway = start([*easynet(), "gateway", "--port", "0"])
    address = gateway.wait_for(r"(127\.0\.0\.1:[1-9]\d*)")[1]
    with Client(address) as client:
        assert client.list_nodes() == []
    gateway.interrupt()
    assert gateway.wait(within_seconds=5) == 0, gateway
    assert "Traceback" not in gateway.said
