"""Durable calls, at the caller: a letter into the gateway's mailbox, and later its result out of it.

Everything here can be asked again after any breakage: parts are put and read by number, and what is on this device's
disk before it is acknowledged is never lost. ``job.py`` has what programs hold in their hands.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from easyremote.client.asking import Options
from easyremote.client.jobbook import FILE, BookEntry, JobBook
from easyremote.errors import (
    CallCancelledError,
    CallTimeoutError,
    DecodeError,
    EasyRemoteError,
    LinkError,
    MailboxError,
    MembershipError,
    NodeLostError,
    RemoteProtocolError,
    SealError,
    SignatureError,
    UnknownFunctionError,
    UnknownJobError,
    UnknownNodeError,
    UsageError,
    ValueTooLargeError,
)
from easyremote.protocol.call import ACCEPTED, Call, fault_error, near, refusal_error
from easyremote.protocol.directory import letter_card_transcript
from easyremote.protocol.events import CallRequested, Encoded
from easyremote.schedule.decision import decide
from easyremote.schedule.requirements import Requirement
from easyremote.trust.handshake import PublicPrekey
from easyremote.trust.identity import verify
from easyremote.trust.letter import Secret, seal_letter, write_job
from easyremote.wire.bundle import Fault, Refuse
from easyremote.wire.cards import NodeCard, decode_card
from easyremote.wire.limits import JOB_SECONDS_MAX
from easyremote.wire.mail import (
    CANCELLED,
    DONE,
    FETCHED,
    OVER,
    REFUSED,
    AcknowledgeJob,
    CancelJob,
    FindNodes,
    JobRecord,
    KeptCard,
    Letter,
    MailRequest,
    Outcome,
    Progress,
    PutLetter,
    ReadResult,
    WatchJob,
    decode_mail,
    encode_mail,
    job_call,
)

if TYPE_CHECKING:
    from easyremote.client.engine import Engine

__all__ = ["JobStatus", "Jobs"]

WATCH_SECONDS = 60.0
NEWSLESS_SECONDS = 1.0
"""A gateway that answers at once though there is no news is not asked again before."""
BUSY_SECONDS_MAX = 10.0
ARRIVING_SECONDS = 5.0
"""How long a node that has just come is waited for to show the card that letters to it go by."""
SIDE_BY_SIDE = 4
"""Parts of a letter or a result that are on their way at a time."""
_PARTS = list[bytes]


class JobStatus(msgspec.Struct, frozen=True):
    """How a job stands.

    Attributes:
        id: What to ask for it by; who has it, and is of the same account, can read the result.
        state: ``waiting`` for its node, ``running``, ``done`` (``result()`` brings the value, or raises what it came
            to), ``cancelled``, ``refused``, ``fetched`` (by another device, and gone from the gateway), ``arriving``
            (not all of it has reached the gateway) or ``unknown`` (the gateway does not have it, or no longer).
        function: The function's name; empty if this device has not submitted it.
        node: The node's name.
        made: When it was submitted, in seconds since 1970; 0.0 if this device has not.
        done: How much the function says is done.
        total: How much there is in all, if it says.
        message: What it says it is doing, or why the job was refused.
        expires_in: For how many seconds it is kept as it is.
    """

    id: str
    state: str
    function: str = ""
    node: str = ""
    made: float = 0.0
    done: float | None = None
    total: float | None = None
    message: str = ""
    expires_in: float = 0.0

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in OVER or self.state == "unknown"


class Jobs:
    """All jobs of one engine, on its loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._book: JobBook | None = None
        self._opening = asyncio.Lock()

    async def _books(self) -> JobBook:
        async with self._opening:
            if self._book is None:
                try:
                    self._book = await asyncio.to_thread(JobBook, self._engine.home)
                except (sqlite3.Error, OSError) as error:
                    raise MailboxError(
                        f"the jobs of this device cannot be read: {self._engine.home / FILE} ({error}). Restore it from a "
                        "backup, or move it away: jobs can still be asked for by their ids",
                        code="damaged",
                    ) from None
            return self._book

    def close(self) -> None:
        """Nothing more is asked."""
        book, self._book = self._book, None
        if book is not None:
            book.close()

    # ---- submitting

    async def submit(self, function: str, arguments: Encoded, options: Options) -> bytes:
        """Put a call into the mailbox; its secret, once it is on the gateway's disk.

        Raises:
            UnknownFunctionError: No node that takes durable calls offers it.
            MailboxError: The mailbox is full, or does not take so much; nothing is kept.
            LinkError: The gateway does not answer; whether the call was kept, ``easynet jobs`` tells later.
        """
        engine = self._engine
        await engine.ready()
        named, _, bare = function.rpartition(".")
        card = await self._find(bare, options.node or named, options)
        secret, now = Secret(os.urandom(16)), time.time()
        letter = Letter(
            function=bare,
            arguments=arguments
            if isinstance(arguments, bytes)
            else bytes(arguments.slice(0, arguments.size)),
            secret=secret.secret,
            tokens=list(engine.standing.tokens),
            made=now,
            keep_seconds=options.keep,
            timeout=options.timeout,
        )
        device, prekey = card.endpoint[:32], card.prekey
        parts = await asyncio.to_thread(
            lambda: seal_letter(
                engine.identity,
                secret.number,
                node=device,
                prekey=PublicPrekey(prekey.id, prekey.suite, prekey.aead, prekey.key),
                secret=os.urandom(32),
                data=encode_mail(letter),
            )
        )
        book = await self._books()
        entry = BookEntry(
            secret.number,
            engine.standing.network,
            secret.secret,
            bare,
            card.name,
            now,
            now + 2 * JOB_SECONDS_MAX,
        )
        await asyncio.to_thread(book.add, entry, now)

        def put(number: int) -> Awaitable[Any]:
            return self._patiently(
                PutLetter(secret.number, device, card.name, number, len(parts), parts[number], options.keep)
            )

        try:
            await _side_by_side(len(parts), put)
        except MailboxError:
            await asyncio.to_thread(book.remove, secret.number)
            await self._quietly(CancelJob(secret.number))  # some of it may be there
            raise
        return secret.secret

    async def _find(self, function: str, node: str, options: Options) -> NodeCard:
        """The card that a letter goes by: of the node named, or of one that offers the function, there or away."""
        if not node:
            node = self._choose(function, options)
        if node:
            cards = await self._cards(node)
            give_up_at = self._engine.loop.time() + ARRIVING_SECONDS
            while not cards and self._takes_letters(node) and self._engine.loop.time() < give_up_at:
                await asyncio.sleep(0.02)
                cards = await self._cards(node)
            if not cards:
                raise UnknownNodeError(
                    f"no node called {node!r} that takes durable calls is known to the gateway. Run `easynet nodes` to see "
                    "who is there; a node made with jobs=False, or by an older version, takes none"
                )
            card = cards[0]
        else:
            cards = await self._cards("")
            offering = [card for card in cards if any(one.name == function for one in card.functions)]
            if not offering:
                known = {one.name for card in cards for one in card.functions}
                raise UnknownFunctionError(
                    f"no node that takes durable calls offers {function!r}, be it there or away{near(function, known)}"
                )
            card = offering[0]
        if any(one.name == function and one.stream for one in card.functions):
            raise UsageError(f"{function!r} gives a stream of items, and a stream cannot be durable")
        return card

    def _takes_letters(self, node: str) -> bool:
        """Whether a node that is there says that it does, and its card for them is on its way."""
        view = self._engine.directory.named(node)
        return view is not None and view.present and "jobs" in view.card.features

    def _choose(self, function: str, options: Options) -> str:
        """The name of a node that is there and offers it; empty if none is."""
        candidates = self._engine.directory.offering(function)
        if not candidates:
            return ""
        requirement = options.requirement or Requirement()
        requirement = msgspec.structs.replace(requirement, function=function)
        now, dice = asyncio.get_running_loop().time(), random.SystemRandom().random
        return decide(requirement, candidates, policy=options.policy, now=now, entropy=dice).chosen.name

    async def _cards(self, node: str) -> list[NodeCard]:
        """Cards of nodes that take letters, as far as they are believed."""
        found: list[KeptCard] = await self._patiently(FindNodes(node), list[KeptCard])
        return [
            card for one in found if (card := self._believed(one)) is not None and node in ("", card.name)
        ]

    def _believed(self, kept: KeptCard) -> NodeCard | None:
        standing = self._engine.standing
        try:
            verify(kept.device, kept.signature, letter_card_transcript(kept.card))
            card = decode_card(kept.card)
            if standing.authority is None or card.endpoint[:32] != kept.device:
                return None
            # Its membership may have run out while it is away; what counts is that it has not been revoked.
            membership = standing.authority.check(card.membership, kept.device, 0.0)
        except (SignatureError, MembershipError, DecodeError):
            return None
        if membership.name != card.name or "node" not in membership.roles:
            return None
        return card if (card.expires_seconds or 0.0) > standing.earliest() else None

    # ---- looking

    async def status(self, secret: bytes) -> JobStatus:
        """How a job stands."""
        return (await self.watch(secret))[0]

    async def watch(self, secret: bytes, seen: int = 0, seconds: float = 0.0) -> tuple[JobStatus, int]:
        """How a job stands, once there is more to tell than ``seen``, or after so many seconds; and what was seen."""
        keys = Secret(secret)
        entry = await asyncio.to_thread((await self._books()).get, keys.number)
        if entry is not None and entry.result is not None:
            return _status(keys, entry, None), seen
        await self._engine.ready()
        try:
            record = await self._record(keys, seen, seconds)
        except UnknownJobError:
            return _status(keys, entry, None, unknown=True), seen
        return _status(keys, entry, record), record.version

    async def listed(self) -> list[JobStatus]:
        """The jobs of this device, the newest first."""
        await self._engine.ready()
        entries = await asyncio.to_thread((await self._books()).entries, self._engine.standing.network)
        found: list[JobStatus] = []
        for start in range(0, len(entries), 64):
            few = entries[start : start + 64]
            found += await asyncio.gather(*(self.status(entry.secret) for entry in few))
        return found

    async def _record(self, keys: Secret, seen: int = 0, seconds: float = 0.0) -> JobRecord:
        asked_at = self._engine.loop.time()
        record: JobRecord = await self._patiently(
            WatchJob(keys.number, seen, seconds), JobRecord, seconds=seconds
        )
        if seconds and record.version <= seen and self._engine.loop.time() - asked_at < NEWSLESS_SECONDS:
            await asyncio.sleep(NEWSLESS_SECONDS)
        return record

    # ---- results

    async def result(self, secret: bytes, timeout: float | None) -> bytes:
        """What the call returned, encoded, when it is there.

        Raises:
            EasyRemoteError: It ended without a value, it cannot be had, or the time is up.
        """
        if timeout is not None and (
            isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0
        ):
            raise UsageError(f"timeout is a number of seconds above 0, or None, not {timeout!r}")
        keys = Secret(secret)
        book = await self._books()
        entry = await asyncio.to_thread(book.get, keys.number)
        if entry is None or entry.result is None:
            try:
                async with asyncio.timeout(timeout):
                    parts, node = await self._fetch(keys)
            except TimeoutError:
                raise CallTimeoutError(
                    f"job {write_job(secret)} is not over yet after {timeout:g} s; it goes on. Ask for its result again"
                ) from None
            outcome = await asyncio.to_thread(_open, keys, parts)
            if entry is None:
                now = time.time()
                entry = BookEntry(
                    keys.number,
                    self._engine.standing.network,
                    secret,
                    "",
                    node,
                    now,
                    now + 2 * JOB_SECONDS_MAX,
                )
            await asyncio.to_thread(book.keep_result, entry, encode_mail(parts))
            await self._quietly(AcknowledgeJob(keys.number))  # only now: it is on the disk here
        else:
            outcome = await asyncio.to_thread(_open, keys, decode_mail(entry.result, _PARTS))
        if outcome.kind:
            raise _error(keys, entry, outcome)
        return outcome.value

    async def _fetch(self, keys: Secret) -> tuple[list[bytes], str]:
        """The sealed result, as soon as it is in the mailbox, and which node it is of."""
        seen = 0
        while True:
            record = await self._record(keys, seen, WATCH_SECONDS)
            seen = record.version
            if record.state == DONE:
                parts: list[bytes] = await _side_by_side(
                    record.parts, lambda number: self._patiently(ReadResult(keys.number, number))
                )
                return parts, record.node
            if record.state == FETCHED:
                entry = await asyncio.to_thread((await self._books()).get, keys.number)
                if entry is not None and entry.result is not None:  # another process of this home
                    return decode_mail(entry.result, _PARTS), record.node
                raise MailboxError(
                    f"the result of this job was fetched by device {record.note}, and is gone from the gateway: ask there",
                    code="unknown",
                )
            if record.state == CANCELLED:
                raise CallCancelledError("this job was cancelled before it began", node=record.node)
            if record.state == REFUSED:
                raise MailboxError(f"this job came to nothing: {record.note}")

    async def cancel(self, secret: bytes) -> None:
        """Nobody wants the result any more; what runs is told to stop."""
        await self._engine.ready()
        await self._patiently(CancelJob(Secret(secret).number))

    # ---- asking

    async def _patiently(self, request: MailRequest, kind: Any = None, *, seconds: float = 0.0) -> Any:
        """Ask, also when the link breaks meanwhile, for as long as calls in flight wait."""
        engine = self._engine
        give_up_at, pause = float("inf"), 0.1
        while True:
            try:
                return await engine.questions.ask(request, kind, seconds=seconds)
            except MailboxError as error:
                if error.code != "busy" or pause > BUSY_SECONDS_MAX:
                    raise
                await asyncio.sleep(pause)
                pause *= 2
            except LinkError as error:
                now = engine.loop.time()
                give_up_at = min(give_up_at, now + engine.lost_after)
                if now >= give_up_at:
                    raise
                await asyncio.sleep(0.05)
                try:
                    async with asyncio.timeout(give_up_at - now):
                        await engine.linked()
                except TimeoutError:
                    raise error from None

    async def _quietly(self, request: MailRequest) -> None:
        """Ask once; it does not matter much."""
        try:
            await self._engine.questions.ask(request)
        except (LinkError, MailboxError, RemoteProtocolError):
            return


async def _side_by_side(many: int, do: Callable[[int], Awaitable[Any]]) -> list[Any]:
    """Do all of these, a few at a time; what they gave, in order."""
    done: list[Any] = []
    for start in range(0, many, SIDE_BY_SIDE):
        numbers = range(start, min(many, start + SIDE_BY_SIDE))
        tasks = [asyncio.ensure_future(do(number)) for number in numbers]
        try:
            done += await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
    return done


def _open(keys: Secret, parts: list[bytes]) -> Outcome:
    try:
        outcome: Outcome = decode_mail(keys.open_result(parts), Outcome)
    except RemoteProtocolError as error:
        raise SealError(f"the result of this job does not read: {error}") from None
    return outcome


def _status(
    keys: Secret, entry: BookEntry | None, record: JobRecord | None, *, unknown: bool = False
) -> JobStatus:
    progress = Progress(0.0)
    told = record is not None and bool(record.progress)
    if record is not None and record.progress:
        try:
            progress = decode_mail(keys.open_progress(record.progress), Progress)
        except (SealError, RemoteProtocolError):
            told = False
    return JobStatus(
        id=write_job(keys.secret),
        state="unknown" if unknown else record.state if record is not None else DONE,
        function=entry.function if entry is not None else "",
        node=record.node if record is not None else entry.node if entry is not None else "",
        made=entry.made if entry is not None and entry.function else 0.0,
        done=progress.done if told else None,
        total=progress.total if told else None,
        message=progress.message
        if told
        else record.note
        if record is not None and record.state == REFUSED
        else "",
        expires_in=record.expires_in if record is not None else 0.0,
    )


def _error(keys: Secret, entry: BookEntry, outcome: Outcome) -> EasyRemoteError:
    """What a call that ended without a value ended with, as its caller would have seen it."""
    number = job_call(keys.number)
    request = CallRequested(number, entry.function, b"", patience=0.0)
    call = Call(request, number, entry.function or "the function", entry.node or None, 0.0, 0.0)
    if outcome.kind == "lost":
        return NodeLostError(
            f"{outcome.message}. It was not run again: register it with idempotent=True if that is safe, or submit it "
            "again yourself",
            ran=ACCEPTED,
            function=call.function,
            node=call.node,
            call_id=call.id,
        )
    if outcome.kind == "refused too_large":
        return ValueTooLargeError(
            f"the arguments of {call.function!r} are more than node {call.node!r} takes (max_value_bytes= there)"
        )
    if outcome.kind.startswith("refused "):
        return refusal_error(call, Refuse(number, outcome.kind.partition(" ")[2], outcome.message))
    return fault_error(
        call,
        Fault(number, outcome.kind, outcome.type_name, outcome.message, outcome.traceback, outcome.builtin),
    )
