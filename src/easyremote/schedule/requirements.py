"""What a caller needs of the node that does the work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from easyremote.errors import UsageError


class Requirement(msgspec.Struct, frozen=True, kw_only=True):
    """What the node must be or have; the default asks for nothing.

    Attributes:
        function: The function to run; every candidate given to ``decide`` offers it.
        node: The one node wanted, by name.
        exclude: Endpoints not to choose, because they were tried already.
        labels: Labels the node must carry, with these values.
        capabilities: Capabilities the node must list.
    """

    function: str | None = None
    node: str | None = None
    exclude: frozenset[bytes] = frozenset()
    labels: Mapping[str, str] = {}
    capabilities: frozenset[str] = frozenset()

    @property
    def open(self) -> bool:
        """Whether any node that takes new calls will do."""
        return not (self.exclude or self.node is not None or self.labels or self.capabilities)

    def __str__(self) -> str:
        """As an error says it: ``'resize' on node 'lab-3' with capability 'gpu'``."""
        text = repr(self.function) if self.function is not None else "the call"
        if self.node is not None:
            text += f" on node {self.node!r}"
        wants = [f"capability {name!r}" for name in sorted(self.capabilities)]
        wants += [f"label {name}={value!r}" for name, value in sorted(self.labels.items())]
        return f"{text} with {', '.join(wants)}" if wants else text


def read_requirements(
    options: Mapping[str, object], *, function: str | None = None
) -> tuple[Requirement, list[str]]:
    """Read the ``requirements`` of a ``load_balancing={…}`` option, as version 2.0.2 wrote them.

    Returns:
        The requirement, and the names of the options that mean nothing here, to warn about.

    Raises:
        UsageError: An option has a value of the wrong kind.
    """
    node: str | None = None
    labels: dict[str, str] = {}
    capabilities: set[str] = set()
    unknown: list[str] = []
    for name, value in options.items():
        match name, value:
            case (("node" | "node_id"), str()):
                node = value
            case "labels", Mapping():
                labels.update((str(key), str(wanted)) for key, wanted in value.items())
            case "capabilities", str():
                capabilities.add(value)
            case "capabilities", Iterable():
                capabilities.update(map(str, value))
            case "gpu_required", bool():
                capabilities.update(["gpu"] if value else [])
            case (("node" | "node_id" | "labels" | "capabilities" | "gpu_required"), _):
                raise UsageError(
                    f"the requirement {name!r} cannot be {value!r}: wanted node='lab-3', "
                    "labels={'zone': 'eu'}, capabilities=['gpu'] or gpu_required=True"
                )
            case _:
                unknown.append(name)
    requirement = Requirement(
        function=function, node=node, labels=labels, capabilities=frozenset(capabilities)
    )
    return requirement, unknown
