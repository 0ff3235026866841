"""Frames that wait for one link, each source in its turn, so that who sends much delays who sends little by little.

One source alone gets whole packets. Several take turns frame by frame, in packets small enough that a frame
put in last is not far behind.
"""

from __future__ import annotations

from collections import deque

from easyremote.wire.frame import Pieces
from easyremote.wire.limits import MAX_PACKET_BYTES

SHARED_PACKET_BYTES = 128 << 10
"""The size of a packet that several sources share."""


class FairQueue:
    """What waits for one link; a source is the number of the link a frame came over, 0 the gateway itself."""

    __slots__ = ("_turns", "bytes", "bytes_of")

    def __init__(self) -> None:
        self._turns: dict[int, deque[tuple[Pieces, int]]] = {}
        self.bytes = 0
        self.bytes_of: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._turns)

    def put(self, frame: Pieces, size: int, source: int) -> None:
        """A frame waits from now on."""
        lane = self._turns.get(source)
        if lane is None:
            lane = self._turns[source] = deque()
            self.bytes_of[source] = 0
        lane.append((frame, size))
        self.bytes += size
        self.bytes_of[source] += size

    def take(self) -> list[Pieces]:
        """The frames of the next packet; those of one source in the order they came."""
        turns = self._turns
        frames: list[Pieces] = []
        taken = 0
        while turns:
            alone = len(turns) == 1
            if taken >= (MAX_PACKET_BYTES if alone and not frames else SHARED_PACKET_BYTES) and frames:
                break
            source, lane = next(iter(turns.items()))
            limit = MAX_PACKET_BYTES if alone and not frames else 0
            taken += self._take_from(source, lane, frames, limit)
            if lane:
                turns[source] = turns.pop(source)  # to the end of the line
                if limit:
                    break
            else:
                del turns[source], self.bytes_of[source]
        self.bytes -= taken
        return frames

    def _take_from(
        self, source: int, lane: deque[tuple[Pieces, int]], frames: list[Pieces], limit: int
    ) -> int:
        """One frame, or so many as fit below a limit."""
        taken = 0
        while lane:
            frame, size = lane.popleft()
            frames.append(frame)
            taken += size
            if taken >= limit:
                break
        self.bytes_of[source] -= taken
        return taken

    def clear(self) -> int:
        """Throw everything away; how much it was."""
        gone, self.bytes = self.bytes, 0
        self._turns.clear()
        self.bytes_of.clear()
        return gone
