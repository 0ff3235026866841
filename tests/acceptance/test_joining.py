"""Who may join: strangers learn nothing, invites open the door once, names belong to who had them first."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.members import Club
from acceptance.processes import until

from easyremote.errors import InviteError, LinkError, MembershipError, NameTakenError
from easyremote.links.certificates import look_at
from easyremote.links.loop import run_in_background
from easyremote.links.relay import connect
from easyremote.protocol.attachment import hello_transcript
from easyremote.trust.grant import Terms, issue_grant
from easyremote.trust.identity import Identity
from easyremote.trust.invite import read_invite, write_invite
from easyremote.trust.keyring import Keyring
from easyremote.trust.wallet import Wallet
from easyremote.wire.frame import Control, Pieces, carry, control, join, walk
from easyremote.wire.messages import Challenge, Hello, Rejected, Watch, decode, encode

Clubs = Callable[..., Club]


# ---- without credentials


def test_a_stranger_is_told_which_command_helps(clubs: Clubs) -> None:
    stranger = clubs().stranger("nobody")
    for ask in (lambda c: c.execute("add", 1, 2), lambda c: c.list_nodes(), lambda c: c.functions()):
        with pytest.raises(MembershipError, match="easynet invite") as raised:
            ask(stranger.client())
        assert "easynet join" in str(raised.value)
    node = stranger.node("lab")
    node.serve(blocking=False)
    with pytest.raises(MembershipError, match="easynet invite"):
        node.wait_for_connection(10)


def test_a_stranger_that_speaks_the_protocol_gets_nothing_and_routes_nothing(clubs: Clubs) -> None:
    club = clubs()
    lab = club.member("lab", "node").node("lab")
    lab.register(lambda: 1, name="secret_function")
    lab.serve(blocking=False)
    assert lab.wait_for_connection(10)
    running = lab._running
    assert running is not None
    stranger = Identity.from_seed(os.urandom(32))
    address = club.network.address

    async def try_to_get_in(*more: Pieces) -> list[object]:
        link = await connect(address, await look_at(address, timeout_seconds=5), timeout_seconds=5)
        heard: list[object] = []
        (first,) = walk(await link.receive() or b"")
        assert isinstance(first, Control)
        challenge = decode(first.data)
        assert isinstance(challenge, Challenge)
        endpoint = stranger.device + bytes(8)
        transcript = hello_transcript(challenge.nonce, challenge.gateway, endpoint, "", "client")
        hello = Hello(endpoint=endpoint, signature=stranger.sign(transcript), version="1", role="client")
        await link.send(join([control(encode(hello)), *more]))
        while (packet := await link.receive()) is not None:
            heard += [decode(one.data) if isinstance(one, Control) else one for one in walk(packet)]
        await link.close()
        return heard

    attempts = {
        "membership": [],
        "protocol": [control(encode(Watch())), carry(running._endpoint, b"x" * 64)],
    }
    for code, more in attempts.items():
        heard = run_in_background(try_to_get_in(*more), 20)
        assert len(heard) == 1, heard
        assert isinstance(heard[0], Rejected)
        assert heard[0].code == code
        assert "lab" not in heard[0].message
        assert "secret_function" not in heard[0].message
    assert lab._running._device.sessions.refused == 0, "nothing was carried to the node"


# ---- invites


def test_an_invite_lets_one_device_in_and_no_second(clubs: Clubs) -> None:
    club = clubs()
    line = club.invite("client")
    first = club.stranger("first")
    assert "this device is first" in first.join(line, "first")
    assert first.client().list_nodes() == []
    with pytest.raises(InviteError, match="used already"):
        club.stranger("second").join(line)
    twice = club.invite("client", uses=2)
    for name in ("third", "fourth"):
        club.stranger(name).join(twice)
    with pytest.raises(InviteError, match="used already"):
        club.stranger("fifth").join(twice)


def test_an_invite_may_be_given_in_code_or_in_the_environment(
    clubs: Clubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    club = clubs()
    node = club.stranger("lab").node("lab", invite=club.invite("node"))
    node.register(lambda a: a * 2, name="double")
    node.serve(blocking=False)
    assert node.wait_for_connection(10)
    assert club.stranger("inline").client(invite=club.invite("client")).execute("double", 4) == 8
    monkeypatch.setenv("EASYREMOTE_INVITE", club.invite("client"))
    client = club.stranger("by-variable").client()
    until(lambda: client.list_nodes(), what="the node")
    assert client.execute("double", 5) == 10


def test_an_invite_expires(clubs: Clubs) -> None:
    club = clubs()
    line = club.invite("client", seconds=0.3)
    late = club.stranger("late")
    over = time.time() + 0.3
    until(lambda: time.time() > over)
    with pytest.raises(InviteError, match="expired"):
        late.join(line)


def test_an_edited_or_guessed_invite_is_refused(clubs: Clubs) -> None:
    club = clubs()
    line = club.invite("client")
    for place in range(20, len(line), 9):
        other = "A" if line[place] != "A" else "B"
        with pytest.raises(InviteError):
            club.stranger("eve").join(line[:place] + other + line[place + 1 :])
    invite = read_invite(line)
    guessed = write_invite(_changed(invite, seed=os.urandom(32)))
    with pytest.raises(InviteError, match="no such invite"):
        club.stranger("eve").join(guessed)
    mallory = club.stranger("mallory")
    mallory.join(write_invite(_changed(invite, name="operator")))  # its role is the gateway's to know
    with mallory.operator() as asking, pytest.raises(MembershipError, match="only an operator"):
        asking.devices()


def _changed(invite: object, **changes: object) -> object:
    import msgspec

    return msgspec.structs.replace(invite, **changes)  # type: ignore[type-var]


def test_an_invite_is_for_its_own_gateway_and_network(clubs: Clubs, tmp_path: Path) -> None:
    from easyremote import Server

    club = clubs()
    invite = read_invite(club.invite("client"))
    with Server(port=0, home=tmp_path / "elsewhere") as other:
        led_astray = write_invite(_changed(invite, addresses=[other.address]))  # type: ignore[arg-type]
        with pytest.raises(InviteError, match="not the one this invite is for"):
            club.stranger("victim").join(led_astray)
        shown = run_in_background(look_at(other.address, timeout_seconds=5))
        from easyremote.trust.wallet import fingerprint

        forged = _changed(invite, addresses=[other.address], fingerprint=fingerprint(shown))
        with pytest.raises(InviteError):
            club.stranger("victim").join(write_invite(forged))  # type: ignore[arg-type]


def test_guessing_is_slowed_down_and_logged(clubs: Clubs) -> None:
    club = clubs(limits={"enrollments_per_minute": 5})
    line = club.invite("client")
    eve, invite = club.stranger("eve"), read_invite(line)
    refusals = []
    for _ in range(12):
        with pytest.raises((InviteError, LinkError)) as raised:
            eve.join(write_invite(_changed(invite, seed=os.urandom(32))))  # type: ignore[arg-type]
        refusals.append(str(raised.value))
    assert "too many attempts" in refusals[-1]
    assert "no such invite" in refusals[0]
    club.network.gateway.wait_for("turned away a device at 127.0.0.1 that asked to join: .*no such invite")


def test_the_secret_of_an_invite_is_not_on_the_gateways_disk(clubs: Clubs) -> None:
    club = clubs()
    line = club.invite("client")
    seed = read_invite(line).seed
    club.stranger("one").join(line)
    files = [path for path in club.network.home.rglob("*") if path.is_file()]
    assert any(path.name == "gateway.db" for path in files)
    assert any(read_invite(line).key in path.read_bytes() for path in files), "the public half is there"
    for path in files:
        data = path.read_bytes()
        for form in (seed, seed.hex().encode(), base64.b64encode(seed), base64.urlsafe_b64encode(seed)):
            assert form not in data, path


def test_a_device_that_joined_as_a_client_cannot_serve(clubs: Clubs) -> None:
    node = clubs().member("carol", "client").node("lab")
    node.serve(blocking=False)
    with pytest.raises(MembershipError, match="--role node"):
        node.wait_for_connection(10)


def test_an_invite_may_be_for_some_functions_only(clubs: Clubs) -> None:
    club = clubs()
    node = club.member("lab", "node").node("vision")
    node.register(lambda: "cat", name="classify")
    node.register(lambda: "gone", name="erase_all")
    node.serve(blocking=False)
    assert node.wait_for_connection(10)
    carol = club.member("carol", functions=["vision.classify", "other*"]).client()
    until(lambda: carol.list_nodes())
    assert carol.execute("classify") == "cat"
    with pytest.raises(PermissionError, match=r"its membership is for other\*, vision.classify"):
        carol.execute("erase_all")


# ---- names


@pytest.mark.parametrize("wanted", ["friends", "alice", "owner", "ID"])
def test_nobody_takes_a_name_that_rules_could_mean_somebody_else_by(clubs: Clubs, wanted: str) -> None:
    """Rules list devices and accounts by name: a device may not call itself what another, or an account, is called."""
    club = clubs()
    alice = club.member("alice", account="friends")
    allowed = alice.id if wanted == "ID" else wanted
    node = club.member("box", "node").node("lab")
    node.register(lambda: "secret", name="secret", allow=[allowed])
    node.serve(blocking=False)
    assert node.wait_for_connection(10)
    mallory = club.stranger("mallory")
    if wanted == "ID":
        with pytest.raises(InviteError, match="device id"):
            mallory.join(club.invite("client"), allowed)
        return
    said = mallory.join(club.invite("client"), allowed)
    assert f"this device is {allowed} in" not in said
    client = mallory.client()
    until(lambda: client.list_nodes())
    with pytest.raises(PermissionError):
        client.execute("secret")
    rival = club.member("rival", "node").node(allowed)
    rival.serve(blocking=False)
    with pytest.raises(NameTakenError):
        rival.wait_for_connection(10)


def test_a_device_that_joins_again_keeps_its_name(clubs: Clubs) -> None:
    club = clubs()
    carol = club.member("carol")
    carol.easynet("network", "forget", carol.address)
    assert "this device is carol in" in carol.join(club.invite("client"), "caroline")


def test_the_gateways_own_device_is_not_put_out(clubs: Clubs) -> None:
    club = clubs()
    (own,) = club.operator.devices()
    with pytest.raises(MembershipError, match="the gateway's own device"):
        club.operator.revoke(own.device)


def test_more_grants_than_a_session_shows_do_not_break_calls(clubs: Clubs) -> None:
    club = clubs()
    box = club.member("box", "node")
    node = box.node("lab")
    node.register(lambda: 1, name="one")
    node.serve(blocking=False)
    assert node.wait_for_connection(10)
    carol = club.member("carol")
    wallet, keyring = Wallet(Keyring(carol.home)), Keyring(box.home)
    (kept,) = Wallet(keyring).networks()
    for number in range(40):
        terms = Terms(functions=("one",), devices=(carol.device,), expires=time.time() + 60 + number)
        wallet.keep_grant(issue_grant(keyring.identity(bytes(32)), kept.credential, terms, os.urandom(16)))
    client = carol.client()
    until(lambda: client.list_nodes())
    assert client.execute("one") == 1


def test_a_name_belongs_to_the_device_that_had_it_first_until_it_is_revoked(clubs: Clubs) -> None:
    club = clubs()
    first = club.member("first", "node")
    held = first.node("lab")
    held.register(lambda: "first", name="which")
    held.serve(blocking=False)
    assert held.wait_for_connection(10)
    second = club.member("second", "node")

    def try_it() -> None:
        rival = second.node("lab")
        rival.register(lambda: "second", name="which")
        rival.serve(blocking=False)
        rival.wait_for_connection(10)

    with pytest.raises(NameTakenError, match="'lab' belongs to another device"):
        try_it()
    held.stop()
    with pytest.raises(NameTakenError, match="'lab' belongs to another device"):
        try_it()  # also while nobody uses it
    club.operator.revoke(first.device)
    try_it()
    assert second.client().execute("lab.which") == "second"


def test_a_name_stays_with_its_device_over_a_restart_of_the_gateway(clubs: Clubs) -> None:
    club = clubs()
    held = club.member("first", "node").node("lab")
    held.serve(blocking=False)
    assert held.wait_for_connection(10)
    held.stop()
    club.network.gateway.kill()
    club.network.restart_gateway()
    rival = club.member("second", "node").node("lab")
    rival.serve(blocking=False)
    with pytest.raises(NameTakenError, match="'lab' belongs to another device"):
        rival.wait_for_connection(10)


def test_a_device_that_is_renamed_is_known_by_its_new_name(clubs: Clubs) -> None:
    club = clubs()
    lab = club.member("lab-box", "node")
    node = lab.node("lab")
    node.register(lambda: "here", name="where")
    node.serve(blocking=False)
    assert node.wait_for_connection(10)
    client = club.member("carol").client()
    until(lambda: client.list_nodes())
    club.operator.rename(lab.device, "scanner", "lab")
    until(lambda: [one.name for one in client.list_nodes()] == ["scanner"], what="the new name")
    assert client.execute("scanner.where") == "here"
    other = club.member("other", "node").node("lab")
    other.serve(blocking=False)
    assert other.wait_for_connection(10), "the old name is free"
