"""Who may call a function, as its owner says it: ``allow=`` of ``register``.

``"network"`` is every member; ``"account"`` the owner's own devices; a list names devices or accounts, by
name or by device id; a function is asked about every call. Grants reach further than any of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import msgspec

from easyremote.errors import UsageError
from easyremote.trust.identity import device_text


class Caller(msgspec.Struct, frozen=True):
    """Who calls, as its membership says and its key proved.

    Attributes:
        device: Its device id as text.
        name: Its name in the network.
        account: Whose device it is.
        roles: Of ``node client operator``.
        grant: The id of the grant that let it call, if one had to.
    """

    device: str = ""
    name: str = ""
    account: str = ""
    roles: tuple[str, ...] = ()
    grant: str = ""


Rule: TypeAlias = str | frozenset[str] | Callable[[Caller], object]

NETWORK, ACCOUNT = "network", "account"
OWNER = "owner"
"""The account's own devices and the network's operators; for what a node serves of itself."""


def make_rule(allow: object) -> Rule:
    """The rule in an ``allow=``.

    Raises:
        UsageError: It is none.
    """
    if allow in (NETWORK, ACCOUNT) or callable(allow):
        return allow
    if isinstance(allow, Iterable) and not isinstance(allow, (str, bytes)):
        names = list(allow)
        if all(isinstance(name, str) for name in names):
            return frozenset(names)
    raise UsageError(
        f"allow= is 'network', 'account', a list of names of devices or accounts, or a function of the caller, "
        f"not {allow!r}"
    )


def refusal(rule: Rule, caller: Caller, own_device: bytes, own_account: str | None) -> str:
    """Why the rule does not let this caller in; empty if it does.

    A device may always call what it serves itself.
    """
    if caller.device == device_text(own_device):
        return ""
    if rule == NETWORK:
        return ""
    if rule == OWNER and "operator" in caller.roles:
        return ""
    if rule in (ACCOUNT, OWNER):
        if own_account is None:
            return "this node has no membership, and so no account, at the moment"
        if caller.account == own_account:
            return ""
        return (
            f"it is for devices of the account {own_account!r}, and {caller.name!r} is of {caller.account!r}"
        )
    if isinstance(rule, frozenset):
        if rule & {caller.name, caller.account, caller.device}:
            return ""
        return f"neither {caller.name!r} nor its account {caller.account!r} is on its owner's list"
    if callable(rule):
        return "" if rule(caller) else "its owner's own check said no"
    return f"its rule {rule!r} is not known here"
