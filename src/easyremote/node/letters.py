"""A node's letters: it fetches what waits for it, has each call made once, and puts the result into the mailbox.

One letter's way::

    fetched ──opened──▶ taken ──room──▶ began ──ended──▶ finished ──put──▶ delivered
                          └─no room: it goes back, and is fetched again when there may be some

That it began is on the node's disk before its function runs; that it finished, with its result, before the gateway hears.
Whatever ends the node's process, it goes on from there: what had not begun is fetched again; what had begun runs again if
its function is idempotent, else the result is that nobody knows; what had finished is delivered, and nothing is ever
sealed in place of a result that was.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from easyremote.errors import LinkError, MailboxError, RemoteProtocolError, SealError, UnknownJobError
from easyremote.node.job import NodeJob, outcome_of, seal_outcome
from easyremote.node.journal import BEGAN, DELIVERED, FINISHED, Journal
from easyremote.protocol.call import call_text
from easyremote.protocol.effects import JobEnded, Start
from easyremote.protocol.events import CallKey, Event, Failed, JobCancelled, JobOpened
from easyremote.trace import emit, log
from easyremote.trust.handshake import Prekeys
from easyremote.trust.letter import Secret, open_letter
from easyremote.wire.bundle import Refuse
from easyremote.wire.limits import JOB_SECONDS_MAX, MAIL_PART_BYTES
from easyremote.wire.mail import (
    LISTED_MAX,
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
    job_call,
)

__all__ = ["Letters"]

AT_ONCE = 64
"""Letters that are being fetched at a time; others wait at the gateway. One that has begun is not counted."""
KNOWN_MAX = 100_000
"""So many letters are known by number at a time, at most."""
DELIVERED_AT_ONCE = 4
AT_ONCE_BYTES = 512 << 20
PROGRESS_SECONDS = 0.25
"""How often at most the gateway hears how far a job is."""
PAUSE_SECONDS_MAX = 30.0
ROOM_SECONDS = 1.0
"""How often is looked whether there is room for letters that went back, besides when a job ends."""
FAILURES_MAX = 3
KEPT_SECONDS = 10.0
"""How long a node that stops writes down what has just ended."""
CLOCKS_APART_SECONDS = 2 * 3600.0
"""Two devices' clocks may each be an hour off."""


class Ask(Protocol):
    """How the mailbox is asked; see ``links.questions.Questions.ask``."""

    def __call__(self, request: MailRequest, kind: Any = None) -> Awaitable[Any]:
        """The answer."""


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
        self._jobs: dict[CallKey, NodeJob] = {}
        self._keys: dict[bytes, CallKey] = {}
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._waiting: dict[bytes, LetterRecord] = {}  # at the gateway, the oldest first
        self._places: dict[bytes, int] = {}  # letters being fetched, and their sizes
        self._parked: dict[bytes, str] = {}  # letters for whose functions there was no room
        self._cancelled: set[bytes] = set()
        self._failures: dict[bytes, tuple[int, float]] = {}
        self._room_timer: asyncio.TimerHandle | None = None
        self._delivering = asyncio.Semaphore(DELIVERED_AT_ONCE)
        self._news = asyncio.Event()
        self._linked = asyncio.Event()
        self._draining = False
        self._looking = self._loop.create_task(self._look_out())

    def __contains__(self, key: CallKey) -> bool:
        return key in self._jobs

    @property
    def running(self) -> int:
        """Jobs whose calls have not ended."""
        return sum(1 for job in self._jobs.values() if not job.ended.done())

    # ---- what happens

    def attached(self, node: str) -> None:
        """The gateway is there, perhaps again, and calls the node so: something may be waiting."""
        self._node = node
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
        """Write down what has ended, and deliver it for up to so many seconds; the rest follows when the node serves again."""
        self._draining = True
        self._looking.cancel()
        if self._room_timer is not None:
            self._room_timer.cancel()
        ended = [job for job in self._jobs.values() if job.ended.done()]
        kept = [asyncio.ensure_future(job.kept.wait()) for job in ended if not job.elsewhere]
        if kept:
            await asyncio.wait(kept, timeout=KEPT_SECONDS)
        delivering = [task for number, task in self._tasks.items() if self._has_ended(number)]
        if delivering and seconds:
            await asyncio.wait(delivering, timeout=seconds)
        tasks = [self._looking, *kept, *self._tasks.values()]
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
                self._waiting = await self._listed()
            except LinkError:
                self._news.set()
                continue
            except (MailboxError, RemoteProtocolError) as error:
                if not (isinstance(error, MailboxError) and error.code == "none"):
                    log.warning("node %s could not look into its mailbox: %s", self._node, error)
                    self._loop.call_later(PAUSE_SECONDS_MAX, self._news.set)
                continue
            waiting = self._waiting
            self._cancelled &= waiting.keys()
            self._parked = {number: name for number, name in self._parked.items() if number in waiting}
            self._failures = {number: one for number, one in self._failures.items() if number in waiting}
            for record in waiting.values():
                if record.cancelled:
                    self._cancel(record.job)
            self._take_some()

    async def _listed(self) -> dict[bytes, LetterRecord]:
        """All letters that wait for the node, or that it has."""
        found: dict[bytes, LetterRecord] = {}
        after = b""
        while True:
            some: list[LetterRecord] = await self._ask(ListLetters(self._node, after), list[LetterRecord])
            fresh = [record for record in some if record.job not in found]
            found |= {record.job: record for record in fresh}
            if len(some) < LISTED_MAX or not fresh or len(found) >= KNOWN_MAX:
                return found
            after = some[-1].job

    def _cancel(self, number: bytes) -> None:
        if number in self._cancelled:
            return
        self._cancelled.add(number)
        self._parked.pop(number, None)
        if (key := self._keys.get(number)) is not None:
            self._post(JobCancelled(key))

    def _take_some(self) -> None:
        """Fetch of what waits as much as there are places for."""
        if self._draining:
            return
        now, held = self._loop.time(), sum(self._places.values())
        for number, record in self._waiting.items():
            if number in self._tasks or number in self._parked:
                continue
            if number in self._failures and self._failures[number][1] > now:
                continue
            size = record.parts * MAIL_PART_BYTES
            if self._places and (len(self._places) >= AT_ONCE or held + size > AT_ONCE_BYTES):
                return
            held += size
            self._places[number] = size
            self._serve(number, self._handle(record))

    def _serve(self, number: bytes, work: Coroutine[Any, Any, None]) -> None:
        if number in self._tasks:
            work.close()
            return
        task = self._tasks[number] = self._loop.create_task(work)
        task.add_done_callback(lambda done: self._over(number, done))

    def _free(self, number: bytes) -> None:
        """It needs no place any more."""
        if self._places.pop(number, None) is not None:
            self._take_some()

    def _over(self, number: bytes, task: asyncio.Task[None]) -> None:
        del self._tasks[number]
        if number not in self._parked and not task.cancelled() and task.exception() is None:
            self._waiting.pop(number, None)  # unless it is listed again, it is done with
        key = self._keys.pop(number, None)
        if key is not None:
            job = self._jobs.pop(key)
            if job.telling is not None:
                job.telling.cancel()
            job.kept.set()  # or never will be
            if number not in self._parked:
                self._unpark(job.function)
        self._free(number)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(number, error)

    def _failed(self, number: bytes, error: BaseException) -> None:
        """Something is wrong with one letter, or here: try again a few times, and let the others not wait for it."""
        log.error("node %s could not go on with a job: %s", self._node, error, exc_info=error)
        times = self._failures.get(number, (0, 0.0))[0] + 1
        pause = min(2.0**times, PAUSE_SECONDS_MAX)
        self._failures[number] = (times, self._loop.time() + pause)
        if times >= FAILURES_MAX:
            self._serve(number, self._refuse(number, f"node {self._node!r} failed with the letter: {error}"))
        else:
            self._loop.call_later(pause, self._take_some)

    # ---- letters that go back

    def _park(self, job: NodeJob) -> None:
        """There is no room for it now."""
        self._parked[job.number] = job.function
        if self._room_timer is None:
            self._room_timer = self._loop.call_later(ROOM_SECONDS, self._look_for_room)

    def _unpark(self, function: str) -> None:
        """A place for this function may be free."""
        for number, name in self._parked.items():
            if name == function:
                del self._parked[number]
                self._take_some()
                return

    def _look_for_room(self) -> None:
        self._room_timer = None
        for function in set(self._parked.values()):
            self._unpark(function)
        if self._parked:
            self._room_timer = self._loop.call_later(ROOM_SECONDS, self._look_for_room)

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
            await self._refuse(number, f"node {self._node!r} could not open the letter: {error}")
            return
        if state == DELIVERED:
            await self._refuse(number, f"node {self._node!r} has delivered the result of this job before")
            return
        # Longer than any key of a session's call, so that no session can speak of it.
        key = (caller + number[:8] + b"j", job_call(number))
        emit("job fetched", call_text(key[1]), letter.function)
        forget = (
            max(self._clock(), letter.made) + letter.keep_seconds + JOB_SECONDS_MAX + CLOCKS_APART_SECONDS
        )
        again = state == BEGAN
        job = NodeJob(
            number,
            key,
            letter.function,
            secret,
            forget,
            again,
            self._loop.create_future(),
            asyncio.Event(),
        )
        self._jobs[key], self._keys[number] = job, key
        outcome: Outcome | None
        if number in self._cancelled or record.cancelled:
            outcome = Outcome(
                kind="cancelled", message="it was not run again" if again else "it had not begun"
            )
        elif again and not self._idempotent(letter.function):
            outcome = Outcome(
                kind="lost",
                message=f"node {self._node!r} ended while it ran {letter.function!r}, and knows no result",
            )
        else:
            outcome = await self._run(job, letter)
        if outcome is not None:
            await self._finish(job, outcome)
            await self._deliver(number)

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
        now = self._clock()
        if not letter.made + JOB_SECONDS_MAX + CLOCKS_APART_SECONDS > now:
            raise SealError("it is too old")
        if not letter.made < now + CLOCKS_APART_SECONDS:
            raise SealError(
                "it says that it was made later than now: see that the clocks there and here are right"
            )
        return caller, letter, secret

    async def _run(self, job: NodeJob, letter: Letter) -> Outcome | None:
        """Have the call made; None if this node does not make it, or not now."""
        began_at = self._loop.time()
        as_of = min(letter.made, self._clock())
        self._post(
            JobOpened(job.key, letter.function, letter.arguments, letter.timeout, letter.tokens, as_of)
        )
        ended = await job.ended
        if job.elsewhere:
            log.warning("a job was not run, because another process of node %s has begun it", self._node)
            return None
        if isinstance(ended, Refuse) and ended.reason in ("busy", "draining"):
            if job.number in self._cancelled:
                return Outcome(kind="cancelled", message="it had not begun")
            if ended.reason == "busy":
                self._park(job)
            return None
        return await asyncio.to_thread(outcome_of, ended, self._loop.time() - began_at)

    def begin_then(
        self, start: Start, run: Callable[[Start], None], refuse: Callable[[Failed], None]
    ) -> None:
        """Write down that a job begins, and only then run it; on the loop."""
        job = self._jobs[start.key]
        job.beginning = True

        def begin() -> bool:
            return self._journal.begin(job.number, job.forget, again=job.again)

        def go_on(done: asyncio.Future[bool]) -> None:
            if not job.beginning:
                return  # stopped meanwhile
            job.beginning = False
            error = done.exception()
            if error is None and done.result():
                self._free(job.number)
                emit("job began", start.call_id, start.function)
                run(start)
                return
            if error is None:
                job.elsewhere = True
                message = "another process of this node has begun the job"
            else:
                log.error("a job was not run, because that it begins could not be written down: %s", error)
                message = "the node could not write down that the job begins, so it was not run"
            refuse(Failed(start.key, "error", "OSError", message, builtin="OSError"))

        self._loop.run_in_executor(None, begin).add_done_callback(go_on)

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

    async def _finish(self, job: NodeJob, outcome: Outcome) -> None:
        """Write down what it came to, however long that takes: what is not on the disk must not be told of."""
        self._free(job.number)
        sealed = await asyncio.to_thread(seal_outcome, job.secret, outcome)
        pause = 0.5
        while True:
            try:
                await asyncio.to_thread(self._journal.finish, job.number, sealed, job.forget)
                break
            except sqlite3.Error as error:  # such as a full disk
                log.error(
                    "node %s cannot write down the result of a job, and tries again: %s", self._node, error
                )
                await asyncio.sleep(pause)
                pause = min(2 * pause, PAUSE_SECONDS_MAX)
        job.kept.set()

    async def _deliver(self, number: bytes) -> None:
        """Put a result into the mailbox; once it is on the gateway's disk, it is forgotten here."""
        self._free(number)
        async with self._delivering:
            many = await asyncio.to_thread(self._journal.parts, number)
            try:
                for part in range(many):
                    data = await asyncio.to_thread(self._journal.part, number, part)
                    await self._patiently(PutResult(number, part, many, data))
            except UnknownJobError:
                log.warning(
                    "node %s has the result of a job that its gateway does not know any more", self._node
                )
            except MailboxError as error:  # too large for this gateway, or of no use to it
                await self._refuse(number, str(error))
            await asyncio.to_thread(self._journal.delivered, number)
        emit("job delivered", call_text(job_call(number)))

    async def _refuse(self, number: bytes, reason: str) -> None:
        with contextlib.suppress(UnknownJobError):
            await self._patiently(RefuseLetter(number, reason[:512]))

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

    async def _tell(self, job: NodeJob) -> None:
        while (progress := job.progress) is not None and not job.ended.done():
            job.progress = None
            sealed = job.secret.seal_progress(os.urandom(12), encode_mail(progress))
            with contextlib.suppress(LinkError, MailboxError):  # the next word will do
                await self._ask(TellProgress(job.number, sealed))
            await asyncio.sleep(PROGRESS_SECONDS)
        job.telling = None
