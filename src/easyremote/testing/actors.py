"""Nodes and clients of a simulated network: the product's machines, driven in virtual time.

``Station`` does what ``links.driver`` does, without asyncio: it keeps a link up, hands what comes over it
to the machine, wakes it in time, and writes one packet at a time. ``SimNode`` puts a fake executor
under it; ``SimClient`` a program that makes calls and writes down how each of them ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from easyremote.errors import EasyRemoteError, RemoteProtocolError
from easyremote.protocol.device import Device
from easyremote.protocol.directory import card_transcript
from easyremote.protocol.effects import (
    Answered,
    Attached,
    CloseLink,
    Delivered,
    Detached,
    Dial,
    Effect,
    Faulted,
    Finished,
    Grant,
    Notice,
    Renewed,
    Start,
    Stop,
    Synced,
    Turned,
)
from easyremote.protocol.events import (
    CallCancelled,
    CallRequested,
    CardChanged,
    DialFailed,
    DirectClosed,
    DirectOpened,
    DrainStarted,
    Event,
    ItemsTaken,
    Joined,
    LinkClosed,
    LinkOpened,
    Offer,
    Offered,
    PacketReceived,
    Withdrawn,
    Woken,
)
from easyremote.protocol.machine import NEVER
from easyremote.protocol.routes import RELAY
from easyremote.protocol.worker import FEATURES
from easyremote.testing.fakes import FakeExecutor
from easyremote.testing.network import UP, Line, Network, SimLink
from easyremote.testing.world import Timer
from easyremote.trust.handshake import CLASSIC, Prekeys
from easyremote.trust.identity import Identity
from easyremote.wire.cards import FunctionCard, NodeCard, PrekeyCard, encode_card
from easyremote.wire.frame import join, walk

SPACING_SECONDS = 0.0005
SPACING_MESSAGES = 4
BACKOFF_SECONDS = 0.1
BACKOFF_SECONDS_MAX = 5.0
CARD_SECONDS = 4 * 3600.0
WAKES_MAX = 50
"""Wake-ups in a row at one instant that a machine may ask for; more is a busy loop."""


class Station:
    """One process: a machine on a line, from its start until it is killed or has left."""

    def __init__(self, network: Network, line: Line, machine: Device) -> None:
        self.network, self.line, self.machine = network, line, machine
        self.world = network.world
        self.alive = True
        self.attached = False
        self.leaving = False
        self.turned: EasyRemoteError | None = None
        self._cables: dict[int, _Cable] = {}
        self._numbers = RELAY
        realm = network.gateway.realm
        self.machine.handle(Joined(realm.root.device, realm.gateway.device, b""), self.world.now)
        self._timer: Timer | None = None
        self._woken_at = 0.0
        self._wakes = 0
        self._pause = BACKOFF_SECONDS

    def begin(self) -> None:
        """Connect, and reconnect for as long as the process lives."""
        self._dial()

    def kill(self) -> None:
        """The process is gone, without a word; its sockets are closed by its system."""
        self.world.note("killed", self.line.name)
        self._end()

    def _end(self) -> None:
        self.alive = False
        if self._timer is not None:
            self._timer.cancel()
        for cable in list(self._cables.values()):
            cable.link.close(cable.side)
        self._cables.clear()

    def post(self, event: Event) -> None:
        """Give the machine an event and do what it asks for."""
        if not self.alive:
            return
        for effect in self.machine.handle(event, self.world.now):
            if isinstance(effect, CloseLink):
                self.world.note("close link", self.line.name, effect.link, effect.reason)
                self._hang_up(effect.link, effect.reason)
            elif isinstance(effect, Dial):
                self._dial_directly(effect)
            else:
                self.perform(effect)
        self._write_soon()
        self.set_timer()

    def perform(self, effect: Effect) -> None:
        """Do what the machine asks for."""
        if isinstance(effect, Attached):
            self.attached = True
        elif isinstance(effect, Detached):
            self.attached = False
        elif isinstance(effect, Turned):
            self.turned = effect.error
            self.world.note("turned", self.line.name)
            self._end()
        elif isinstance(effect, Notice):
            self.world.note(effect.name, self.line.name, effect.call)

    # ---- links

    def _dial(self) -> None:
        if self.alive and not self.leaving:
            self.network.dial(self.line, self._connected, self._failed)

    def _failed(self) -> None:
        chance = self.world.random.uniform(0.5, 1.0)
        self.world.after(self._pause * chance, self._dial)
        self._pause = min(self._pause * 2, BACKOFF_SECONDS_MAX)

    def _connected(self, link: SimLink) -> None:
        self._plug(link, RELAY, UP, LinkOpened())

    def _dial_directly(self, dial: Dial) -> None:
        def connected(link: SimLink) -> None:
            number = self._number()
            self._plug(link, number, UP, DirectOpened(number, dial.peer, self._nonce()))

        def failed() -> None:
            self.post(DialFailed(dial.peer))

        self.network.dial_directly(self.line, dial.addresses[0], connected, failed)

    def accept(self, link: SimLink) -> None:
        """Somebody has dialled this process."""
        number = self._number()
        self._plug(link, number, 1 - UP, DirectOpened(number, b"", self._nonce()))

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _nonce(self) -> bytes:
        return self.world.random.randbytes(32)

    def _plug(self, link: SimLink, number: int, side: int, opened: Event) -> None:
        cable = _Cable(self, number, link, side)
        link.attach(1 - side, cable)
        if not self.alive:
            link.close(side)
            return
        self._cables[number] = cable
        self.post(opened)

    def _hang_up(self, number: int, reason: str) -> None:
        cable = self._cables.get(number)
        if cable is not None:
            cable.link.close(cable.side)
            self.unplugged(cable, reason)

    def unplugged(self, cable: _Cable, reason: str) -> None:
        """A link is over."""
        if not self.drives(cable):
            return
        del self._cables[cable.number]
        if cable.number != RELAY:
            self.post(DirectClosed(cable.number, reason))
            return
        self.post(LinkClosed(reason))
        long_lived = self.world.now - cable.opened_at > 1.0
        self._pause = BACKOFF_SECONDS if long_lived else min(self._pause * 2, BACKOFF_SECONDS_MAX)
        self.world.after(self._pause * self.world.random.uniform(0.2, 0.6), self._dial)

    def packet(self, cable: _Cable, packet: bytes) -> None:
        """A packet has come."""
        if self.drives(cable):
            try:
                frames = walk(packet)
            except RemoteProtocolError as error:
                self._hang_up(cable.number, str(error))
                return
            self.post(PacketReceived(frames, cable.number))

    def drives(self, cable: _Cable) -> bool:
        """Whether the link is still one of this process's."""
        return self._cables.get(cable.number) is cable

    def _write_soon(self) -> None:
        for number in self.machine.due(self.world.now):
            cable = self._cables.get(number)
            if cable is not None:
                cable.write_soon()

    # ---- time

    def set_timer(self) -> None:
        """See when the machine wants to be woken."""
        at = self.machine.wake_at
        if at == NEVER or (self._timer is not None and self._timer.at <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.world.at(at, self._wake)

    def _wake(self) -> None:
        self._timer = None
        now = self.world.now
        self._wakes = self._wakes + 1 if now == self._woken_at else 0
        self._woken_at = now
        if self._wakes > WAKES_MAX:
            raise AssertionError(f"{self.line.name} is woken again and again at {now:.6f} s")
        self.post(Woken())


class _Cable:
    """A station's end of one link, and its writer; news of links it has hung up on goes nowhere."""

    def __init__(self, station: Station, number: int, link: SimLink, side: int) -> None:
        self._station, self.number, self.link, self.side = station, number, link, side
        self._world = station.world
        self.opened_at = station.world.now
        self._writing = False

    def packet(self, packet: bytes) -> None:
        self._station.packet(self, packet)

    def ended(self) -> None:
        self._station.unplugged(self, "the link ended")

    def room(self) -> None:
        self.write_soon()

    def write_soon(self) -> None:
        if not self._writing:
            self._writing = True
            self._world.soon(self._write)

    def _write(self) -> None:
        self._writing = False
        station, link = self._station, self.link
        if not station.alive or not station.drives(self):
            return
        if not link.has_room(self.side):
            return  # room() comes
        frames = station.machine.pull(self._world.now, self.number)
        station.set_timer()
        if not frames:
            return
        packet = join(frames)
        link.send(self.side, packet)
        self._writing = True
        seconds = len(packet) / station.network.weather.bytes_per_second
        if station.machine.sessions.bundled >= SPACING_MESSAGES:
            seconds += SPACING_SECONDS
        self._world.after(seconds, self._write)


class SimNode(Station):
    """A process that serves functions."""

    def __init__(
        self,
        network: Network,
        line: Line,
        identity: Identity,
        functions: Sequence[FunctionCard],
        *,
        suite: str = CLASSIC,
        capacity: int = 256,
        max_value_bytes: int = 1 << 24,
        direct: bool = False,
        clock_error_seconds: float = 0.0,
    ) -> None:
        self._clock: Callable[[], float] = lambda: network.clock() + clock_error_seconds
        self._identity, self._functions = identity, list(functions)
        chance = network.world.random
        self._prekeys = Prekeys(suite=suite)
        self._prekeys.rotate(chance.randbytes)
        self._card_number = 0
        self._name = line.name
        self._capacity, self._max_value_bytes = capacity, max_value_bytes
        endpoint = identity.device + chance.randbytes(8)
        machine = Device(
            identity,
            endpoint,
            name=line.name,
            role="node",
            entropy=chance.randbytes,
            dice=chance.random,
            prekeys=self._prekeys,
            max_value_bytes=max_value_bytes,
            capacity=capacity,
            clock=self._clock,
            direct=direct,
        )
        super().__init__(network, line, machine)
        self._addresses = [f"{line.name}-{endpoint[32:].hex()}"] if direct else []
        for address in self._addresses:
            network.doors[address] = self
        self.executor = FakeExecutor(self.world, self.post)
        for card in functions:
            self.post(
                Offered(
                    Offer(card.name, card.max_concurrent, card.timeout_seconds, idempotent=card.idempotent)
                )
            )

    def perform(self, effect: Effect) -> None:
        """Do what the machine asks for."""
        if isinstance(effect, Start):
            self.executor.start(effect)
        elif isinstance(effect, Stop):
            self.executor.stop(effect)
        elif isinstance(effect, Grant):
            self.executor.grant(effect)
        else:
            super().perform(effect)
            if isinstance(effect, Attached):
                self._name = effect.name
                self.show_card()
            elif isinstance(effect, Renewed) and self.attached:
                self.show_card()

    def rotate_prekey(self) -> None:
        """As a node does every hour."""
        self._prekeys.rotate(self.world.random.randbytes)
        self.show_card()

    def withdraw(self, name: str) -> None:
        """Serve a function no longer."""
        self.world.note("withdraws", self.line.name, name)
        self._functions = [card for card in self._functions if card.name != name]
        self.post(Withdrawn(name))
        self.show_card()

    def show_card(self) -> None:
        """Advertise what is served."""
        self._card_number += 1
        prekey = self._prekeys.current
        card = encode_card(
            NodeCard(
                endpoint=self.machine.endpoint,
                name=self._name,
                number=self._card_number,
                prekey=PrekeyCard(id=prekey.id, suite=prekey.suite, aead=prekey.aead, key=prekey.key),
                functions=self._functions,
                max_value_bytes=self._max_value_bytes,
                capacity=self._capacity,
                membership=self.machine.standing.credential,
                expires_seconds=self._clock() + CARD_SECONDS,
                addresses=self._addresses,
                features=FEATURES,
            )
        )
        self.post(CardChanged(card, self._identity.sign(card_transcript(card))))

    def kill(self) -> None:
        """The process is gone without a word."""
        self.executor.kill()
        super().kill()

    def _end(self) -> None:
        for address in self._addresses:
            self.network.doors.pop(address, None)
        super()._end()

    def leave(self, drain_seconds: float) -> None:
        """Take nothing new, and go once everything is answered, or after so long."""
        self.world.note("leaves", self.line.name)
        self.post(DrainStarted())
        give_up_at = self.world.now + drain_seconds

        def look() -> None:
            worker = self.machine.worker
            quiet = all(channel.quiet for channel in self.machine.sessions)
            if (worker is not None and (len(worker) or not quiet)) and self.world.now < give_up_at:
                self.world.after(0.05, look)
                return
            self.executor.kill()
            self.leaving = True
            self.machine.attachment.leave()
            self._write_soon()
            self.world.after(0.2, self._end)

        look()


class Outcome(msgspec.Struct):
    """How one call went, as the program saw it.

    Attributes:
        settled: How often it was told that the call had ended.
        values: The result, or the items in the order they came.
    """

    request: CallRequested
    settled: int = 0
    finished: bool = False
    cancelled: bool = False
    values: list[bytes] = []
    error: EasyRemoteError | None = None
    ended_at: float = 0.0


class SimClient(Station):
    """A process that calls."""

    def __init__(
        self,
        network: Network,
        line: Line,
        identity: Identity,
        *,
        max_value_bytes: int = 1 << 24,
        clock_error_seconds: float = 0.0,
    ) -> None:
        chance = network.world.random
        machine = Device(
            identity,
            identity.device + chance.randbytes(8),
            name="",
            role="client",
            entropy=chance.randbytes,
            dice=chance.random,
            max_value_bytes=max_value_bytes,
            clock=lambda: network.clock() + clock_error_seconds,
        )
        super().__init__(network, line, machine)
        self.outcomes: dict[int, Outcome] = {}
        self.slowness_seconds = 0.0
        """How long the program takes for each item of a stream."""

    @property
    def open_calls(self) -> int:
        """Calls that have neither ended nor been cancelled."""
        return sum(1 for one in self.outcomes.values() if not one.settled and not one.cancelled)

    def call(self, request: CallRequested) -> None:
        """Make a call."""
        if self.alive:
            self.outcomes[request.call] = Outcome(request)
            self.world.note("call", self.line.name, request.call)
            self.post(request)

    def cancel(self, number: int) -> None:
        """Want the answer no more."""
        outcome = self.outcomes.get(number)
        if outcome is not None and not outcome.settled:
            outcome.cancelled = True
            self.post(CallCancelled(number))

    def perform(self, effect: Effect) -> None:
        """Do what the machine asks for."""
        if isinstance(effect, Answered):
            self.outcomes[effect.call].values.append(bytes(effect.value))
            self._settled(effect.call, "answered")
        elif isinstance(effect, Delivered):
            outcome = self.outcomes[effect.call]
            outcome.values.append(bytes(effect.value))
            if outcome.settled:
                raise AssertionError(f"an item of call {effect.call:x} came after its end")
            taken = ItemsTaken(effect.call, effect.cost)
            self.world.after(self.slowness_seconds, lambda: self.post(taken))
        elif isinstance(effect, Finished):
            self.outcomes[effect.call].finished = True
            self._settled(effect.call, "finished")
        elif isinstance(effect, Faulted):
            self.outcomes[effect.call].error = effect.error
            self._settled(effect.call, type(effect.error).__name__)
        elif not isinstance(effect, Synced):
            super().perform(effect)

    def _settled(self, number: int, how: str) -> None:
        outcome = self.outcomes[number]
        outcome.settled += 1
        outcome.ended_at = self.world.now
        self.world.note("settled", self.line.name, number, how)
