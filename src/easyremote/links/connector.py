"""How a node is reached without its gateway: which of its addresses are for us, and which answers first.

A node says where it listens; a caller tries all of it at once, while its calls go through the gateway. Devices
behind network address translation are not reached yet: a hole puncher would be one more kind of address here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from easyremote.errors import LinkError, UsageError
from easyremote.links.address import check_address
from easyremote.links.link import Link
from easyremote.links.machine import machine_mark, reachable
from easyremote.links.stream import dial

LOCAL = "local"
LAN = "lan"
DIAL_SECONDS = 3.0
_LOOPBACK = "127.0.0.1"


def check_listen(listen: str | None) -> str | None:
    """What ``ComputeNode(listen=…)`` was given.

    Raises:
        UsageError: It is none of ``"local"``, ``"lan"``, ``"host:port"`` and None.
    """
    if listen is None or listen in (LOCAL, LAN):
        return listen
    try:
        return check_address(listen)
    except UsageError:
        raise UsageError(
            f"listen= is 'local' (this machine alone), 'lan', 'host:port', or None for no direct links, not {listen!r}"
        ) from None


def place_to_listen(listen: str) -> tuple[str, int]:
    """The host and port to listen at."""
    if listen == LOCAL:
        return _LOOPBACK, 0
    if listen == LAN:
        return "0.0.0.0", 0
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def addresses_of(listen: str, bound: str) -> list[str]:
    """What a node that listens so says in its card, once it is bound."""
    host, _, port = bound.rpartition(":")
    if listen == LOCAL:
        return [f"{LOCAL}/{machine_mark()}/{_LOOPBACK}:{port}"]
    elsewhere = [one for one in reachable(host) if one != _LOOPBACK]
    here = [_LOOPBACK] if host in ("0.0.0.0", "::", _LOOPBACK) else []
    return [f"{LOCAL}/{machine_mark()}/{one}:{port}" for one in here] + [f"{one}:{port}" for one in elsewhere]


def for_us(addresses: Sequence[str]) -> list[str]:
    """Those of a card's addresses that this machine can try: what is local to another is not."""
    mine = f"{LOCAL}/{machine_mark()}/"
    near = [one.removeprefix(mine) for one in addresses if one.startswith(mine)]
    return near or [one for one in addresses if "/" not in one]


async def reach(addresses: Sequence[str], fingerprint: bytes) -> Link:
    """A link to whichever of a card's addresses answers first.

    Raises:
        LinkError: None does.
    """
    tries = [
        asyncio.ensure_future(dial(one, fingerprint, timeout_seconds=DIAL_SECONDS))
        for one in for_us(addresses)
    ]
    failure = LinkError("none of the node's addresses is for this machine")
    used: Link | None = None
    try:
        for first in asyncio.as_completed(tries):
            try:
                used = await first
                break
            except LinkError as error:
                failure = error
    finally:
        for one in tries:
            one.cancel()
        for ended in await asyncio.gather(*tries, return_exceptions=True):
            if not isinstance(ended, BaseException) and ended is not used:
                await ended.close()  # of several that answered at once one is used
    if used is None:
        raise failure
    return used
