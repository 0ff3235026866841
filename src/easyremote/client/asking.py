"""From what a program writes to what the machine is told: names, arguments, options.

``execute("fn", x, timeout=1)``: keywords go to the function, except the few that are options of the
call, and those too go to the function if it has a parameter of that name. ``options(timeout=1)`` is
always about the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from easyremote.errors import UsageError
from easyremote.protocol.directory import Directory
from easyremote.protocol.events import CallRequested
from easyremote.schedule.policies import policy_name
from easyremote.schedule.requirements import Requirement, read_requirements
from easyremote.wire.values import encode_arguments

OPTIONS = frozenset({"timeout", "node", "policy"})


class Options(msgspec.Struct, frozen=True):
    """How calls are made, apart from what is called.

    Attributes:
        timeout: Seconds until the call is given up, here and at the node; None for no limit.
        node: The one node to ask, by name; None lets the policy choose.
        policy: Which node is chosen: ``prequal``, ``round_robin``, ``random``, ``least_loaded``,
            ``power_of_two`` or ``fastest``.
        requirement: What the node must have.
    """

    timeout: float | None = None
    node: str | None = None
    policy: str = "prequal"
    requirement: Requirement | None = None

    def changed(self, changes: Mapping[str, Any]) -> Options:
        """These options with some replaced.

        Raises:
            UsageError: An option is unknown, or its value makes no sense.
        """
        unknown = changes.keys() - OPTIONS
        if unknown:
            raise UsageError(
                f"a call has no option {sorted(unknown)[0]!r}; it has {', '.join(sorted(OPTIONS))}"
            )
        timeout = changes.get("timeout", self.timeout)
        if timeout is not None and not (isinstance(timeout, (int, float)) and timeout > 0):
            raise UsageError(f"timeout is a number of seconds above 0, or None, not {timeout!r}")
        node = changes.get("node", self.node)
        if node is not None and not isinstance(node, str):
            raise UsageError(f"node is a node's name, or None, not {node!r}")
        policy = policy_name(changes.get("policy", self.policy))
        return Options(timeout, node, policy, self.requirement)

    def balanced(self, load_balancing: object) -> Options:
        """These options with a ``load_balancing=`` as version 2.0.2 wrote it."""
        if isinstance(load_balancing, bool) or load_balancing is None:
            return self
        if isinstance(load_balancing, str):
            return self.changed({"policy": load_balancing})
        if isinstance(load_balancing, Mapping):
            made = self.changed({"policy": load_balancing.get("strategy", self.policy)})
            wanted = load_balancing.get("requirements") or {}
            requirement, _ = read_requirements(wanted)
            return msgspec.structs.replace(made, requirement=None if requirement.open else requirement)
        raise UsageError(
            f"load_balancing is True, a policy's name, or {{'strategy': …, 'requirements': …}}, not {load_balancing!r}"
        )


def ask(
    number: int,
    function: str,
    args: tuple[object, ...],
    kwargs: dict[str, object],
    options: Options,
    *,
    stream: bool = False,
) -> CallRequested:
    """The request for a call.

    Raises:
        UsageError: The function's name is not one.
        EncodeError: An argument cannot cross the wire.
    """
    if not isinstance(function, str) or not function or not function.isprintable():
        raise UsageError(
            f"a function's name is printable text, such as 'add' or 'studio-mac.add', not {function!r}"
        )
    return CallRequested(
        number,
        function,
        encode_arguments(args, kwargs),
        options.node,
        options.timeout,
        stream,
        options.policy,
        options.requirement,
    )


def split_options(
    directory: Directory, function: str, kwargs: dict[str, Any], options: Options
) -> tuple[dict[str, Any], Options]:
    """Which keywords are the function's, and which are the call's; looked up in the function's card."""
    node, _, name = function.rpartition(".")
    taken: set[str] = set()
    for view in directory:
        if (not node or view.card.name == node) and name in view.functions:
            taken.update(view.functions[name].accepts)
    changes = {key: value for key, value in kwargs.items() if key in OPTIONS and key not in taken}
    if not changes:
        return kwargs, options
    return {key: value for key, value in kwargs.items() if key not in changes}, options.changed(changes)
