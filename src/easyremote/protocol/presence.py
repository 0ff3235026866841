"""Who is attached to a gateway, under which name, and who wants to know."""

from __future__ import annotations

from easyremote.wire.messages import LoadReport, Presence

NO_LOAD = LoadReport()


class Attached:
    """One link to a gateway and the device at its other end."""

    __slots__ = (
        "endpoint",
        "heard_at",
        "link",
        "load",
        "name",
        "nonce",
        "opened_at",
        "presence",
        "role",
        "watching",
    )

    def __init__(self, link: int, nonce: bytes, now: float) -> None:
        self.link = link
        self.nonce = nonce
        self.opened_at = now
        self.heard_at = now
        self.endpoint = b""
        self.name = ""
        self.role = ""
        self.watching = False
        self.presence: Presence | None = None
        self.load = NO_LOAD

    @property
    def welcomed(self) -> bool:
        """Whether the device has proved who it is."""
        return bool(self.endpoint)


class PresenceTable:
    """Every attached device: by link, by endpoint, and nodes by name."""

    def __init__(self) -> None:
        self.by_link: dict[int, Attached] = {}
        self.by_endpoint: dict[bytes, Attached] = {}
        self.by_name: dict[str, Attached] = {}
        self.watchers: dict[int, Attached] = {}

    def add(self, attached: Attached) -> None:
        """A device has proved who it is."""
        self.by_endpoint[attached.endpoint] = attached
        if attached.name:
            self.by_name[attached.name] = attached

    def remove(self, link: int) -> Attached | None:
        """A link is gone; the device that was at its end, if it was welcomed."""
        attached = self.by_link.pop(link, None)
        if attached is None:
            return None
        self.watchers.pop(link, None)
        if self.by_endpoint.get(attached.endpoint) is attached:
            del self.by_endpoint[attached.endpoint]
        if self.by_name.get(attached.name) is attached:
            del self.by_name[attached.name]
        return attached if attached.welcomed else None

    def free_name(self, wanted: str) -> str:
        """``wanted``, or the first of ``wanted-2``, ``wanted-3``… that nobody holds."""
        if wanted not in self.by_name:
            return wanted
        number = 2
        while f"{wanted}-{number}" in self.by_name:
            number += 1
        return f"{wanted}-{number}"

    def nodes(self) -> list[Presence]:
        """All nodes that have shown a card, with their load."""
        return [
            Presence(
                endpoint=shown.endpoint,
                name=shown.name,
                card=shown.card,
                signature=shown.signature,
                load=one.load,
            )
            for one in self.by_name.values()
            if (shown := one.presence) is not None
        ]
