"""A job at its node: what is known of it while it is worked on, and what it comes to."""

from __future__ import annotations

import asyncio
import os

import msgspec

from easyremote.protocol.events import CallKey, Encoded
from easyremote.trust.letter import SALT_BYTES, Secret
from easyremote.wire.bundle import Fault, Refuse
from easyremote.wire.limits import MAIL_PART_BYTES, MAIL_PARTS_MAX
from easyremote.wire.mail import Outcome, Progress, encode_mail

__all__ = ["NodeJob", "outcome_of", "seal_outcome"]


class NodeJob(msgspec.Struct, eq=False):
    """A job this node has."""

    number: bytes
    key: CallKey
    function: str
    secret: Secret
    forget: float
    again: bool
    ended: asyncio.Future[Encoded | Fault | Refuse]
    kept: asyncio.Event
    beginning: bool = False
    elsewhere: bool = False
    progress: Progress | None = None
    telling: asyncio.Task[None] | None = None


def outcome_of(ended: Encoded | Fault | Refuse, seconds: float) -> Outcome:
    """What a call that ended so is to its caller."""
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


def seal_outcome(secret: Secret, outcome: Outcome) -> list[bytes]:
    """The sealed result; one that is larger than any that may wait is replaced by word of that."""
    most = MAIL_PARTS_MAX * MAIL_PART_BYTES - (64 << 10)
    size = len(outcome.value) + len(outcome.traceback) + len(outcome.message)
    if size > most:
        outcome = Outcome(
            kind="encoding",
            message=f"it takes {size:,} bytes, and {most:,} are the most that may wait in a mailbox",
            seconds=outcome.seconds,
        )
    return secret.seal_result(encode_mail(outcome), os.urandom(SALT_BYTES))
