"""The node's guard: members, rules, grants and budgets; what a gateway says counts for nothing."""

from __future__ import annotations

import random

import pytest
from msgspec import structs
from unit.protocol.talk import channels

from easyremote.errors import RemoteProtocolError
from easyremote.protocol.channel import Channel
from easyremote.protocol.effects import Spent
from easyremote.protocol.guard import GRANT_CACHE_SECONDS, PRESENTS_AT_ONCE, REASONS_MAX, Guard, Pass
from easyremote.protocol.standing import LEEWAY_SECONDS, Standing
from easyremote.testing.realm import EPOCH, Realm
from easyremote.trust.charter import Charter, sign_charter
from easyremote.trust.grant import Grant, Terms, issue_grant
from easyremote.trust.identity import Identity, device_text
from easyremote.trust.membership import issue_membership
from easyremote.trust.revocation import Revocations, sign_revocations
from easyremote.trust.rules import ACCOUNT, NETWORK, OWNER, Caller, Rule
from easyremote.wire.limits import GRANTS_MAX

DAY = 24 * 3600.0
_chance = random.Random("guard")
NODE, CALLER, OPERATOR, SIBLING, PLAIN = (Identity.from_seed(_chance.randbytes(32)) for _ in range(5))


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks agree to the second, so that ends can be told to the second."""
    monkeypatch.setattr("easyremote.protocol.standing.LEEWAY_SECONDS", 0.0)


class Calendar:
    """Seconds since 1970, as the test wants them."""

    def __init__(self) -> None:
        self.now = EPOCH

    def __call__(self) -> float:
        return self.now


class Gate:
    """A guard of node ``lab``, whose owner is Ann, and the session of a caller of Bob's."""

    def __init__(self, *, open: bool = False, realm: Realm | None = None) -> None:
        self.calendar = Calendar()
        self.realm = realm or Realm(random.Random("guarded").randbytes, self.calendar, open=open)
        self.standing = Standing(NODE.device, self.calendar)
        joined = self.realm.joined(NODE.device, "lab", account="ann")
        self.standing.join(joined.root, joined.gateway, joined.credential, b"", ())
        self.guard = Guard(self.standing, lambda: "lab")
        self.channel = self.connects(CALLER)

    def connects(self, device: Identity) -> Channel:
        return Channel(channels()[1].session, device.device + bytes(8), 0.0)

    def shows(self, *grants: bytes, **terms: object) -> None:
        """The caller shows a membership of these terms, and grants."""
        terms = {"account": "bob"} | terms
        credential = self.realm.credential(CALLER.device, "laptop", **terms)  # type: ignore[arg-type]
        self.guard.introduce(self.channel, [credential, *grants])

    def asks(self, function: str = "resize") -> Pass | str:
        return self.guard.admit(self.channel, function)

    def lets_in(self, function: str = "resize") -> bool:
        return isinstance(self.asks(function), Pass)

    def why_not(self, function: str = "resize") -> str:
        found = self.asks(function)
        assert isinstance(found, str)
        return found

    def grant(self, granter: Identity = NODE, credential: bytes = b"", **terms: object) -> bytes:
        """A grant of that device's, for a day and for everything unless the terms say otherwise."""
        terms = {"functions": ("*",), "expires": EPOCH + DAY} | terms
        return issue_grant(granter, credential, Terms(**terms), _chance.randbytes(16))  # type: ignore[arg-type]

    def operators(self) -> bytes:
        return self.realm.credential(OPERATOR.device, "boss", roles=("client", "operator"), account="boss")


def narrowed(grant: bytes, **terms: object) -> bytes:
    return Grant(grant).narrowed(Terms(**terms), _chance.randbytes(16))  # type: ignore[arg-type]


# ---- members


def test_who_has_shown_nothing_is_nobody() -> None:
    gate = Gate()
    assert "it has shown no membership" in gate.why_not()
    assert gate.guard.caller_of(gate.channel) == Caller(device=device_text(CALLER.device))


def test_a_member_is_known_by_what_its_membership_says() -> None:
    gate = Gate()
    gate.shows(roles=("client",))
    laptop = Caller(device_text(CALLER.device), "laptop", "bob", ("client",))
    assert gate.asks() == Pass(laptop)
    assert gate.guard.caller_of(gate.channel) == laptop


def test_to_show_another_devices_membership_gains_nothing() -> None:
    gate = Gate()
    gate.guard.introduce(gate.channel, [gate.operators()])
    assert "shown by device" in gate.why_not()
    assert gate.guard.caller_of(gate.channel) == Caller(device=device_text(CALLER.device))


def test_a_membership_of_another_network_is_none() -> None:
    gate, other = Gate(), Realm(random.Random("other").randbytes)
    gate.guard.introduce(gate.channel, [other.credential(CALLER.device, "laptop")])
    assert "another network" in gate.why_not()


def test_a_membership_that_has_expired_is_none() -> None:
    gate = Gate()
    gate.shows(seconds=-1.0)
    assert "has expired" in gate.why_not()


def test_a_membership_that_runs_out_in_the_middle_of_a_session_must_be_followed_by_the_next() -> None:
    gate = Gate()
    gate.shows(seconds=60.0)
    assert gate.lets_in()
    gate.calendar.now += 59.0
    assert gate.lets_in()
    gate.calendar.now += 1.0
    assert "was not renewed" in gate.why_not()
    gate.shows(seconds=60.0)
    assert gate.lets_in()


def test_what_is_shown_takes_the_place_of_what_was_shown_before() -> None:
    gate = Gate()
    gate.shows()
    assert gate.lets_in()
    gate.guard.introduce(gate.channel, [])
    assert not gate.lets_in()


def test_a_node_that_has_not_joined_a_network_serves_nobody() -> None:
    gate = Gate()
    gate.guard = Guard(Standing(NODE.device, gate.calendar), lambda: "lab")
    gate.guard.set_rule("resize", NETWORK)
    gate.shows()
    assert "has not joined" in gate.why_not()


@pytest.mark.parametrize(
    ("functions", "allowed"),
    [
        (("*",), True),
        (("resize",), True),
        (("re*",), True),
        (("lab.*",), True),
        (("lab.resize",), True),
        (("crop", "resize"), True),
        (("crop",), False),
        (("studio.*",), False),
        (("RESIZE",), False),
        ((), False),
    ],
)
def test_a_membership_may_be_for_some_functions_only(functions: tuple[str, ...], allowed: bool) -> None:
    gate = Gate()
    gate.shows(functions=functions)
    assert gate.lets_in() == allowed
    if not allowed:
        assert f"its membership is for {', '.join(functions)}" in gate.why_not()


# ---- what the owner says


def ask_again(caller: Caller) -> bool:
    return caller.name == "laptop"


def fail(caller: Caller) -> bool:
    raise LookupError("secret of the owner's")


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        (None, True),
        (NETWORK, True),
        (ACCOUNT, False),
        (frozenset({"laptop"}), True),
        (frozenset({"bob", "carol"}), True),
        (frozenset({device_text(CALLER.device)}), True),
        (frozenset({"ann", "desktop"}), False),
        (frozenset(), False),
        (ask_again, True),
        (lambda caller: caller.account == "ann", False),
        (lambda caller: None, False),
        (fail, False),
        ("everybody", False),
    ],
)
def test_a_rule_says_who_may_call(rule: Rule | None, allowed: bool) -> None:
    gate = Gate()
    gate.guard.set_rule("resize", rule)
    gate.shows()
    assert gate.lets_in() == allowed


def test_a_rule_is_for_its_function_alone() -> None:
    gate = Gate()
    gate.guard.set_rule("erase", frozenset())
    gate.shows()
    assert gate.lets_in("resize")
    assert not gate.lets_in("erase")


def test_an_owners_check_that_fails_refuses_and_tells_no_more_than_its_kind() -> None:
    gate = Gate()
    gate.guard.set_rule("resize", fail)
    gate.shows()
    assert "its owner's own check failed (LookupError)" in gate.why_not()
    assert "secret" not in gate.why_not()


def test_an_owners_check_is_asked_about_every_call() -> None:
    gate, answers = Gate(), iter([True, False, True])
    gate.guard.set_rule("resize", lambda caller: next(answers))
    gate.shows()
    assert [gate.lets_in() for _ in range(3)] == [True, False, True]


def test_an_account_is_the_owners_own_devices() -> None:
    gate = Gate()
    gate.guard.set_rule("resize", ACCOUNT)
    gate.shows()
    assert "it is for devices of the account 'ann', and 'laptop' is of 'bob'" in gate.why_not()
    gate.shows(account="ann")
    assert gate.lets_in()


def test_in_a_network_open_to_all_functions_are_for_their_owners_account_unless_it_says_otherwise() -> None:
    gate = Gate(open=True)
    gate.shows()
    assert not gate.lets_in()
    gate.guard.set_rule("resize", NETWORK)
    assert gate.lets_in()
    gate.shows(account="ann")
    assert gate.lets_in("whatever")


def test_a_device_may_call_what_it_serves_itself() -> None:
    gate = Gate()
    gate.guard.set_rule("resize", frozenset())
    gate.channel = gate.connects(NODE)
    gate.guard.introduce(gate.channel, [gate.standing.credential])
    assert gate.lets_in()


def test_a_rule_that_is_changed_holds_from_the_next_call_on() -> None:
    gate = Gate()
    gate.shows()
    assert gate.lets_in()
    gate.guard.set_rule("resize", frozenset({"desktop"}))
    assert not gate.lets_in()
    gate.guard.set_rule("resize", None)
    assert gate.lets_in()


# ---- grants


def closed_gate() -> Gate:
    """Nobody may call ``resize`` here without a grant."""
    gate = Gate()
    gate.guard.set_rule("resize", frozenset())
    return gate


def test_a_refusal_says_how_to_be_let_in() -> None:
    gate = closed_gate()
    gate.shows()
    assert f"easynet grant resize --to {device_text(CALLER.device)} --expires 7d" in gate.why_not()


def test_a_grant_of_the_node_itself_lets_in_and_is_named() -> None:
    gate = closed_gate()
    grant = gate.grant()
    gate.shows(grant)
    found = gate.asks()
    assert isinstance(found, Pass)
    assert found.caller.name == "laptop"
    assert found.caller.grant == Grant(grant).id.hex()[:8]
    assert found.spends == ()


def test_what_has_just_expired_by_this_clock_may_not_have_by_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("easyremote.protocol.standing.LEEWAY_SECONDS", LEEWAY_SECONDS)
    gate = closed_gate()
    gate.shows(gate.grant(expires=EPOCH + 100.0), seconds=100.0)
    gate.calendar.now = EPOCH + 100.0 + LEEWAY_SECONDS - 1.0
    gate.shows(gate.grant(expires=EPOCH + 100.0), seconds=100.0)
    assert gate.lets_in()
    gate.calendar.now = EPOCH + 100.0 + LEEWAY_SECONDS + 2.0
    assert not gate.lets_in()


def test_no_grant_reaches_what_a_node_does_for_its_owner() -> None:
    gate = Gate()
    gate.guard.set_rule("easynet-drain", OWNER)
    for grant in (
        gate.grant(),
        gate.grant(OPERATOR, gate.operators()),
        gate.grant(functions=("easynet-drain",)),
    ):
        gate.shows(grant)
        assert not gate.lets_in("easynet-drain")
    gate.shows(account="ann")
    assert gate.lets_in("easynet-drain")
    gate.shows(roles=("client", "operator"))
    assert gate.lets_in("easynet-drain")


def test_a_call_that_needs_no_grant_is_not_told_as_one_by_grant() -> None:
    gate = Gate()
    gate.shows(gate.grant(max_calls=1))
    found = gate.asks()
    assert isinstance(found, Pass)
    assert (found.caller.grant, found.spends) == ("", ())


def test_a_grant_without_a_membership_is_worth_nothing() -> None:
    gate = closed_gate()
    gate.guard.introduce(gate.channel, [b"", gate.grant()])
    assert "showed no membership" in gate.why_not()


def test_grants_of_an_operator_and_of_the_owners_other_devices_count_and_a_plain_members_do_not() -> None:
    gate = closed_gate()
    gate.shows(gate.grant(OPERATOR, gate.operators()))
    assert gate.lets_in()
    gate.shows(gate.grant(SIBLING, gate.realm.credential(SIBLING.device, "phone", account="ann")))
    assert gate.lets_in()
    gate.shows(gate.grant(PLAIN, gate.realm.credential(PLAIN.device, "tablet", account="carol")))
    assert not gate.lets_in()
    gate.shows(gate.grant(CALLER, gate.realm.credential(CALLER.device, "laptop", account="bob")))
    assert not gate.lets_in()


def test_a_granter_cannot_borrow_an_operators_membership() -> None:
    gate = closed_gate()
    for credential in (gate.operators(), gate.standing.credential, b"", b"nonsense"):
        gate.shows(gate.grant(PLAIN, credential))
        assert not gate.lets_in()


def test_an_operator_of_another_network_has_nothing_to_give_here() -> None:
    gate, other = closed_gate(), Realm(random.Random("other").randbytes)
    credential = other.credential(OPERATOR.device, "boss", roles=("client", "operator"))
    gate.shows(gate.grant(OPERATOR, credential))
    assert not gate.lets_in()


def test_a_grant_outlives_the_membership_of_who_gave_it() -> None:
    gate = closed_gate()
    credential = gate.realm.credential(
        OPERATOR.device, "boss", roles=("client", "operator"), account="boss", seconds=60.0
    )
    gate.calendar.now += 120.0  # it has been renewed since; the grant does not know of that
    gate.shows(gate.grant(OPERATOR, credential))
    assert gate.lets_in()


def test_what_is_no_grant_is_passed_over_and_those_beside_it_count() -> None:
    gate = closed_gate()
    altered = bytearray(gate.grant())
    altered[-1] ^= 1
    gate.shows(b"", b"nonsense", bytes(altered), gate.grant())
    assert gate.lets_in()


def test_no_more_grants_are_read_than_a_caller_may_show() -> None:
    gate = closed_gate()
    gate.shows(*[b"nonsense"] * GRANTS_MAX, gate.grant())
    assert not gate.lets_in()


@pytest.mark.parametrize(
    ("functions", "allowed"),
    [
        (("resize",), True),
        (("lab.*",), True),
        (("re*", "crop"), True),
        (("crop",), False),
        (("studio.*",), False),
        (("lab.resiz",), False),
    ],
)
def test_a_grant_is_for_its_functions(functions: tuple[str, ...], allowed: bool) -> None:
    gate = closed_gate()
    gate.shows(gate.grant(functions=functions))
    assert gate.lets_in() == allowed


def test_a_grant_may_be_for_certain_devices_or_accounts() -> None:
    gate = closed_gate()
    for terms, allowed in (
        ({"devices": (CALLER.device,)}, True),
        ({"devices": (PLAIN.device,)}, False),
        ({"accounts": ("bob",)}, True),
        ({"accounts": ("ann",)}, False),
        ({"devices": (PLAIN.device,), "accounts": ("bob",)}, True),
    ):
        gate.shows(gate.grant(**terms))
        assert gate.lets_in() == allowed, terms
    gate.shows(gate.grant(devices=(PLAIN.device,)))
    assert "it was given to another device or account" in gate.why_not()


def test_a_grant_reaches_further_than_the_membership_and_only_where_it_says() -> None:
    gate = Gate()
    for served in ("resize", "crop", "erase"):
        gate.guard.set_rule(served, None)
    gate.shows(gate.grant(functions=("resize",)), functions=("crop",))
    assert gate.lets_in("resize")
    assert gate.lets_in("crop")
    assert not gate.lets_in("erase")


def test_a_grant_ends_when_it_says() -> None:
    gate = closed_gate()
    gate.shows(gate.grant(expires=EPOCH + 60.0))
    gate.calendar.now += 59.0
    assert gate.lets_in()
    gate.calendar.now += 1.0 + GRANT_CACHE_SECONDS
    assert "it expired at" in gate.why_not()
    assert not gate.lets_in(), "and stays so"


def test_a_grant_narrowed_on_the_way_allows_no_more_than_its_narrowest() -> None:
    gate = closed_gate()
    gate.guard.set_rule("crop", frozenset())
    grant = gate.grant(functions=("resize", "crop"))
    gate.shows(narrowed(grant, functions=("crop",)))
    assert gate.lets_in("crop")
    assert not gate.lets_in("resize")
    gate.shows(narrowed(narrowed(grant, functions=("crop",)), functions=("*",)))
    assert not gate.lets_in("resize"), "no block can widen it"
    gate.shows(narrowed(grant, expires=EPOCH - 1.0))
    assert not gate.lets_in("crop")


def test_of_several_grants_one_that_fits_will_do_and_of_none_each_says_why() -> None:
    gate = closed_gate()
    crop, other = gate.grant(functions=("crop",)), gate.grant(devices=(PLAIN.device,))
    gate.shows(crop, other)
    why = gate.why_not()
    assert f"its grant {Grant(crop).id.hex()[:8]}: it is for crop, not for lab.resize" in why
    assert f"its grant {Grant(other).id.hex()[:8]}: it was given to another device or account" in why
    gate.shows(crop, gate.grant(), other)
    assert gate.lets_in()


# ---- budgets


def spend(gate: Gate) -> Pass:
    """A call that is really made."""
    found = gate.asks()
    assert isinstance(found, Pass), found
    gate.guard.spend(found)
    return found


def test_a_budget_pays_for_so_many_calls_and_no_more() -> None:
    gate = closed_gate()
    gate.shows(gate.grant(max_calls=3))
    for _ in range(3):
        assert len(spend(gate).spends) == 1
    assert "its budget of 3 calls is spent" in gate.why_not()


def test_a_call_that_is_let_in_and_not_made_costs_nothing() -> None:
    gate = closed_gate()
    gate.shows(gate.grant(max_calls=1))
    assert all(gate.lets_in() for _ in range(5))


def test_a_budget_is_not_filled_by_showing_the_grant_again_or_in_another_session() -> None:
    gate = closed_gate()
    grant = gate.grant(max_calls=2)
    gate.shows(grant)
    spend(gate)
    gate.shows(grant)
    spend(gate)
    gate.channel = gate.connects(CALLER)
    gate.shows(grant)
    assert not gate.lets_in()


def test_who_narrows_a_grant_draws_on_both_budgets() -> None:
    gate = closed_gate()
    grant = gate.grant(max_calls=3)
    gate.shows(narrowed(grant, max_calls=2))
    assert len(spend(gate).spends) == 2
    spend(gate)
    assert "its budget of 2 calls is spent" in gate.why_not()
    gate.shows(grant)
    spend(gate)
    assert "its budget of 3 calls is spent" in gate.why_not(), "the narrowed one drew on this as well"
    gate.shows(narrowed(grant, max_calls=100))
    assert not gate.lets_in()


def test_budgets_of_different_grants_are_apart() -> None:
    gate = closed_gate()
    gate.shows(gate.grant(max_calls=1), gate.grant(max_calls=1))
    first, second = spend(gate), spend(gate)
    assert first.spends != second.spends
    assert not gate.lets_in()


def test_what_was_spent_before_a_restart_is_spent() -> None:
    gate = closed_gate()
    grant = gate.grant(max_calls=2)
    gate.shows(grant)
    (one,) = spend(gate).spends
    assert one == Spent(Grant(grant).id, Grant(grant).budgets[0][0])
    again = closed_gate()
    again.guard.recall({(one.grant, one.budget): 1})
    again.shows(grant)
    spend(again)
    assert not again.lets_in()


# ---- revocations


def revoke(gate: Gate, *devices: Identity, grants: tuple[bytes, ...] = ()) -> list[Channel]:
    signed = gate.realm.revocations(*(one.device for one in devices), grants=grants)
    assert gate.standing.take_revocations(signed)
    return gate.guard.outcasts([gate.channel])


def test_a_caller_that_is_revoked_is_out() -> None:
    gate = Gate()
    gate.shows()
    assert revoke(gate, PLAIN) == []
    assert gate.lets_in()
    assert revoke(gate, PLAIN, CALLER) == [gate.channel]
    gate.channel = gate.connects(CALLER)
    gate.shows()
    assert "has been revoked" in gate.why_not()


def test_a_grant_that_is_revoked_is_worth_nothing_from_the_next_call_on() -> None:
    gate = closed_gate()
    grant, other = gate.grant(), gate.grant()
    gate.shows(grant)
    assert gate.lets_in()
    assert revoke(gate, grants=(Grant(other).id,)) == []
    assert gate.lets_in()
    assert revoke(gate, grants=(Grant(grant).id, Grant(other).id)) == []
    assert "it has been revoked" in gate.why_not()
    gate.shows(narrowed(grant, max_calls=5))
    assert not gate.lets_in(), "nor is what was narrowed from it"


def test_who_is_revoked_has_nothing_to_give() -> None:
    gate = closed_gate()
    grant = gate.grant(OPERATOR, gate.operators())
    gate.shows(grant)
    assert gate.lets_in()
    revoke(gate, OPERATOR)
    assert "it has been revoked" in gate.why_not()
    gate.shows(grant)
    assert not gate.lets_in()


def test_members_by_a_key_that_was_replaced_are_out_and_their_grants_with_them() -> None:
    gate = closed_gate()
    gate.guard.set_rule("crop", NETWORK)
    seed = bytes(range(32))
    fresh = Identity.from_seed(seed)
    terms = Charter(
        1, gate.realm.root.device, fresh.device, "realm", ["client", "node"], False, EPOCH + 99 * DAY
    )
    charter = sign_charter(gate.realm.root, terms)
    renewed = issue_membership(
        seed,
        charter,
        device=CALLER.device,
        name="laptop",
        roles=("client",),
        account="bob",
        expires=EPOCH + DAY,
    )
    stale = gate.connects(CALLER)
    gate.guard.introduce(stale, [gate.realm.credential(CALLER.device, "laptop")])
    gate.guard.introduce(gate.channel, [renewed, gate.grant(OPERATOR, gate.operators())])
    assert gate.lets_in("resize")
    signed = sign_revocations(fresh, charter, Revocations(number=1, issuers=[gate.realm.issuer.device]))
    assert gate.standing.take_revocations(signed)
    assert gate.guard.outcasts([stale, gate.channel]) == [stale]
    assert gate.lets_in("crop")
    assert not gate.lets_in("resize"), "whoever stole the old key could have made that operator"


def test_a_pass_is_cheap_the_second_time_and_the_same() -> None:
    gate = closed_gate()
    gate.shows(gate.grant())
    first = gate.asks()
    assert isinstance(first, Pass)
    gate.calendar.now += GRANT_CACHE_SECONDS / 2
    assert gate.asks() is first
    gate.calendar.now += GRANT_CACHE_SECONDS
    again = gate.asks()
    assert again is not first
    assert structs.asdict(again) == structs.asdict(first)


# ---- what costs a stranger little must cost the node little


def test_grants_of_nobody_in_particular_are_not_even_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    gate.guard.set_rule("resize", frozenset())
    junk = [gate.grant(PLAIN, gate.realm.credential(PLAIN.device, "plain", account="x")) for _ in range(16)]
    monkeypatch.setattr("easyremote.protocol.guard.Grant", _not_to_be_opened)
    gate.shows(*junk)
    assert "neither this node's owner nor an operator" in gate.why_not()


def _not_to_be_opened(data: bytes) -> object:
    raise AssertionError("a grant that is worth nothing here was opened")


def test_the_same_refusal_is_not_worked_out_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    gate.guard.set_rule("resize", frozenset())
    gate.shows(gate.grant(functions=("other",)))
    first = gate.why_not()
    monkeypatch.setattr(Grant, "refusals", lambda *_, **__: pytest.fail("its checks were run again"))
    assert gate.why_not() == first


def test_who_introduces_itself_without_end_breaks_the_protocol() -> None:
    gate = Gate()
    for _ in range(PRESENTS_AT_ONCE):
        gate.shows()
    with pytest.raises(RemoteProtocolError, match="again and again"):
        gate.shows()


def test_names_that_nobody_serves_are_not_remembered() -> None:
    gate = Gate()
    gate.guard.set_rule("resize", None)
    gate.shows()
    for number in range(100):
        gate.asks(f"made-up-{number}")
    assert gate.lets_in("resize")
    assert list(gate.channel.introduced.allowed) == ["resize"]


def test_a_refusal_speaks_of_a_few_grants_only() -> None:
    gate = closed_gate()
    gate.shows(*(gate.grant(functions=("other",)) for _ in range(REASONS_MAX + 2)))
    assert gate.why_not().count("its grant ") == REASONS_MAX
    assert "nor do 2 others of its grants" in gate.why_not()
