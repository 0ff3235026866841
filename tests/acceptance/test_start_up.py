"""How soon a program that uses EasyRemote is there. The best of several runs counts; machines are busy."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from acceptance.network import Network
from acceptance.processes import Program, run

TIMED_IMPORT = """
import time
began = time.perf_counter()
import easyremote
print(time.perf_counter() - began)
"""


def test_the_import_takes_less_than_150_ms() -> None:
    def seconds() -> float:
        ended = run([sys.executable, "-c", TIMED_IMPORT])
        assert ended.wait() == 0, ended
        return float(ended.output[0])

    assert min(seconds() for _ in range(4)) < 0.150


def test_the_import_loads_no_library_a_user_may_not_have() -> None:
    ended = run(
        [
            sys.executable,
            "-c",
            "import sys, easyremote\n"
            "from easyremote import Client, ComputeNode, Server, remote\n"
            "print([n for n in ('numpy', 'pandas', 'torch', 'polars', 'pyarrow', 'PIL', 'pydantic', 'attrs', 'typer',"
            " 'rich') if n in sys.modules])",
        ]
    )
    assert ended.output == ["[]"], ended


def test_the_first_result_in_a_fresh_process_takes_less_than_a_second(
    network: Network, tmp_path: Path
) -> None:
    program = tmp_path / "first.py"
    program.write_text(
        "import sys\n"
        "from easyremote import Client\n"
        "print(Client(sys.argv[1]).execute('echo', 'first'), flush=True)\n"
    )

    def seconds() -> float:
        began = time.perf_counter()
        with Program([str(program), network.address], environment=network.environment) as caller:
            caller.wait_for("^first$")
            took = time.perf_counter() - began
            assert caller.wait(within_seconds=5) == 0, caller  # and a program that forgets to close ends
            return took

    assert min(seconds() for _ in range(4)) < 1.0
