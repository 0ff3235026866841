"""A node while it serves: what its machine asks for is done here, and its card is kept true.

Everything happens on the background loop but ``call``, which comes from any thread. It never decides which
calls are taken, which is the machine's, nor how a function runs, which is the executor's.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from easyremote.errors import EasyRemoteError, LinkError
from easyremote.links.connector import addresses_of, place_to_listen
from easyremote.links.diary import keep_diary
from easyremote.links.driver import Driver
from easyremote.links.entrance import Entrance
from easyremote.links.link import Link
from easyremote.links.stream import Certificate, StreamListener, listen
from easyremote.node.audit_entries import AuditFiles
from easyremote.node.executor import Executor
from easyremote.node.facts import has_aes, machine_facts
from easyremote.node.mailroom import Mailroom
from easyremote.node.record import Record
from easyremote.node.registry import Entry, Registry
from easyremote.node.stories import Stories
from easyremote.protocol.device import Device
from easyremote.protocol.directory import card_transcript
from easyremote.protocol.effects import (
    Attached,
    CallEnded,
    Detached,
    Grant,
    JobEnded,
    MailCame,
    MailDone,
    Notice,
    Renewed,
    RevocationsChanged,
    Start,
    Stop,
    Turned,
)
from easyremote.protocol.events import (
    CallKey,
    CardChanged,
    DrainStarted,
    Joined,
    Offer,
    Offered,
    Withdrawn,
    Woken,
)
from easyremote.protocol.worker import FEATURES
from easyremote.trace import emit, log, watched
from easyremote.trust.handshake import Prekeys
from easyremote.trust.identity import Identity
from easyremote.trust.rules import OWNER, Caller, refusal
from easyremote.wire.cards import NodeCard, PrekeyCard, encode_card
from easyremote.wire.limits import LOST_AFTER_SECONDS
from easyremote.wire.mail import Progress

__all__ = ["Profile", "Reception", "Serving"]

CONNECT_TIMEOUT_SECONDS = 5.0
PREKEY_SECONDS = 3600.0
WEAR_SECONDS = 10.0
JOBS_FOLDER = "jobs"
DELIVER_SECONDS = 2.0
"""How long a node that stops puts results into the mailbox; the rest follows when it serves again."""
CARD_SECONDS = 4 * PREKEY_SECONDS
"""A card is shown anew with every prekey; one that is older than this is nobody's. Clocks may be an hour off, either way."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What a node was made with: what it says of itself, and the bounds it keeps.

    Attributes:
        wanted_name: The name it asks for; with ``*`` behind it, the gateway may put a number there.
        capabilities: Words for what it can do.
        labels: Names and values callers may ask for.
        max_value_bytes: The largest argument it takes.
        threads: How many plain functions may run at a time.
        capacity: How many calls may run or wait at a time.
        suite: How sessions are agreed on: ``hybrid`` or ``classic``.
        audit: Whether it writes down who called what.
        jobs: Whether calls may wait for it in the gateway's mailbox.
        listen: Where it takes direct links, as in ``ComputeNode``; None for nowhere.
    """

    wanted_name: str
    capabilities: list[str]
    labels: dict[str, str]
    max_value_bytes: int
    threads: int
    capacity: int
    suite: str
    audit: bool
    jobs: bool
    listen: str | None


class Reception:
    """How a node stands with its gateway, for any thread to see and wait for.

    Attributes:
        name: What the gateway calls the node; what it wanted to be called before.
        connected: The gateway has welcomed it and the link stands.
        decided: It was welcomed, turned away or stopped.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.connected = threading.Event()
        self.decided = threading.Event()


class Serving:
    """A node's machine, its driver and its executor, from ``start`` to ``close``.

    Args:
        profile: What the node was made with.
        registry: What is served.
        reception: Where to say how the node stands.
        identity: The device.
        entrance: Its way to the gateway.
        home: Where the audit log and what grants have paid for are kept.
        turned_away: Told once if the gateway will not have the node; it is closing then.
    """

    def __init__(
        self,
        profile: Profile,
        registry: Registry,
        reception: Reception,
        *,
        identity: Identity,
        entrance: Entrance,
        home: Path,
        turned_away: Callable[[EasyRemoteError], None],
    ) -> None:
        self._profile = profile
        self._registry = registry
        self._reception = reception
        self._identity = identity
        self._entrance = entrance
        self._address = entrance.address
        self._home = home
        self._turned_away = turned_away
        self._record: Record | None = None
        self._credential = b""
        self._loop = asyncio.get_running_loop()
        self._endpoint = identity.device + os.urandom(8)
        self._card_number = 0
        self._told_unreachable = False
        self._draining = False
        self._ending: asyncio.Task[None] | None = None
        self._turning: asyncio.Task[None] | None = None
        self._give_up_at = math.inf
        self._prekeys = Prekeys(suite=profile.suite, aead="aes256gcm" if has_aes() else "chacha20poly1305")
        self._certificate = Certificate(time.time()) if profile.listen is not None else None
        self._listener: StreamListener | None = None
        self._addresses: list[str] = []
        self._device = Device(
            identity,
            self._endpoint,
            name=profile.wanted_name,
            role="node",
            entropy=os.urandom,
            dice=random.Random().random,
            prekeys=self._prekeys,
            max_value_bytes=profile.max_value_bytes,
            capacity=profile.capacity,
            clock=time.time,
            direct=profile.listen is not None,
        )
        keep_diary(home)
        self._mailroom: Mailroom | None = None
        if profile.jobs:
            self._mailroom = Mailroom(
                identity,
                registry,
                home,
                profile.wanted_name,
                prekeys=Prekeys(suite=profile.suite, aead=self._prekeys.aead),
                max_value_bytes=profile.max_value_bytes,
                post=lambda event: self._driver.post(event),
            )
        self._driver = Driver(self._device, self._connect, self._performers())
        self.stories = Stories(home, self._audit_files, self._is_owner)
        self._executor = Executor(
            registry,
            self._driver.post_all,
            loop=self._loop,
            threads=profile.threads,
            tell=self._tell_progress,
        )
        self._facts = machine_facts()
        self._rotate_prekey()
        self._replace_worn_prekey()

    async def start(self) -> None:
        """Offer what is registered, and connect; whoever registers from now on calls ``refresh``.

        Raises:
            ListenError: The address for direct links is in use, or not this machine's.
        """
        for entry in (*self._registry.entries(), *self._registry.own()):
            self._driver.post(_offered(entry))
        if self._certificate is not None and self._profile.listen is not None:
            host, port = place_to_listen(self._profile.listen)
            self._listener = await listen(host, port, self._driver.accept, self._certificate)
            self._addresses = addresses_of(self._profile.listen, self._listener.address)
        self._driver.start()

    def call(self, function: Callable[..., None], *args: Any) -> None:
        """Do something on the loop, from any thread."""
        self._loop.call_soon_threadsafe(function, *args)

    @property
    def open_calls(self) -> int:
        """Calls that run or wait."""
        return len(self._device.worker) if self._device.worker is not None else 0

    def refresh(self, name: str) -> None:
        """Serve a function as it is registered now, or no longer: changes may come out of order."""
        entry = self._registry.get(name)
        self._driver.post(_offered(entry) if entry is not None else Withdrawn(name))
        self._show_card()

    async def close(self, drain_seconds: float) -> None:
        """Drain, leave, stop; who says so again may shorten it.

        Args:
            drain_seconds: How long what runs may take. For ever, it also waits for the gateway, should that be away,
                so that every answer reaches its caller.
        """
        self._give_up_at = min(self._give_up_at, self._loop.time() + drain_seconds)
        if self._ending is None:
            self._ending = self._loop.create_task(self._end())
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        self._rotation.cancel()
        self._wear_check.cancel()
        self._draining = True
        self._driver.post(DrainStarted())
        if self._mailroom is not None:
            self._mailroom.drain()
        if self._driver.connected:
            self._show_card()
        while self.open_calls and (
            self._patient or self._driver.connected or (self._mailroom is not None and self._mailroom.running)
        ):
            if self._loop.time() >= self._give_up_at:
                break
            await asyncio.sleep(0.01)
        await self._executor.close()
        if self._mailroom is not None:
            patience = LOST_AFTER_SECONDS if self._patient else DELIVER_SECONDS
            await self._mailroom.close(patience if self._driver.connected else 0.0)
        until = self._loop.time() + LOST_AFTER_SECONDS
        while self._patient and self._loop.time() < until:  # who stops it again need not wait so long
            if await self._driver.flush(0.5, absent=True):
                break
        if self._driver.connected:
            await self._driver.flush(1.0)
            self._driver.let_go()
            self._device.attachment.leave()
            self._driver.post(Woken())  # so that it is sent
            await self._driver.flush(0.2)
        await self._driver.close()
        if self._listener is not None:
            await self._listener.close()
        if self._record is not None:
            await asyncio.to_thread(self._record.close)

    @property
    def _patient(self) -> bool:
        return self._give_up_at == math.inf

    # ---- what the machine asks for

    def _performers(self) -> dict[type, Callable[[Any], None]]:
        return {
            Start: self._begin,
            CallEnded: self._ended,
            Stop: self._stop,
            Grant: lambda grant: self._executor.grant(grant.key, grant.size),
            Renewed: self._renewed,
            RevocationsChanged: lambda changed: self._entrance.keep_revocations(changed.revocations),
            Attached: lambda attached: self._attached(attached.name),
            Detached: self._detached,
            Turned: lambda turned: self._turned(turned.error),
            **self._mail_performers(),
            Notice: _tell,
        }

    def _mail_performers(self) -> dict[type, Callable[[Any], None]]:
        room = self._mailroom
        if room is None:
            return {}
        return {MailDone: room.answered, MailCame: lambda _: room.came(), JobEnded: room.ended}

    def _begin(self, start: Start) -> None:
        if watched():
            emit("call started", start.call_id, start.function)
        run = self._executor.start
        room = self._mailroom
        if room is not None and start.key in room:

            def run(start: Start) -> None:
                room.begin_then(start, self._executor.start, self._driver.post)

        if start.spends and self._record is not None:
            self._record.pay_then(start, run, self._driver.post)
        else:
            run(start)

    def _tell_progress(self, key: CallKey, progress: Progress) -> None:
        if self._mailroom is not None:
            self._mailroom.tell(key, progress)

    def _ended(self, ended: CallEnded) -> None:
        if self._record is not None:
            self._record.ended(ended)

    def _stop(self, stop: Stop) -> None:
        if self._record is not None:
            self._record.abandon(stop.key)
        if self._mailroom is not None:
            self._mailroom.abandon(stop.key)
        self._executor.stop(stop.key, stop.reason)

    def _renewed(self, renewed: Renewed) -> None:
        self._credential = renewed.credential
        if self._reception.connected.is_set():
            self._show_card()

    def _detached(self, detached: Detached) -> None:
        self._reception.connected.clear()
        self._reception.decided.clear()
        emit("link lost", detail=detached.reason)
        if self._mailroom is not None:
            self._mailroom.detached()
        if not self._draining:
            log.warning("node %s lost its gateway: %s; reconnecting", self._reception.name, detached.reason)

    def _attached(self, name: str) -> None:
        reception = self._reception
        reception.name = name
        emit("link up", detail=self._address)
        if self._record is None:
            self._open_record(name)
        if self._profile.wanted_name.endswith("*"):
            self._device.attachment.name = f"{name}*"  # the same again after a restart of the gateway
        if self._mailroom is not None:
            self._mailroom.attached(name)
        self._show_card()
        reception.connected.set()
        reception.decided.set()
        many = len(self._registry.entries())
        log.info(
            "node %s serves %d function%s through %s", name, many, "" if many == 1 else "s", self._address
        )

    def _open_record(self, name: str) -> None:
        """The name is known: from now on it is written down who calls, and what grants have paid for."""
        self._record = Record(self._home, name, audit=self._profile.audit)
        worker = self._device.worker
        if worker is not None:
            worker.guard.recall(self._record.used())

    def _audit_files(self) -> AuditFiles | None:
        return self._record.audit_files if self._record is not None else None

    def _is_owner(self, caller: Caller) -> bool:
        own = self._device.standing.membership
        return not refusal(OWNER, caller, self._identity.device, own.account if own is not None else None)

    def _turned(self, error: EasyRemoteError) -> None:
        """The gateway will not have us: trying again would not help."""
        log.error("node %s was turned away: %s", self._reception.name, error)
        self._driver.let_go()  # it must not come back in while it ends
        self._turning = self._loop.create_task(self.close(0.0))
        self._turned_away(error)

    async def _connect(self) -> Link:
        try:
            link = await self._entrance.connect(CONNECT_TIMEOUT_SECONDS, self._joined)
        except LinkError as error:
            if not self._told_unreachable:
                self._told_unreachable = True
                log.warning("%s; still trying", error)
            raise
        self._told_unreachable = False
        return link

    def _joined(self, joined: Joined) -> None:
        self._credential = joined.credential
        self._driver.post(joined)

    # ---- the card

    def _rotate_prekey(self) -> None:
        """A fresh prekey: what was sealed to one before the last can be opened by nobody any more."""
        self._prekeys.rotate(os.urandom)
        self._rotation = self._loop.call_later(PREKEY_SECONDS, self._rotate_prekey)
        if (
            self._record is not None
        ):  # it has a name; while the gateway is away, callers with direct links see the card
            self._show_card()

    def _replace_worn_prekey(self) -> None:
        """A prekey remembers the handshakes sealed to it; when they are many, the next is due early."""
        self._wear_check = self._loop.call_later(WEAR_SECONDS, self._replace_worn_prekey)
        if self._prekeys.worn:
            self._rotation.cancel()
            self._rotate_prekey()

    def _show_card(self) -> None:
        profile = self._profile
        self._card_number += 1
        prekey = self._prekeys.current
        card = encode_card(
            NodeCard(
                endpoint=self._endpoint,
                name=self._reception.name,
                number=self._card_number,
                prekey=PrekeyCard(id=prekey.id, suite=prekey.suite, aead=prekey.aead, key=prekey.key),
                membership=self._credential,
                expires_seconds=time.time() + CARD_SECONDS,
                functions=self._registry.cards(),
                facts=self._facts,
                labels=profile.labels,
                capabilities=profile.capabilities,
                max_value_bytes=profile.max_value_bytes,
                capacity=profile.capacity,
                draining=self._draining,
                addresses=self._addresses,
                fingerprint=self._certificate.fingerprint if self._certificate is not None else b"",
                features=[*FEATURES, "jobs"] if profile.jobs else FEATURES,
            )
        )
        self._driver.post(CardChanged(card, self._identity.sign(card_transcript(card))))
        if self._mailroom is not None:
            self._mailroom.show_card(self._credential)


def _offered(entry: Entry) -> Offered:
    return Offered(
        Offer(entry.name, entry.max_concurrent, entry.timeout_seconds, entry.rule, entry.idempotent)
    )


def _tell(notice: Notice) -> None:
    emit(notice.name, f"{notice.call:016x}" if notice.call else "", notice.detail)
