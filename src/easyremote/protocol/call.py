"""The life of one call at its caller, as a table, and what it ends with when it ends badly.

::

    waiting ──chosen──▶ asked ──value, fault, end──▶ settled
       ▲                  │
       └─refused, lost────┘        and from anywhere: timed out, cancelled ──▶ settled

A call settles exactly once; what arrives later is dropped. It goes back to waiting only when it surely
has not run, or when its function is idempotent.
"""

from __future__ import annotations

from collections import deque
from difflib import get_close_matches

from msgspec import Struct

from easyremote.errors import (
    ArgumentError,
    BusyError,
    CallCancelledError,
    CallTimeoutError,
    EasyRemoteError,
    EncodeError,
    NodeLostError,
    NotAllowedError,
    RefusedError,
    UnknownFunctionError,
    UnknownNodeError,
    ValueTooLargeError,
    remote_error,
)
from easyremote.protocol.channel import Channel
from easyremote.protocol.directory import NodeView
from easyremote.protocol.effects import Delivered, Value
from easyremote.protocol.events import CallRequested
from easyremote.protocol.machine import NEVER
from easyremote.wire.bundle import Fault, Refuse

ATTEMPTS_MAX = 3


class Call(Struct, eq=False):
    """One question and its one answer, at the caller."""

    request: CallRequested
    number: int
    function: str
    node: str | None
    asked_at: float
    patient_until: float
    deadline: float = NEVER
    retry_at: float = NEVER
    attempts: int = 0
    refusals: int = 0
    excluded: frozenset[bytes] = frozenset()
    view: NodeView | None = None
    channel: Channel | None = None
    body: int = 0
    load: int = 0
    stream: deque[Awaited] | None = None
    started: bool = False
    answered: bool = False
    """Whether a large result is on its way."""
    ended: bool = False
    fault: EasyRemoteError | None = None
    taken: int = 0
    places: tuple[bytes, ...] = ()
    """The nodes it was sent to."""
    been_there: bool = False
    """Whether it was sent to its node before this time."""
    avoid: bytes = b""
    """The node that has the call beside which this one is made."""
    again: bool = False
    """Whether it may have run before, and may run once more."""
    unsure: bool = False
    """Whether it was sent in a session that is gone: its node may have it, whatever this session says."""

    @property
    def harmless(self) -> bool:
        """Whether making it once more does no harm: it has not left, or the node that has it says so."""
        if self.attempts == 0 or self.again:
            return True
        card = self.view.functions.get(self.function) if self.view is not None else None
        return card is not None and card.idempotent and not self.started

    @property
    def id(self) -> str:
        """The call's id as people see it."""
        return call_text(self.number)

    @property
    def node_name(self) -> str | None:
        """The node that has the call, or the one it is meant for."""
        return self.view.card.name if self.view is not None else self.node

    def deliverable(self) -> list[Delivered]:
        """The items of its stream that are here, with all before them; they are taken out."""
        items: list[Delivered] = []
        while self.stream and self.stream[0].value is not None:
            awaited = self.stream.popleft()
            if awaited.value is not None:
                items.append(Delivered(self.number, awaited.value, awaited.cost))
        return items


class Awaited:
    """An item of a stream in its place; its value may still be on the way."""

    __slots__ = ("cost", "value")

    def __init__(self, value: Value | None, cost: int) -> None:
        self.value = value
        self.cost = cost


def call_text(number: int) -> str:
    """A call's number as the id that people see."""
    return f"{number:016x}"


def fault_error(call: Call, fault: Fault) -> EasyRemoteError:
    """The error a caller sees for what a node reported."""
    node, where = call.node_name, _where(call)
    match fault.kind:
        case "argument":
            return ArgumentError(fault.message, **where)
        case "encoding":
            return EncodeError(
                f"{call.function!r} on {node!r} ran, but its result cannot be sent: {fault.message}"
            )
        case "timeout":
            return CallTimeoutError(
                f"{call.function!r} on {node!r} was stopped there: {fault.message}", **where
            )
        case "cancelled":
            return CallCancelledError(
                f"{call.function!r} on {node!r} was cancelled: {fault.message}", **where
            )
        case "unknown":
            return UnknownFunctionError(f"node {node!r} stopped serving {call.function!r} before it ran")
    return remote_error(
        fault.type_name,
        fault.message,
        fault.traceback,
        builtin=fault.builtin,
        function=call.function,
        node=node or "",
        call_id=call.id,
    )


def refusal_error(call: Call, refuse: Refuse) -> EasyRemoteError:
    """The error for a refusal that trying elsewhere would not mend."""
    node, where = call.node_name, _where(call)
    match refuse.reason:
        case "too_large":
            return ValueTooLargeError(
                f"the arguments of {call.function!r} take {_size(call.request.arguments):,} bytes; node {node!r} "
                f"takes at most {refuse.limit_bytes:,} bytes a value. Send less at a time, or raise "
                f"max_value_bytes= at the node"
            )
        case "unknown":
            known = call.view.functions if call.view is not None else {}
            return UnknownFunctionError(
                f"node {node!r} serves no function {call.function!r}{near(call.function, known)}"
            )
        case "busy":
            stayed = f", and stayed so for {call.request.patience:g} s" if call.request.patience else ""
            return BusyError(
                f"{call.function!r}: every node that offers it is full{stayed}. Try again later, or add a node",
                **where,
            )
        case "repeated" if not call.been_there and not call.unsure:
            return RefusedError(
                f"node {node!r} answered so many calls of this device meanwhile that it cannot tell {call.function!r} from a "
                "repeat; it has not run there. Call it again",
                **where,
            )
        case "repeated":
            return NodeLostError(
                f"{call.function!r} had been taken by node {node!r} in a session that broke; its answer is lost. "
                "It was not run again",
                ran=ACCEPTED,
                **where,
            )
        case "not_allowed":
            return NotAllowedError(
                f"this device may not call {call.function!r} on node {node!r}: {refuse.message}", **where
            )
    return RefusedError(
        f"node {node!r} refused {call.function!r} ({refuse.reason}): {refuse.message}", **where
    )


ACCEPTED, UNCONFIRMED, NOT_SENT = "accepted", "unconfirmed", "not sent"
"""What is known of a call whose node is gone."""
_KNOWN = {
    ACCEPTED: "had accepted the call; it may have run in part",
    UNCONFIRMED: "had not confirmed the call; it may or may not have started",
}


def lost_error(call: Call, *, ran: str) -> NodeLostError:
    """The error for a call whose node is gone; ``ran`` says what is known of the call."""
    why = f" ({call.view.why_missing})" if call.view is not None and call.view.why_missing else ""
    gone = f"node {call.node_name!r} is gone{why}"
    if ran == NOT_SENT:
        message = (
            f"{gone} before {call.function!r} reached it; it has not run. Call it again, or another node"
        )
    else:
        message = (
            f"{gone} and {_KNOWN[ran]}. {call.function!r} was not run again elsewhere: "
            "register it with idempotent=True if that is safe, or call it again yourself"
        )
    return NodeLostError(message, ran=ran, **_where(call))


def timeout_error(call: Call) -> CallTimeoutError:
    """The error for a call whose time was up here."""
    seconds = call.request.timeout or 0.0
    if call.view is None:
        return CallTimeoutError(
            f"{call.function!r} was not started: no node could take it within {seconds:g} s. "
            "Run `easynet nodes` to see who is there",
            **_where(call),
        )
    return CallTimeoutError(
        f"{call.function!r} on {call.node_name!r} did not answer within {seconds:g} s; it was told to stop",
        **_where(call),
    )


def away_error(call: Call, view: NodeView) -> UnknownFunctionError | UnknownNodeError:
    """The error for a call that only a node could take that is away, and not expected back in a moment."""
    name, why = view.card.name, view.why_missing
    advice = (
        "call it again when it is back" if call.attempts else "it has not run; call it again when it is back"
    )
    if call.node is not None:
        return UnknownNodeError(
            f"node {name!r} is not connected: it {why}. As to {call.function!r}, {advice}"
        )
    return UnknownFunctionError(
        f"no node that is connected offers {call.function!r}: {name!r}, which does, {why}. As to the call, {advice}"
    )


def unknown_function_error(function: str, known: set[str], nodes: int) -> UnknownFunctionError:
    """The error for a name nobody offers."""
    if not nodes:
        return UnknownFunctionError(
            f"no node offers {function!r}: no node is connected to the gateway. Start one with "
            "`easynet node FILE.py`, or node.serve()"
        )
    return UnknownFunctionError(
        f"no node offers {function!r}{near(function, known)} Run `easynet functions` to see what there is"
    )


def unknown_node_error(node: str, known: set[str]) -> UnknownNodeError:
    """The error for a node nobody knows."""
    return UnknownNodeError(
        f"no node called {node!r} is connected{near(node, known)} Run `easynet nodes` to see who is there"
    )


def near(name: str, known: object) -> str:
    """The end of a sentence, naming what may have been meant when something is close."""
    names = [str(one) for one in known] if isinstance(known, (set, dict, list)) else []
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else "."


def _size(value: object) -> int:
    return len(value) if isinstance(value, bytes) else int(getattr(value, "size", 0))


class _Where(dict[str, str | None]):
    """Function, node and call id, as keyword arguments of a CallError."""


def _where(call: Call) -> _Where:
    return _Where(function=call.function, node=call.node_name, call_id=call.id)
