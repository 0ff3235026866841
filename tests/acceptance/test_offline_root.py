"""The network's root on its owner's machine, the gateway on another: it admits what its charter says, no more."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from acceptance.members import Club, Member
from acceptance.network import Network
from acceptance.processes import free_port, until

from easyremote.errors import InviteError, MembershipError
from easyremote.gateway.authority import NetworkKeys, install, read_delegation
from easyremote.trust.charter import read_charter, sign_charter
from easyremote.trust.identity import Identity
from easyremote.trust.keyring import Keyring
from easyremote.trust.membership import read_membership
from easyremote.trust.tokens import build, moment
from easyremote.trust.wallet import Wallet

ROOT_FILE = "network/root.key"


class Estate:
    """An owner with the root, and a gateway elsewhere under its charter."""

    def __init__(self, folder: Path, *admit: str) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.owner = Member(folder / "owner", self.address)
        self.gateway_home = folder / "home"
        words = [word for role in admit for word in ("--admit", role)]
        made = self.owner.easynet("network", "init", "--offline", "--name", "clinic", *words)
        assert made.wait() == 0, made
        self.line = made.output[0]
        gateway = Member(self.gateway_home, self.address)
        installed = gateway.easynet("network", "install", self.line, "--address", self.address)
        assert installed.wait() == 0, installed
        self.introduction = installed.output[0]


@pytest.fixture
def estates(
    tmp_path: Path, own_network: Callable[..., Network]
) -> Iterator[Callable[..., tuple[Estate, Club]]]:
    """Makes networks whose root is elsewhere: ``estates(*roles the gateway may admit)``."""
    clubs: list[Club] = []

    def make(*admit: str) -> tuple[Estate, Club]:
        estate = Estate(tmp_path, *admit)
        network = own_network(port=estate.port, talk=True)
        met = estate.owner.easynet("join", estate.introduction)
        assert met.wait() == 0, met
        club = Club(network, tmp_path)
        club._operator = estate.owner.operator()
        clubs.append(club)
        return estate, club

    yield make
    for club in clubs:
        club.close()


@pytest.fixture
def estate(estates: Callable[..., tuple[Estate, Club]]) -> tuple[Estate, Club]:
    return estates()


def test_the_owner_is_operator_and_the_gateway_admits_clients_and_nodes(estate: tuple[Estate, Club]) -> None:
    at, club = estate
    lab = club.member("box", "node").node("lab")
    lab.register(lambda a, b: a + b, name="add")
    lab.serve(blocking=False)
    assert lab.wait_for_connection(10)
    client = club.member("carol").client()
    until(lambda: client.list_nodes(), what="the node")
    assert client.execute("add", 1, 2) == 3
    shown = at.owner.easynet("network", "show")
    assert "kept elsewhere" in shown.said
    assert "client, node" in shown.said
    assert not (at.gateway_home / ROOT_FILE).exists()


def test_the_gateway_cannot_make_operators(estate: tuple[Estate, Club]) -> None:
    at, club = estate
    keys = NetworkKeys.load(Keyring(at.gateway_home), time.time())
    with pytest.raises(MembershipError, match="does not let it admit a device as 'operator'"):
        keys.issue(device=bytes(32), name="boss", roles=("operator",), account="x", expires=time.time() + 60)
    # With the charter's key and a program of one's own it can sign such a token; nobody believes it.
    delegation = read_delegation(at.line)
    terms = keys.terms
    issuer = Identity.from_seed(delegation.seed)
    forged = sign_charter(issuer, msgspec.structs.replace(terms, roles=["client", "node", "operator"]))
    with pytest.raises(MembershipError, match="not signed by its network's root"):
        read_membership(issue_membership_unchecked(issuer, forged), issuer.device, terms.root, time.time())
    boss = club.stranger("boss")
    said = boss.join(club.invite("operator"), "boss")
    assert "waits to be approved" in said, "an operator's invite makes a device that waits for the root"
    with pytest.raises(MembershipError, match="waits to be approved"):
        boss.client().list_nodes()
    with boss.operator() as asking, pytest.raises(MembershipError):
        asking.devices()
    approved = at.owner.easynet("approve", "boss")
    assert approved.wait() == 0, approved
    with boss.operator() as asking:
        until(lambda: len(asking.devices()) >= 2, what="the operator that the root approved")


def issue_membership_unchecked(issuer: Identity, charter: bytes) -> bytes:
    """A credential under a charter that its issuer wrote for itself."""
    token = build(
        issuer.seed(),
        'device({device}); name("boss"); account("x"); expires({until}); role("operator"); functions("*")',
        {"device": issuer.device, "until": moment(time.time() + 60)},
    )
    return msgspec.msgpack.encode([1, charter, token])


def test_a_gateway_that_may_admit_clients_only_makes_nodes_wait_for_the_root(
    estates: Callable[..., tuple[Estate, Club]],
) -> None:
    at, club = estates("client")
    lab = club.stranger("lab")
    assert "waits to be approved" in lab.join(club.invite("node"), "lab")
    approved = at.owner.easynet("approve", "lab")
    assert approved.wait() == 0, approved
    node = lab.node("lab")
    node.register(lambda: "scan", name="scan")
    node.serve(blocking=False)
    assert node.wait_for_connection(10)
    client = club.member("carol").client()
    until(lambda: client.list_nodes(), what="the node")
    assert client.execute("lab.scan") == "scan"
    (kept,) = Wallet(Keyring(lab.home)).networks()
    assert kept.revocations == b""


def test_a_charter_ends_and_is_renewed_where_the_root_is(tmp_path: Path) -> None:
    at = Estate(tmp_path)
    delegation = read_delegation(at.line)
    home = Keyring(tmp_path / "late")
    later = time.time() + 91 * 86400
    with pytest.raises(MembershipError, match="expired"):
        install(home, delegation, later)
    install(home, delegation, time.time())
    with pytest.raises(MembershipError, match="easynet network rotate --offline"):
        NetworkKeys.load(home, later)
    again = at.owner.easynet("network", "rotate", "--offline", "--expires", "180d")
    assert again.wait() == 0, again
    install(home, read_delegation(again.output[0]), later)
    assert NetworkKeys.load(home, later).root == read_charter_root(at.line)


def read_charter_root(line: str) -> bytes:
    return read_charter(read_delegation(line).charter).root


def test_a_running_gateway_takes_its_next_charter(estate: tuple[Estate, Club]) -> None:
    at, club = estate
    carol = club.member("carol")
    assert carol.client().list_nodes() == []
    again = at.owner.easynet("network", "rotate", "--offline")
    taken = at.owner.easynet("network", "install", again.output[0], "--running")
    assert taken.wait() == 0, taken
    assert carol.client().list_nodes() == []


@pytest.mark.parametrize("line", ["", "easyremote-charter:AAAA", "easyremote-invite:AAAA", os.devnull])
def test_a_line_that_is_no_charter_is_told_so(tmp_path: Path, line: str) -> None:
    with pytest.raises((MembershipError, InviteError)):
        read_delegation(line)
