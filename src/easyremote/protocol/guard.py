"""The node's guard: is this caller a member, and may it call this function?

It believes the network's root key, its owner's rules and grants, and nothing a gateway says. A caller
introduces itself once a session, sealed; every call is then checked, which costs next to nothing where the
rule is simple. Callers whose membership runs out must show the next; those revoked are out at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias, TypeVar

import msgspec

from easyremote.errors import GrantError, MembershipError, RemoteProtocolError
from easyremote.protocol.channel import Channel
from easyremote.protocol.desk import Desk
from easyremote.protocol.effects import Spent
from easyremote.protocol.standing import Standing
from easyremote.trust.grant import Grant, granter_of
from easyremote.trust.identity import device_text
from easyremote.trust.membership import Membership
from easyremote.trust.rules import ACCOUNT, NETWORK, OWNER, Caller, Rule, refusal
from easyremote.wire.limits import GRANTS_MAX

PRESENTS_AT_ONCE, PRESENT_SECONDS = 20, 0.5
"""How often a caller may introduce itself in one session: so often, and once more for each of these."""
REASONS_MAX = 3
"""Of how many grants a refusal says why they do not let the caller in."""
GRANT_CACHE_SECONDS = 1.0
"""How long a grant without a budget is believed before its checks are run again."""


Asker: TypeAlias = Channel | Desk
"""Over what a caller asks: a session, or a letter."""
A = TypeVar("A", Channel, Desk)


class Pass(msgspec.Struct, frozen=True):
    """The call may be made: by whom, and what it costs of which budgets."""

    caller: Caller
    spends: tuple[Spent, ...] = ()


class Introduced:
    """A caller's session, as far as the guard knows it."""

    __slots__ = (
        "allowed",
        "caller",
        "credential",
        "edition",
        "grants",
        "membership",
        "refused",
        "since",
        "times",
        "unopened",
        "why_not",
    )

    def __init__(self) -> None:
        self.membership: Membership | None = None
        self.credential = b""
        self.caller = Caller()
        self.grants: list[Grant] = []
        self.unopened: list[bytes] = []
        self.since = 0.0
        self.times = 0
        self.refused: dict[str, tuple[float, str]] = {}
        self.why_not = "it has shown no membership"
        self.edition = 0
        self.allowed: dict[str, tuple[float, Pass]] = {}


class Guard:
    """Decides for one node; holds no call."""

    def __init__(self, standing: Standing, name: Callable[[], str]) -> None:
        self._standing = standing
        self._name = name
        self._rules: dict[str, Rule | None] = {}
        self._edition = 0
        self._used: dict[tuple[bytes, str], int] = {}

    # ---- what the owner says

    def set_rule(self, function: str, rule: Rule | None) -> None:
        """Let this rule decide about a function; None for what is usual in the network."""
        self._rules[function] = rule
        self._edition += 1

    def recall(self, used: dict[tuple[bytes, str], int]) -> None:
        """Budgets as they were when the node last ran."""
        self._used.update(used)

    # ---- what callers show

    def introduce(self, channel: Asker, tokens: Sequence[bytes]) -> None:
        """A caller shows its membership and grants; they take the place of what it showed before.

        Raises:
            RemoteProtocolError: It does so again and again.
        """
        before: Introduced | None = channel.introduced
        fresh = channel.introduced = Introduced()
        now = self._standing.clock()
        fresh.since, fresh.times = (now, 1) if before is None else (before.since, before.times + 1)
        if fresh.times > PRESENTS_AT_ONCE + (now - fresh.since) / PRESENT_SECONDS:
            raise RemoteProtocolError("a caller introduces itself again and again in one session")
        device = channel.peer[:32]
        if not tokens:
            return
        try:
            membership = self._standing.check(tokens[0], device, channel.as_of)
        except MembershipError as error:
            fresh.why_not = str(error)
            return
        fresh.membership, fresh.credential = membership, tokens[0]
        fresh.caller = Caller(device_text(device), membership.name, membership.account, membership.roles)
        fresh.why_not = ""
        fresh.unopened = list(tokens[1 : GRANTS_MAX + 1])

    def outcasts(self, channels: Iterable[A]) -> list[A]:
        """Sessions of callers that no longer count; from now on every grant is looked at afresh."""
        self._edition += 1
        return [channel for channel in channels if self._is_out(channel)]

    def _is_out(self, channel: Asker) -> bool:
        introduced: Introduced | None = channel.introduced
        if introduced is None or introduced.membership is None:
            return self._standing.revoked(channel.peer[:32])
        try:
            self._standing.check(introduced.credential, channel.peer[:32], channel.as_of)
        except MembershipError:
            return True
        return False

    def caller_of(self, channel: Asker) -> Caller:
        """Who is at the other end: what it showed, or at least the key it proved."""
        introduced: Introduced | None = channel.introduced
        if introduced is not None and introduced.membership is not None:
            return introduced.caller
        return Caller(device=device_text(channel.peer[:32]))

    # ---- a call

    def admit(self, channel: Asker, function: str) -> Pass | str:
        """The pass for a call, or in words why there is none."""
        introduced: Introduced | None = channel.introduced
        if introduced is None or introduced.membership is None:
            why = introduced.why_not if introduced is not None else Introduced().why_not
            return f"{why}. It joins the network with an invite: `easynet join`"
        now = self._standing.earliest()
        if introduced.membership.expires <= (now if channel.as_of is None else channel.as_of):
            return f"the membership of {introduced.caller.name!r} has expired and was not renewed"
        if introduced.edition != self._edition:
            introduced.edition = self._edition
            introduced.allowed.clear()
            introduced.refused.clear()
        known = introduced.allowed.get(function)
        if known is not None and now < known[0]:
            return known[1]
        refused = introduced.refused.get(function)
        if refused is not None and now < refused[0]:
            return refused[1]
        return self._decide(introduced, introduced.membership, function, now)

    def spend(self, granted: Pass) -> None:
        """Count the call against its budgets."""
        for one in granted.spends:
            key = (one.grant, one.budget)
            self._used[key] = self._used.get(key, 0) + 1

    def _decide(
        self, introduced: Introduced, membership: Membership, function: str, now: float
    ) -> Pass | str:
        rule = self._rules.get(function)
        if rule is None:
            rule = ACCOUNT if membership.open else NETWORK
        why = self._by_rule(rule, introduced.caller, membership, function)
        if not why:
            granted = Pass(introduced.caller)
            if function in self._rules and not callable(rule):  # names nobody serves are not remembered
                introduced.allowed[function] = (membership.expires, granted)
            return granted
        if rule == OWNER:
            return why  # what a node does for its owner is not anybody's to give
        if function not in self._rules:
            return why  # nothing is served by that name, and nobody can have been given it
        self._open_grants(introduced)
        reasons = []
        for grant in introduced.grants:
            found = self._by_grant(grant, introduced, function, now)
            if isinstance(found, Pass):
                return found
            reasons.append(f"its grant {grant.id.hex()[:8]}: {found}")
        why = "; ".join([why, *reasons[:REASONS_MAX]])
        if len(reasons) > REASONS_MAX:
            why += f"; nor do {len(reasons) - REASONS_MAX} others of its grants"
        if not introduced.grants and introduced.why_not:
            why = f"{why}; {introduced.why_not}"
        if not introduced.grants:
            why += f". Its owner, or an operator, can give a grant: easynet grant {function} --to {introduced.caller.device} --expires 7d"
        if introduced.grants and not callable(rule):
            introduced.refused[function] = (now + GRANT_CACHE_SECONDS, why)
        return why

    def _open_grants(self, introduced: Introduced) -> None:
        """Only now that one is needed, and only those of somebody who has something to give."""
        unopened, introduced.unopened = introduced.unopened, []
        for data in unopened:
            try:
                self._check_granter(*granter_of(data))
                introduced.grants.append(Grant(data))
            except (GrantError, MembershipError) as error:
                introduced.why_not = str(error)  # it is worth nothing here

    def _by_rule(self, rule: Rule, caller: Caller, membership: Membership, function: str) -> str:
        own = self._standing.membership
        if not membership.may_call(function, f"{self._name()}.{function}"):
            return f"its membership is for {', '.join(membership.functions)}"
        try:
            return refusal(rule, caller, self._standing.device, own.account if own is not None else None)
        except Exception as error:  # the owner's own check is anybody's code, and must not end the node
            return f"its owner's own check failed ({type(error).__name__})"

    def _by_grant(self, grant: Grant, introduced: Introduced, function: str, now: float) -> Pass | str:
        authority = self._standing.authority
        if authority is None or authority.grant_revoked(grant.id) or authority.revoked(grant.granter):
            return "it has been revoked"
        try:
            self._check_granter(grant.granter, grant.credential)  # it may have lost what it had to give
        except (GrantError, MembershipError) as error:
            return str(error)
        caller = introduced.caller
        used = {budget: self._used.get((grant.id, budget), 0) for budget, _ in grant.budgets}
        refusals = grant.refusals(
            function=function,
            node=self._name(),
            device=bytes(introduced.membership.device) if introduced.membership is not None else b"",
            account=caller.account,
            now=now,
            used=used,
        )
        if refusals:
            return ", and ".join(refusals)
        spends = tuple(Spent(grant.id, budget) for budget in used)
        granted = Pass(msgspec.structs.replace(caller, grant=grant.id.hex()[:8]), spends)
        if not spends:
            introduced.allowed[function] = (min(now + GRANT_CACHE_SECONDS, grant.expires), granted)
        return granted

    def _check_granter(self, device: bytes, credential: bytes) -> None:
        """Only those count who have something to give here: this device, its account's, an operator."""
        standing = self._standing
        if device == standing.device:
            return
        if standing.authority is None:
            raise GrantError("this node has not joined a network yet")
        # The granter's own membership is renewed daily; what counts is that it has not been revoked.
        granter = standing.authority.check(credential, device, 0.0)
        own = standing.membership
        if "operator" in granter.roles or (own is not None and granter.account == own.account):
            return
        raise GrantError(
            f"a grant by {granter.name!r}, who is neither this node's owner nor an operator of the network"
        )
