"""Answers on their way from the executor: those of calls that end together are given together."""

from __future__ import annotations

from collections.abc import Callable

from easyremote.protocol.events import Answer


class Answers:
    """Gives each answer at once, except between ``hold`` and ``release``; on the loop's thread.

    Args:
        post: Takes answers. It must not raise.
    """

    __slots__ = ("_held", "_holding", "_post")

    def __init__(self, post: Callable[[list[Answer]], None]) -> None:
        self._post = post
        self._held: list[Answer] = []
        self._holding = False

    def add(self, answer: Answer) -> None:
        """One more."""
        if self._holding:
            self._held.append(answer)
        else:
            self._post([answer])

    def hold(self) -> None:
        """More follow."""
        self._holding = True

    def release(self) -> None:
        """For now these are all."""
        self._holding = False
        if self._held:
            held, self._held = self._held, []
            self._post(held)
