"""What stands behind every client: one device's machine, its driver, and who waits for which call.

An engine lives on one event loop. ``AsyncClient`` has one on the program's own loop; ``Client`` shares
the process's background loop. Requests may come from any thread; those that come together cross to the
loop with one wake-up.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from easyremote.client.retry import Persistence, RetryBudget
from easyremote.errors import CallCancelledError, EasyRemoteError, LinkError, MembershipError
from easyremote.links.connector import reach
from easyremote.links.diary import keep_diary
from easyremote.links.driver import Driver
from easyremote.links.entrance import Entrance
from easyremote.links.link import Link
from easyremote.links.machine import machine_name
from easyremote.links.relay import unreachable
from easyremote.protocol.call import call_text
from easyremote.protocol.device import Device
from easyremote.protocol.directory import Directory
from easyremote.protocol.effects import (
    Answered,
    Attached,
    Delivered,
    Detached,
    Faulted,
    Finished,
    MailDone,
    Notice,
    OperationDone,
    Renewed,
    RevocationsChanged,
    Synced,
    Turned,
    Value,
)
from easyremote.protocol.events import (
    CallCancelled,
    CallRequested,
    Event,
    ItemsTaken,
    Joined,
    OperationRequested,
    Woken,
)
from easyremote.protocol.standing import Standing
from easyremote.trace import emit, watched
from easyremote.trust.keyring import Keyring
from easyremote.wire.limits import BUNDLE_MESSAGES

if TYPE_CHECKING:
    from easyremote.client.jobs import Jobs
    from easyremote.links.questions import Questions


class Waiter(Protocol):
    """Who waits for a call; told on the engine's loop."""

    def feed(self, value: Value, cost: int) -> None:
        """An item of the stream is here."""

    def settle(self, value: Value | None, error: EasyRemoteError | None) -> None:
        """The call has ended."""


class Engine:
    """Makes calls and tells those who wait."""

    def __init__(
        self,
        gateway: str,
        *,
        connect_timeout: float,
        lost_after: float,
        max_value_bytes: int,
        home: Path | None = None,
        invite: str | None = None,
        grants: tuple[bytes, ...] = (),
        direct: bool = True,
    ) -> None:
        self.gateway = gateway
        self.loop = asyncio.get_running_loop()
        self._connect_timeout = connect_timeout
        self.lost_after = lost_after
        self._waiters: dict[int, Waiter] = {}
        self._inbox: deque[tuple[Event, Waiter | None]] = deque()
        self._called = False
        self._persistent: dict[int, Persistence] = {}
        self.budget = RetryBudget()
        # A random start, so that no two clients of one device name their calls alike.
        self.number = itertools.count(random.SystemRandom().getrandbits(62)).__next__
        """A number for a new call; from any thread."""
        self._fatal: EasyRemoteError | None = None
        self._closed = False
        self._connecting: dict[int, asyncio.TimerHandle] = {}  # calls asked for without a link give up then
        self._detached: asyncio.TimerHandle | None = None
        self._synced = asyncio.Event()
        keyring = Keyring(home)
        self.home = keyring.home
        keep_diary(self.home)
        identity = self.identity = keyring.identity(os.urandom(32))
        self._entrance = Entrance(
            gateway, identity, keyring, invite=invite, name=machine_name(), role="client"
        )
        self._grants = grants
        self._operations: dict[int, asyncio.Future[bytes]] = {}
        self._device = Device(
            identity,
            identity.device + os.urandom(8),
            name="",
            role="client",
            entropy=os.urandom,
            dice=random.Random().random,
            max_value_bytes=max_value_bytes,
            clock=time.time,
            direct=direct,
            lost_after=lost_after,
        )
        self._driver = Driver(self._device, self._connect, self._performers(), reach)
        self._questions: Questions | None = None
        self._jobs: Jobs | None = None
        self._making = threading.Lock()
        self._up = asyncio.Event()
        self._driver.start()

    async def _connect(self) -> Link:
        return await self._entrance.connect(self._connect_timeout, self._joined)

    def _joined(self, joined: Joined) -> None:
        self._driver.post(msgspec.structs.replace(joined, grants=(*self._grants, *joined.grants)))

    async def operate(self, request: bytes) -> bytes:
        """Ask something of the gateway, as an operator; on the engine's loop.

        Raises:
            MembershipError: The gateway did not do it; the message says why.
            LinkError: The gateway does not answer.
        """
        await self.ready()
        number = self.number()
        waiting = self._operations[number] = self.loop.create_future()
        self._post(OperationRequested(number, request))
        try:
            return await asyncio.wait_for(waiting, self._connect_timeout)
        except TimeoutError:
            raise self._unreachable() from None
        finally:
            del self._operations[number]

    # ---- requests

    def persist(self, persistence: Persistence) -> None:
        """Make a call that may take several attempts; from any thread."""
        self._persistent[persistence.request.call] = persistence
        if self._here():
            persistence.begin()
        else:
            self.loop.call_soon_threadsafe(persistence.begin)

    def let_go(self, persistence: Persistence) -> None:
        """It is over."""
        self._persistent.pop(persistence.request.call, None)

    def may_hedge(self, number: int) -> bool:
        """Whether another node could take this call as well, without harm."""
        return self._device.caller.may_hedge(number)

    def send(self, request: CallRequested, waiter: Waiter) -> None:
        """Make a call; from any thread."""
        self._cross(request, waiter)

    def cancel(self, number: int) -> None:
        """Nobody wants this answer any more; from any thread."""
        if self._here():
            self._cancel(number)
        else:
            self._cross(CallCancelled(number), None)

    def drop(self, number: int) -> None:
        """The same for a finalizer, which may run at any moment: also while the machine is at work."""
        self._cross(CallCancelled(number), None)

    def taken(self, number: int, size: int) -> None:
        """Items of a stream were consumed; from any thread."""
        if self._here():
            self._post(ItemsTaken(number, size))
        else:
            self._cross(ItemsTaken(number, size), None)

    def _here(self) -> bool:
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False

    def _cross(self, event: Event, waiter: Waiter | None) -> None:
        """Give an event to the loop's next turn, all that come meanwhile together: they share packets."""
        self._inbox.append((event, waiter))
        if not self._called:
            self._called = True
            try:
                (self.loop.call_soon if self._here() else self.loop.call_soon_threadsafe)(self._take_inbox)
            except RuntimeError:  # the interpreter is shutting down
                self._inbox.clear()

    def _take_inbox(self) -> None:
        self._called = False  # before looking: what is appended from now on calls again
        inbox = self._inbox
        events: list[Event] = []
        for _ in range(min(len(inbox), BUNDLE_MESSAGES)):
            event, waiter = inbox.popleft()
            if waiter is not None and isinstance(event, CallRequested):
                if self._expect(event, waiter):
                    events.append(event)
            elif isinstance(event, CallCancelled):
                if event.call in self._persistent:
                    self._persistent[event.call].cancel()
                elif self._forget(event.call):
                    events.append(event)
            elif not self._closed:
                events.append(event)
        if events:
            self._driver.post_all(events)
            if watched():
                self._tell_sent(events)
        if inbox and not self._called:
            self._called = True  # the rest in the loop's next turn, so that these are on their way meanwhile
            self.loop.call_soon(self._take_inbox)

    def _expect(self, request: CallRequested, waiter: Waiter) -> bool:
        """Note who waits for a call; False if it cannot be made any more."""
        if self._closed or self._fatal is not None:
            waiter.settle(None, self._fatal or LinkError("this client is closed"))
            return False
        self._waiters[request.call] = waiter
        if not self._device.attachment.attached:
            give_up = self.loop.call_later(self._connect_timeout, self._give_up_connecting, request.call)
            self._connecting[request.call] = give_up
        if watched():
            emit("call requested", call_text(request.call))
        return True

    def _tell_sent(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, CallRequested):
                emit("call sent", call_text(event.call), self._device.caller.path(event.call))

    def _cancel(self, number: int) -> None:
        if number in self._persistent:
            self._persistent[number].cancel()
        elif self._forget(number):
            self._post(CallCancelled(number))
        elif self._inbox:  # it may still be on its way here
            self._cross(CallCancelled(number), None)

    def _forget(self, number: int) -> bool:
        """Nobody waits for a call any more; False if nobody did."""
        if number not in self._waiters:
            return False
        self._settle(number, None, CallCancelledError())  # whoever else waits for it must not wait on
        return True

    def _post(self, event: Event) -> None:
        if not self._closed:
            self._driver.post(event)

    # ---- the directory

    @property
    def live(self) -> bool:
        """Whether the directory is a live copy now."""
        return self._device.directory.synced and self._device.attachment.attached

    async def ready(self) -> Directory:
        """The directory, once it is live.

        Raises:
            LinkError: The gateway does not answer within the connect timeout.
        """
        if self._fatal is not None:
            raise self._fatal
        if self._closed:
            raise LinkError("this client is closed")
        if not self.live:
            self._synced.clear()
            try:
                await asyncio.wait_for(self._synced.wait(), self._connect_timeout)
            except TimeoutError:
                raise self._unreachable() from None
            if self._fatal is not None:
                raise self._fatal
            if self._closed:
                raise LinkError("this client was closed while it connected")
        return self._device.directory

    async def linked(self) -> None:
        """Wait until there is a link to the gateway, however long that takes.

        Raises:
            EasyRemoteError: The gateway will not have this device, or this client is closed.
        """
        await self._up.wait()
        if self._fatal is not None:
            raise self._fatal
        if self._closed:
            raise LinkError("this client is closed")

    @property
    def questions(self) -> Questions:
        """What is asked of the gateway's mailbox; most programs ask nothing."""
        if self._questions is None:
            from easyremote.links.questions import Questions

            self._questions = Questions(self._driver.post)
        return self._questions

    @property
    def jobs(self) -> Jobs:
        """Durable calls; from any thread."""
        if self._jobs is None:
            from easyremote.client.jobs import Jobs

            with self._making:
                self._jobs = self._jobs or Jobs(self)
        return self._jobs

    @property
    def features(self) -> frozenset[str]:
        """What the gateway knows of what not every one does."""
        return self._device.attachment.features

    @property
    def standing(self) -> Standing:
        """How this device stands in its network."""
        return self._device.standing

    @property
    def directory(self) -> Directory:
        """The directory as it is, live or not."""
        return self._device.directory

    # ---- what the machine asks for

    def _performers(self) -> dict[type, Callable[[Any], None]]:
        return {
            Answered: self._answered,
            Delivered: self._delivered,
            Finished: lambda finished: self._settle(finished.call, None, None),
            Faulted: lambda faulted: self._settle(faulted.call, None, faulted.error),
            Synced: lambda _: self._synced.set(),
            Renewed: lambda renewed: self._entrance.keep_credential(renewed.credential),
            RevocationsChanged: lambda changed: self._entrance.keep_revocations(changed.revocations),
            OperationDone: self._operated,
            MailDone: lambda done: self.questions.answered(done),
            Turned: self._turned,
            Attached: self._attached,
            Detached: self._lost,
            Notice: _tell,
        }

    def _answered(self, answered: Answered) -> None:
        if self._connecting or watched():
            self._settle(answered.call, answered.value, None)
        elif (waiter := self._waiters.pop(answered.call, None)) is not None:
            waiter.settle(answered.value, None)

    def _delivered(self, delivered: Delivered) -> None:
        waiter = self._waiters.get(delivered.call)
        if waiter is not None:
            waiter.feed(delivered.value, delivered.cost)

    def _operated(self, done: OperationDone) -> None:
        waiting = self._operations.get(done.number)
        if waiting is not None and not waiting.done():
            if done.error:
                waiting.set_exception(MembershipError(done.error))
            else:
                waiting.set_result(done.reply)

    def _turned(self, turned: Turned) -> None:
        self._fatal = turned.error
        self._synced.set()
        self._settle_all(turned.error)

    def _attached(self, _: Attached) -> None:
        emit("link up", detail=self.gateway)
        for number in self._waiters:
            if number not in self._connecting:  # it was under way when the link broke
                emit("resumed", call_text(number), "over a new link")
        self._fatal = None  # whoever turned us away before does so no longer
        self._up.set()
        self._stop_giving_up()

    def _lost(self, detached: Detached) -> None:
        emit("link lost", detail=detached.reason)
        if not self._closed:
            self._up.clear()
        if self._questions is not None:
            self._questions.lost()
        if not self._closed:
            self._detached = self.loop.call_later(self.lost_after, self._give_up_waiting)

    def _settle(self, number: int, value: Value | None, error: EasyRemoteError | None) -> None:
        waiter = self._waiters.pop(number, None)
        if waiter is not None:
            if self._connecting and (timer := self._connecting.pop(number, None)) is not None:
                timer.cancel()
            if error is not None:
                emit("call failed", call_text(number), type(error).__name__)
            elif watched():
                emit("call ended", call_text(number), "ok")
            waiter.settle(value, error)

    def _settle_all(self, error: EasyRemoteError) -> None:
        for number in list(self._waiters):
            self._settle(number, None, error)

    def _stop_giving_up(self) -> None:
        """The link is back: all calls go on."""
        timers = [*self._connecting.values(), *([self._detached] if self._detached is not None else [])]
        for timer in timers:
            timer.cancel()
        self._connecting.clear()
        self._detached = None

    def _give_up_connecting(self, number: int) -> None:
        """A call was asked for while there was no link, and there still is none."""
        if self._device.caller.direct(number):
            return  # but its node was reached without the gateway
        self._driver.post(CallCancelled(number))
        self._settle(number, None, self._unreachable())

    def _give_up_waiting(self) -> None:
        """Calls in flight have waited long enough for the link to come back; later ones have time of their own."""
        caller = self._device.caller
        for number in [
            one for one in self._waiters if one not in self._connecting and not caller.direct(one)
        ]:
            error = LinkError(
                f"the link to the gateway at {self.gateway} was lost, and did not come back within "
                f"{self.lost_after:g} s; the call may or may not have run"
            )
            error.may_repeat = caller.harmless(number)
            self._driver.post(CallCancelled(number))
            self._settle(number, None, error)

    def _unreachable(self) -> LinkError:
        return self._driver.last_error or unreachable(self.gateway, self._connect_timeout)

    async def close(self) -> None:
        """Settle what is open as cancelled, say goodbye, drop the link."""
        if self._closed:
            return
        for persistence in list(self._persistent.values()):
            persistence.cancel()
        for number in list(self._waiters):
            self._driver.post(CallCancelled(number))
            self._settle(number, None, CallCancelledError("the client was closed before the answer came"))
        self._closed = True
        self._up.set()
        if self._questions is not None:
            self._questions.lost()
        if self._jobs is not None:
            self._jobs.close()
        self._stop_giving_up()
        self._synced.set()
        if self._driver.connected:
            await self._driver.flush(0.2)
            self._driver.let_go()
            self._device.attachment.leave()
            self._driver.post(Woken())  # so that it is sent
            await self._driver.flush(0.1)
        await self._driver.close()


def _tell(notice: Notice) -> None:
    emit(notice.name, call_text(notice.call) if notice.call else "", notice.detail)
