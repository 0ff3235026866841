"""Who is attached to a gateway, under which name, and who wants to know."""

from __future__ import annotations

from collections import OrderedDict

from easyremote.protocol.limits import Limits, Pace
from easyremote.wire.messages import Hello, LoadReport, Presence

NO_LOAD = LoadReport()
GONE_MAX = 10_000
"""Of so many endpoints it is remembered why they are gone."""


class Attached:
    """One link to a gateway and the device at its other end."""

    __slots__ = (
        "address",
        "asked_at",
        "endpoint",
        "heard_at",
        "hello",
        "late_at",
        "link",
        "load",
        "name",
        "nonce",
        "opened_at",
        "pace",
        "presence",
        "renew_at",
        "role",
        "roles",
        "shown_name",
        "transcript",
    )

    def __init__(self, link: int, nonce: bytes, address: str, limits: Limits, now: float) -> None:
        self.link = link
        self.nonce = nonce
        self.address = address
        self.pace = Pace(limits)
        self.hello: Hello | None = None
        self.transcript = b""
        self.roles: tuple[str, ...] = ()
        self.shown_name = ""
        self.renew_at = float("inf")
        self.opened_at = now
        self.heard_at = now
        self.late_at = float("-inf")
        """When a word of it last came that had been overdue."""
        self.asked_at = float("inf")
        """When something was first passed on to it that it has not followed by a word."""
        self.endpoint = b""
        self.name = ""
        self.role = ""
        self.presence: Presence | None = None
        self.load = NO_LOAD

    def heard(self, now: float, lease_seconds: float) -> None:
        """It said something."""
        if self._late(now, lease_seconds):
            self.late_at = now
        self.heard_at, self.asked_at = now, float("inf")

    def _late(self, now: float, lease_seconds: float) -> bool:
        """Whether a word of it is overdue: it answers at once, and speaks three times a lease while it has calls."""
        busy = self.load.running or self.load.waiting
        unanswered, silent = now - self.asked_at, now - self.heard_at
        return unanswered >= lease_seconds / 10 or (busy > 0 and silent >= lease_seconds / 2)

    def fell_silent(self, now: float, lease_seconds: float) -> bool:
        """Whether a link of it that breaks now does so because its network did: a word of it is overdue, or came late."""
        if self._late(now, lease_seconds) or now - self.late_at < lease_seconds:
            return True
        return self.asked_at <= now and now - self.heard_at >= lease_seconds / 2

    def gone(self, now: float, lease_seconds: float) -> bool:
        """Whether its silence means that it is gone: after a lease where calls are at stake, else after two."""
        silent = now - self.heard_at
        if silent < lease_seconds:
            return False
        at_stake = not self.welcomed or self.load.running or self.load.waiting
        return bool(at_stake) or silent >= 2 * lease_seconds or now - self.asked_at >= lease_seconds

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
        self.by_address: dict[str, set[int]] = {}
        self.gone: OrderedDict[bytes, str] = OrderedDict()
        """Of endpoints that were here, why they are not any more."""
        self._links_of: dict[bytes, int] = {}

    def open(self, attached: Attached) -> None:
        """A link from somebody who has not said who they are."""
        self.by_link[attached.link] = attached
        self.by_address.setdefault(attached.address, set()).add(attached.link)

    def links_of(self, device: bytes) -> int:
        """How many links a device has."""
        return self._links_of.get(device, 0)

    def add(self, attached: Attached) -> None:
        """A device has proved who it is."""
        self.by_endpoint[attached.endpoint] = attached
        self.gone.pop(attached.endpoint, None)
        device = attached.endpoint[:32]
        self._links_of[device] = self._links_of.get(device, 0) + 1
        if attached.name:
            self.by_name[attached.name] = attached

    def note_gone(self, endpoint: bytes, reason: str) -> None:
        """A device is gone; whoever sends it something is told why."""
        self.gone[endpoint] = reason
        self.gone.move_to_end(endpoint)
        if len(self.gone) > GONE_MAX:
            self.gone.popitem(last=False)

    def remove(self, link: int) -> Attached | None:
        """A link is gone; the device that was at its end, if it was welcomed."""
        attached = self.by_link.pop(link, None)
        if attached is None:
            return None
        self.watchers.pop(link, None)
        crowd = self.by_address.get(attached.address, set())
        crowd.discard(link)
        if not crowd:
            self.by_address.pop(attached.address, None)
        if self.by_endpoint.get(attached.endpoint) is attached:
            del self.by_endpoint[attached.endpoint]
            device = attached.endpoint[:32]
            self._links_of[device] -= 1
            if not self._links_of[device]:
                del self._links_of[device]
        if self.by_name.get(attached.name) is attached:
            del self.by_name[attached.name]
        return attached if attached.welcomed else None

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
