"""All that a gateway's machine can ask for; records, which do nothing by themselves."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

import msgspec

from easyremote.wire.frame import Pieces
from easyremote.wire.messages import Hello


class Send(msgspec.Struct, frozen=True):
    """Put this frame on that link; ``source`` is the link it came over, 0 for the gateway's own."""

    link: int
    frame: Pieces
    source: int = 0


class Close(msgspec.Struct, frozen=True, gc=False):
    """Close a link once what was sent to it is out."""

    link: int
    reason: str


class Admit(msgspec.Struct, frozen=True):
    """Decide whether this device, which proved its key, is a member; ``taken`` are names of nodes attached."""

    link: int
    hello: Hello
    taken: Collection[str]
    transcript: bytes


class Renew(msgspec.Struct, frozen=True, gc=False):
    """This member's membership is due for the next."""

    link: int
    device: bytes
    name: str
    role: str


class Operation(msgspec.Struct, frozen=True, gc=False):
    """An operator asks for something."""

    link: int
    number: int
    device: bytes
    request: bytes


class Mailing(msgspec.Struct, frozen=True, gc=False):
    """A device asks something of the mailbox."""

    link: int
    number: int
    device: bytes
    request: bytes


class Pause(msgspec.Struct, frozen=True, gc=False):
    """Read nothing more from a link for so long: it sends faster than it may."""

    link: int
    seconds: float


class Report(msgspec.Struct, frozen=True, gc=False):
    """Tell the operator: a device joined, left or was turned away."""

    name: str
    device: bytes
    role: str
    event: str
    detail: str = ""
    address: str = ""


RouterEffect: TypeAlias = Send | Close | Admit | Renew | Operation | Mailing | Pause | Report
