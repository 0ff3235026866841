"""What may be asked of a node itself from another device: calls like any other, sealed, and to it alone.

These functions are served by every node beside its own. No card lists them, and a node's program cannot
register their names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from easyremote.trust.rules import NETWORK, OWNER, Rule

__all__ = ["DRAIN", "RESERVED", "TRACE", "Household"]

RESERVED = "easynet-"
"""How their names begin."""
DRAIN, TRACE = f"{RESERVED}drain", f"{RESERVED}trace"


class Household:
    """The functions, over what the node does for each.

    Args:
        drain: Begins to drain the node, and gives the calls that it waits for.
        stories: Tells what happened to calls, of what its caller may know.
    """

    def __init__(
        self, *, drain: Callable[[], int], stories: Callable[[list[str]], list[tuple[float, str, str, str]]]
    ) -> None:
        self._drain, self._stories = drain, stories

    def functions(self) -> list[tuple[str, Callable[..., Any], Rule]]:
        """Each with its name, and who may call it."""
        return [(DRAIN, self.drain, OWNER), (TRACE, self.trace, NETWORK)]

    async def drain(self) -> int:
        """Take nothing new, finish what runs, then leave; how many calls are still to finish."""
        return self._drain()

    def trace(self, calls: list[str]) -> list[tuple[float, str, str, str]]:
        """What happened to these calls here, by their ids: when, to which, what, and more about it."""
        return self._stories(calls)
