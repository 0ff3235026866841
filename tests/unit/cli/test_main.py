import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from easyremote.cli.commands import app
from easyremote.cli.exits import EXIT_CODES
from easyremote.cli.settings import Settings

COMMANDS = ("gateway", "node", "call", "functions", "nodes", "doctor", "demo")


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner(env={"EASYREMOTE_CONNECT_TIMEOUT": "0.3"}).invoke(app, words)
    return result.exit_code, result.stdout, result.stderr


def test_the_version_is_told() -> None:
    assert run("--version") == (0, f"easyremote {version('easyremote')}\n", "")


def test_the_version_needs_none_of_the_heavy_libraries() -> None:
    program = (
        "import sys\nfrom easyremote.cli.main import main\nsys.argv[1:] = ['--version']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(*sorted({'grpc', 'google', 'cryptography', 'rich', 'numpy', 'psutil', 'asyncio'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == [""]


def test_help_lists_every_command_and_every_exit_code() -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert [name for name in COMMANDS if not re.search(rf"^  {name} ", out, re.MULTILINE)] == []
    for number, meaning in EXIT_CODES:
        assert f"{number.value:>5}  {meaning}\n" in out


def test_the_documents_list_every_exit_code_and_every_setting() -> None:
    documents = Path(__file__).resolve().parents[3] / "docs"
    english = (documents / "command.md").read_text(encoding="utf-8")
    chinese = (documents / "zh" / "command.md").read_text(encoding="utf-8")
    for number, meaning in EXIT_CODES:
        assert f"| {number.value} | {meaning} |" in english
        assert f"| {number.value} | " in chinese
    for name in Settings.__struct_fields__:
        if name in ("limits", "mailbox"):
            assert f"| `[{name}]`" in english
            assert f"| `[{name}]`" in chinese
        elif name not in ("home", "sources"):
            assert f"`EASYREMOTE_{name.upper()}`" in english
            assert f"`EASYREMOTE_{name.upper()}`" in chinese


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    code, out, _ = run(command, "-h")
    assert code == 0
    assert out.startswith(f"Usage: easynet {command}") or f"{command} [OPTIONS]" in out
    assert "--with-parent" not in out


@pytest.mark.parametrize(
    "words",
    [
        ("nothing-of-this-name",),
        ("call",),
        ("gateway", "--port", "http"),
        ("call", "f", "--jsno"),
        ("call", "f", "x=1", "x=2"),
        ("node", "absent.py"),
        ("functions", "--gateway", ""),
    ],
)
def test_a_wrong_command_ends_with_two_and_says_why(words: tuple[str, ...]) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", [("functions",), ("nodes",), ("call", "f")])
def test_no_gateway_ends_with_three_and_names_the_address(command: tuple[str, ...]) -> None:
    code, out, err = run(*command, "--gateway", "127.0.0.1:1")
    assert (code, out) == (3, "")
    assert err.startswith("LinkError: ")
    assert "127.0.0.1:1" in err
    assert "Traceback" not in err


def test_python_dash_m_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "easyremote", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == run("--version")[1]
