"""What one address and one device may take of a gateway, each limit named once.

A limit on how fast is kept by reading more slowly, which reaches the sender as backpressure: nothing is lost
by it. A limit on how many is kept by turning away, with the limit's name.
"""

from __future__ import annotations

from collections.abc import Sized

import msgspec

from easyremote.errors import UsageError
from easyremote.wire.limits import JOB_SECONDS_MAX, WINDOW_BYTES


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings, with their defaults.

    Attributes:
        connections_per_address: Connections from one network address, members or not.
        connections_per_device: Connections of one device: each process of it has one.
        watches_per_device: Connections of one device that are told of changes in the directory.
        functions_per_card: Functions a node may list.
        enrollments_per_minute: Attempts to enroll, or to say hello without being a member, from one address.
        hello_seconds: How long a connection may take to say who it is.
        packets_per_second: Packets read from one connection.
        frames_per_second: Frames read from one connection.
        bytes_per_second: Bytes read from one connection.
        shared_packets_per_second: The same while others send as well; a node has as much for each client that does.
        shared_bytes_per_second: The same in bytes.
        shared_packet_bytes: A larger packet counts for more than its bytes while others send as well, because
            they wait until it has gone through: by as much as it is larger, squared.
        queue_bytes_per_connection: What may wait for one device that does not read; over it, it is disconnected.
        queue_bytes: What may wait for all; over it, the device for which most waits is disconnected.
        burst_seconds: How much of a second's worth may come at once.
    """

    connections_per_address: int = 4096
    connections_per_device: int = 1024
    watches_per_device: int = 256
    functions_per_card: int = 1000
    enrollments_per_minute: int = 30
    hello_seconds: float = 5.0
    packets_per_second: float = 4000.0
    frames_per_second: float = 20_000.0
    bytes_per_second: float = 1024.0 * (1 << 20)
    shared_packets_per_second: float = 1000.0
    shared_bytes_per_second: float = 96.0 * (1 << 20)
    shared_packet_bytes: int = 128 << 10
    queue_bytes_per_connection: int = 64 << 20
    queue_bytes: int = 256 << 20
    burst_seconds: float = 0.02

    def __post_init__(self) -> None:
        """A limit of nothing would let nobody in."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not isinstance(value, int | float) or not value > 0:
                raise UsageError(f"the limit {name} is a number above 0, not {value!r}")


DEFAULT_LIMITS = Limits()


class MailboxLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a mailbox holds at most.

    Attributes:
        letter_bytes: One letter, or one result.
        account_jobs: Jobs of one account that are not over.
        account_bytes: All that waits for one account, letters and results.
        jobs: Jobs in all, those included of which only the outcome's date is left.
        bytes: All that waits.
        keep_seconds: How long a letter may wait for its node, and a result for its caller.
        spare_bytes: What is left free of the disk, so that what waits can still be taken out, and the gateway start.
    """

    letter_bytes: int = 64 << 20
    account_jobs: int = 1000
    account_bytes: int = 1 << 30
    jobs: int = 100_000
    bytes: int = 10 << 30
    keep_seconds: float = JOB_SECONDS_MAX
    spare_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        """Nothing may be below 0, and only the spare room 0."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            least = 0 if name == "spare_bytes" else 1
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
                raise UsageError(f"the mailbox's {name} is a number from {least} up, not {value!r}")
        if self.keep_seconds > JOB_SECONDS_MAX:
            raise UsageError(
                f"the mailbox's keep_seconds is {JOB_SECONDS_MAX:,.0f} at most, not {self.keep_seconds!r}"
            )


DEFAULT_MAILBOX = MailboxLimits()
LATELY_SECONDS = 0.1
ALONE_SECONDS = 2.0
"""How long it must have been alone to be told that it may send large ones again."""
WASTED_WEIGHT = 10


class Pace:
    """How fast one connection sends; a bucket each for packets, frames and bytes, refilled by time.

    The three are kept as the moments at which they would be empty again (the virtual scheduling form of the
    generic cell rate algorithm, ITU-T I.371).
    """

    __slots__ = (
        "_bytes_at",
        "_frames_at",
        "_limits",
        "_on_its_way",
        "_packets_at",
        "_shared_at",
        "small_since",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._packets_at = self._frames_at = self._bytes_at = self._shared_at = 0.0
        self.small_since: float | None = None
        """Since when its packets are to be small, if they are."""
        self._on_its_way = 0  # what it may have sent before it heard that

    def count(self, frames: Sized, size: int, share: int, now: float) -> float:
        """Count a packet; the seconds to wait before reading the next, 0 while the pace is kept.

        Args:
            frames: What was in it.
            size: Its bytes.
            share: How many shares this connection has while others send as well; 0 while nobody else does.
            now: The machine's time.
        """
        limits = self._limits
        packets, octets = limits.packets_per_second, limits.bytes_per_second
        if share:
            packets = min(packets, limits.shared_packets_per_second * share)
            octets = min(octets, limits.shared_bytes_per_second * share)
            self._shared_at = now
            if size > limits.shared_packet_bytes:
                if self.small_since is None:
                    self.small_since, self._on_its_way = now, WINDOW_BYTES
                if self._on_its_way > 0:
                    self._on_its_way -= size
                else:
                    octets *= (limits.shared_packet_bytes / size) ** 2
        elif now - self._shared_at > ALONE_SECONDS:
            self.small_since = None
        self._packets_at = max(self._packets_at, now) + 1.0 / packets
        self._frames_at = max(self._frames_at, now) + len(frames) / limits.frames_per_second
        self._bytes_at = max(self._bytes_at, now) + size / octets
        ahead = max(self._packets_at, self._frames_at, self._bytes_at) - now
        return ahead - limits.burst_seconds if ahead > limits.burst_seconds else 0.0

    def wasted(self, frames: int) -> None:
        """Frames that went to nobody count again, several times: they are cheap to send and dear to answer."""
        self._frames_at += frames * WASTED_WEIGHT / self._limits.frames_per_second


class Traffic:
    """Which connections have sent something lately, and how much of the gateway each may have for that."""

    def __init__(self) -> None:
        self._clients: dict[int, float] = {}
        self._nodes: dict[int, float] = {}

    def share(self, link: int, role: str, now: float) -> int:
        """Note that a connection has sent; its shares, 0 if it has the gateway to itself.

        A client alone with the nodes that answer it has, and so has a node with its one client. Otherwise a
        client has one share, and a node one for every client that is at it.
        """
        mine = self._nodes if role == "node" else self._clients
        mine.pop(link, None)
        mine[link] = now
        for sending in (self._clients, self._nodes):
            while sending and now - next(iter(sending.values())) > LATELY_SECONDS:
                del sending[next(iter(sending))]
        clients, nodes = len(self._clients), len(self._nodes)
        if role == "node":
            return max(clients, 1) if clients + nodes > 2 else 0
        return 1 if clients > 1 else 0


class Attempts:
    """How often each address has tried lately; a bucket an address, forgotten when full again."""

    def __init__(self, per_minute: int) -> None:
        self._each_seconds = 60.0 / per_minute
        self._burst_seconds = 60.0
        self._free_at: dict[str, float] = {}

    def allow(self, address: str, now: float) -> bool:
        """Count an attempt; False if this address has made too many."""
        at = max(self._free_at.get(address, 0.0), now)
        if at - now > self._burst_seconds - self._each_seconds:
            return False
        self._free_at[address] = at + self._each_seconds
        if len(self._free_at) > 10_000:
            self._free_at = {one: when for one, when in self._free_at.items() if when > now}
        return True
