"""What devices may be called: rules, people and programs go by their names.

It looks at a name alone; whether it is free only the store knows.
"""

from __future__ import annotations

from easyremote.errors import RemoteProtocolError
from easyremote.trust.identity import looks_like_device

NAME_MAX = 64


def check_name(name: str) -> None:
    """A name that is none goes no further.

    Raises:
        RemoteProtocolError: It is none; the message says why.
    """
    if looks_like_device(name):
        raise RemoteProtocolError(
            f"a name is not what a device id looks like, as {name!r} is: rules go by either"
        )
    if not name or len(name) > NAME_MAX or not name.isprintable() or set(name) & set(" */\\'\""):
        raise RemoteProtocolError(
            f"a name is 1 to {NAME_MAX} printable characters without blanks, quotes, slashes or '*', not {name!r}"
        )
