"""What carries packets, in four verbs.

A link delivers packets whole and in order while it lives, and breaks whole: after a break nothing more
arrives. What was sent just before a break may or may not have arrived; the machines above know that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias


class Link(Protocol):
    """One end of a link."""

    address: str
    """The other end, for people."""

    async def send(self, *packet: bytes | memoryview) -> None:
        """Hand over a packet, in one part or several; returns when the next one is welcome.

        Raises:
            LinkError: The link is broken.
        """

    async def receive(self) -> bytes | bytearray | None:
        """The next packet; None when the link has ended, for whatever reason."""

    async def close(self, reason: str = "") -> None:
        """End the link; both ends' ``receive`` return None. Closing twice is nothing."""


Connect: TypeAlias = Callable[[], Awaitable[Link]]
"""Makes a fresh link, or raises LinkError."""


DialDirectly: TypeAlias = Callable[[Sequence[str], bytes], Awaitable[Link]]
"""Makes a direct link to one of these addresses, under the certificate of this fingerprint; or raises LinkError."""


class Listener(Protocol):
    """Where links arrive; each is handed to the function given when the listener was made."""

    address: str

    async def close(self, grace_seconds: float = 0.5) -> None:
        """Take no more links and end those there are."""
