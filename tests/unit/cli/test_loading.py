import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from easyremote import ComputeNode
from easyremote.cli.loading import import_modules, parse_target
from easyremote.cli.serve import prepare_node
from easyremote.cli.settings import Settings
from easyremote.errors import UsageError


@pytest.fixture(autouse=True)
def _modules_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in sys.modules.keys() - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def prepare(text: str, target: str = "served.py", **settings: object) -> ComputeNode:
    """The node that this file's text gives."""
    Path("served.py").write_text(text)
    return prepare_node(parse_target(target), Settings(**settings))  # type: ignore[arg-type]


def names(node: ComputeNode) -> list[str]:
    return sorted(node.registered_functions)


@pytest.mark.parametrize(
    ("text", "module", "node"),
    [
        ("served.py", "served", None),
        ("./served.py:node", "served", "node"),
        ("served", "served", None),
        ("served:node", "served", "node"),
        ("package.served:node", "package.served", "node"),
    ],
)
def test_a_target_is_a_file_or_a_module_with_or_without_a_node(
    text: str, module: str, node: str | None
) -> None:
    Path("served.py").touch()
    target = parse_target(text)
    assert (target.module, target.node) == (module, node)
    assert target.path == (Path("served.py").resolve() if ".py" in text else None)


@pytest.mark.parametrize(
    "text", ["absent.py", "absent.py:node", "folder/absent", "two words", "a..b", ":node"]
)
def test_a_target_that_is_neither_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_target(text)


def test_the_one_node_is_found() -> None:
    node = prepare(
        "from easyremote import ComputeNode\nnode = ComputeNode('h:1', 'mine')\n"
        "@node.register\ndef f(): ...\ndef not_registered(): ...\n"
    )
    assert (node.name, node.gateway_address, names(node)) == ("mine", "h:1", ["f"])


def test_a_script_that_serves_is_not_blocked_and_what_follows_is_not_run() -> None:
    node = prepare(
        "from easyremote import ComputeNode\nnode = ComputeNode('h:1', 'mine')\n"
        "@node.register\ndef f(): ...\nnode.serve()\nraise SystemExit('the model is closed')\n"
    )
    assert (node.name, names(node)) == ("mine", ["f"])
    assert not node.is_connected


def test_serving_in_the_background_goes_on_with_the_file() -> None:
    node = prepare(
        "from easyremote import ComputeNode\nnode = ComputeNode('h:1', 'mine')\n"
        "node.serve(blocking=False)\nassert node.wait_for_connection(5)\n@node.register\ndef late(): ...\n"
    )
    assert names(node) == ["late"]


def test_a_node_made_in_a_function_of_the_script_is_found_by_its_serving() -> None:
    node = prepare(
        "from easyremote import ComputeNode\ndef run():\n"
        "    node = ComputeNode('h:1', 'inner')\n    node.register(max, name='largest')\n    node.serve()\nrun()\n"
    )
    assert (node.name, names(node)) == ("inner", ["largest"])


def test_what_is_kept_for_running_as_a_script_is_not_run() -> None:
    node = prepare(
        "from easyremote import ComputeNode\nnode = ComputeNode('h:1', 'mine')\n"
        "if __name__ == '__main__':\n    raise SystemExit('run as a script')\n"
    )
    assert node.name == "mine"


def test_one_of_several_nodes_must_be_named() -> None:
    text = "from easyremote import ComputeNode\na = ComputeNode('h:1', 'one')\nb = ComputeNode('h:1', 'two')\nc = 5\n"
    assert prepare(text, "served.py:b").name == "two"
    with pytest.raises(UsageError, match=r"a, b; say served\.py:a"):
        prepare(text)
    for wrong in ("c", "d"):
        with pytest.raises(UsageError, match="is not a ComputeNode"):
            prepare(text, f"served.py:{wrong}")


def test_of_several_nodes_the_one_the_script_serves_is_meant() -> None:
    text = "from easyremote import ComputeNode\na = ComputeNode('h:1', 'one')\nb = ComputeNode('h:1', 'two')\nb.serve()\n"
    assert prepare(text).name == "two"


def test_a_file_without_a_node_serves_its_own_public_functions() -> None:
    node = prepare(
        "from os.path import join\nimport functools\nfrom easyremote import remote\n"
        "def f(): ...\nasync def g(): ...\ndef h():\n    yield 1\ndef _hidden(): ...\ndef main(): ...\n"
        "class Thing: ...\n@functools.lru_cache\ndef cached(): ...\n@remote\ndef far(): ...\n",
        gateway="h:9",
        name="made",
    )
    assert names(node) == ["cached", "f", "far", "g", "h"]
    assert (node.name, node.gateway_address) == ("made", "h:9")


def test_a_file_may_list_what_it_gives() -> None:
    node = prepare("from os.path import join\n__all__ = ['join', 'f']\ndef f(): ...\ndef g(): ...\n")
    assert names(node) == ["f", "join"]


def test_a_file_with_nothing_to_serve_says_so() -> None:
    with pytest.raises(UsageError, match="nothing to serve"):
        prepare("x = 5\n")


def test_the_command_line_wins_over_the_file_and_the_rest_fills_in() -> None:
    text = "from easyremote import ComputeNode\nnode = ComputeNode('file:1', node_id='file')\n"
    flags = {"gateway": "--gateway", "name": "--name"}
    node = prepare(text, gateway="flag:2", name="flag", sources=flags)
    assert (node.gateway_address, node.name) == ("flag:2", "flag")
    settings = {"gateway": "EASYREMOTE_GATEWAY", "name": "easynet.toml"}
    node = prepare(text, gateway="other:2", name="other", sources=settings)
    assert (node.gateway_address, node.name) == ("file:1", "file")
    node = prepare(
        "from easyremote import ComputeNode\nnode = ComputeNode()\n",
        gateway="other:2",
        name="other",
        sources=settings,
    )
    assert (node.gateway_address, node.name) == ("other:2", "other")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 / 0\n", ["ZeroDivisionError: division by zero", "served.py, line 1"]),
        ("def f(:\n", ["SyntaxError"]),
        ("import nothing_of_this_name\n", ["nothing_of_this_name"]),
        ("raise SystemExit(3)\n", ["SystemExit: 3"]),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_line(text: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        prepare(text)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "served" not in sys.modules


def test_a_module_is_found_from_the_working_directory_and_imports_its_neighbours() -> None:
    Path("neighbour.py").write_text("def helper(): ...\n")
    node = prepare("from neighbour import helper\ndef f(): ...\n", "served")
    assert names(node) == ["f"]
    with pytest.raises(UsageError, match="no module 'nowhere'"):
        prepare("", "nowhere")


def test_nodes_are_themselves_again_after_loading() -> None:
    before = dict(vars(ComputeNode))
    with pytest.raises(UsageError):
        prepare("1 / 0\n")
    assert dict(vars(ComputeNode)) == before


def test_a_file_with_classes_is_imported_under_its_own_name_for_results_to_be_of_them() -> None:
    Path("shapes.py").write_text("class Shape: ...\n")
    import_modules(["shapes.py"], Settings())
    assert sys.modules["shapes"].Shape.__module__ == "shapes"
