"""One call at a time: where its microseconds go, as one chain of moments through three processes.

Each stage ends at a moment, and the next begins there, so that the stages of a call add up to the call. Calls
are told apart by time: while there is only one, what is noted between its beginning and its end is about it.
"""

from __future__ import annotations

from bisect import bisect_left

import msgspec

CHAIN: list[tuple[str, str, str]] = [
    # process, the moment the stage ends, the stage
    ("client", "ask<", "encode the arguments"),
    ("client", "inbox>", "wait for the loop's turn"),
    ("client", "request>", "hand the request to the machine"),
    ("client", "request<", "choose the node, queue the message"),
    ("client", "pull>", "wait for the writer's turn"),
    ("client", "pull<", "bundle and seal"),
    ("client", "send>", "join the packet"),
    ("gateway", "arrive>", "TLS and the system, client to gateway"),
    ("gateway", "receive<", "HTTP/2 frames, the reader's turn"),
    ("gateway", "route>", "walk the packet"),
    ("gateway", "route<", "route"),
    ("gateway", "send>", "wait for the writer's turn, join"),
    ("node", "arrive>", "TLS and the system, gateway to node"),
    ("node", "receive<", "HTTP/2 frames, the reader's turn"),
    ("node", "post>", "walk the packet"),
    ("node", "open>", "read the frame, find the session"),
    ("node", "open<", "open, decode the bundle"),
    ("node", "admit>", "look the call up"),
    ("node", "admit<", "guard: may this caller?"),
    ("node", "start>", "admit the call"),
    ("node", "start<", "make the task"),
    ("node", "unpack>", "wait for the task's turn"),
    ("node", "unpack<", "decode the arguments"),
    ("node", "encode>", "run the function"),
    ("node", "encode<", "encode the result"),
    ("node", "answer>", "hand the answer to the machine"),
    ("node", "answer<", "queue the answer"),
    ("node", "pull>", "audit, wait for the writer's turn"),
    ("node", "pull<", "bundle and seal"),
    ("node", "send>", "join the packet"),
    ("gateway", "arrive>", "TLS and the system, node to gateway"),
    ("gateway", "receive<", "HTTP/2 frames, the reader's turn"),
    ("gateway", "route>", "walk the packet"),
    ("gateway", "route<", "route"),
    ("gateway", "send>", "wait for the writer's turn, join"),
    ("client", "arrive>", "TLS and the system, gateway to client"),
    ("client", "receive<", "HTTP/2 frames, the reader's turn"),
    ("client", "post>", "walk the packet"),
    ("client", "open>", "read the frame, find the session"),
    ("client", "open<", "open, decode the bundle"),
    ("client", "take<", "settle the call"),
    ("client", "home>", "hand the answer on"),
    ("client", "read>", "wake the program"),
    ("client", "read<", "decode the result"),
    ("client", "execute<", "return"),
]


def chain(*, direct: bool) -> list[tuple[str, str, str]]:
    """The moments of a call, through the gateway or directly."""
    if not direct:
        return CHAIN
    hops = {
        "arrive>": "TLS and the system, one to the other",
        "receive<": "take the packet, the reader's turn",
        "send>": "join the packet",
    }
    return [
        (process, f"{what[:-1]} directly{what[-1]}", hops[what]) if what in hops else (process, what, stage)
        for process, what, stage in CHAIN
        if process != "gateway"
    ]


class Stage(msgspec.Struct):
    """One stage of a call: what it takes of one, on average and at its 90th percentile."""

    process: str
    what: str
    mean_us: float
    p90_us: float
    share: float


class Notes:
    """One process's notes, by what they say."""

    def __init__(self, notes: list[tuple[int, str]]) -> None:
        self._at: dict[str, list[int]] = {}
        for when, what in notes:
            self._at.setdefault(what, []).append(when)

    def times(self, what: str) -> list[int]:
        return self._at.get(what, [])

    def first_after(self, what: str, when: int) -> int | None:
        """When it first happened from then on."""
        times = self.times(what)
        place = bisect_left(times, when)
        return times[place] if place < len(times) else None


def follow(
    moments: list[tuple[str, str, str]], notes: dict[str, Notes]
) -> tuple[list[tuple[str, str, str]], list[list[int]]]:
    """The moments that were noted, and for each call how long each stage took, in nanoseconds.

    A moment that nobody noted, because the product has changed, is left out: its stage counts with the next.
    """
    noted = [one for one in moments if notes[one[0]].times(one[1])]
    found = []
    begins, ends = notes["client"].times("execute>"), notes["client"].times("execute<")
    for began, ended in zip(begins, ends, strict=False):
        took = _follow(notes, noted, began, ended)
        if took is not None:
            found.append(took)
    return noted, found


def _follow(
    notes: dict[str, Notes], moments: list[tuple[str, str, str]], began: int, ended: int
) -> list[int] | None:
    at, took = began, []
    for process, what, _ in moments:
        when = notes[process].first_after(what, at)
        if when is None or when > ended:
            return None
        took.append(when - at)
        at = when
    return took


def stages(moments: list[tuple[str, str, str]], found: list[list[int]]) -> tuple[list[Stage], float]:
    """The mean call of the middle half, by stage, and how long it took, in microseconds.

    The middle half, so that what else the machine did meanwhile does not count; the mean, because means add up.
    """
    found = sorted(found, key=sum)
    middle = found[len(found) // 4 : max(len(found) * 3 // 4, 1)]
    total = sum(map(sum, middle)) / len(middle) / 1e3
    made = []
    for column, (process, _, what) in enumerate(moments):
        times = sorted(one[column] / 1e3 for one in found)
        mean = sum(one[column] for one in middle) / len(middle) / 1e3
        made.append(Stage(process, what, mean, times[len(times) * 9 // 10], mean / total))
    return made, total
