"""What a device's own commands say of how it stands in its network: ``doctor``, ``id``, ``approve``, ``invite``."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable

import pytest
from acceptance.members import Club, Member
from acceptance.processes import until

from easyremote.cli.doctor import examine
from easyremote.cli.findings import Finding
from easyremote.cli.members import make_invite, show_id
from easyremote.cli.output import Output
from easyremote.cli.settings import Settings
from easyremote.errors import MembershipError

Clubs = Callable[..., Club]


def doctor(member: Member) -> dict[str, Finding]:
    settings = Settings(gateway=member.address, home=member.home, connect_timeout=5.0)
    return {finding.check: finding for finding in examine(settings)}


def wrong(found: dict[str, Finding]) -> list[str]:
    return [check for check, finding in found.items() if finding.state == "wrong"]


def id_of(member: Member) -> str:
    said = io.StringIO()
    show_id(Settings(home=member.home), Output(as_json=True, stream=said))
    return said.getvalue()


def refused(member: Member) -> bool:
    try:
        member.client().list_nodes()
    except MembershipError:
        return True
    return False


def test_doctor_examines_a_client_without_making_it_serve(clubs: Clubs) -> None:
    club = clubs()
    found = doctor(club.member("laptop", "client", account="alice"))
    assert wrong(found) == []
    assert found["membership"].found == "'laptop', client, of account 'alice'"
    assert found["round trip"].state == "note"
    assert "joined as a client" in found["round trip"].found


def test_doctor_leaves_one_name_and_no_log_behind_however_often_it_is_asked(clubs: Clubs) -> None:
    club = clubs()
    box = club.member("box", "node")
    for _ in range(2):
        found = doctor(box)
        assert wrong(found) == []
        assert found["round trip"].state == "ok"
        assert found["direct"].state == "ok", "calls within one machine need no gateway"
    (record,) = [one for one in club.operator.devices() if one.name == "box"]
    assert sorted(record.names) == ["box", f"doctor-{box.id[:8]}"]
    assert not list(box.home.rglob("*doctor*"))


def test_doctor_does_not_call_what_the_device_may_not(clubs: Clubs) -> None:
    club = clubs()
    found = doctor(club.member("box", "node", functions=["vision.*"]))
    assert wrong(found) == []
    assert "vision.*" in found["round trip"].found


def test_doctor_tells_a_stranger_and_an_outcast_what_helps(clubs: Clubs) -> None:
    club = clubs()
    found = doctor(club.stranger("stranger"))
    assert wrong(found) == ["membership"]
    assert found["membership"].exit == 8
    assert "easynet invite" in found["membership"].remedy
    box = club.member("box", "node")
    club.operator.revoke(box.device)
    found = doctor(box)
    assert wrong(found) == ["membership"]
    assert "revoked" in found["membership"].found
    assert "easynet approve" in found["membership"].remedy


def test_a_device_that_was_put_out_sees_it_in_its_id(clubs: Clubs) -> None:
    club = clubs()
    box = club.member("box", "node")
    box.client().list_nodes()
    assert '"status":"active"' in id_of(box)
    club.operator.revoke(box.device)
    until(lambda: '"status":"revoked"' in id_of(box), what="the news in its home")


def test_a_device_does_not_come_back_under_a_name_that_is_anothers_meanwhile(clubs: Clubs) -> None:
    club = clubs()
    first = club.member("lab", "node")
    club.operator.revoke(first.device)
    club.stranger("other box").join(club.invite("node"), "lab")
    with pytest.raises(MembershipError, match=r"another device is called 'lab' meanwhile.*easynet rename"):
        club.operator.approve(first.device)
    assert refused(first), "what was not done was not done in part"
    club.operator.rename(first.device, "old-lab", "lab")
    club.operator.approve(first.device)
    assert first.client().list_nodes() == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("rows", "shows_code"), [(24, False), (80, True)])
def test_the_line_of_an_invite_is_in_sight_whatever_the_terminal(
    clubs: Clubs, monkeypatch: pytest.MonkeyPatch, rows: int, shows_code: bool
) -> None:
    club = clubs()
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", str(rows))
    screen = Terminal()
    make_invite(
        Settings(gateway=club.network.address, home=club.network.home),
        Output(stream=screen),
        role="client",
        uses=1,
        expires="1h",
        functions=[],
        name="",
        account="",
        addresses=[],
        plain=False,
    )
    *before, last = screen.getvalue().splitlines()
    assert last.startswith("easynet join easyremote-invite:")
    assert ("▄" in screen.getvalue()) is shows_code
    assert any("QR code" in line for line in before) is not shows_code


@pytest.mark.parametrize(
    ("ahead", "state"),
    [(0.0, "ok"), (600.0, "note"), (-600.0, "note"), (7200.0, "wrong"), (-7200.0, "wrong")],
)
def test_doctor_compares_the_clocks(
    clubs: Clubs, monkeypatch: pytest.MonkeyPatch, ahead: float, state: str
) -> None:
    box = clubs().member("box", "client")
    box.client().list_nodes()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - ahead)  # this machine's; the gateway's is right
    found = doctor(box)["clock"]
    assert found.state == state
    if ahead:
        told = re.search(r"([\d,]+) s (ahead|behind)", found.found)
        assert told is not None
        assert abs(int(told[1].replace(",", "")) - abs(ahead)) <= 2
        assert told[2] == ("ahead" if ahead > 0 else "behind")
        assert "timedatectl" in found.remedy


def test_doctor_tells_how_the_nodes_are_and_what_the_gateway_has(clubs: Clubs) -> None:
    club = clubs(mailbox=None)
    stuck = club.network.spawn_node("holder", name="stuck")
    club.network.spawn_node("holder", name="well")
    box = club.member("box", "node")
    found = doctor(box)
    assert (found["version"].state, found["health"].state, found["large"].state) == ("note", "ok", "ok")
    assert "no mailbox" in found["version"].found
    assert found["certificate"].state == "ok"
    assert "pinned here" in found["certificate"].found
    assert found["health"].found.startswith("all answered within ")
    assert (found["ports"].state, found["ports"].found) == (
        "ok",
        "2 nodes can be reached without the gateway",
    )
    stuck.freeze()
    try:
        health = [
            one for one in examine(Settings(home=box.home, gateway=box.address)) if one.check == "health"
        ]
    finally:
        stuck.thaw()
    assert [one.state for one in health] == ["wrong", "ok"]
    assert health[0].found.endswith(": stuck")
    assert health[0].remedy
    assert health[1].found.startswith("1 of 2 answered")
