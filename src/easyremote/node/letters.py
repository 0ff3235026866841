"""A node's letters: it fetches what waits for it, has each call made once, and puts the result into the mailbox.

One letter's way::

    fetched ──opened──▶ taken ──room──▶ began ──ended──▶ finished ──put──▶ delivered
                                          │ on the node's disk before the function runs, and before the gateway hears

Whatever ends the node's process, it goes on from there: what had not begun is fetched again; what had begun runs again if
its function is idempotent, else the result is that nobody knows; what had finished is delivered.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from easyremote.errors import LinkError, MailboxError, RemoteProtocolError, SealError, UnknownJobError
from easyremote.node.journal import BEGAN, DELIVERED, FINISHED, Journal
from easyremote.protocol.call import call_text
from easyremote.protocol.effects import JobEnded, Start
from easyremote.protocol.events import CallKey, Encoded, Event, Failed, JobCancelled, JobOpened
from easyremote.trace import emit, log
from easyremote.trust.handshake import Prekeys
from easyremote.trust.letter import Secret, open_letter
from easyremote.wire.bundle import Fault, Refuse
from easyremote.wire.limits import JOB_SECONDS_MAX, MAIL_PART_BYTES
from easyremote.wire.mail import (
    Letter,
    LetterRecord,
    ListLetters,
    MailRequest,
    Outcome,
    Progress,
    PutResult,
    ReadLetter,
    RefuseLetter,
    TakeLetter,
    TellProgress,
    decode_mail,
    encode_mail,
)

__all__ = ["Letters"]

AT_ONCE = 64
"""Letters that are open at a time; others wait at the gateway."""
AT_ONCE_BYTES = 512 << 20
PROGRESS_SECONDS = 0.25
"""How often at most the gateway hears how far a job is."""
PAUSE_SECONDS_MAX = 30.0
CLOCKS_APART_SECONDS = 2 * 3600.0
"""Two devices' clocks may each be an hour off."""


class Ask(Protocol):
    """How the mailbox is asked; see ``links.questions.Questions.ask``."""

    def __call__(self, request: MailRequest, kind: Any = None) -> Awaitable[Any]:
        """The answer."""


class _Job(msgspec.Struct, eq=False):
    """A job this node has."""

    number: bytes
    key: CallKey
    secret: Secret
    forget: float
    ended: asyncio.Future[Encoded | Fault | Refuse]
    beginning: bool = False
    cancelled: bool = False
    progress: Progress | None = None
    telling: asyncio.Task[None] | None = None


class Letters:
    """The letters of one node, on its loop.

    Args:
        node: The node's name.
        device: The node's device id.
        journal: Where it writes down how far jobs are.
        prekeys: The keys that letters are sealed to.
        ask: Asks the gateway's mailbox.
        post: Hands an event to the node's machine.
        idempotent: Whether a function may run twice.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        node: str,
        device: bytes,
        *,
        journal: Journal,
        prekeys: Prekeys,
        ask: Ask,
        post: Callable[[Event], None],
        idempotent: Callable[[str], bool],
        clock: Callable[[], float],
    ) -> None:
        self._node, self._device = node, device
        self._journal, self._prekeys = journal, prekeys
        self._ask, self._post, self._idempotent, self._clock = ask, post, idempotent, clock
        self._loop = asyncio.get_running_loop()
        self._jobs: dict[CallKey, _Job] = {}
        self._keys: dict[bytes, CallKey] = {}
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._sizes: dict[bytes, int] = {}
        self._news = asyncio.Event()
        self._linked = asyncio.Event()
        self._draining = False
        self._looking = self._loop.create_task(self._look_out())

    def __contains__(self, key: CallKey) -> bool:
        return key in self._jobs

    # ---- what happens

    def attached(self) -> None:
        """The gateway is there, perhaps again: something may be waiting."""
        self._linked.set()
        self._news.set()

    def detached(self) -> None:
        """It is not."""
        self._linked.clear()

    def came(self) -> None:
        """The gateway says that something has come."""
        self._news.set()

    def drain(self) -> None:
        """Begin with no other letter."""
        self._draining = True

    async def close(self, seconds: float) -> None:
        """Deliver what has ended, for up to so many seconds; what is left is delivered when the node serves again."""
        self._draining = True
        self._looking.cancel()
        ending = [task for job, task in self._tasks.items() if self._has_ended(job)]
        if ending:
            await asyncio.wait(ending, timeout=seconds)
        tasks = [self._looking, *self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._journal.close)

    def _has_ended(self, number: bytes) -> bool:
        key = self._keys.get(number)
        return key is None or self._jobs[key].ended.done()

    # ---- fetching

    async def _look_out(self) -> None:
        """See what waits, whenever something may."""
        for number in await asyncio.to_thread(self._journal.undelivered):
            self._serve(number, self._deliver(number))
        while True:
            await self._news.wait()
            self._news.clear()
            await self._linked.wait()
            if self._draining:
                continue
            try:
                records: list[LetterRecord] = await self._ask(ListLetters(self._node), list[LetterRecord])
            except LinkError:
                self._news.set()
                continue
            except (MailboxError, RemoteProtocolError) as error:
                if not (isinstance(error, MailboxError) and error.code == "none"):
                    log.warning("node %s could not look into its mailbox: %s", self._node, error)
                    self._loop.call_later(PAUSE_SECONDS_MAX, self._news.set)
                continue
            for record in records:
                self._take(record)

    def _take(self, record: LetterRecord) -> None:
        number = record.job
        if number in self._tasks:
            key = self._keys.get(number)
            if record.cancelled and key is not None and not self._jobs[key].cancelled:
                self._jobs[key].cancelled = True
                self._post(JobCancelled(key))
            return
        size = record.parts * MAIL_PART_BYTES
        if self._tasks and (len(self._tasks) >= AT_ONCE or sum(self._sizes.values()) + size > AT_ONCE_BYTES):
            return
        self._sizes[number] = size
        self._serve(number, self._handle(record))

    def _serve(self, number: bytes, work: Any) -> None:
        if number in self._tasks:
            work.close()
            return
        task = self._tasks[number] = self._loop.create_task(work)
        task.add_done_callback(lambda done: self._over(number, done))

    def _over(self, number: bytes, task: asyncio.Task[None]) -> None:
        del self._tasks[number]
        self._sizes.pop(number, None)
        key = self._keys.pop(number, None)
        if key is not None:
            job = self._jobs.pop(key)
            if job.telling is not None:
                job.telling.cancel()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("node %s could not go on with a job: %s", self._node, error, exc_info=error)
            self._loop.call_later(PAUSE_SECONDS_MAX, self._news.set)
        else:
            self._news.set()  # there is room for the next

    # ---- one letter

    async def _handle(self, record: LetterRecord) -> None:
        number = record.job
        state = await asyncio.to_thread(self._journal.state, number)
        if state == FINISHED:
            await self._deliver(number)
            return
        try:
            parts = [await self._patiently(ReadLetter(number, part)) for part in range(record.parts)]
            caller, letter, secret = await asyncio.to_thread(self._open, number, parts)
            del parts
            await self._patiently(TakeLetter(number))
        except UnknownJobError:
            return  # its caller cancelled it, or it waited too long
        except (SealError, RemoteProtocolError) as error:
            log.warning("node %s could not open a letter: %s", self._node, error)
            await self._put(
                RefuseLetter(number, f"node {self._node!r} could not open the letter: {error}"[:512])
            )
            return
        key = (caller + number[:8], _call_number(number))
        emit("job fetched", call_text(key[1]), letter.function)
        forget = self._clock() + letter.keep_seconds + JOB_SECONDS_MAX
        job = _Job(number, key, secret, forget, self._loop.create_future())
        self._jobs[key], self._keys[number] = job, key
        if record.cancelled and state != BEGAN:
            outcome: Outcome | None = Outcome(kind="cancelled", message="it had not begun")
        elif state == DELIVERED or (state == BEGAN and not self._idempotent(letter.function)):
            outcome = Outcome(
                kind="lost",
                message=f"node {self._node!r} ended while it ran {letter.function!r}, and knows no result",
            )
        else:
            outcome = await self._run(job, letter)
        if outcome is None:
            return  # the node is leaving: it waits on
        sealed = await asyncio.to_thread(secret.seal_result, encode_mail(outcome))
        try:
            await asyncio.to_thread(self._journal.finish, number, sealed, forget)
        except Exception as error:  # such as a full disk
            log.error("node %s could not write down the result of a job: %s", self._node, error)
        await self._deliver(number, sealed)

    def _open(self, number: bytes, parts: list[bytes]) -> tuple[bytes, Letter, Secret]:
        caller, data = open_letter(self._prekeys, number, node=self._device, parts=parts)
        letter: Letter = decode_mail(data, Letter)
        secret = Secret(letter.secret)
        if secret.number != number:
            raise SealError("it was put into the mailbox as another job than it says")
        if not 0.0 < letter.keep_seconds <= JOB_SECONDS_MAX or not (
            letter.timeout is None or 0.0 < letter.timeout < math.inf
        ):
            raise SealError("its times make no sense")
        if not letter.made + JOB_SECONDS_MAX + CLOCKS_APART_SECONDS > self._clock():
            raise SealError("it is too old")
        return caller, letter, secret

    async def _run(self, job: _Job, letter: Letter) -> Outcome | None:
        """Have the call made, as soon as there is room; None if the node leaves before."""
        began_at = self._loop.time()
        while True:
            as_of = min(letter.made, self._clock())
            self._post(
                JobOpened(job.key, letter.function, letter.arguments, letter.timeout, letter.tokens, as_of)
            )
            ended = await job.ended
            if not (isinstance(ended, Refuse) and ended.reason in ("busy", "draining")) or job.cancelled:
                return await asyncio.to_thread(_outcome, ended, self._loop.time() - began_at)
            if self._draining or ended.reason == "draining":
                return None
            job.ended = self._loop.create_future()
            await asyncio.sleep(max(ended.retry_after_seconds, 0.05))

    def begin_then(
        self, start: Start, run: Callable[[Start], None], refuse: Callable[[Failed], None]
    ) -> None:
        """Write down that a job begins, and only then run it; on the loop."""
        job = self._jobs[start.key]
        job.beginning = True
        written = self._loop.run_in_executor(None, self._journal.begin, job.number, job.forget)

        def go_on(done: asyncio.Future[None]) -> None:
            if not job.beginning:
                return  # stopped meanwhile
            job.beginning = False
            if (error := done.exception()) is None:
                emit("job began", start.call_id, start.function)
                run(start)
                return
            log.error("a job was not run, because that it begins could not be written down: %s", error)
            message = "the node could not write down that the job begins, so it was not run"
            refuse(Failed(start.key, "error", "OSError", message, builtin="OSError"))

        written.add_done_callback(go_on)

    def abandon(self, key: CallKey) -> None:
        """A job that was about to begin is not wanted any more."""
        job = self._jobs.get(key)
        if job is not None:
            job.beginning = False

    def ended(self, ended: JobEnded) -> None:
        """The machine says how a job's call ended."""
        job = self._jobs.get(ended.key)
        if job is not None and not job.ended.done():
            job.ended.set_result(ended.outcome)

    # ---- delivering

    async def _deliver(self, number: bytes, parts: list[bytes] | None = None) -> None:
        """Put a result into the mailbox; once it is on the gateway's disk, it is forgotten here."""
        if parts is None:
            parts = await asyncio.to_thread(self._journal.result, number)
        try:
            for part, data in enumerate(parts):
                await self._put(PutResult(number, part, len(parts), data))
        except UnknownJobError:
            log.warning("node %s has the result of a job that its gateway does not know any more", self._node)
        except MailboxError as error:
            if error.code != "too_large":
                raise
            await self._put(RefuseLetter(number, str(error)))
        await asyncio.to_thread(self._journal.delivered, number)
        emit("job delivered", call_text(_call_number(number)))

    async def _put(self, request: MailRequest) -> None:
        try:
            await self._patiently(request)
        except UnknownJobError:
            if not isinstance(request, RefuseLetter):
                raise

    async def _patiently(self, request: MailRequest) -> Any:
        """Ask, however long the gateway is away, busy or full."""
        pause = 0.5
        while True:
            await self._linked.wait()
            try:
                return await self._ask(request)
            except LinkError:
                await asyncio.sleep(0.05)
            except MailboxError as error:
                if error.code not in ("full", "busy", "disk"):
                    raise
                log.warning("node %s waits for its gateway's mailbox: %s", self._node, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, PAUSE_SECONDS_MAX)

    # ---- progress

    def tell(self, key: CallKey, progress: Progress) -> None:
        """How far a job is; the newest word counts."""
        job = self._jobs.get(key)
        if job is None:
            return
        job.progress = progress
        if job.telling is None:
            job.telling = self._loop.create_task(self._tell(job))

    async def _tell(self, job: _Job) -> None:
        while (progress := job.progress) is not None and not job.ended.done():
            job.progress = None
            sealed = job.secret.seal_progress(os.urandom(12), encode_mail(progress))
            with contextlib.suppress(LinkError, MailboxError):  # the next word will do
                await self._ask(TellProgress(job.number, sealed))
            await asyncio.sleep(PROGRESS_SECONDS)
        job.telling = None


def _call_number(job: bytes) -> int:
    """A job's call has this number, which is what people see of it in logs."""
    return int.from_bytes(job[8:], "big") >> 1


def _outcome(ended: Encoded | Fault | Refuse, seconds: float) -> Outcome:
    if isinstance(ended, Fault):
        return Outcome(
            kind=ended.kind,
            type_name=ended.type_name,
            message=ended.message,
            traceback=ended.traceback,
            builtin=ended.builtin,
            seconds=seconds,
        )
    if isinstance(ended, Refuse):
        return Outcome(kind=f"refused {ended.reason}", message=ended.message)
    value = ended if isinstance(ended, bytes) else bytes(ended.slice(0, ended.size))
    return Outcome(value=value, seconds=seconds)
