"""Simulated links, and the gateway at their far end, in virtual time.

A simulated link keeps the contract of ``links.link``: packets whole and in order while it lives, and
when it breaks, it breaks whole. What the weather may do beyond that it does only to packets of nothing
but sealed frames: lose them without a word, bring them twice, let later ones overtake them. Those the
devices must put up with, because a gateway may do all that to them. A partition is a silence: nothing
arrives, nobody is told, and what was under way arrives when it heals, if its link still stands.

The gateway's machine is the product's own; only its sockets are played here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import msgspec

from easyremote.errors import RemoteProtocolError
from easyremote.protocol.gateway_effects import Admit, Close, Renew, Report, Send
from easyremote.protocol.gateway_events import (
    GatewayLinkClosed,
    GatewayLinkOpened,
    GatewayPacketReceived,
    GatewayWoken,
    RouterEvent,
)
from easyremote.protocol.router import Router
from easyremote.testing.realm import EPOCH, Realm
from easyremote.testing.world import Timer, World
from easyremote.wire.frame import Carry, Pieces, join, walk
from easyremote.wire.limits import LEASE_SECONDS, LINK_QUEUE_BYTES, MAX_PACKET_BYTES

CONNECT_TIMEOUT_SECONDS = 5.0
SOCKET_BYTES = 2 << 20
"""What is under way on a link before its writer has to wait."""


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """What links are like.

    Attributes:
        latency_seconds: The least and the most a packet takes.
        bytes_per_second: How fast packets are written.
        loss: The chance that a packet of sealed frames is lost without a word.
        repeat: The chance that one comes down twice.
        overtaken: The chance that one is held up and later ones overtake it.
        overtaken_seconds: How long it is held up, at most.
    """

    latency_seconds: tuple[float, float] = (0.001, 0.02)
    bytes_per_second: float = 100e6
    loss: float = 0.0
    repeat: float = 0.0
    overtaken: float = 0.0
    overtaken_seconds: float = 0.3


class End(Protocol):
    """Who holds one end of a link."""

    def packet(self, packet: bytes) -> None:
        """A packet has come."""

    def ended(self) -> None:
        """The link is over."""

    def room(self) -> None:
        """The next packet is welcome."""


class _Way:
    """One direction of a link."""

    __slots__ = ("last_at", "open", "reader", "stalled", "under_way_bytes")

    def __init__(self) -> None:
        self.reader: End | None = None
        self.open = True  # whether the reader still listens
        self.last_at = 0.0
        self.under_way_bytes = 0
        self.stalled: list[bytes | None] = []


UP, DOWN = 0, 1


class SimLink:
    """One device's link to the gateway, or to a device on another line; ``UP`` is away from who dialled."""

    def __init__(self, network: Network, line: Line, far: Line | None = None) -> None:
        self._network = network
        self._world = network.world
        self.line = line
        self._lines = (line,) if far is None else (line, far)
        for one in self._lines:
            one.links[self] = None
        self._ways = (_Way(), _Way())
        self.broken = False

    def attach(self, way: int, reader: End) -> None:
        """Say who reads what comes this way."""
        self._ways[way].reader = reader

    def has_room(self, way: int) -> bool:
        """Whether a packet this way would be written at once."""
        return self._ways[way].under_way_bytes < SOCKET_BYTES

    def send(self, way: int, packet: bytes) -> None:
        """Send a packet this way."""
        if self.broken or not self._ways[1 - way].open:
            return
        self._network.packets += 1
        weather, chance = self._network.weather, self._world.random.random
        self._world.note("packet", self.line.name, way, len(packet))
        if weather.loss or weather.overtaken or weather.repeat:
            sealed_only = all(isinstance(frame, Carry) for frame in walk(packet))
            if sealed_only:
                if chance() < weather.loss:
                    self._world.note("lost", self.line.name, way)
                    return
                # Going up, a second copy could be undeliverable where the first was delivered; no link does that.
                if way == DOWN and chance() < weather.repeat:
                    self._bring(way, packet, self._network.latency() + chance() * weather.overtaken_seconds)
                if chance() < weather.overtaken:
                    self._bring(way, packet, self._network.latency() + chance() * weather.overtaken_seconds)
                    return
        self._bring_in_order(way, packet)

    def _bring_in_order(self, way: int, packet: bytes | None) -> None:
        lane = self._ways[way]
        lane.last_at = max(self._world.now + self._network.latency(), lane.last_at)
        self._bring(way, packet, lane.last_at - self._world.now)

    def _bring(self, way: int, packet: bytes | None, seconds: float) -> None:
        self._ways[way].under_way_bytes += len(packet or b"")
        self._world.after(seconds, lambda: self._arrived(way, packet))

    def _arrived(self, way: int, packet: bytes | None) -> None:
        lane = self._ways[way]
        if any(line.cut for line in self._lines):
            lane.stalled.append(packet)
            return
        lane.under_way_bytes -= len(packet or b"")
        if not lane.open or lane.reader is None:
            return
        if packet is None:
            lane.open = False
            if not self._ways[1 - way].open:
                for line in self._lines:
                    line.links.pop(self, None)
            lane.reader.ended()
            return
        if self.broken:
            return
        lane.reader.packet(packet)
        writer = self._ways[1 - way].reader
        if writer is not None and not self.broken:
            writer.room()

    def healed(self) -> None:
        """The partition is over: what was under way goes on."""
        for way, lane in enumerate(self._ways):
            stalled, lane.stalled = lane.stalled, []
            for packet in stalled:
                lane.under_way_bytes -= len(packet or b"")
                self._bring_in_order(way, packet)

    def close(self, way: int) -> None:
        """Hang up at the end that sends this way: what it sent before still arrives, then the end."""
        mine = self._ways[1 - way]
        if not mine.open:
            return
        mine.open = False
        self._bring_in_order(way, None)

    def snap(self) -> None:
        """Break: what is under way is lost; both ends hear of it, unless they are cut off."""
        if not self.broken:
            self.broken = True
            self._bring(UP, None, self._network.latency())
            self._bring(DOWN, None, self._network.latency())


class Line:
    """Where a device plugs in: what happens to a cable happens here."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cut = False
        self.links: dict[SimLink, None] = {}


class Door(Protocol):
    """Who takes direct links."""

    line: Line

    def accept(self, link: SimLink) -> None:
        """Somebody has connected."""


class _Port:
    """The gateway's side of one link: a queue and one writer, as in ``gateway.ports``."""

    def __init__(self, gateway: SimGateway, number: int, link: SimLink) -> None:
        self._gateway, self.number, self.link = gateway, number, link
        self._world = gateway.world
        self._queue: deque[Pieces] = deque()
        self.queued_bytes = 0
        self._busy = False
        self._closing = False
        self.over = False

    def send(self, frame: Pieces) -> None:
        self._queue.append(frame)
        self.queued_bytes += sum(map(len, frame))
        self._gateway.queued_bytes_max = max(self._gateway.queued_bytes_max, self.queued_bytes)
        if self.queued_bytes > LINK_QUEUE_BYTES:
            self._queue.clear()
            self.close()
        self._write_soon()

    def close(self) -> None:
        self._closing = True
        self._write_soon()

    def _write_soon(self) -> None:
        if not self._busy:
            self._busy = True
            self._world.soon(self._write)

    def _write(self) -> None:
        self._busy = False
        if self.over:
            return
        if not self._queue:
            if self._closing:
                self.link.close(DOWN)
                self._gateway.ended(self)
            return
        if not self.link.has_room(DOWN):
            return  # room() comes
        frames: list[Pieces] = []
        size = 0
        while self._queue and size < MAX_PACKET_BYTES:
            frames.append(self._queue.popleft())
            size += sum(map(len, frames[-1]))
        self.queued_bytes -= size
        self.link.send(DOWN, join(frames))
        self._busy = True
        self._world.after(size / self._gateway.network.weather.bytes_per_second, self._write)

    # ---- what the link tells

    def packet(self, packet: bytes) -> None:
        if not self.over:
            self._gateway.received(self, packet)

    def ended(self) -> None:
        if not self.over:
            self._gateway.ended(self)

    def room(self) -> None:
        if self._queue or self._closing:
            self._write_soon()


class SimGateway:
    """The router's machine over simulated links; it can die and come back knowing nothing.

    Attributes:
        inspect: Is shown every packet that comes in, as the operator of a gateway could see it.
    """

    def __init__(self, network: Network, *, lease_seconds: float) -> None:
        self.network = network
        self.world = network.world
        self._lease_seconds = lease_seconds
        self.realm = Realm(network.world.random.randbytes, network.clock)
        self._numbers = 0
        self._timer: Timer | None = None
        self.ports: dict[int, _Port] = {}
        self.router: Router | None = Router(self.realm.gateway.device, lease_seconds=lease_seconds)
        self.inspect: Callable[[bytes], None] = lambda packet: None
        self.queued_bytes_max = 0

    def accept(self, link: SimLink) -> None:
        """A device has connected."""
        self._numbers += 1
        port = self.ports[self._numbers] = _Port(self, self._numbers, link)
        link.attach(UP, port)
        self._handle(GatewayLinkOpened(port.number, self.world.random.randbytes(32)))

    def received(self, port: _Port, packet: bytes) -> None:
        """A packet has come over a link."""
        self.inspect(packet)
        try:
            frames = walk(packet)
        except RemoteProtocolError:
            port.close()
            return
        self._handle(GatewayPacketReceived(port.number, frames))

    def ended(self, port: _Port) -> None:
        """A link is over."""
        port.over = True
        if self.ports.pop(port.number, None) is not None:
            self._handle(GatewayLinkClosed(port.number, "closed"))

    def die(self, down_seconds: float) -> None:
        """Lose everything, and start again after so many seconds."""
        if self.router is None:
            return
        self.world.note("gateway dies", round(down_seconds, 6))
        self.router = None
        for port in self.ports.values():
            port.over = True
            port.link.snap()
        self.ports.clear()
        self.world.after(down_seconds, self._begin)

    def revoke(self, device: bytes, *, keep_link: bool = False) -> None:
        """An operator puts a device out; a gateway that keeps its link does nothing but tell the others."""
        self.world.note("revokes", device.hex()[:8], keep_link)
        self._handle(self.realm.revoke(device, keep_link=keep_link))

    def _begin(self) -> None:
        self.world.note("gateway begins")
        self.router = Router(
            self.realm.gateway.device, lease_seconds=self._lease_seconds, revocations=self.realm.list
        )

    def _handle(self, event: RouterEvent) -> None:
        router = self.router
        if router is None:
            return
        for effect in router.handle(event, self.world.now):
            if isinstance(effect, Send):
                port = self.ports.get(effect.link)
                if port is not None:
                    port.send(effect.frame)
            elif isinstance(effect, Close):
                port = self.ports.get(effect.link)
                if port is not None:
                    port.close()
            elif isinstance(effect, Admit):
                self._handle(self.realm.admit(effect))
            elif isinstance(effect, Renew):
                self._handle(self.realm.renew(effect))
            elif isinstance(effect, Report):
                self.world.note("gateway", effect.event, effect.role, effect.name, effect.detail)
        if self._timer is None and router.wake_at < float("inf"):
            self._timer = self.world.at(router.wake_at, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._handle(GatewayWoken())


class Network:
    """One gateway and the lines to it."""

    def __init__(
        self, world: World, weather: Weather | None = None, *, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self.world = world
        self.weather = weather or Weather()
        self.clock: Callable[[], float] = lambda: EPOCH + world.now
        self.packets = 0
        self.lines: list[Line] = []
        self.doors: dict[str, Door] = {}
        """Who takes direct links, by address."""
        self.gateway = SimGateway(self, lease_seconds=lease_seconds)

    def line(self, name: str) -> Line:
        """A new place to plug in."""
        line = Line(name)
        self.lines.append(line)
        return line

    def latency(self) -> float:
        """How long the next packet takes."""
        low, high = self.weather.latency_seconds
        return self.world.random.uniform(low, high)

    def dial(self, line: Line, connected: Callable[[SimLink], None], failed: Callable[[], None]) -> None:
        """Connect to the gateway; exactly one of the two is called, later."""
        if line.cut:
            self.world.after(CONNECT_TIMEOUT_SECONDS, failed)
            return

        def arrived() -> None:
            if line.cut:
                self.world.after(CONNECT_TIMEOUT_SECONDS, failed)
            elif self.gateway.router is None:
                failed()
            else:
                link = SimLink(self, line)
                connected(link)
                self.gateway.accept(link)

        self.world.after(self.latency() + self.latency(), arrived)

    def dial_directly(
        self, line: Line, address: str, connected: Callable[[SimLink], None], failed: Callable[[], None]
    ) -> None:
        """Connect to whoever listens at an address; exactly one of the two is called, later."""

        def arrived() -> None:
            door = self.doors.get(address)
            if door is None:
                failed()
            elif line.cut or door.line.cut:
                self.world.after(CONNECT_TIMEOUT_SECONDS, failed)
            else:
                link = SimLink(self, line, door.line)
                connected(link)
                door.accept(link)

        self.world.after(self.latency() + self.latency(), arrived)

    def cut(self, line: Line, seconds: float) -> None:
        """Partition: silence on this line for so long."""
        if line.cut:
            return
        self.world.note("cut", line.name, round(seconds, 6))
        line.cut = True

        def heal() -> None:
            self.world.note("healed", line.name)
            line.cut = False
            for link in list(line.links):
                link.healed()

        self.world.after(seconds, heal)

    def snap(self, line: Line) -> None:
        """Break the links on this line; the line itself is good, so they can be made anew."""
        self.world.note("snap", line.name)
        for link in list(line.links):
            link.snap()
