"""Where asyncio meets a machine, and the only such place for devices.

The driver keeps a link to the gateway up, and direct ones where the machine wants them, hands what comes over
them to the machine, lets it act when its time has come, and writes what it wants to send. A write starts at once when none is under way; while one is, messages
gather, and the next packet takes them all. After a packet of several messages the next write waits half
a millisecond, which on uvloop, whose timers count whole ones, is the loop's turn after next: callers that are
out of step then share packets, and a single call never waits.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from easyremote.errors import LinkError, RemoteProtocolError, TrustError
from easyremote.links.eager import Eager
from easyremote.links.link import Connect, DialDirectly, Link
from easyremote.protocol.device import Device
from easyremote.protocol.effects import CloseLink, Dial, Effect, Notice, Turned
from easyremote.protocol.events import (
    DialFailed,
    DirectClosed,
    DirectOpened,
    Event,
    LinkClosed,
    LinkOpened,
    PacketReceived,
    Woken,
)
from easyremote.protocol.machine import NEVER
from easyremote.protocol.routes import RELAY
from easyremote.trace import log
from easyremote.wire.frame import parts, walk

SPACING_SECONDS = 0.0005
SPACING_MESSAGES = 4
SPACING_PEERS = 4
"""With more peers than so many to write to, the pause grows with them: each has its own frame in every packet."""
GRAIN_SECONDS = 0.002
"""How late a machine may be woken."""
_dice = random.Random()  # of our own: a program may have seeded the common one, and count on it
BACKOFF_SECONDS = 0.1
BACKOFF_SECONDS_MAX = 5.0


class _Line:
    """A link while it is driven."""

    __slots__ = ("link", "number", "writing")

    def __init__(self, number: int, link: Link) -> None:
        self.number, self.link = number, link
        self.writing = False

    def written(self) -> None:
        """Nothing is being written any more."""
        self.writing = False


class Driver:
    """Drives one device's machine over a link to its gateway, and direct ones.

    Args:
        machine: The machine.
        connect: Makes a fresh link to the gateway.
        performers: Who does what the machine asks for, by the kind of effect; what nobody is named for is not done.
            The links are the driver's own business.
        dial: Makes a direct link; without it, none are made.
    """

    def __init__(
        self,
        machine: Device,
        connect: Connect,
        performers: Mapping[type, Callable[[Any], None]],
        dial: DialDirectly | None = None,
    ) -> None:
        self._machine = machine
        self._connect = connect
        self._dial = dial
        self._performers: dict[type, Callable[[Any], None]] = {
            **performers,
            CloseLink: self._close_link,
            Dial: self._dial_soon,
        }
        self._loop = asyncio.get_running_loop()
        self._lines: dict[int, _Line] = {}
        self._numbers = itertools.count(RELAY + 1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._look: asyncio.TimerHandle | None = None
        self._looking = False
        self._running: asyncio.Task[None] | None = None
        self._closing = False
        self.last_error: LinkError | None = None
        """Why the last attempt to connect failed, if it did."""

    def start(self) -> None:
        """Begin to connect, and reconnect until closed."""
        self._running = self._loop.create_task(self._run())
        self._running.add_done_callback(_say_if_it_broke)

    @property
    def connected(self) -> bool:
        """Whether a link to the gateway stands."""
        return RELAY in self._lines

    @property
    def link(self) -> Link | None:
        """The link to the gateway, if it stands."""
        line = self._lines.get(RELAY)
        return line.link if line is not None else None

    def post(self, event: Event) -> None:
        """Give the machine an event; on the loop's thread.

        What it wants to send is on its way before anything else is done about it.
        """
        now = self._loop.time()
        self._go_on(self._machine.handle(event, now), now)

    def post_all(self, events: Sequence[Event]) -> None:
        """The same for several events: what they set off shares packets."""
        now = self._loop.time()
        self._go_on(self._machine.handle_all(events, now), now)

    def _go_on(self, effects: Sequence[Effect], now: float) -> None:
        self._write_what_is_due(now)
        performers = self._performers
        for effect in effects:
            if (perform := performers.get(type(effect))) is not None:
                perform(effect)
        if not self._looking:
            self._set_timer()

    def _perform(self, effect: Effect) -> None:
        if (perform := self._performers.get(type(effect))) is not None:
            perform(effect)

    def _write_what_is_due(self, now: float) -> None:
        for one in self._lines.values():
            if not one.writing:
                break
        else:
            return  # who writes looks again
        for number in self._machine.due(now):
            line = self._lines.get(number)
            if line is not None and not line.writing:
                line.writing = True
                Eager(self._write(line), line.written)

    async def flush(self, timeout_seconds: float, *, absent: bool = False) -> bool:
        """Wait until everything was sent and acknowledged; False if that took too long.

        Args:
            timeout_seconds: How long.
            absent: Whether to wait for peers that are away as well, while they may still come back.
        """
        deadline = self._loop.time() + timeout_seconds
        while (now := self._loop.time()) < deadline:
            waiting = any(
                one.outstanding(now) if absent else not one.quiet and one.absent_since == NEVER
                for one in self._machine.sessions
            )
            if not waiting and not self._machine.attachment.outgoing:
                return True
            await asyncio.sleep(0.01)
        return False

    def let_go(self) -> None:
        """Do not connect again when this link ends."""
        self._closing = True

    async def close(self) -> None:
        """Drop the link and stop."""
        self._closing = True
        for timer in (self._timer, self._look):
            if timer is not None:
                timer.cancel()
        tasks = [*self._tasks, *([self._running] if self._running is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for line in list(self._lines.values()):
            await line.link.close()

    # ---- direct links

    async def accept(self, link: Link) -> None:
        """Drive a direct link that somebody opened here, until it ends."""
        await self._live_directly(link, b"")

    def _close_link(self, effect: CloseLink) -> None:
        line = self._lines.get(effect.link)
        if line is not None:
            self._spawn(line.link.close(effect.reason))

    def _dial_soon(self, dial: Dial) -> None:
        self._spawn(self._dial_directly(dial))

    async def _dial_directly(self, dial: Dial) -> None:
        try:
            if self._dial is None:
                raise LinkError("nothing is dialled here")
            link = await self._dial(dial.addresses, dial.fingerprint)
        except LinkError as error:
            self._perform(Notice("direct link failed", detail=str(error)))
            self.post(DialFailed(dial.peer))
            return
        await self._live_directly(link, dial.peer)

    async def _live_directly(self, link: Link, peer: bytes) -> None:
        number = next(self._numbers)
        line = _Line(number, link)
        await self._live(
            line, DirectOpened(number, peer, os.urandom(32)), lambda reason: DirectClosed(number, reason)
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_say_if_it_broke)

    # ---- the link

    async def _run(self) -> None:
        pause = BACKOFF_SECONDS
        while not self._closing:
            try:
                link = await self._connect()
            except TrustError as error:
                self._perform(Turned(error))
                await asyncio.sleep(pause * _dice.uniform(0.5, 1.0))
                pause = min(pause * 2, BACKOFF_SECONDS_MAX)
                continue
            except LinkError as error:
                self.last_error = error
                await asyncio.sleep(pause * _dice.uniform(0.5, 1.0))
                pause = min(pause * 2, BACKOFF_SECONDS_MAX)
                continue
            self.last_error = None
            opened_at = self._loop.time()
            await self._live(_Line(RELAY, link), LinkOpened(), LinkClosed)
            # A gateway that hangs up at once is not hammered.
            pause = (
                BACKOFF_SECONDS
                if self._loop.time() - opened_at > 1.0
                else min(pause * 2, BACKOFF_SECONDS_MAX)
            )
            await asyncio.sleep(pause * _dice.uniform(0.2, 0.6))

    async def _live(self, line: _Line, opened: Event, closed: Callable[[str], Event]) -> None:
        """One link's life, from open to closed."""
        link, number = line.link, line.number
        self._lines[number] = line
        self.post(opened)
        reason = "the other end closed the connection"
        try:
            while (packet := await link.receive()) is not None:
                self.post(PacketReceived(walk(packet), number))
        except RemoteProtocolError as error:
            reason = f"the other end broke the protocol: {error}"
        finally:
            del self._lines[number]
            await link.close()
            self.post(closed(reason))

    async def _write(self, line: _Line) -> None:
        """Write until there is nothing more to write."""
        machine, loop, lines = self._machine, self._loop, self._lines
        link, number = line.link, line.number
        while lines.get(number) is line and (frames := machine.pull(loop.time(), number)):
            self._set_timer()  # what is sent now may have to be sent again
            sessions = machine.sessions
            bundled, peers = sessions.bundled, sessions.peers  # of this pull: others may come meanwhile
            try:
                await link.send(*parts(frames))
            except LinkError:
                await link.close()
                return
            if bundled >= SPACING_MESSAGES:
                await asyncio.sleep(SPACING_SECONDS * max(1.0, peers / SPACING_PEERS))
            elif machine.answers_soon:
                await asyncio.sleep(0)  # what else this turn of the loop brings goes together

    # ---- time

    def _set_timer(self) -> None:
        """See soon when the machine wants to be woken; not after every event, which would cost more."""
        if not self._looking:
            self._looking = True
            self._look = self._loop.call_later(GRAIN_SECONDS, self._look_at_the_clock)

    def _look_at_the_clock(self) -> None:
        self._looking = False
        at = self._machine.wake_at
        if at >= self._timer_at:
            return  # the timer that is set comes early enough; it sets the next
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._wake)

    def _wake(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        self.post(Woken())


def _say_if_it_broke(task: asyncio.Task[None]) -> None:
    """A driver runs until it is closed; if it ends otherwise, somebody must hear of it."""
    if not task.cancelled() and task.exception() is not None:
        log.error("the link's driver broke; please report this", exc_info=task.exception())
