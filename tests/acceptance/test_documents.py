"""What the README and the examples print for a reader to copy works as printed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.network import Network
from acceptance.processes import REPOSITORY, Program, free_port

READMES = ["README.md", "README_zh.md"]


def blocks(document: str, language: str = "python") -> list[str]:
    """The fenced blocks of a document."""
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def the_block(document: str, *told: str) -> str:
    found = [block for block in blocks(document) if all(word in block for word in told)]
    assert found, f"{document} has no Python block with {told}"
    return found[0]


@pytest.mark.parametrize("document", READMES)
def test_every_python_block_is_python(document: str) -> None:
    found = blocks(document)
    assert len(found) >= 3
    for block in found:
        compile(block, document, "exec", flags=0x2000)  # a block may await at its top level


def test_both_readmes_show_the_same_programs() -> None:
    def code(document: str) -> list[str]:
        stripped = (re.sub(r"#.*", "", block) for block in blocks(document))
        return [re.sub(r"\s+", " ", re.sub(r'"[^"]*"', '""', block)) for block in stripped]

    assert code("README.md") == code("README_zh.md")
    assert blocks("README.md", "(?:bash|sh|console|shell)") != []


@pytest.mark.parametrize("document", READMES)
def test_the_first_program_runs_as_printed_in_three_processes(
    document: str, start: Callable[..., Program], tmp_path: Path
) -> None:
    """Only the address and the model's name are put in place of the reader's own."""
    port = free_port()
    printed = {
        "server.py": the_block(document, "Server(port=8080).start()"),
        "node.py": the_block(document, 'ComputeNode("your-gateway:8080")', "node.serve()", "ai_inference"),
        "client.py": the_block(document, 'Client("your-gateway:8080").execute("ai_inference", "Hello AI")'),
    }
    model = "class your_local_model:\n    generate = staticmethod(lambda prompt: f'I read {prompt}')\n"
    for name, block in printed.items():
        program = block.replace("your-gateway:8080", f"127.0.0.1:{port}").replace("port=8080", f"port={port}")
        before, after = {"node.py": (model, ""), "client.py": ("", "\nprint(result)\n")}.get(name, ("", ""))
        (tmp_path / name).write_text(before + program + after, encoding="utf-8")

    start([str(tmp_path / "server.py")]).wait_for(str(port))
    node = start([str(tmp_path / "node.py")])
    node.wait_for(str(port))
    client = start([str(tmp_path / "client.py")])
    assert client.wait(within_seconds=15) == 0, client
    assert client.output[-1] == "I read Hello AI"
    assert node.running


EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(
    example: Path, network: Network, start: Callable[..., Program], tmp_path: Path
) -> None:
    """Each is one program that brings its own node and wants only a gateway."""
    given = {"EASYREMOTE_GATEWAY": network.address}
    running = start([str(example)], environment=given, directory=tmp_path)
    assert running.wait(within_seconds=30) == 0, running
    assert running.output, "it shows something"
    assert "Traceback" not in running.said


def test_the_example_of_three_programs_runs(start: Callable[..., Program]) -> None:
    address = f"127.0.0.1:{free_port()}"
    gateway, node, client = (
        str(REPOSITORY / "examples" / "first" / f"{name}.py") for name in ("gateway", "node", "client")
    )
    start([gateway, address]).wait_for(address)
    start([node, address]).wait_for(address)
    calling = start([client, address])
    assert calling.wait(within_seconds=15) == 0, calling
    assert "Hello AI" in calling.output[-1]
