"""Out means out: at once, everywhere, over restarts; and who is in stays in without doing anything."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from acceptance.members import Club, Member
from acceptance.processes import PROGRAMS, Program, until

from easyremote import Client, ComputeNode
from easyremote.errors import (
    CallError,
    EasyRemoteError,
    MembershipError,
    NotAllowedError,
    ScheduleError,
)
from easyremote.trust.keyring import Keyring
from easyremote.trust.membership import read_membership
from easyremote.trust.wallet import Wallet

Clubs = Callable[..., Club]


@pytest.fixture
def club(clubs: Clubs) -> Club:
    return clubs()


def lab_of(club: Club, member: Member, name: str = "lab") -> Program:
    """The workshop, as a process in a member's home."""
    program = Program(
        [str(PROGRAMS / "workshop.py")],
        environment={**member.environment, "GATEWAY": club.network.address, "NODE": name},
    )
    program.wait_for("^serving$")
    return program


def seen(client: Client, name: str = "lab") -> Client:
    until(lambda: name in {one.name for one in client.list_nodes()}, what=f"node {name}")
    return client


def test_a_revoked_caller_is_out_within_two_seconds_and_its_calls_are_stopped(club: Club) -> None:
    lab, carol = club.member("box", "node"), club.member("carol")
    with lab_of(club, lab):
        client = seen(carol.client())
        assert client.execute("add", 1, 2) == 3
        running = client.submit("nap", 60)
        until(lambda: client.get_node_status("lab").load.running, what="the long call")
        began = time.monotonic()
        club.operator.revoke(carol.device)
        with pytest.raises(EasyRemoteError):
            running.result(10)
        assert time.monotonic() - began < 2.0
        with pytest.raises(MembershipError, match="revoked"):
            client.execute("add", 1, 2)
        watcher = seen(club.member("dave").client())
        until(
            lambda: watcher.get_node_status("lab").load.running == 0,
            within_seconds=5,
            what="the node to have stopped working for it",
        )
        with pytest.raises(MembershipError, match="revoked"):
            carol.client().execute("add", 1, 2)


def test_a_node_refuses_a_revoked_caller_whatever_its_gateway_does(club: Club) -> None:
    """The caller keeps its link: the node alone must know."""
    lab, carol = club.member("box", "node"), club.member("carol")
    node = lab.node("lab")
    node.register(lambda: 1, name="one")
    node.serve(blocking=False)
    assert node.wait_for_connection(10)
    client = seen(carol.client())
    assert client.execute("one") == 1
    assert node._running is not None
    club.operator.revoke(carol.device)
    standing = node._running._device.standing
    until(lambda: standing.revoked(carol.device), within_seconds=2.0, what="the list at the node")
    (kept,) = Wallet(Keyring(lab.home)).networks()
    assert kept.revocations, "it is on the node's disk"


def test_a_revoked_node_is_called_no_more_and_its_name_is_free(club: Club) -> None:
    lab, carol = club.member("box", "node"), club.member("carol")
    with lab_of(club, lab) as program:
        client = seen(carol.client())
        running = client.submit("nap", 60)
        until(lambda: client.get_node_status("lab").load.running, what="the long call")
        began = time.monotonic()
        club.operator.revoke(lab.device)
        with pytest.raises(CallError):
            running.result(10)
        assert time.monotonic() - began < 2.0
        with pytest.raises(ScheduleError):
            client.execute("lab.add", 1, 2)
        assert program.wait() != 0
        assert "revoked by an operator" in program.said
    with lab_of(club, club.member("other-box", "node")):
        assert seen(client).execute("lab.add", 1, 2) == 3


def test_revocation_outlives_restarts_of_everything(club: Club) -> None:
    lab, carol = club.member("box", "node"), club.member("carol")
    with lab_of(club, lab):
        assert seen(carol.client()).execute("add", 1, 2) == 3
        club.operator.revoke(carol.device)
    club.network.gateway.kill()
    club.network.restart_gateway()
    with lab_of(club, lab):
        seen(club.member("dave").client())
        with pytest.raises(MembershipError, match="revoked"):
            carol.client().execute("add", 1, 2)
    with pytest.raises(EasyRemoteError, match="revoked"):
        carol.join(club.invite("client"))


def test_who_is_approved_again_is_in_again(club: Club) -> None:
    lab, carol = club.member("box", "node"), club.member("carol")
    with lab_of(club, lab):
        assert seen(carol.client()).execute("add", 1, 2) == 3
        club.operator.revoke(carol.device)
        until(lambda: refused(carol))
        club.operator.approve(carol.device)
        assert seen(carol.client()).execute("add", 1, 2) == 3


def test_a_node_that_is_approved_again_knows_its_own_account(club: Club) -> None:
    """Its disk still holds the list that put it out; the newer one brings it back, to itself as well."""
    box, laptop = club.member("box", "node", account="ann"), club.member("laptop", account="ann")

    def serve() -> ComputeNode:
        node = box.node("lab")
        node.register(lambda: "mine", name="mine", allow="account")
        node.serve(blocking=False)
        assert node.wait_for_connection(10)
        return node

    first = serve()
    assert seen(laptop.client()).execute("mine") == "mine"
    club.operator.revoke(box.device)
    until(first._stopped.is_set, what="the end of the node that is out")
    until(lambda: Wallet(Keyring(box.home)).networks()[0].revocations != b"", what="the list on its disk")
    club.operator.approve(box.device)
    serve()
    client = seen(laptop.client())
    until(lambda: client.execute("mine") == "mine", what="its account to be its own again")


def refused(member: Member) -> bool:
    try:
        member.client().execute("add", 1, 2)
    except MembershipError:
        return True
    return False


def test_memberships_are_renewed_by_themselves_and_calls_go_on(clubs: Clubs) -> None:
    club = clubs(membership_seconds=2.0, heartbeat_timeout_seconds=1.0)
    lab, carol = club.member("box", "node"), club.member("carol")
    with lab_of(club, lab):
        client = seen(carol.client())
        first = until_of(carol)
        assert client.execute("add", 1, 2) == 3
        deadline = time.monotonic() + 30
        while time.time() < first + 1.5:  # well after the first one has expired
            assert client.execute("add", 1, 2) == 3
            assert time.monotonic() < deadline
        assert until_of(carol) > first
        client.close()
        over = until_of(carol) + 0.5
        until(lambda: time.time() > over, within_seconds=10, what="the end of the last one")
        assert seen(carol.client()).execute("add", 1, 2) == 3, "expired, and in good standing"


def until_of(member: Member) -> float:
    (kept,) = Wallet(Keyring(member.home)).networks()
    return read_membership(kept.credential, member.device, kept.root, 0.0).expires


def test_who_is_not_renewed_is_refused_by_the_nodes(clubs: Clubs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that goes on letting a lapsed device in does not help it."""
    monkeypatch.setattr("easyremote.protocol.standing.LEEWAY_SECONDS", 0.0)
    club = clubs(membership_seconds=2.0, heartbeat_timeout_seconds=60.0)  # leases are looked at too late
    node = club.member("box", "node").node("lab")
    node.register(lambda: 1, name="one")
    node.serve(blocking=False)
    assert node.wait_for_connection(10)
    client = seen(club.member("carol").client())
    assert client.execute("one") == 1
    until(lambda: not allowed(client), within_seconds=10, what="the end of its membership")


def allowed(client: Client) -> bool:
    try:
        client.execute("one")
    except (NotAllowedError, ScheduleError):
        return False
    return True


def test_keys_can_be_rotated_while_everybody_works(club: Club) -> None:
    lab, carol = club.member("box", "node"), club.member("carol")
    with lab_of(club, lab):
        client = seen(carol.client())
        for _ in range(2):
            assert client.execute("add", 1, 2) == 3
            club.operator.rotate()
            until(lambda: works(client), what="calls under the fresh key")
        assert seen(carol.client()).execute("add", 1, 2) == 3


def works(client: Client) -> bool:
    try:
        return bool(client.execute("add", 1, 2) == 3)
    except (EasyRemoteError, ConnectionError):
        return False
