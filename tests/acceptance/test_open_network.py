"""A public network: anyone may join, nodes still decide whom they serve."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import pytest
from acceptance.members import Club
from acceptance.processes import until

from easyremote.errors import EasyRemoteError, LinkError, MembershipError, NotAllowedError
from easyremote.links.entrance import Entrance
from easyremote.links.loop import run_in_background
from easyremote.trust.keyring import Keyring

Clubs = Callable[..., Club]


def test_anyone_joins_without_an_invite_and_the_gateway_is_pinned(
    clubs: Clubs, caplog: pytest.LogCaptureFixture
) -> None:
    club = clubs(open=True)
    node = club.stranger("box").node("lab")
    node.register(lambda: "for all", name="public", allow="network")
    node.register(lambda: "mine", name="private")
    with caplog.at_level(logging.WARNING, "easyremote"):
        node.serve(blocking=False)
        assert node.wait_for_connection(10)
    assert "whose key was not known before" in caplog.text
    assert "SHA256:" in caplog.text
    carol = club.stranger("carol")
    client = carol.client()
    until(lambda: client.list_nodes(), what="the node")
    assert client.execute("public") == "for all"
    with pytest.raises(NotAllowedError, match="it is for devices of the account"):
        client.execute("private")
    assert (carol.home / "networks").is_dir()
    client.close()
    assert carol.client().execute("public") == "for all"


def test_a_public_networks_names_still_belong_to_who_had_them_first(clubs: Clubs) -> None:
    club = clubs(open=True)
    first, second = club.stranger("one").node("lab"), club.stranger("two").node("lab")
    first.serve(blocking=False)
    assert first.wait_for_connection(10)
    second.serve(blocking=False)
    with pytest.raises(LinkError, match="'lab' belongs to another device"):
        second.wait_for_connection(10)


def test_nobody_joins_a_public_network_as_an_operator(clubs: Clubs) -> None:
    club = clubs(open=True)
    eve = club.stranger("eve")
    assert eve.client().list_nodes() == []
    with eve.operator() as asking, pytest.raises(MembershipError, match="only an operator"):
        asking.devices()


@pytest.mark.parametrize("role", ["operator", "root", ""])
def test_nobody_enrolls_as_more_than_a_node_or_a_client(clubs: Clubs, role: str) -> None:
    """A program of one's own asks for more than ours would."""
    club = clubs(open=True)
    eve = club.stranger("eve")
    keyring = Keyring(eve.home)
    entrance = Entrance(
        eve.address, keyring.identity(os.urandom(32)), keyring, invite=None, name="eve", role=role
    )
    with pytest.raises(EasyRemoteError):
        run_in_background(entrance.connect(5.0, lambda joined: None))
    operators = [one.device for one in club.operator.devices() if "operator" in one.roles]
    assert operators == [club.operator.network().gateway], "the gateway's own device alone"


def test_joining_is_slowed_down(clubs: Clubs) -> None:
    club = clubs(open=True, limits={"enrollments_per_minute": 4})
    let_in, refused = 0, ""
    for number in range(12):
        client = club.stranger(f"bot-{number}").client(connect_timeout=2.0)
        try:
            client.list_nodes()
            let_in += 1
        except LinkError as error:
            refused = str(error)
            break
    assert let_in < 8
    assert "too many attempts from this address" in refused


def test_a_network_that_is_closed_again_takes_no_more(clubs: Clubs) -> None:
    club = clubs(open=True)
    early = club.stranger("early")
    assert early.client().list_nodes() == []
    club.network.gateway.kill()
    club.network._options["open"] = False
    club.network.restart_gateway()
    with pytest.raises(MembershipError, match="easynet invite"):
        club.stranger("late").client().list_nodes()
    assert early.client().list_nodes() == [], "who is in stays in"
