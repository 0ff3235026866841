"""Every error EasyRemote raises, in one tree.

::

    EasyRemoteError
    ├── UsageError                 this program asked for something that cannot be
    ├── TrustError                 who you are, what you may do
    │   ├── IdentityError          a key file is missing, broken or readable by others
    │   ├── SignatureError         a signature does not fit
    │   ├── CertificateError       the gateway is not the one that is known here
    │   ├── MembershipError        this device does not belong to the network, or no longer
    │   ├── InviteError            an invite does not open the door
    │   ├── GrantError             a grant is malformed, or does not reach so far
    │   ├── RevocationError        a list of revocations does not count
    │   └── SealError              a sealed frame does not open
    │       ├── HandshakeError     two devices could not agree on keys
    │       └── ReplayError        a frame arrived a second time
    ├── LinkError                  the gateway cannot be reached, or the link broke
    │   ├── ListenError            a server could not listen on its address
    │   ├── NameTakenError         another node holds the name
    │   └── VersionError           the two ends speak different versions of the protocol
    ├── MailboxError               the gateway's mailbox did not take it, or does not have it
    │   └── UnknownJobError
    ├── RemoteProtocolError        the other side said what the protocol does not allow
    ├── ScheduleError              no node can be chosen
    │   ├── UnknownFunctionError
    │   ├── UnknownNodeError
    │   └── NoCandidateError
    ├── EncodingError              a value cannot cross the wire
    │   ├── EncodeError
    │   ├── DecodeError
    │   └── ValueTooLargeError
    └── CallError                  a call was made and did not bring a value
        ├── ArgumentError          the arguments do not fit the function
        ├── CallTimeoutError
        ├── CallCancelledError
        ├── NodeLostError
        ├── RefusedError           the node declined before running anything
        │   ├── BusyError
        │   └── NotAllowedError    this device may not call that function there
        └── RemoteError            the function itself raised; also the builtin it raised

Local and remote fault are different errors: only ``RemoteError`` comes from user code on a node.
A class's docstring opens with its default message.
"""

from __future__ import annotations

import builtins
from typing import Any

__all__ = [
    "ArgumentError",
    "BusyError",
    "CallCancelledError",
    "CallError",
    "CallTimeoutError",
    "CertificateError",
    "DecodeError",
    "EasyRemoteError",
    "EncodeError",
    "EncodingError",
    "GrantError",
    "HandshakeError",
    "IdentityError",
    "InviteError",
    "LinkError",
    "ListenError",
    "MailboxError",
    "MembershipError",
    "NameTakenError",
    "NoCandidateError",
    "NodeLostError",
    "NotAllowedError",
    "RefusedError",
    "RemoteError",
    "RemoteProtocolError",
    "ReplayError",
    "RevocationError",
    "ScheduleError",
    "SealError",
    "SignatureError",
    "TrustError",
    "UnknownFunctionError",
    "UnknownJobError",
    "UnknownNodeError",
    "UsageError",
    "ValueTooLargeError",
    "VersionError",
    "remote_error",
]


class EasyRemoteError(Exception):
    """Something went wrong in EasyRemote.

    Attributes:
        may_repeat: Whether the call that ended with it may be made again without harm: it has not run, or the node that
            had it said that its function is idempotent.
    """

    may_repeat = False

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or type(self).__name__).split("\n", 1)[0])


class UsageError(EasyRemoteError, ValueError):
    """This program asked for something that cannot be."""


class TrustError(EasyRemoteError):
    """Trust could not be established."""


class IdentityError(TrustError):
    """A device's key file is missing, broken or readable by others."""


class SignatureError(TrustError):
    """A signature does not fit what it signs."""


class CertificateError(TrustError):
    """The gateway at this address is not the one that is known here."""


class MembershipError(TrustError):
    """This device does not belong to the network, or no longer does."""


class InviteError(TrustError):
    """The invite does not open the door."""


class GrantError(TrustError):
    """The grant is malformed, or does not reach so far."""


class RevocationError(TrustError):
    """The list of revocations does not count."""


class SealError(TrustError):
    """A sealed frame does not open: it was altered, or meant for another session."""


class HandshakeError(SealError):
    """Two devices could not agree on keys."""


class ReplayError(SealError):
    """A sealed frame arrived a second time."""


class LinkError(EasyRemoteError, ConnectionError):
    """The link to the gateway is not there."""


class ListenError(LinkError):
    """The server could not listen on its address."""


class NameTakenError(LinkError):
    """Another node already holds this name."""


class VersionError(LinkError):
    """The two ends speak different versions of the protocol."""


class MailboxError(EasyRemoteError):
    """The gateway's mailbox did not take it, or does not have it.

    Attributes:
        code: What kind of reason that is: ``full`` (a bound is reached), ``disk``, ``too_large``, ``unknown``,
            ``busy``, ``bad``, ``none`` (there is no mailbox), ``damaged``.
    """

    def __init__(self, message: str | None = None, *, code: str = "bad") -> None:
        super().__init__(message)
        self.code = code


class UnknownJobError(MailboxError, LookupError):
    """The gateway knows no such job of this account, or no longer."""


class RemoteProtocolError(EasyRemoteError):
    """The other side said what the protocol does not allow."""


class ScheduleError(EasyRemoteError):
    """No node could be chosen for the call."""


class UnknownFunctionError(ScheduleError, LookupError):
    """No node offers a function of this name."""


class UnknownNodeError(ScheduleError, LookupError):
    """No node of this name is connected."""


class NoCandidateError(ScheduleError):
    """Nodes offer the function, but none of them can take the call."""


class EncodingError(EasyRemoteError):
    """A value could not cross the wire."""


class EncodeError(EncodingError, TypeError):
    """A value has no form on the wire."""


class DecodeError(EncodingError, ValueError):
    """Bytes from the wire do not make a value."""


class ValueTooLargeError(EncodingError):
    """A value is larger than the receiver takes."""


class CallError(EasyRemoteError):
    """A call did not bring a value.

    Attributes:
        function: The function's name, if known.
        node: The node's name, if one was chosen.
        call_id: The call's id as text, as traces and logs show it.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        function: str | None = None,
        node: str | None = None,
        call_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.function = function
        self.node = node
        self.call_id = call_id


class ArgumentError(CallError, TypeError):
    """The arguments do not fit the function; it was not run."""


class CallTimeoutError(CallError, TimeoutError):
    """The call's time was up before its answer came."""


class CallCancelledError(CallError):
    """The call was cancelled."""


class NodeLostError(CallError, ConnectionError):
    """The node that had the call is gone.

    Attributes:
        ran: What is known of the call: ``"accepted"``, then it may have run in part; ``"unconfirmed"``, then it may
            or may not have started; ``"not sent"``, then it has not run.
    """

    def __init__(self, message: str | None = None, *, ran: str = "unconfirmed", **where: str | None) -> None:
        super().__init__(message, **where)
        self.ran = ran


class RefusedError(CallError):
    """The node declined the call before running anything."""


class BusyError(RefusedError):
    """Every node that could take the call is full."""


class NotAllowedError(RefusedError, PermissionError):
    """The node does not let this device call that function."""


class RemoteError(CallError):
    """The function raised on its node.

    What is caught is a class of both worlds: ``except ValueError`` and ``except RemoteError`` both
    catch a remote ``ValueError``.

    Attributes:
        type_name: The exception's class name on the node, such as ``"ValueError"``.
        remote_message: What ``str(exception)`` gave on the node.
        remote_traceback: The traceback on the node, as text.
    """

    type_name: str = "Exception"
    remote_message: str = ""
    remote_traceback: str = ""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by what it says, because its class is made on the spot."""
        return _rebuild, (type(self).__name__.removeprefix("Remote"), self.args, self.__dict__)

    def __str__(self) -> str:
        """The remote message, then where it happened."""
        where = f"in {self.function!r} on node {self.node!r}, call {self.call_id}"
        head = f"{self.remote_message}\n\n[{self.type_name} {where}]"
        return f"{head}\n{self.remote_traceback.rstrip()}" if self.remote_traceback else head


_classes: dict[str, type[RemoteError]] = {}


def _remote_class(builtin: str) -> type[RemoteError]:
    """The class that is both RemoteError and the builtin exception of that name, if there is one."""
    if builtin in ("StopIteration", "StopAsyncIteration"):
        builtin = "RuntimeError"  # raised here, they would end the caller's loops without a word (PEP 479)
    known = _classes.get(builtin)
    if known is not None:
        return known
    named = getattr(builtins, builtin, None)
    if not (isinstance(named, type) and issubclass(named, Exception)):
        return RemoteError
    for ancestor in named.__mro__:  # UnicodeDecodeError needs arguments of its own: ValueError will do
        try:
            made = type(f"Remote{builtin}", (RemoteError, ancestor), {"__module__": __name__})
            made("", function="", node="", call_id="")
        except TypeError:
            continue
        _classes[builtin] = made
        return made
    return RemoteError


def _rebuild(builtin: str, args: tuple[Any, ...], fields: dict[str, Any]) -> RemoteError:
    error = _remote_class(builtin)(*args)
    error.__dict__.update(fields)
    return error


def remote_error(
    type_name: str,
    message: str,
    traceback: str,
    *,
    function: str,
    node: str,
    call_id: str,
    builtin: str = "",
) -> RemoteError:
    """The error a caller raises for an exception that happened on a node.

    Only exceptions built into Python are mapped by name, ``builtin`` being the nearest one the
    exception derives from; nothing is imported.
    """
    made = _remote_class(builtin or type_name)
    error = made(message, function=function, node=node, call_id=call_id)
    error.type_name, error.remote_message, error.remote_traceback = type_name, message, traceback
    return error
