"""What its owner may ask of a node from another device: calls like any other, sealed, and to it alone.

These functions are served by every node beside its own. No card lists them, and a node's program cannot
register their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["DRAIN", "RESERVED", "Household"]

RESERVED = "easynet-"
"""How their names begin."""
DRAIN = f"{RESERVED}drain"


class Household:
    """The functions, over what the node does for each.

    Args:
        drain: Begins to drain the node, and gives the calls that it waits for.
    """

    def __init__(self, *, drain: Callable[[], int]) -> None:
        self._drain = drain

    def functions(self) -> Mapping[str, Callable[..., Any]]:
        """By name."""
        return {DRAIN: self.drain}

    async def drain(self) -> int:
        """Take nothing new, finish what runs, then leave; how many calls are still to finish."""
        return self._drain()
