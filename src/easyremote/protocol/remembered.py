"""Calls that were answered, remembered so that none of them runs again.

The latest are remembered one by one, in two generations: when the young one is full it becomes the old one, and of the
one that was old only the highest number of each caller is kept. A caller's numbers only grow, so what it asks for under
that floor is a repeat, or has been on its way while as many other calls were answered as a generation holds.
"""

from __future__ import annotations

from collections import OrderedDict

from easyremote.protocol.events import CallKey

GENERATION = 100_000
"""So many calls at least, and twice as many at most, are remembered one by one."""
CALLERS_MAX = 20_000
"""Callers of whom a floor is kept; that of the one heard of longest ago goes first."""


class Remembered:
    """What a node remembers of calls that were answered.

    Args:
        generation: How many calls one generation holds.
        callers: Of how many callers a floor is kept.
    """

    def __init__(self, generation: int = GENERATION, callers: int = CALLERS_MAX) -> None:
        self._generation, self._callers = generation, callers
        self._young: dict[bytes, set[int]] = {}
        self._old: dict[bytes, set[int]] = {}
        self._floors: OrderedDict[bytes, int] = OrderedDict()
        self._count = 0

    def add(self, key: CallKey) -> None:
        """This call was answered."""
        numbers = self._young.get(key[0])
        if numbers is None:
            numbers = self._young[key[0]] = set()
        numbers.add(key[1])
        self._count += 1
        if self._count >= self._generation:
            self._grow_old()

    def __contains__(self, key: CallKey) -> bool:
        caller, number = key
        numbers = self._young.get(caller)
        if numbers is not None and number in numbers:
            return True
        numbers = self._old.get(caller)
        return (numbers is not None and number in numbers) or number <= self._floors.get(caller, -1)

    def __len__(self) -> int:
        """How many calls are remembered one by one."""
        return sum(map(len, self._young.values())) + sum(map(len, self._old.values()))

    def _grow_old(self) -> None:
        floors = self._floors
        for caller, numbers in self._old.items():
            floors[caller] = max(floors.get(caller, -1), max(numbers))
            floors.move_to_end(caller)
        while len(floors) > self._callers:
            floors.popitem(last=False)
        self._old, self._young, self._count = self._young, {}, 0
