"""Where a node's durable calls are looked after: its journal, its letters, and the card that letters to it go by.

All of it belongs to the loop; what touches the disk is done in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from easyremote.errors import LinkError, MailboxError
from easyremote.links.questions import Questions
from easyremote.node.audit_entries import file_stem
from easyremote.node.journal import Journal
from easyremote.node.letters import Letters
from easyremote.node.registry import Registry
from easyremote.protocol.directory import letter_card_transcript
from easyremote.protocol.effects import JobEnded, MailDone, Start
from easyremote.protocol.events import CallKey, Event, Failed
from easyremote.trace import log
from easyremote.trust.handshake import Prekeys
from easyremote.trust.identity import Identity
from easyremote.trust.letter import address_of
from easyremote.wire.cards import FunctionCard, NodeCard, PrekeyCard, encode_card
from easyremote.wire.limits import JOB_SECONDS_MAX
from easyremote.wire.mail import Progress, ShowCard

__all__ = ["Mailroom"]

FOLDER = "jobs"


class Mailroom:
    """One node's, from its first link to ``close``.

    Args:
        identity: The device.
        registry: What is served.
        home: Where the journal is kept.
        wanted_name: The node's name as its program says it; an operator may have given it another.
        prekeys: Empty ones, of the suite that letters are to be sealed with.
        max_value_bytes: The largest argument the node takes.
        post: Hands an event to the node's machine.
    """

    def __init__(
        self,
        identity: Identity,
        registry: Registry,
        home: Path,
        wanted_name: str,
        *,
        prekeys: Prekeys,
        max_value_bytes: int,
        post: Callable[[Event], None],
    ) -> None:
        self._identity, self._registry = identity, registry
        self._folder, self._wanted_name = home / FOLDER, wanted_name
        self._prekeys, self._max_value_bytes = prekeys, max_value_bytes
        self._post = post
        self._questions = Questions(post)
        self._loop = asyncio.get_running_loop()
        self._name = ""
        self._credential = b""
        self._path: Path | None = None
        self._journal: Journal | None = None
        self._letters: Letters | None = None
        self._opening: asyncio.Task[None] | None = None
        self._showing: asyncio.Task[None] | None = None
        self._connected = self._draining = False

    def __contains__(self, key: CallKey) -> bool:
        return self._letters is not None and key in self._letters

    @property
    def running(self) -> int:
        """Jobs whose calls have not ended; their results go to the disk here, whether the gateway is there or not."""
        return self._letters.running if self._letters is not None else 0

    # ---- the link

    def attached(self, name: str) -> None:
        """The gateway is there, and calls the node so."""
        self._connected = True
        self._name = name
        if self._opening is None:
            self._opening = self._loop.create_task(self._open(name))
        elif self._letters is not None:
            self._letters.attached(name)

    def detached(self) -> None:
        """It is not."""
        self._connected = False
        self._questions.lost()
        if self._letters is not None:
            self._letters.detached()

    def answered(self, done: MailDone) -> None:
        """The mailbox has answered."""
        self._questions.answered(done)

    def came(self) -> None:
        """The gateway says that something has come."""
        if self._letters is not None:
            self._letters.came()

    async def _open(self, name: str) -> None:
        path = self._path_of(name)
        try:
            await asyncio.to_thread(self._take_along, path)
            journal = await asyncio.to_thread(Journal, path)
            self._prekeys.keep(await asyncio.to_thread(journal.keys, time.time(), os.urandom))
        except (sqlite3.Error, OSError) as error:
            log.error(
                "node %s takes no durable calls: its journal %s cannot be used (%s). Restore it from a backup, or move it "
                "away: then jobs that had begun here may be told as unknown",
                name,
                path,
                error,
            )
            return
        self._path, self._journal = path, journal
        self._letters = Letters(
            name,
            self._identity.device,
            journal=journal,
            prekeys=self._prekeys,
            ask=self._questions.ask,
            post=self._post,
            idempotent=self._idempotent,
            clock=time.time,
        )
        if self._draining:
            self._letters.drain()
        if self._connected:
            self._letters.attached(self._name)
            self.show_card(self._credential)

    def _idempotent(self, function: str) -> bool:
        entry = self._registry.get(function)
        return entry is not None and entry.idempotent

    def _path_of(self, name: str) -> Path:
        return self._folder / f"{file_stem(name)}.db"

    def _take_along(self, path: Path) -> None:
        """A node that was renamed while it was away keeps its journal: letters to it are sealed to the keys in that."""
        if self._wanted_name.endswith("*"):
            return  # that name may be another process's
        before = self._path_of(self._wanted_name)
        if before != path and before.exists() and not path.exists():
            Journal(before).close()  # its log goes into it
            before.replace(path)

    # ---- the card

    def show_card(self, credential: bytes) -> None:
        """What the node serves, its name or its membership is new: so is the card that letters go by."""
        self._credential = credential
        if self._journal is not None and not self._draining:
            if self._showing is not None:
                self._showing.cancel()
            self._showing = self._loop.create_task(self._show(self._journal))

    async def _show(self, journal: Journal) -> None:
        """It stays at the gateway while the node is away, and says what to seal letters to and what is served."""
        now = time.time()
        self._prekeys.keep(await asyncio.to_thread(journal.keys, now, os.urandom))
        await asyncio.to_thread(journal.forget_old, now)
        key = self._prekeys.current
        card = encode_card(
            NodeCard(
                endpoint=address_of(self._identity.device),
                name=self._name,
                number=int(now * 1000),
                prekey=PrekeyCard(id=key.id, suite=key.suite, aead=key.aead, key=key.key),
                membership=self._credential,
                expires_seconds=now + JOB_SECONDS_MAX,
                functions=[
                    FunctionCard(name=one.name, stream=one.stream, idempotent=one.idempotent)
                    for one in self._registry.cards()
                ],
                max_value_bytes=self._max_value_bytes,
            )
        )
        request = ShowCard(self._name, card, self._identity.sign(letter_card_transcript(card)))
        with contextlib.suppress(LinkError):  # it is shown again with the next link
            try:
                await self._questions.ask(request)
            except MailboxError as error:
                level = log.debug if error.code == "none" else log.warning
                level("node %s takes no durable calls: %s", self._name, error)

    # ---- jobs

    def begin_then(
        self, start: Start, run: Callable[[Start], None], refuse: Callable[[Failed], None]
    ) -> None:
        """Write down that a job begins, and only then run it."""
        if self._letters is not None:
            self._letters.begin_then(start, run, refuse)

    def abandon(self, key: CallKey) -> None:
        """A job that was about to begin is not wanted any more."""
        if self._letters is not None:
            self._letters.abandon(key)

    def ended(self, ended: JobEnded) -> None:
        """The machine says how a job's call ended."""
        if self._letters is not None:
            self._letters.ended(ended)

    def tell(self, key: CallKey, progress: Progress) -> None:
        """How far a job is."""
        if self._letters is not None:
            self._letters.tell(key, progress)

    # ---- the end

    def drain(self) -> None:
        """Begin with no other letter."""
        self._draining = True
        if self._letters is not None:
            self._letters.drain()

    async def close(self, seconds: float) -> None:
        """Write down what has ended, and deliver it for up to so many seconds; the rest follows when the node serves again."""
        if self._opening is not None:
            await asyncio.wait([self._opening])  # so that what it opened is closed
        if self._showing is not None:
            self._showing.cancel()
        if self._letters is not None and self._path is not None:
            await self._letters.close(seconds)
            path = self._path_of(self._name)
            if path != self._path and not path.exists():  # it was renamed meanwhile
                self._path.replace(path)
