"""Routes: which link leads to a peer, and the channels that have something for one link, now or later; the others cost nothing.

A channel stands in one route at a time and may change it at any moment: what was sent over the link before
arrives or is sent again, and the peer takes every frame once and in order. That is why traffic can move from
the gateway to a direct link and back without a call being lost or run twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from easyremote.protocol.channel import Channel

RELAY = 0
"""The number of the link through the gateway; direct links have others."""


class Route:
    """One link's channels that have something to do.

    Args:
        link: The link's number.
        awake: Where routes are noted that may have something; shared by all routes of a device.
    """

    __slots__ = ("_awake", "channels", "link")

    def __init__(self, link: int, awake: dict[Route, None]) -> None:
        self.link = link
        self.channels: dict[Channel, None] = {}
        self._awake = awake

    def add(self, channel: Channel) -> None:
        """The channel has something to do."""
        self.channels[channel] = None
        self._awake[self] = None

    def discard(self, channel: Channel) -> None:
        """It has not."""
        self.channels.pop(channel, None)
