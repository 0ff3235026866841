"""Charters, memberships, grants and lists: what is signed counts, what is not does not, and nothing takes long."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from easyremote.errors import EasyRemoteError, GrantError, MembershipError, RevocationError, TrustError
from easyremote.testing.realm import EPOCH, Realm
from easyremote.trust.authority import Authority
from easyremote.trust.charter import Charter, read_charter, sign_charter
from easyremote.trust.grant import Grant, Terms, issue_grant, read_grant, write_grant
from easyremote.trust.identity import Identity
from easyremote.trust.membership import issue_membership, read_membership
from easyremote.trust.tokens import build, open_token
from easyremote.wire.limits import TOKEN_BLOCKS_MAX

REALM = Realm(os.urandom)
LAB, EVE = Identity.from_seed(os.urandom(32)), Identity.from_seed(os.urandom(32))
ROOT = REALM.root.device


def wide(**terms: object) -> bytes:
    given = {"functions": ("*",), "expires": EPOCH + 60, **terms}
    return issue_grant(LAB, b"", Terms(**given), os.urandom(16))  # type: ignore[arg-type]


def asked(
    grant: Grant, function: str = "f", used: dict[str, int] | None = None, now: float = EPOCH
) -> list[str]:
    return grant.refusals(
        function=function, node="lab", device=EVE.device, account="bob", now=now, used=used or {}
    )


def unguarded(token: bytes, signer: bytes) -> Any:
    """A token as its holder opens it, whose programs need not be ours."""
    return open_token(token, signer, re.compile(r"[\s\S]*"), re.compile(r"[\s\S]*"))


# ---- memberships


def test_a_membership_says_what_its_issuer_said() -> None:
    credential = REALM.credential(
        LAB.device, "stu dio", roles=("node", "client"), account="bøb", functions=("vision.*", "a")
    )
    found = read_membership(credential, LAB.device, ROOT, EPOCH)
    assert (found.device, found.name, found.account) == (LAB.device, "stu dio", "bøb")
    assert found.roles == ("client", "node")
    assert found.functions == ("a", "vision.*")
    assert found.may_call("x", "vision.x")
    assert not found.may_call("x", "audio.x")


@pytest.mark.parametrize(
    ("device", "root", "now", "why"),
    [
        (EVE.device, ROOT, EPOCH, "shown by device"),
        (LAB.device, EVE.device, EPOCH, "another network"),
        (LAB.device, ROOT, EPOCH + 90_000, "has expired"),
        (LAB.device, ROOT, EPOCH + 4000 * 86400, "the charter behind this membership has expired"),
    ],
    ids=["another device", "another network", "expired", "charter expired"],
)
def test_a_membership_is_for_one_device_one_network_and_a_time(
    device: bytes, root: bytes, now: float, why: str
) -> None:
    with pytest.raises(MembershipError, match=why):
        read_membership(REALM.credential(LAB.device, "lab"), device, root, now)


def test_every_altered_byte_of_a_membership_is_noticed() -> None:
    credential = REALM.credential(LAB.device, "lab")
    whole = read_membership(credential, LAB.device, ROOT, EPOCH)
    for place in range(len(credential)):
        for bit in (1, 128):
            altered = bytearray(credential)
            altered[place] ^= bit
            try:
                found = read_membership(bytes(altered), LAB.device, ROOT, EPOCH)
            except MembershipError:
                continue
            assert found == whole, "another way to write down the same"


def test_an_issuer_cannot_reach_beyond_its_charter() -> None:
    seed = os.urandom(32)
    issuer = Identity.from_seed(seed)
    narrow = sign_charter(REALM.root, Charter(1, ROOT, issuer.device, "n", ["client"], False, EPOCH + 100))
    with pytest.raises(MembershipError, match="easynet approve"):
        issue_membership(
            seed, narrow, device=LAB.device, name="lab", roles=("node",), account="a", expires=EPOCH + 10
        )
    token = build(
        seed,
        'device({d}); name("lab"); account("a"); expires(2999-01-01T00:00:00Z); role("node"); functions("*")',
        {"d": LAB.device},
    )
    with pytest.raises(MembershipError, match="was not allowed to make 'lab' a node"):
        read_membership(msgspec.msgpack.encode([1, narrow, token]), LAB.device, ROOT, EPOCH)
    client = token_of(seed, "client")
    found = read_membership(msgspec.msgpack.encode([1, narrow, client]), LAB.device, ROOT, EPOCH)
    assert found.expires == EPOCH + 100, "no later than the charter"


def token_of(seed: bytes, role: str) -> bytes:
    return build(
        seed,
        'device({d}); name("lab"); account("a"); expires(2999-01-01T00:00:00Z); role({r}); functions("*")',
        {"d": LAB.device, "r": role},
    )


@pytest.mark.parametrize(
    "code",
    [
        "",
        'name("x")',
        'device("text"); name("x"); account("a"); expires(2999-01-01T00:00:00Z); role("client")',
        'device({d}); device({d2}); name("x"); account("a"); expires(2999-01-01T00:00:00Z)',
        'device({d}); name(7); account("a"); expires(2999-01-01T00:00:00Z); role("client")',
        'device({d}); name("x"); account("a"); expires(5); role("client")',
        'device({d}); name("x"); name("y"); account("a"); expires(2999-01-01T00:00:00Z)',
    ],
)
def test_what_an_issuer_signs_is_still_read_with_care(code: str) -> None:
    seed = os.urandom(32)
    charter = sign_charter(
        REALM.root, Charter(1, ROOT, Identity.from_seed(seed).device, "n", ["client"], False, EPOCH + 100)
    )
    values = {name: one for name, one in (("d", LAB.device), ("d2", EVE.device)) if f"{{{name}}}" in code}
    credential = msgspec.msgpack.encode([1, charter, build(seed, code, values)])
    with pytest.raises(MembershipError):
        read_membership(credential, LAB.device, ROOT, EPOCH)


def test_a_charter_is_its_roots() -> None:
    with pytest.raises(MembershipError):
        read_charter(sign_charter(EVE, read_charter(REALM.charter)))


# ---- grants


def test_a_grant_only_ever_narrows() -> None:
    grant = Grant(wide(functions=("a", "b"), max_calls=5))
    narrow = Grant(grant.narrowed(Terms(functions=("b", "c")), bytes(8)))
    assert [bool(asked(grant, f)) for f in "abc"] == [False, False, True]
    assert [bool(asked(narrow, f)) for f in "abc"] == [True, False, True]
    assert narrow.id == grant.id
    forever = Grant(grant.narrowed(Terms(expires=EPOCH + 1e6, max_calls=10**6), bytes(8)))
    assert asked(forever, "a", now=EPOCH + 61)
    assert asked(forever, "a", used={grant.budgets[0][0]: 5})


def test_facts_in_a_later_block_convince_nobody() -> None:
    """A holder cannot bring the facts that the first block's checks ask for."""
    import biscuit_auth

    data = wide(functions=("a",), devices=(LAB.device,))
    version, granter, credential, token = msgspec.msgpack.decode(data)
    opened = unguarded(token, granter)
    code = (
        'function("b"); caller_device(hex:' + EVE.device.hex() + "); "
        'function("a"); caller_account("x"); time(2000-01-01T00:00:00Z); used("00", 0)'
    )
    forged = bytes(opened.append(biscuit_auth.BlockBuilder(code)).to_bytes())
    with pytest.raises(GrantError, match="a statement in it that its kind does not have"):
        Grant(msgspec.msgpack.encode([version, granter, credential, forged]))


@pytest.mark.parametrize(
    "code",
    [
        "n(0); " + " ".join(f"n({i + 1}) <- n({i});" for i in range(200)),
        'p("x"); ' + " ".join(f"q{i}($a, $b) <- p($a), p($b);" for i in range(90)),
        'check if function($f), $f.matches("(a*)*(a*)*(a*)*b$")',
        'check if function($f), $f.matches("' + "a?" * 60 + "a" * 190 + '")',
        "; ".join(f"v({i})" for i in range(450))
        + "; w($a, $b, $c) <- v($a), v($b), v($c); check if w(1, 2, 3)",
        'check if function($f), $f.matches("[")',
        'check if function($f), $f.matches("^(?:' + r"\\w" * 480 + '|.*)$")',
        "check if 1 / 0 == 1",
        "check if " + ", ".join(f"function($a{i})" for i in range(40)),
        "reject if used($a, $b)",
        'check all function($f), $f == "a"',
        "check if 9223372036854775807 + 1 > 0",
    ],
    ids=[
        "chain",
        "many rules",
        "nested stars",
        "many options",
        "a cube",
        "no pattern",
        "classes",
        "by zero",
        "a power",
        "reject",
        "all",
        "overflow",
    ],
)
def test_a_block_that_is_meant_to_keep_a_node_busy_is_refused_in_time(code: str) -> None:
    import biscuit_auth

    version, granter, credential, token = msgspec.msgpack.decode(wide())
    try:
        block = biscuit_auth.BlockBuilder(code)
        heavy = bytes(unguarded(token, granter).append(block).to_bytes())
    except (biscuit_auth.DataLogError, biscuit_auth.BiscuitBuildError):
        pytest.skip("the library does not even write it")
    began = time.perf_counter()
    try:
        refusals = asked(Grant(msgspec.msgpack.encode([version, granter, credential, heavy])), "a" * 120)
    except GrantError:
        refusals = ["not opened"]
    assert time.perf_counter() - began < 0.5
    assert refusals


def test_a_grant_is_narrowed_only_so_often() -> None:
    data = wide()
    for _ in range(TOKEN_BLOCKS_MAX - 1):
        data = Grant(data).narrowed(Terms(max_calls=5), os.urandom(8))
    with pytest.raises(GrantError, match="narrowed"):
        Grant(data).narrowed(Terms(max_calls=5), os.urandom(8))


@pytest.mark.parametrize(
    "terms",
    [Terms(), Terms(functions=("*",)), Terms(expires=EPOCH), Terms(functions=('a")',), expires=EPOCH + 1)],
)
def test_a_grant_of_nothing_in_particular_is_refused(terms: Terms) -> None:
    with pytest.raises(GrantError):
        issue_grant(LAB, b"", terms, os.urandom(16))


def test_a_grant_survives_its_line() -> None:
    data = wide()
    assert read_grant(f"  {write_grant(data)[:40]}\n{write_grant(data)[40:]} ") == data


# ---- revocations


def test_the_newest_list_counts_whatever_comes_after() -> None:
    authority = Authority(ROOT)
    realm = REALM
    first, second = realm.revocations(), realm.revocations(LAB.device)
    assert authority.take_revocations(second, EPOCH)
    assert not authority.take_revocations(first, EPOCH)
    assert authority.revoked(LAB.device)
    with pytest.raises(MembershipError, match="has been revoked"):
        authority.check(realm.credential(LAB.device, "lab"), LAB.device, EPOCH)


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b"", os.urandom]
)
def test_a_spoilt_list_is_an_error_of_its_own(spoil: Callable[[bytes], bytes]) -> None:
    authority = Authority(ROOT)
    data = REALM.revocations(LAB.device)
    spoilt = os.urandom(200) if spoil is os.urandom else spoil(data)
    with pytest.raises(RevocationError):
        authority.take_revocations(spoilt, EPOCH)
    for place in range(0, len(data), 3):
        altered = bytearray(data)
        altered[place] ^= 1
        try:
            authority.take_revocations(bytes(altered), EPOCH)
        except RevocationError:
            continue
        assert authority.revocations.devices == [LAB.device]


def test_a_list_by_an_issuer_whose_charter_is_over_is_not_taken() -> None:
    with pytest.raises(RevocationError, match="expired"):
        Authority(ROOT).take_revocations(REALM.revocations(LAB.device), EPOCH + 4000 * 86400)


def test_errors_of_trust_are_one_family() -> None:
    for error in (MembershipError, GrantError, RevocationError):
        assert issubclass(error, TrustError)
        assert issubclass(error, EasyRemoteError)
