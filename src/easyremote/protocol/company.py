"""Quick calls that go together: where one more would share a packet, and a process that is awake.

A packet costs every process on its way as much as dozens of small calls do, and to wake a process costs more. So
calls asked for at the same moment go to one node in groups, where it makes no difference to them. What is
asked is what nodes can do, and not what they did on the average: where calls went one by one, all would
look slow, and stay so.
"""

from __future__ import annotations

from collections import deque

from easyremote.protocol.call import Call
from easyremote.protocol.directory import Directory, NodeView
from easyremote.protocol.sessions import Sessions
from easyremote.schedule.candidates import Candidate
from easyremote.schedule.policies import DEFAULT_POLICY, LEAST_PACE_SECONDS
from easyremote.schedule.predict import FORGETS

GROUP_CALLS = 64
"""So many calls that are asked for at one moment go to one node at most, because that is where a packet goes."""
GROUP_SECONDS = 2 * LEAST_PACE_SECONDS
"""And so many as take the node about so long: paces below ``LEAST_PACE_SECONDS`` are noise to the scheduler."""
GROUPS = 4
"""And the calls that are open make so many groups at least, that nodes may share them."""
AWAKE_MAX = 4
"""So many nodes, at most, are looked at before one is chosen among all."""
GROUP_PACE_SECONDS = 8 * LEAST_PACE_SECONDS
"""Calls that mostly take longer than this have a node each, however quick some are."""


class Company:
    """Where the calls of one caller have lately gone, by function."""

    def __init__(self, sessions: Sessions, directory: Directory) -> None:
        self._sessions = sessions
        self._directory = directory
        self._awake: dict[str, deque[NodeView]] = {}
        """The nodes that were chosen last."""
        self._quickest: dict[str, float] = {}
        """The least pace of any node lately, in seconds."""

    def chosen(self, function: str, candidate: Candidate) -> None:
        """A node was chosen among all; others may follow."""
        latency = candidate.latencies.get(function)
        if latency is None or not latency.known:
            return
        least = self._quickest.get(function, float("inf")) * FORGETS
        self._quickest[function] = min(least, latency.quickest_seconds)
        awake = self._awake.setdefault(function, deque(maxlen=AWAKE_MAX))
        view = self._directory.nodes[candidate.endpoint]
        if view not in awake:
            awake.appendleft(view)

    def of(self, call: Call, many: int) -> Candidate | None:
        """The node that calls like this one are going to just now, if one more may well go with them.

        A group is what the node does in ``GROUP_SECONDS``, and a quarter of the ``many`` calls that are open. Where
        very many of the quickest are, they stay with the nodes that are awake, until these have two groups each.
        """
        request, function = call.request, call.function
        quickest = self._quickest.get(function)
        if quickest is None or call.excluded or call.avoid:
            return None
        if request.policy != DEFAULT_POLICY or request.requirement is not None:
            return None
        room = min(GROUP_SECONDS / quickest if quickest > 0.0 else GROUP_CALLS, GROUP_CALLS, many / GROUPS)
        staying = many > GROUP_CALLS and GROUP_CALLS * quickest < GROUP_SECONDS
        for view in self._awake[function]:
            candidate = view.candidate
            fits = 0 < self._sessions.gathered(candidate.endpoint) < room
            if (fits or (staying and candidate.in_flight < 2 * GROUP_CALLS)) and self._may_go(view, function):
                return candidate
        return None

    def _may_go(self, view: NodeView, function: str) -> bool:
        """Whether the node is still one that could have been chosen among all, and quick."""
        candidate = view.candidate
        if self._directory.nodes.get(candidate.endpoint) is not view or not view.present:
            return False  # it has left, or was cast out
        if function not in view.functions or candidate.draining or candidate.full:
            return False
        latency = candidate.latencies.get(function)
        return latency is not None and latency.known and latency.pace_seconds < GROUP_PACE_SECONDS
