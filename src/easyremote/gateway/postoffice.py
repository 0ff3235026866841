"""The counter in front of the mailbox: many ask at once, one thread writes, and one sync to disk serves all who wait.

Requests come on the loop and are answered there. A question about a job that has no news yet waits here, not there.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from easyremote.errors import DecodeError, MailboxError, RemoteProtocolError, SignatureError
from easyremote.gateway.mailbox import Mailbox, Member
from easyremote.gateway.watches import Watch, Watches
from easyremote.protocol.directory import letter_card_transcript
from easyremote.protocol.gateway_effects import Mailing
from easyremote.protocol.gateway_events import MailAnswered, MailArrived, RouterEvent
from easyremote.protocol.limits import MailboxLimits
from easyremote.trace import log
from easyremote.trust.identity import verify
from easyremote.wire.cards import decode_card
from easyremote.wire.mail import JobRecord, MailRequest, ShowCard, WatchJob, decode_mail

__all__ = ["PostOffice"]

BATCH = 128
QUEUED_MAX = 4096
"""Requests that wait for the disk; more are refused."""
QUEUED_BYTES_MAX = 128 << 20
QUEUED_PER_DEVICE = 256
"""Of one device."""
SWEEP_SECONDS = 60.0
LOOK_SECONDS = 1.0
"""How often is looked whether another gateway of this home has written into the mailbox."""


class _Asked(msgspec.Struct):
    link: int
    number: int
    request: MailRequest
    member: Member
    size: int = 0


class _Renamed(msgspec.Struct):
    device: bytes
    old: str
    new: str


class PostOffice:
    """Serves one gateway's devices, from start to ``close``.

    Args:
        path: The mailbox's database.
        limits: What it holds at most.
        clock: Seconds since 1970.
        loop: Where requests come and answers go.
        holder: Whose a node's name is.
        tell: Takes what is to be told to devices, on the loop.

    Raises:
        MailboxError: The database is damaged.
    """

    def __init__(
        self,
        path: Path,
        limits: MailboxLimits,
        *,
        clock: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
        holder: Callable[[str], bytes | None],
        tell: Callable[[RouterEvent], None],
    ) -> None:
        self._mailbox = Mailbox(path, limits, clock)
        self._loop = loop
        self._holder = holder
        self._tell = tell
        self._queue: queue.SimpleQueue[_Asked | _Renamed | None] = queue.SimpleQueue()
        self._queued = self._queued_bytes = 0
        self._queued_by: Counter[bytes] = Counter()
        self._watches = Watches(loop, self._look_again)
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="easyremote-mailbox", daemon=True)
        self._thread.start()

    # ---- on the loop

    def ask(self, mailing: Mailing, member: Member | None) -> None:
        """A device asks for something; the answer is told when it is on disk."""
        try:
            request: MailRequest = decode_mail(mailing.request, MailRequest)
        except RemoteProtocolError as error:
            self._refuse(mailing, MailboxError(str(error), code="bad"))
            return
        if member is None:
            self._refuse(mailing, MailboxError("this device is no member of the network", code="bad"))
            return
        if isinstance(request, ShowCard) and (why := self._why_not(request, mailing.device)):
            self._refuse(mailing, MailboxError(why, code="bad"))
            return
        asked = _Asked(mailing.link, mailing.number, request, member, len(mailing.request))
        if self._queued_by[mailing.device] >= QUEUED_PER_DEVICE:
            self._refuse(
                mailing, MailboxError("this device asks more than the mailbox can answer", code="busy")
            )
            return
        if self._queued >= QUEUED_MAX or self._queued_bytes + asked.size > QUEUED_BYTES_MAX:
            self._refuse(
                mailing, MailboxError("the gateway's mailbox has more to do than it can", code="busy")
            )
            return
        self._put(asked)

    def rename(self, device: bytes, old: str, new: str) -> None:
        """An operator has renamed a node: its letters are for the new name."""
        self._queue.put(_Renamed(device, old, new))

    def _why_not(self, ask: ShowCard, device: bytes) -> str:
        """Nobody is shown a card that its readers would have to refuse."""
        if self._holder(ask.node) != device:
            return f"the name {ask.node!r} is not this device's"
        try:
            verify(device, ask.signature, letter_card_transcript(ask.card))
            card = decode_card(ask.card)
        except (SignatureError, DecodeError) as error:
            return f"a card that does not hold: {error}"
        return "" if (card.endpoint[:32], card.name) == (device, ask.node) else "a card that is not its own"

    def _put(self, asked: _Asked) -> None:
        self._queued += 1
        self._queued_bytes += asked.size
        self._queued_by[asked.member.device] += 1
        self._queue.put(asked)

    def _refuse(self, mailing: Mailing, error: MailboxError) -> None:
        self._tell(MailAnswered(mailing.link, mailing.number, error=str(error), code=error.code))

    def _answered(
        self,
        answers: list[tuple[_Asked, bytes | MailboxError]],
        changed: set[bytes],
        letters: set[tuple[bytes, str]],
    ) -> None:
        if self._closed:
            return
        for asked, answer in answers:
            self._queued -= 1
            self._queued_bytes -= asked.size
            device = asked.member.device
            self._queued_by[device] -= 1
            if not self._queued_by[device]:
                del self._queued_by[device]
            if isinstance(answer, MailboxError):
                self._tell(MailAnswered(asked.link, asked.number, error=str(answer), code=answer.code))
            elif not self._waits(asked, answer):
                self._tell(MailAnswered(asked.link, asked.number, answer))
        for device, node in letters:
            self._tell(MailArrived(device, node))
        for job in changed:
            self._watches.news(job)

    def _waits(self, asked: _Asked, answer: bytes) -> bool:
        """Whether this is a question that has no news yet, and waits for some."""
        request = asked.request
        if not isinstance(request, WatchJob) or not request.seconds:
            return False
        record: JobRecord = decode_mail(answer, JobRecord)
        if record.version > request.seen:
            return False
        watch = Watch(request.job, asked.member, asked.link, asked.number)
        return self._watches.add(watch, request.seconds)

    def _look_again(self, watch: Watch) -> None:
        """There is news, or the time is up: tell how the job is."""
        self._put(_Asked(watch.link, watch.number, WatchJob(watch.job), watch.member))

    def left(self, link: int) -> None:
        """A link is closed: nobody there waits for anything."""
        self._watches.left(link)

    def close(self) -> None:
        """Whatever was taken is on disk; nothing more is."""
        self._closed = True
        self._watches.close()
        self._queue.put(None)
        self._thread.join()
        self._mailbox.close()

    # ---- in its thread

    def _work(self) -> None:
        sweep_at = 0.0
        while True:
            works = self._gather()
            asked = [one for one in works if isinstance(one, _Asked)]
            try:
                for one in works:
                    if isinstance(one, _Renamed):
                        self._mailbox.rename(one.device, one.old, one.new)
                self._mailbox.look_for_others()
                if time.monotonic() >= sweep_at:
                    self._mailbox.sweep()
                    sweep_at = time.monotonic() + SWEEP_SECONDS
                answers = self._mailbox.answer([(one.request, one.member) for one in asked]) if asked else []
            except Exception:  # whatever it is, devices must not wait for ever, nor the gateway end
                log.exception("the mailbox failed")
                answers = [MailboxError("the gateway's mailbox failed; its log says how", code="disk")] * len(
                    asked
                )
            changed, letters = self._mailbox.take_news()
            if answers or changed or letters:
                try:
                    self._loop.call_soon_threadsafe(
                        self._answered, list(zip(asked, answers, strict=True)), changed, letters
                    )
                except RuntimeError:  # the loop is closed
                    return
            if any(one is None for one in works):
                return

    def _gather(self) -> list[_Asked | _Renamed | None]:
        """What there is to do; nothing if nobody asks for a while."""
        try:
            works = [self._queue.get(timeout=LOOK_SECONDS)]
        except queue.Empty:
            return []
        while len(works) < BATCH:
            try:
                works.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return works
