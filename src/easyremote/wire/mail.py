"""What devices ask of a gateway's mailbox, and what it answers: msgpack records inside ``Post`` and ``Posted``.

A job is a call that waits at the gateway, sealed for its node, and whose result waits there, sealed for whoever knows
the job's secret. The gateway knows a job by its number, its sizes and its times.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec

from easyremote.errors import RemoteProtocolError
from easyremote.wire.limits import (
    JOB_BYTES,
    JOB_SECONDS_MAX,
    LETTER_CARD_BYTES_MAX,
    MAIL_PART_BYTES,
    MAIL_PARTS_MAX,
    MAX_CARD_BYTES,
    PROGRESS_BYTES_MAX,
    TOKEN_BYTES_MAX,
    WATCH_SECONDS_MAX,
)

SEALED_PART_BYTES = MAIL_PART_BYTES + 1024
"""A part and what sealing adds; the first of a letter holds its handshake instead."""

JobNumber: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=JOB_BYTES, max_length=JOB_BYTES)]
PartNumber: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=MAIL_PARTS_MAX)]
PartCount: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=MAIL_PARTS_MAX)]
PartData: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=1, max_length=SEALED_PART_BYTES)]
Name: TypeAlias = Annotated[str, msgspec.Meta(max_length=128)]
Reason: TypeAlias = Annotated[str, msgspec.Meta(max_length=512)]


class PutLetter(msgspec.Struct, frozen=True, array_like=True, tag=32):
    """Keep a part of a letter for the node of this name on this device; with the last, the letter is whole.

    ``keep_seconds`` is how long it may wait. A part that is there already may be put again.
    """

    job: JobNumber
    device: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    node: Name
    number: PartNumber
    parts: PartCount
    data: PartData
    keep_seconds: Annotated[float, msgspec.Meta(gt=0.0, le=JOB_SECONDS_MAX)]


class WatchJob(msgspec.Struct, frozen=True, array_like=True, tag=33):
    """How is the job? Answered when there is more than the asker has ``seen``, or when the seconds are over."""

    job: JobNumber
    seen: Annotated[int, msgspec.Meta(ge=0)] = 0
    seconds: Annotated[float, msgspec.Meta(ge=0.0, le=WATCH_SECONDS_MAX)] = 0.0


class ReadResult(msgspec.Struct, frozen=True, array_like=True, tag=34):
    """A part of the job's result."""

    job: JobNumber
    number: PartNumber


class CancelJob(msgspec.Struct, frozen=True, array_like=True, tag=35):
    """Nobody wants the result any more."""

    job: JobNumber


class AcknowledgeJob(msgspec.Struct, frozen=True, array_like=True, tag=36):
    """The result is on the asker's disk: forget it here."""

    job: JobNumber


class FindNodes(msgspec.Struct, frozen=True, array_like=True, tag=37):
    """The cards of nodes that take letters: that of the node of this name, or all of them if none is given."""

    node: Name = ""


class ListLetters(msgspec.Struct, frozen=True, array_like=True, tag=40):
    """What waits for the asker's node of this name? So many at a time, the oldest first: those after the job named."""

    node: Name
    after: Annotated[bytes, msgspec.Meta(max_length=JOB_BYTES)] = b""


class ReadLetter(msgspec.Struct, frozen=True, array_like=True, tag=41):
    """A part of a letter for the asker."""

    job: JobNumber
    number: PartNumber


class TakeLetter(msgspec.Struct, frozen=True, array_like=True, tag=42):
    """The asker begins with this job."""

    job: JobNumber


class PutResult(msgspec.Struct, frozen=True, array_like=True, tag=43):
    """Keep a part of the result; with the last, the letter is forgotten."""

    job: JobNumber
    number: PartNumber
    parts: PartCount
    data: PartData


class ShowCard(msgspec.Struct, frozen=True, array_like=True, tag=46):
    """The asker's node of this name takes letters, sealed to the prekey in this card, which it signed."""

    node: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    card: Annotated[bytes, msgspec.Meta(max_length=LETTER_CARD_BYTES_MAX)]
    signature: Annotated[bytes, msgspec.Meta(max_length=64)]


class RefuseLetter(msgspec.Struct, frozen=True, array_like=True, tag=44):
    """The asker cannot open this letter, and so cannot seal an answer; in words, why."""

    job: JobNumber
    reason: Reason


class TellProgress(msgspec.Struct, frozen=True, array_like=True, tag=45):
    """How far the job is, sealed for whoever knows its secret."""

    job: JobNumber
    data: Annotated[bytes, msgspec.Meta(max_length=PROGRESS_BYTES_MAX)]


MailRequest: TypeAlias = (
    PutLetter
    | WatchJob
    | ReadResult
    | CancelJob
    | AcknowledgeJob
    | FindNodes
    | ListLetters
    | ReadLetter
    | TakeLetter
    | PutResult
    | RefuseLetter
    | TellProgress
    | ShowCard
)

ARRIVING, WAITING, RUNNING, DONE, CANCELLED, REFUSED, FETCHED = (
    "arriving",
    "waiting",
    "running",
    "done",
    "cancelled",
    "refused",
    "fetched",
)
"""How a job stands: parts are missing; it waits for its node; the node has it; its result waits; it was cancelled
before it began; its node could not open it; its result was fetched, and is gone from here."""
OVER = (DONE, CANCELLED, REFUSED, FETCHED)


class JobRecord(msgspec.Struct, frozen=True, array_like=True):
    """A job as its gateway knows it.

    ``version`` grows with every change; ``parts`` are those of its result; ``note`` says why it was refused, or which
    device fetched it.
    """

    version: int
    state: str
    node: str
    parts: int = 0
    progress: bytes = b""
    expires_in: float = 0.0
    note: str = ""


LISTED_MAX = 1000
"""So many letters are listed at a time; when they are fewer, these are all."""


class LetterRecord(msgspec.Struct, frozen=True, array_like=True):
    """A letter that waits for its node; ``cancelled`` if nobody wants its result any more."""

    job: JobNumber
    parts: PartCount
    cancelled: bool = False


class KeptCard(msgspec.Struct, frozen=True, array_like=True):
    """The card of a node that takes letters, as it signed it."""

    device: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    name: Name
    card: Annotated[bytes, msgspec.Meta(max_length=MAX_CARD_BYTES)]
    signature: bytes


class Letter(msgspec.Struct, frozen=True, array_like=True):
    """What is sealed in a letter: the call, who makes it, and the secret its result is sealed under.

    ``tokens`` is what the caller shows of itself, ``made`` when, in seconds since 1970 by its own clock;
    ``keep_seconds`` how long the result may wait, ``timeout`` how long the call may run.
    """

    function: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    arguments: bytes
    secret: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    tokens: Annotated[
        list[Annotated[bytes, msgspec.Meta(max_length=TOKEN_BYTES_MAX)]], msgspec.Meta(max_length=32)
    ]
    made: float
    keep_seconds: float
    timeout: float | None = None


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """What is sealed in a result: the value, or if ``kind`` is not empty, how it ended without one.

    ``kind`` is one of a fault's, ``refused REASON`` or ``lost``.
    """

    value: bytes = b""
    kind: str = ""
    type_name: str = ""
    message: str = ""
    traceback: str = ""
    builtin: str = ""
    seconds: float = 0.0


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """How far a call is: so much done, of so much if that is known, in the function's own words."""

    done: float
    total: float | None = None
    message: Annotated[str, msgspec.Meta(max_length=200)] = ""


_encoder = msgspec.msgpack.Encoder()
_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


def job_call(job: bytes) -> int:
    """The number of a job's call, by which people see it in errors, logs and traces."""
    return int.from_bytes(job[8:], "big") >> 1


def encode_mail(record: Any) -> bytes:
    """The bytes of any record here, or of a list of them."""
    return _encoder.encode(record)


def decode_mail(data: bytes | memoryview, kind: Any) -> Any:
    """The record of this kind in these bytes.

    Raises:
        RemoteProtocolError: They are not one.
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, OverflowError) as error:
        name = "request to a mailbox" if kind is MailRequest else getattr(kind, "__name__", "list of records")
        raise RemoteProtocolError(f"this is no {name}: {error}") from None
