"""What the processes print: little, never a value, and with ``--verbose`` each call by its id."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.commands import easynet
from acceptance.network import Network
from acceptance.processes import Program, free_port, until

from easyremote import Client
from easyremote.errors import RemoteError

TOOLS = '''
"""Functions of a file, as a person has them."""

def shout(text: str) -> list[str]:
    return [text.upper(), "answer-" + text]

def complain(text: str) -> None:
    raise ValueError("complaint-" + text)

def letters(text: str):
    yield from text
'''


@pytest.mark.parametrize("verbose", [False, True], ids=["quiet", "verbose"])
def test_logs_tell_of_devices_and_calls_but_never_of_values(
    home: Path, start: Callable[..., Program], tmp_path: Path, verbose: bool
) -> None:
    (tmp_path / "tools.py").write_text(TOOLS)
    secret, port = "canary" + secrets.token_hex(12), free_port()
    flags = ["--verbose"] if verbose else []
    gateway = start([*easynet(*flags), "gateway", "--port", str(port)])
    gateway.wait_for(str(port))
    address = f"127.0.0.1:{port}"
    node = start(
        [*easynet(*flags), "node", "tools.py", "--gateway", address, "--name", "toolbox"], directory=tmp_path
    )
    with Client(address) as client:
        until(lambda: [record.name for record in client.list_nodes()] == ["toolbox"])
        for _ in range(30):
            assert client.execute("shout", secret) == [secret.upper(), "answer-" + secret]
        with pytest.raises(RemoteError) as caught:
            client.execute("complain", secret)
        assert "".join(client.stream("letters", secret)) == secret
        with pytest.raises(TypeError):
            client.execute("shout", [secret])
    node.interrupt()
    assert node.wait() == 0, node
    gateway.wait_for("toolbox.*(left|leave|gone|stopped|closed)|(left|leave|gone).*toolbox")
    gateway.interrupt()
    assert gateway.wait() == 0, gateway

    for program in (gateway, node):
        for form in (secret, secret.upper(), "canary", "CANARY"):
            assert form not in program.said, program
        assert "Traceback" not in program.said
    assert any(address in line for line in [*gateway.output, *gateway.errors])
    assert "toolbox" in gateway.said
    assert "shout" not in gateway.said
    call_id = caught.value.call_id
    assert call_id
    if verbose:
        assert call_id in node.said, node
        assert "shout" in node.said
    else:
        assert call_id not in node.said
        assert sum("shout" in line for line in node.errors) <= 1, "what it serves, not what is called"
        assert len(gateway.errors) <= 6, gateway
        assert len(node.errors) <= 4, node


def test_a_program_that_uses_the_library_prints_only_what_it_prints_itself(
    network: Network, start: Callable[..., Program], tmp_path: Path
) -> None:
    program = tmp_path / "caller.py"
    program.write_text(
        "import sys\n"
        "from easyremote import Client\n"
        "with Client(sys.argv[1]) as client:\n"
        "    print(client.execute('echo', 'mine'))\n"
        "    print(list(client.map('echo', [1, 2, 3])))\n"
    )
    caller = start([str(program), network.address])
    assert caller.wait() == 0, caller
    assert caller.output == ["mine", "[1, 2, 3]"]
    assert caller.errors == []
