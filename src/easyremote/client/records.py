"""What a client tells of functions and nodes."""

from __future__ import annotations

from typing import Any

import msgspec

from easyremote.protocol.directory import Directory, NodeView
from easyremote.trust.identity import device_text


class LoadRecord(msgspec.Struct, frozen=True):
    """How busy a node is, as it last reported: calls running and waiting, and how many it takes."""

    running: int
    waiting: int
    capacity: int


class FunctionRecord(msgspec.Struct, frozen=True):
    """A function that can be called, and who offers it.

    Attributes:
        name: What to call it by.
        nodes: The names of the nodes that offer it.
        description: The first of what its owner wrote about it.
        signature: Its parameters and result, as Python writes them.
        parameters: JSON Schema of its parameters, an object by name.
        returns: JSON Schema of its result, or of an item if it streams.
        stream: Whether it gives a stream of items.
        tags: Words its owner gave it.
        version: Its version, as its owner counts.
        timeout_seconds: The time a call may take at the node; None for no limit.
    """

    name: str
    nodes: list[str]
    description: str
    signature: str
    parameters: dict[str, Any]
    returns: dict[str, Any]
    stream: bool
    tags: list[str]
    version: str
    timeout_seconds: float | None


class NodeRecord(msgspec.Struct, frozen=True):
    """A node that is connected; also answers to ``record["node_id"]`` and the like.

    Attributes:
        name: Its name, as in ``"name.function"``.
        device: Its device id.
        functions: The names of its listed functions.
        facts: What it says of its machine.
        labels: Its owner's labels.
        capabilities: Its owner's words for what it can do.
        load: How busy it is.
        status: ``"online"``, or ``"draining"`` while it finishes what it has and takes nothing new.
        process: What tells this process of the node from the one before.
    """

    name: str
    device: str
    functions: list[str]
    facts: dict[str, Any]
    labels: dict[str, str]
    capabilities: list[str]
    load: LoadRecord
    status: str = "online"
    process: str = ""

    def __getitem__(self, key: str) -> Any:
        """A field by name, with the keys that version 2.0.2's dicts had."""
        if key == "node_id":
            return self.name
        if key in self.__struct_fields__:
            return getattr(self, key)
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        """Whether ``record[key]`` has an answer."""
        return key in self.keys()

    def get(self, key: str, default: Any = None) -> Any:
        """A field by name, or ``default``."""
        try:
            return self[key]
        except KeyError:
            return default

    def keys(self) -> list[str]:
        """The names ``record[name]`` answers to."""
        return ["node_id", *self.__struct_fields__]


def node_record(view: NodeView) -> NodeRecord:
    """A node as people see it."""
    card = view.card
    return NodeRecord(
        name=card.name,
        device=device_text(card.endpoint[:32]),
        functions=sorted(view.functions),
        facts=dict(card.facts),
        labels=dict(card.labels),
        capabilities=list(card.capabilities),
        load=LoadRecord(view.load.running, view.load.waiting, card.capacity),
        status="draining" if card.draining else "online",
        process=card.endpoint[32:].hex(),
    )


def node_records(directory: Directory) -> list[NodeRecord]:
    """Every node that is connected, by name."""
    return sorted(map(node_record, directory), key=lambda record: record.name)


def function_records(directory: Directory) -> list[FunctionRecord]:
    """Every listed function, by name; described as the first node by name describes it."""
    offers: dict[str, list[NodeView]] = {}
    for view in sorted(directory, key=lambda view: view.card.name):
        for name in view.functions:
            offers.setdefault(name, []).append(view)
    records = []
    for name, views in sorted(offers.items()):
        card = views[0].functions[name]
        records.append(
            FunctionRecord(
                name=name,
                nodes=[view.card.name for view in views],
                description=card.description,
                signature=card.signature,
                parameters=card.parameters,
                returns=card.returns,
                stream=card.stream,
                tags=list(card.tags),
                version=card.version,
                timeout_seconds=card.timeout_seconds,
            )
        )
    return records
