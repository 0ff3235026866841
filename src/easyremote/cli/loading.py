"""A person's file or module, loaded to be served.

The file is run as a module of its own name, so ``if __name__ == "__main__":`` is left out, and with
``serve()`` deferred: a script that ends in ``node.serve()`` gives its node here rather than blocking.
What stands after a blocking ``serve()`` is not run, as it would not be before the node stops. What the
command line says of the gateway and the name holds for the nodes the file makes.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

from easyremote.cli.settings import Settings
from easyremote.client.remote import RemoteFunction
from easyremote.errors import EasyRemoteError, UsageError
from easyremote.node.node import ComputeNode

__all__ = [
    "Loaded",
    "Target",
    "find_node",
    "import_modules",
    "load_module",
    "parse_target",
    "public_functions",
]


class Target:
    """What ``MODULE[:NODE]`` says.

    Attributes:
        text: As it was given.
        path: The file, if it is one.
        module: The module's name.
        node: The name of the node in it, if said.
    """

    def __init__(self, text: str, path: Path | None, module: str, node: str | None) -> None:
        self.text = text
        self.path = path
        self.module = module
        self.node = node


def parse_target(text: str) -> Target:
    """Read ``MODULE[:NODE]``, where MODULE is a path to a .py file or the name of a module.

    Raises:
        UsageError: There is no such file, or it is neither.
    """
    place, colon, node = text.rpartition(":")
    if not (colon and node.isidentifier() and len(place) > 1):  # C:\node.py has a colon as well
        place, node = text, ""
    path = Path(place)
    if path.suffix == ".py" or len(path.parts) > 1 or path.is_file():
        if not path.is_file():
            raise UsageError(f"there is no file {place!r}\nGive a path to a .py file, or a module's name.")
        return Target(text, path.resolve(), path.stem, node or None)
    if not all(part.isidentifier() for part in place.split(".")):
        raise UsageError(f"wanted a path to a .py file or a module's name, found {place!r}")
    return Target(text, None, place, node or None)


class Loaded:
    """What running the module gave.

    Attributes:
        module: The module.
        served: The nodes it called ``serve()`` of.
    """

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.served: list[ComputeNode] = []


class _ServeReached(BaseException):
    """The module came to its blocking ``serve()``; what it defines is complete."""


def import_modules(texts: Sequence[str], settings: Settings) -> None:
    """Load files or modules for the classes they define.

    Raises:
        UsageError: There is no such module, or it raised.
    """
    for text in texts:
        load_module(parse_target(text), settings)


def load_module(target: Target, settings: Settings) -> Loaded:
    """Run the target's module, without serving.

    Raises:
        UsageError: There is no such module, or it raised.
    """
    try:
        return _run_module(target, settings)
    except (EasyRemoteError, KeyboardInterrupt):
        raise
    except BaseException as error:  # the person's own code: anything, also SystemExit
        raise UsageError(f"loading {target.text} raised {_last_line(error, target)}") from error


def _last_line(error: BaseException, target: Target) -> str:
    """The exception as one line, and where in the person's own file it came from."""
    what = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    own = [
        frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == target.path
    ]
    return f"{what}\n  at {target.text}, line {own[-1].lineno}: {own[-1].line}" if own else what


def _run_module(target: Target, settings: Settings) -> Loaded:
    folder = str(target.path.parent if target.path else Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = _spec(target)
    if spec is None or spec.loader is None:
        raise UsageError(
            f"there is no module {target.module!r}\nGive a path to a .py file, or install the module."
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    loaded = Loaded(module)
    with _prepared_nodes(loaded, settings):
        try:
            spec.loader.exec_module(module)
        except _ServeReached:
            pass
        except BaseException:
            del sys.modules[spec.name]
            raise
    return loaded


def _spec(target: Target) -> ModuleSpec | None:
    if target.path is not None:
        return importlib.util.spec_from_file_location(target.module, target.path)
    try:
        return importlib.util.find_spec(target.module)
    except ModuleNotFoundError:
        return None


@contextmanager
def _prepared_nodes(loaded: Loaded, settings: Settings) -> Iterator[None]:
    """Meanwhile nodes are made as the settings say, and ``serve()`` only ends the module that would block in it."""
    make: Callable[..., None] = ComputeNode.__init__
    ordered = {name for name, source in settings.sources.items() if source.startswith("--")}

    def made(
        node: ComputeNode, gateway: str | None = None, name: str | None = None, *rest: Any, **more: Any
    ) -> None:
        gateway = more.pop("gateway_address", gateway)
        name = more.pop("node_id", name)
        if gateway is None or "gateway" in ordered:
            gateway = settings.gateway
        if name is None or "name" in ordered:
            name = settings.name
        make(node, gateway, name, *rest, **more)

    def deferred(node: ComputeNode, blocking: bool = True) -> Thread:
        loaded.served.append(node)
        if blocking and sys._getframe(1).f_globals is loaded.module.__dict__:
            raise _ServeReached
        return Thread(name="easynet-deferred")

    def wait(node: ComputeNode, timeout: float | None = None) -> bool:
        return True

    replaced = {"__init__": made, "serve": deferred, "wait_for_connection": wait}
    before = {name: getattr(ComputeNode, name) for name in replaced}
    try:
        for name, function in replaced.items():
            setattr(ComputeNode, name, function)
        yield
    finally:
        for name, function in before.items():
            setattr(ComputeNode, name, function)


def find_node(loaded: Loaded, target: Target) -> ComputeNode | None:
    """The node to serve: the one named, else the only one it serves or makes; None if there is none.

    Raises:
        UsageError: The name is not a node's, or there are several to choose from.
    """
    nodes = {name: value for name, value in vars(loaded.module).items() if isinstance(value, ComputeNode)}
    if target.node is not None:
        if target.node not in nodes:
            raise UsageError(f"{target.text}: {target.node!r} is not a ComputeNode; {_nodes_there(nodes)}")
        return nodes[target.node]
    for choice in (loaded.served, nodes.values()):
        different = {id(node): node for node in choice}
        if len(different) == 1:
            return different.popitem()[1]
    if len(nodes) > 1:
        raise UsageError(f"{target.text}: which node? {_nodes_there(nodes)}; say {target.text}:{min(nodes)}")
    return None


def _nodes_there(nodes: dict[str, ComputeNode]) -> str:
    return f"its nodes are {', '.join(sorted(nodes))}" if nodes else "it makes no node"


def public_functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The functions a module means to give: those in ``__all__``, else those defined in it without ``_``.

    ``main`` is left out: by custom it is the script itself.
    """
    listed = getattr(module, "__all__", None)
    names = (
        listed if listed is not None else [name for name in vars(module) if name != "main" and name[0] != "_"]
    )
    found = {name: _plain_function(getattr(module, name, None)) for name in names}
    return {
        name: function
        for name, function in found.items()
        if function is not None and (listed is not None or function.__module__ == module.__name__)
    }


def _plain_function(value: object) -> Callable[..., Any] | None:
    """A function, also a wrapped one such as a cached one; of a ``@remote`` one the body."""
    if isinstance(value, RemoteFunction):
        value = inspect.unwrap(value)
    if inspect.isfunction(value) or (
        callable(value) and inspect.isfunction(getattr(value, "__wrapped__", None))
    ):
        return value
    return None
