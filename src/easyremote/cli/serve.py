"""``easynet gateway`` and ``easynet node``: they serve until Ctrl-C or a polite kill, then end with 0."""

from __future__ import annotations

from types import ModuleType

from easyremote.cli.loading import Target, find_node, load_module, parse_target, public_functions
from easyremote.cli.settings import Settings
from easyremote.errors import UsageError
from easyremote.node.node import ComputeNode
from easyremote.trace import announce

__all__ = ["prepare_node", "serve_gateway", "serve_node"]


def serve_gateway(settings: Settings) -> None:
    """Run a gateway.

    Raises:
        ListenError: The address is taken.
    """
    from easyremote.gateway.server import Server

    level = "debug" if settings.verbose else "info"
    Server(
        settings.port,
        settings.lease,
        host=settings.host,
        open=settings.open,
        certificate=settings.certificate,
        key=settings.key,
        addresses=settings.addresses,
        limits=settings.limits,
        mailbox=settings.mailbox,
        log_level=level,
    ).start()


def serve_node(text: str, settings: Settings) -> None:
    """Serve the node or the functions of a file or module.

    Raises:
        UsageError: There is no such file, or nothing in it to serve.
    """
    announce(verbose=settings.verbose)
    prepare_node(parse_target(text), settings).serve()


def prepare_node(target: Target, settings: Settings) -> ComputeNode:
    """Load the target and find, or make, the node to serve.

    Raises:
        UsageError: Loading it failed, or there is nothing in it to serve.
    """
    loaded = load_module(target, settings)
    return find_node(loaded, target) or _node_of_functions(loaded.module, target, settings)


def _node_of_functions(module: ModuleType, target: Target, settings: Settings) -> ComputeNode:
    functions = public_functions(module)
    if not functions:
        raise UsageError(
            f"{target.text} has nothing to serve: no ComputeNode, and no public function of its own\n"
            "Define a function in it, or a node: node = ComputeNode()"
        )
    node = ComputeNode(settings.gateway, settings.name)
    for name, function in functions.items():
        node.register(name=name)(function)
    return node
