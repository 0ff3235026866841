"""Where asyncio meets a machine, and the only such place for devices.

The driver keeps a link up, hands what comes over it to the machine, lets it act when its time has come,
and writes what it wants to send. A write starts at once when none is under way; while one is, messages
gather, and the next packet takes them all. After a packet of several messages the next write waits half
a millisecond: callers that are out of step then share packets, and a single call never waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence

from easyremote.errors import LinkError, RemoteProtocolError, TrustError
from easyremote.links.link import Connect, Link
from easyremote.protocol.device import Device
from easyremote.protocol.effects import CloseLink, Effect, Turned
from easyremote.protocol.events import Event, LinkClosed, LinkOpened, PacketReceived, Woken
from easyremote.protocol.machine import NEVER
from easyremote.trace import log
from easyremote.wire.frame import join, walk
from easyremote.wire.limits import BUNDLE_MESSAGES

SPACING_SECONDS = 0.0005
SPACING_MESSAGES = 4
GRAIN_SECONDS = 0.002
"""How late a machine may be woken."""
_dice = random.Random()  # of our own: a program may have seeded the common one, and count on it
BACKOFF_SECONDS = 0.1
BACKOFF_SECONDS_MAX = 5.0


class Driver:
    """Drives one device's machine over links to its gateway."""

    def __init__(self, machine: Device, connect: Connect, perform: Callable[[Effect], None]) -> None:
        self._machine = machine
        self._connect = connect
        self._perform = perform
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._something_to_send = asyncio.Event()
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
        """Whether a link stands."""
        return self._link is not None

    def post(self, event: Event) -> None:
        """Give the machine an event; on the loop's thread."""
        now = self._loop.time()
        effects = self._machine.handle(event, now)
        if effects:
            self._do(effects)
        if self._machine.ready(now):
            self._something_to_send.set()
        self._set_timer()

    async def flush(self, timeout_seconds: float) -> bool:
        """Wait until everything was sent and acknowledged; False if that took too long."""
        deadline = self._loop.time() + timeout_seconds
        while self._loop.time() < deadline:
            waiting = any(not one.quiet and one.absent_since == NEVER for one in self._machine.sessions)
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
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
        if self._link is not None:
            await self._link.close()

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
            await self._live(link)
            # A gateway that hangs up at once is not hammered.
            pause = (
                BACKOFF_SECONDS
                if self._loop.time() - opened_at > 1.0
                else min(pause * 2, BACKOFF_SECONDS_MAX)
            )
            await asyncio.sleep(pause * _dice.uniform(0.2, 0.6))

    async def _live(self, link: Link) -> None:
        """One link's life, from open to closed."""
        self._link = link
        self.post(LinkOpened())
        writer = self._loop.create_task(self._write(link))
        reason = "the gateway closed the connection"
        try:
            while (packet := await link.receive()) is not None:
                self.post(PacketReceived(walk(packet)))
                await asyncio.sleep(
                    0
                )  # asking gRPC for the next packet takes longer than what this one set off
        except RemoteProtocolError as error:
            reason = f"the gateway broke the protocol: {error}"
        finally:
            self._link = None
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError, LinkError):
                await writer
            await link.close()
            self.post(LinkClosed(reason))

    async def _write(self, link: Link) -> None:
        machine, loop, something = self._machine, self._loop, self._something_to_send
        while True:
            if not something.is_set():
                await something.wait()
            something.clear()
            while frames := machine.pull(loop.time()):
                self._set_timer()  # what is sent now may have to be sent again
                packet = join(frames)
                try:
                    await link.send(packet)
                except LinkError:
                    await link.close()
                    return
                bundled = machine.sessions.bundled
                if bundled >= SPACING_MESSAGES:
                    await asyncio.sleep(SPACING_SECONDS)
                full = len(packet) >= machine.attachment.packet_bytes or bundled >= BUNDLE_MESSAGES
                if not full and not something.is_set():
                    break  # that was all there was

    # ---- time

    def _do(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, CloseLink):
                if self._link is not None:
                    self._loop.create_task(self._link.close(effect.reason))
            else:
                self._perform(effect)

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
