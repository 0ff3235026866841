"""Which node a call goes to, as far as the directory can tell: one, or none for now, or none at all.

It holds no call and asks nobody: a decision is a function of what is known here.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from msgspec import structs

from easyremote.errors import BusyError
from easyremote.protocol.call import Call, away_error, unknown_function_error, unknown_node_error
from easyremote.protocol.company import Company
from easyremote.protocol.directory import Directory, NodeView
from easyremote.protocol.sessions import Sessions
from easyremote.schedule.candidates import Candidate
from easyremote.schedule.decision import decide
from easyremote.schedule.requirements import Requirement

__all__ = ["Choice", "Later"]


class Later(Enum):
    """No node for now."""

    NEWS = "when the directory has changed"
    ROOM = "a little later, because all that could take it have refused"


class Choice:
    """Chooses for one caller."""

    def __init__(self, sessions: Sessions, directory: Directory, dice: Callable[[], float]) -> None:
        self._directory: Final = directory
        self._dice = dice
        self._company = Company(sessions, directory)
        self._requirements: dict[str, Requirement] = {}

    def of(self, call: Call, many: int, now: float) -> NodeView | Later:
        """The node to ask.

        Args:
            call: The call.
            many: How many calls this caller has open.
            now: The time.

        Raises:
            ScheduleError: There is none, and none is expected in a moment.
            BusyError: There is none but the one to be left out.
        """
        directory = self._directory
        if call.node is not None:
            view = directory.named(call.node)
            if view is None or not view.present or not directory.synced:
                return self._none(call)
            return view
        candidates = directory.offering(call.function)
        if not candidates:
            return self._none(call)
        if call.excluded or call.avoid:
            avoided = call.excluded | {call.avoid}
            candidates = [one for one in candidates if one.endpoint not in avoided]
            if not candidates and call.avoid:
                raise BusyError(f"no other node could take {call.function!r} as well")
            if not candidates:
                return Later.ROOM
        if not directory.synced:
            return self._none(call)
        chosen = candidates[0]
        if len(candidates) > 1 or call.request.requirement is not None:
            chosen = self._company.of(call, many) or self._decide(call, candidates, now)
        return directory.nodes[chosen.endpoint]

    def may_hedge(self, call: Call) -> bool:
        """Whether another node could take this call as well as the one that has it, without harm anywhere."""
        if call.view is None or call.node is not None or not call.harmless:
            return False
        views = [self._directory.nodes[one.endpoint] for one in self._directory.offering(call.function)]
        others = [view for view in views if view is not call.view]
        return bool(others) and all(view.functions[call.function].idempotent for view in others)

    def _decide(self, call: Call, candidates: list[Candidate], now: float) -> Candidate:
        requirement = self._requirements.get(call.function)
        if call.request.requirement is not None:
            requirement = structs.replace(call.request.requirement, function=call.function)
        elif requirement is None:
            requirement = self._requirements[call.function] = Requirement(function=call.function)
        policy = call.request.policy
        chosen = decide(requirement, candidates, policy=policy, now=now, entropy=self._dice).chosen
        self._company.chosen(call.function, chosen)
        return chosen

    def _none(self, call: Call) -> Later:
        """No such node is present; it may be that it soon is."""
        directory = self._directory
        if not directory.synced:
            return Later.NEWS
        view = directory.named(call.node) if call.node is not None else None
        expected = view is not None and view.expected
        if expected if call.node is not None else directory.missing_offers(call.function):
            return Later.NEWS
        away = directory.away(call.function, call.node)
        if away is not None:
            raise away_error(call, away)
        if call.node is not None:
            raise unknown_node_error(call.node, {view.card.name for view in directory})
        present = sum(1 for _ in directory)
        raise unknown_function_error(call.function, directory.function_names(), present)
