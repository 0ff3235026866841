"""All that a device's machine can ask for."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from easyremote.errors import EasyRemoteError
from easyremote.protocol.events import CallKey, Encoded
from easyremote.trust.rules import Caller
from easyremote.wire.bundle import Fault, Refuse

NOBODY = Caller()

Value: TypeAlias = msgspec.Raw | memoryview
"""An encoded value as it came: a slice of a bundle, or a large body in its own writable buffer."""


class Attached(msgspec.Struct, frozen=True, gc=False):
    """Tell the program: the gateway welcomed this device, under this name."""

    name: str
    gateway: bytes


class Detached(msgspec.Struct, frozen=True, gc=False):
    """Tell the program: the gateway is out of reach for now."""

    reason: str


class Turned(msgspec.Struct, frozen=True):
    """Tell the program: the gateway will not have this device; trying again would not help."""

    error: EasyRemoteError


class Renewed(msgspec.Struct, frozen=True, gc=False):
    """Keep this membership: it takes the place of the one before."""

    credential: bytes


class RevocationsChanged(msgspec.Struct, frozen=True, gc=False):
    """Keep this list of revocations, so that an old one is never believed again."""

    revocations: bytes


class OperationDone(msgspec.Struct, frozen=True, gc=False):
    """Tell the program what came of what it asked the gateway; ``error`` says why it was not done."""

    number: int
    reply: bytes
    error: str


class MailDone(msgspec.Struct, frozen=True, gc=False):
    """Tell the program what came of what it asked of the mailbox; ``error`` and ``code`` say why it was not done."""

    number: int
    reply: bytes
    error: str
    code: str


class MailCame(msgspec.Struct, frozen=True, gc=False):
    """Tell the node: something waits for it in the gateway's mailbox."""


class JobEnded(msgspec.Struct, frozen=True, gc=False):
    """Tell the node how a job's call ended: with a value, or without one."""

    key: CallKey
    outcome: Encoded | Fault | Refuse


class CloseLink(msgspec.Struct, frozen=True, gc=False):
    """Close the link; it is dead or the other side broke the protocol. ``link`` is a direct one's number."""

    reason: str
    link: int = 0


class Dial(msgspec.Struct, frozen=True):
    """Try to reach this endpoint directly at one of its addresses, under the certificate of this fingerprint."""

    peer: bytes
    addresses: list[str]
    fingerprint: bytes


class Synced(msgspec.Struct, frozen=True, gc=False):
    """Tell the program: the directory is a live copy now."""


class Answered(msgspec.Struct, frozen=True, gc=False):
    """Settle the call with this value."""

    call: int
    value: Value


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """Hand this item of the stream to the program."""

    call: int
    value: Value
    cost: int


class Finished(msgspec.Struct, frozen=True, gc=False):
    """Settle the call: its stream is over."""

    call: int


class Faulted(msgspec.Struct, frozen=True):
    """Settle the call with this error."""

    call: int
    error: EasyRemoteError


class Spent(msgspec.Struct, frozen=True):
    """A call that a grant's budget paid for."""

    grant: bytes
    budget: str


class Start(msgspec.Struct, frozen=True):
    """Run the function.

    Attributes:
        key: Names the call in every answer, and in ``Stop`` and ``Grant``.
        function: The function's name in the registry.
        arguments: The encoded arguments.
        window: Credit for the items of a stream, in bytes; 0 when one value is wanted.
        timeout: What the call has of time, in seconds; the worker keeps the clock.
        caller: Who calls.
        spends: Budgets the call draws on, to be written down before it runs.
    """

    key: CallKey
    function: str
    arguments: Value
    window: int = 0
    timeout: float | None = None
    caller: Caller = NOBODY
    spends: tuple[Spent, ...] = ()

    @property
    def call_id(self) -> str:
        """The call's id as people see it."""
        return f"{self.key[1]:016x}"


class CallEnded(msgspec.Struct, frozen=True, gc=False):
    """Write down how a call went; never what it said.

    Attributes:
        call: The caller's number for it.
        function: The function's name.
        caller: Who called.
        outcome: ``ok``, ``error TypeName``, ``timeout``, ``cancelled`` or ``refused REASON``.
        bytes_in: The size of the arguments.
        bytes_out: The size of the result or of all items.
        seconds: How long it took.
    """

    call: int
    function: str
    caller: Caller
    outcome: str
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0


class Stop(msgspec.Struct, frozen=True, gc=False):
    """Stop the call's code; ``reason`` is ``cancelled`` or ``timeout``."""

    key: CallKey
    reason: str


class Grant(msgspec.Struct, frozen=True, gc=False):
    """The consumer took items: the generator may produce this many bytes more."""

    key: CallKey
    size: int


class Notice(msgspec.Struct, frozen=True):
    """Something worth a trace event; never holds an argument or a result."""

    name: str
    call: int = 0
    detail: str = ""


Effect: TypeAlias = (
    Attached
    | Detached
    | Turned
    | Renewed
    | RevocationsChanged
    | OperationDone
    | MailDone
    | MailCame
    | JobEnded
    | CloseLink
    | Dial
    | Synced
    | Answered
    | Delivered
    | Finished
    | Faulted
    | Start
    | CallEnded
    | Stop
    | Grant
    | Notice
)
