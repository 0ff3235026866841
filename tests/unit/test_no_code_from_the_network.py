"""Nothing from the network is unpickled, evaluated or imported: no file can, but those listed here.

Ruff holds the rule while one writes; here it is shown that its rule bites. A walk over the syntax trees
finds what ruff does not know, and holds the list of exceptions to what is needed.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "src" / "easyremote"

ALLOWED = {
    "__init__.py": {"importlib.import_module"},  # names of the package, from a fixed table
    "cli/loading.py": {  # the user's own file, named on the command line
        "importlib.util.find_spec",
        "importlib.util.module_from_spec",
        "importlib.util.spec_from_file_location",
        ".exec_module",
    },
    "cli/demo.py": {"importlib.util.find_spec"},  # whether scikit-learn is here; imports nothing
    "cli/demo_node.py": {"builtins.*"},  # reads their docstrings
    "errors.py": {"builtins.*"},  # a remote exception's name, which makes a class only of a builtin exception
    "node/faults.py": {"builtins.*"},  # the nearest builtin exception's name
    "wire/pickled.py": {"pickle.PickleBuffer", "pickle.dumps", "pickle.loads"},
}

MODULES = frozenset(
    [
        "pickle",
        "_pickle",
        "pickletools",
        "cPickle",
        "cloudpickle",
        "dill",
        "jsonpickle",
        "joblib",
        "marshal",
        "shelve",
        "code",
        "codeop",
        "runpy",
        "imp",
        "importlib",
        "builtins",
        "pkgutil",
        "multiprocessing",
        "copyreg",
        "zipimport",
    ]
)
BUILTINS = frozenset({"eval", "exec", "compile", "__import__", "__builtins__"})
METHODS = frozenset({"exec_module", "load_module", "read_pickle", "resolve_name", "import_module"})
NAMES = frozenset({"ProcessPoolExecutor", "SourceFileLoader"})
HARMLESS = frozenset({"importlib.metadata", "importlib.machinery.ModuleSpec"})


def suspicious(tree: ast.AST) -> Iterator[str]:
    """All by which a program can run what is not written in it, as dotted names."""
    aliases: dict[str, str] = {}  # what a name in this file stands for
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in MODULES:
                    bound = alias.asname or alias.name.split(".")[0]
                    aliases[bound] = alias.name if alias.asname else bound
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full.split(".", maxsplit=1)[0] in MODULES:
                    aliases[alias.asname or alias.name] = full
                    yield full
                elif alias.name in NAMES:
                    yield alias.name
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in BUILTINS:
            yield node.id
        elif isinstance(node, ast.Attribute):
            name = dotted(node)
            first, _, rest = name.partition(".")
            if first in aliases:
                yield f"{aliases[first]}.{rest}"
            elif node.attr in METHODS | NAMES:
                yield f".{node.attr}"
    yield from (f"{name}.*" for name in imported_and_unused(tree, aliases))


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def imported_and_unused(tree: ast.AST, aliases: dict[str, str]) -> Iterator[str]:
    """Modules that are passed on whole, or only imported: nobody can say for what."""
    inside = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    bare = {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in inside
    }  # not followed by a dot
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) in inside}
    for name, full in aliases.items():
        if full in MODULES and (name in bare or name not in used):
            yield full


def found_in(text: str) -> set[str]:
    """What is suspicious in a file, each once: the longest name of those that begin alike."""
    names = {
        name
        for name in suspicious(ast.parse(text))
        if not any(name == one or name.startswith(f"{one}.") for one in HARMLESS)
    }
    return {name for name in names if not any(other.startswith(f"{name}.") for other in names)}


def test_only_these_files_can_run_what_is_not_written_here():
    found: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        place = path.relative_to(SOURCE).as_posix()
        names = found_in(path.read_text())
        if names:
            found[place] = names
    assert found == ALLOWED


def test_there_is_one_pickle_loads_and_it_is_given_consent():
    text = (SOURCE / "wire" / "pickled.py").read_text()
    tree = ast.parse(text)
    loads = [
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and dotted(node) == "pickle.loads"
    ]
    assert loads == ["decode"]
    (decode,) = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "decode"]
    assert [argument.arg for argument in decode.args.args] == ["data", "consent"]
    assert not decode.args.defaults


BAD = {
    "import pickle": {"pickle"},
    "import pickle\npickle.loads(b'')": {"pickle.loads"},
    "import pickle as p\np.loads(b'')": {"pickle.loads"},
    "from pickle import loads": {"pickle.loads"},
    "def f():\n    import _pickle\n    return _pickle.loads(b'')": {"_pickle.loads"},
    "import marshal\nmarshal.loads(b'')": {"marshal.loads"},
    "import shelve\nshelve.open('x')": {"shelve.open"},
    "import dill\ndill.loads(b'')": {"dill.loads"},
    "import cloudpickle\ncloudpickle.loads(b'')": {"cloudpickle.loads"},
    "eval('1')": {"eval"},
    "exec('1')": {"exec"},
    "run = eval": {"eval"},
    "__import__('os')": {"__import__"},
    "compile('1', '', 'eval')": {"compile"},
    "import builtins\nbuiltins.eval('1')": {"builtins.eval"},
    "import importlib\nimportlib.import_module('os')": {"importlib.import_module"},
    "import importlib as i\ni.import_module('os')": {"importlib.import_module"},
    "from importlib import import_module": {"importlib.import_module"},
    "import importlib.util\nimportlib.util.module_from_spec(x)": {"importlib.util.module_from_spec"},
    "import pickle\ngetattr(pickle, 'lo' + 'ads')(b'')": {"pickle.*"},
    "import pandas\npandas.read_pickle('x')": {".read_pickle"},
    "from concurrent.futures import ProcessPoolExecutor": {"ProcessPoolExecutor"},
}

NOT_KNOWN_TO_RUFF = {"run = eval", "__import__('os')", "compile('1', '', 'eval')"}


@pytest.mark.parametrize("text", BAD)
def test_the_walk_finds_what_it_looks_for(text):
    assert {name.removesuffix(".*") for name in found_in(text)} == {
        name.removesuffix(".*") for name in BAD[text]
    }


@pytest.mark.parametrize(
    "text", ["import re\nre.compile('x')", "import msgspec\nmsgspec.json.decode(b'')", "frame.eval('x')"]
)
def test_the_walk_lets_the_rest_be(text):
    assert not found_in(text)


def ruff() -> str:
    beside = Path(sys.executable).with_name("ruff")
    found = str(beside) if beside.exists() else shutil.which("ruff")
    assert found, "ruff is not installed: pip install ruff"
    return found


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with this one's configuration and nothing else."""
    root = tmp_path_factory.mktemp("project")
    shutil.copy(REPOSITORY / "pyproject.toml", root)
    for place in ("src/easyremote/wire", "src/easyremote/cli", "tests"):
        (root / place).mkdir(parents=True)
    return root


def complaints(root: Path, place: str, text: str) -> set[str]:
    """The rules of ours that ruff says a file at that place breaks."""
    path = root / place
    path.write_text(text + "\n")
    try:
        done = subprocess.run(
            [ruff(), "check", "--no-cache", "--output-format", "concise", str(path)],
            cwd=root,
            capture_output=True,
            text=True,
        )
    finally:
        path.unlink()
    assert done.returncode in (0, 1), done.stderr
    rules = {"TID251", "S102", "S301", "S302", "S307"}
    return rules & {word for line in done.stdout.splitlines() for word in line.split()}


@pytest.mark.parametrize("text", [text for text in BAD if text not in NOT_KNOWN_TO_RUFF])
def test_ruff_complains_of_it(copy, text):
    assert complaints(copy, "src/easyremote/wire/bad.py", text)


def test_ruff_lets_each_exception_do_its_own_thing_only(copy):
    load = "import pickle\n\npickle.loads(b'')"
    assert not complaints(copy, "src/easyremote/wire/pickled.py", load)
    assert complaints(copy, "src/easyremote/wire/values.py", load) == {"TID251", "S301"}
    assert complaints(copy, "src/easyremote/cli/loading.py", load) == {"S301"}
    assert complaints(copy, "src/easyremote/__init__.py", load) == {"S301"}
    assert complaints(copy, "src/easyremote/wire/pickled.py", "eval('1')") == {"S307"}
    assert not complaints(copy, "tests/test_it.py", load)


def test_without_the_configuration_it_would_not(copy, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.ruff.lint]\nselect = ['E']\n")
    assert not complaints(tmp_path, "bad.py", "import pickle")
    assert complaints(copy, "src/easyremote/wire/bad.py", "import pickle") == {"TID251"}
