"""Exit codes, and which error ends the command with which of them."""

from __future__ import annotations

from enum import IntEnum

from easyremote.errors import (
    ArgumentError,
    CallCancelledError,
    CallTimeoutError,
    CertificateError,
    EncodeError,
    GrantError,
    InviteError,
    LinkError,
    ListenError,
    MembershipError,
    NameTakenError,
    NodeLostError,
    NotAllowedError,
    RefusedError,
    RemoteError,
    ScheduleError,
    UsageError,
    ValueTooLargeError,
)

__all__ = ["EXIT_CODES", "Exit", "exit_for"]


class Exit(IntEnum):
    """How a command ended, for the script that ran it."""

    OK = 0
    RAISED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOBODY = 4
    TIMEOUT = 5
    NODE_LOST = 6
    FAILED = 7
    DENIED = 8
    INTERRUPTED = 130


EXIT_CODES = (
    (Exit.OK, "it went well"),
    (Exit.RAISED, "the function itself raised; for doctor and demo: a check failed"),
    (Exit.USAGE, "the command, its arguments or its settings are not right"),
    (Exit.UNREACHABLE, "the gateway cannot be reached"),
    (Exit.NOBODY, "no such function or node, or none that can take the call"),
    (Exit.TIMEOUT, "the call's time was up"),
    (Exit.NODE_LOST, "the node was lost during the call"),
    (Exit.DENIED, "not allowed: no membership, no grant, or a gateway that cannot be trusted"),
    (Exit.FAILED, "anything else, such as a broken key file"),
    (Exit.INTERRUPTED, "interrupted (gateway and node end with 0: that is how they are stopped)"),
)
"""What each code says, as the help and the documentation list them."""

# The first that fits decides: ListenError is a LinkError too, but the gateway was never the trouble.
_BY_ERROR: tuple[tuple[type[BaseException], Exit], ...] = (
    (KeyboardInterrupt, Exit.INTERRUPTED),
    (RemoteError, Exit.RAISED),
    (CallTimeoutError, Exit.TIMEOUT),
    (NodeLostError, Exit.NODE_LOST),
    (CallCancelledError, Exit.INTERRUPTED),
    (NotAllowedError, Exit.DENIED),
    (MembershipError, Exit.DENIED),
    (CertificateError, Exit.DENIED),
    (InviteError, Exit.DENIED),
    (GrantError, Exit.DENIED),
    (RefusedError, Exit.NOBODY),
    (ScheduleError, Exit.NOBODY),
    (ArgumentError, Exit.USAGE),
    (EncodeError, Exit.USAGE),
    (ValueTooLargeError, Exit.USAGE),
    (ListenError, Exit.USAGE),
    (NameTakenError, Exit.USAGE),
    (UsageError, Exit.USAGE),
    (LinkError, Exit.UNREACHABLE),
)


def exit_for(error: BaseException) -> Exit:
    """The code that tells a script what this error told a person."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), Exit.FAILED)
