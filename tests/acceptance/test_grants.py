"""Who may call what: ``allow=``, and grants that are made, narrowed and used without a gateway's say."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from acceptance.members import Club, Member
from acceptance.processes import until

from easyremote import Client, ComputeNode, current_caller
from easyremote.errors import GrantError, NotAllowedError
from easyremote.trust.grant import Grant, Terms, issue_grant, read_grant, write_grant
from easyremote.trust.keyring import Keyring
from easyremote.trust.wallet import Wallet

Clubs = Callable[..., Club]


@pytest.fixture
def club(clubs: Clubs) -> Club:
    return clubs()


@pytest.fixture
def owner(club: Club) -> Member:
    """Whose node it is: the account ``lab``."""
    return club.member("box", "node", account="lab")


@pytest.fixture
def node(owner: Member) -> ComputeNode:
    made = owner.node("vision")
    made.register(lambda: "anyone", name="public")
    made.register(lambda: "family", name="family", allow="account")
    made.register(lambda: "listed", name="listed", allow=["carol", "friends"])
    made.register(lambda: "asked", name="asked", allow=lambda caller: caller.name.startswith("c"))
    made.register(lambda: 1 // 0, name="broken_rule", allow=lambda caller: 1 // 0 > 0)
    made.register(lambda: "private", name="private", allow=[])
    made.register(lambda: "scan", name="scan", allow=[])

    def who() -> list[object]:
        caller = current_caller()
        return [caller.device, caller.name, caller.account, list(caller.roles), caller.grant]

    made.register(who, name="who")
    made.register(who, name="granted_who", allow=[])
    made.serve(blocking=False)
    assert made.wait_for_connection(10)
    return made


def seen(client: Client) -> Client:
    until(lambda: client.list_nodes(), what="the node")
    return client


def give(member: Member, entropy: bytes = bytes(range(16)), **terms: object) -> str:
    """``easynet grant`` at a member's home."""
    keyring = Keyring(member.home)
    identity = keyring.identity(bytes(32))
    (kept,) = Wallet(keyring).networks()
    given = {"expires": time.time() + 3600, **terms}
    return write_grant(issue_grant(identity, kept.credential, Terms(**given), entropy))  # type: ignore[arg-type]


def may(client: Client, function: str) -> bool:
    try:
        client.execute(f"vision.{function}")
    except NotAllowedError:
        return False
    return True


# ---- allow=


def test_the_owners_rules_decide(club: Club, node: ComputeNode) -> None:
    carol = seen(club.member("carol").client())
    dave = seen(club.member("dave", account="friends").client())
    eve = seen(club.member("eve").client())
    relative = seen(club.member("relative", account="lab").client())
    told = {
        name: [f for f in ("public", "family", "listed", "asked", "private") if may(client, f)]
        for name, client in (("carol", carol), ("dave", dave), ("eve", eve), ("relative", relative))
    }
    assert told == {
        "carol": ["public", "listed", "asked"],
        "dave": ["public", "listed"],
        "eve": ["public"],
        "relative": ["public", "family"],
    }
    with pytest.raises(NotAllowedError, match="own check failed") as raised:
        carol.execute("broken_rule")
    assert isinstance(raised.value, PermissionError)


def test_a_function_knows_who_calls_it(club: Club, node: ComputeNode) -> None:
    carol = club.member("carol", account="friends")
    client = seen(carol.client())
    assert client.execute("who") == [carol.id, "carol", "friends", ["client"], ""]
    assert current_caller().device == "", "outside a call there is nobody"


# ---- grants


def test_a_grant_lets_its_holder_call_and_nobody_else(club: Club, owner: Member, node: ComputeNode) -> None:
    carol, eve = club.member("carol"), club.member("eve")
    line = give(owner, functions=("private", "granted_*"), devices=(carol.device,))
    assert may(seen(carol.client(grants=[line])), "private")
    assert not may(carol.client(grants=[line]), "scan"), "it is for other functions"
    assert not may(seen(eve.client(grants=[line])), "private"), "it was given to carol"
    who = carol.client(grants=[line]).execute("granted_who")
    assert who[4] == Grant(read_grant(line)).id.hex()[:8]
    with pytest.raises(NotAllowedError, match="given to another device or account"):
        eve.client(grants=[line]).execute("private")
    with pytest.raises(NotAllowedError, match=r"it is for private, granted_\*, not for vision.scan"):
        carol.client(grants=[line]).execute("scan")


def test_grants_count_only_from_those_who_have_something_to_give(
    club: Club, owner: Member, node: ComputeNode
) -> None:
    carol = club.member("carol")
    outsider = club.member("mallory")
    relative = club.member("laptop", account="lab")
    boss = club.member("boss", "operator")
    for giver, counts in ((outsider, False), (carol, False), (relative, True), (boss, True), (owner, True)):
        line = give(giver, functions=("*",), devices=(carol.device,))
        assert may(seen(carol.client(grants=[line])), "private") is counts, giver.home.name
    club.operator.revoke(boss.device)
    line = give(boss, functions=("*",), devices=(carol.device,))
    until(
        lambda: not may(carol.client(grants=[line]), "private"), what="the revoked operator's grant to fail"
    )


def test_a_grant_can_be_narrowed_offline_and_never_widened(
    club: Club, owner: Member, node: ComputeNode
) -> None:
    carol, dave = club.member("carol", account="friends"), club.member("dave", account="friends")
    wide = Grant(read_grant(give(owner, functions=("private", "scan"), accounts=("friends",))))
    club.network.gateway.freeze()  # nobody is asked
    to_dave = wide.narrowed(Terms(functions=("scan",), devices=(dave.device,)), bytes(8))
    wider = Grant(to_dave).narrowed(
        Terms(functions=("*",), accounts=("friends",), expires=time.time() + 1e9), bytes(8)
    )
    club.network.gateway.thaw()
    for data, holder, allowed in (
        (wide.data, carol, {"private", "scan"}),
        (to_dave, dave, {"scan"}),
        (to_dave, carol, set()),
        (wider, dave, {"scan"}),
        (wider, carol, set()),
    ):
        client = seen(holder.client(grants=[write_grant(data)]))
        assert {one for one in ("private", "scan") if may(client, one)} == allowed


def test_a_grant_expires(
    club: Club, owner: Member, node: ComputeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("easyremote.protocol.standing.LEEWAY_SECONDS", 0.0)
    carol = club.member("carol")
    line = give(owner, functions=("private",), devices=(carol.device,), expires=time.time() + 2)
    client = seen(carol.client(grants=[line]))
    assert may(client, "private")
    until(lambda: not may(client, "private"), what="its end")
    with pytest.raises(NotAllowedError, match="it expired at 20"):
        client.execute("private")


def test_a_budget_is_kept_also_over_restarts_and_shared_by_what_was_narrowed(
    club: Club, owner: Member, node: ComputeNode
) -> None:
    carol, dave = club.member("carol", account="friends"), club.member("dave", account="friends")
    wide = Grant(read_grant(give(owner, functions=("private",), accounts=("friends",), max_calls=4)))
    narrow = write_grant(wide.narrowed(Terms(max_calls=2), bytes(range(8))))
    one, other = seen(carol.client(grants=[write_grant(wide.data)])), seen(dave.client(grants=[narrow]))
    assert [may(other, "private") for _ in range(3)] == [True, True, False]
    with pytest.raises(NotAllowedError, match="its budget of 2 calls is spent"):
        other.execute("private")
    assert may(one, "private")
    node.stop()
    again = owner.node("vision")
    again.register(lambda: "private", name="private", allow=[])
    again.serve(blocking=False)
    assert again.wait_for_connection(10)
    until(lambda: one.list_nodes(), what="the node")
    assert [may(one, "private") for _ in range(2)] == [True, False], "3 of 4 were spent before"


def test_a_budget_is_not_overdrawn_by_calls_at_once(club: Club, owner: Member, node: ComputeNode) -> None:
    carol = club.member("carol")
    line = give(owner, functions=("private",), devices=(carol.device,), max_calls=5)
    client = seen(carol.client(grants=[line]))
    went: list[bool] = []
    threads = [threading.Thread(target=lambda: went.append(may(client, "private"))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(went) == 5


def test_an_altered_grant_is_none(club: Club, owner: Member, node: ComputeNode) -> None:
    carol, boss = club.member("carol"), club.member("boss", "operator")
    line = give(boss, functions=("private",), devices=(carol.device,))
    assert may(seen(carol.client(grants=[line])), "private")
    for place in range(30, len(line) - 4, 37):
        altered = line[:place] + ("A" if line[place] != "A" else "B") + line[place + 1 :]
        try:
            allowed = may(seen(carol.client(grants=[altered])), "private")
        except GrantError:
            continue
        assert not allowed, place


def test_the_commands_make_narrow_keep_and_end_grants(club: Club, owner: Member, node: ComputeNode) -> None:
    carol = club.member("carol")
    carol_id = carol.easynet("id").output[0]
    made = owner.easynet("grant", "private", "scan", "--to", carol_id, "--expires", "1h")
    assert made.wait() == 0, made
    narrowed = carol.easynet("grant", "--narrow", made.output[0], "scan", "--max-calls", "1")
    assert narrowed.wait() == 0, narrowed
    assert carol.easynet("join", narrowed.output[0]).wait() == 0
    seen(carol.client())
    assert carol.easynet("call", "scan").output == ["scan"]
    spent = carol.easynet("call", "scan")
    assert spent.wait() == 8
    assert "its budget of 1 calls is spent" in spent.said
    refused = carol.easynet("call", "private")
    assert refused.wait() == 8
    assert "it is for scan, not for vision.private" in refused.said
    assert may(carol.client(grants=[made.output[0]]), "private")
    boss = club.member("boss", "operator")
    assert boss.easynet("revoke", made.output[0]).wait() == 0
    until(lambda: not may(carol.client(grants=[made.output[0]]), "private"), what="the end of the grant")
    for words in (("grant", "private"), ("grant", "private", "--to", carol_id), ("grant", "--to", "x")):
        assert owner.easynet(*words).wait() == 2, words
