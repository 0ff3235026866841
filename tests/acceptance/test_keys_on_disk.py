"""Keys on disk: readable by their owner alone, whole or not there, and nowhere else."""

from __future__ import annotations

import base64
import io
import logging
import pickle
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.members import Club
from acceptance.processes import until

from easyremote import trace
from easyremote.errors import IdentityError
from easyremote.gateway.authority import read_delegation, write_delegation
from easyremote.trust.grant import Grant, read_grant
from easyremote.trust.invite import read_invite
from easyremote.trust.keyring import Keyring

Clubs = Callable[..., Club]


def private_parts(home: Path) -> dict[Path, bytes]:
    """Every private key of a home."""
    return {path: path.read_bytes() for path in home.rglob("*.key")}


def test_everything_on_disk_is_its_owners_alone(clubs: Clubs) -> None:
    club = clubs()
    lab = club.member("box", "node")
    node = lab.node("lab")
    node.register(lambda: 1, name="one")
    node.serve(blocking=False)
    assert node.wait_for_connection(10)
    carol = club.member("carol")
    until(lambda: carol.client().execute("one") == 1)
    node.stop()
    homes = [club.network.home, lab.home, carol.home]
    files = [path for home in homes for path in home.rglob("*") if path.is_file()]
    assert len(private_parts(club.network.home)) == 4, "device, root, issuer, TLS"
    assert {path.name for path in files} >= {"device.key", "root.key", "gateway.db", "lab.jsonl"}
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert not [path for path in files if path.name.endswith(".new")], "nothing half written is left"


@pytest.mark.parametrize(
    "name", ["device.key", "network/root.key", "network/issuer.key", "network/tls.pem.key"]
)
def test_a_key_that_others_may_read_is_refused_with_the_fix(clubs: Clubs, name: str) -> None:
    club = clubs()
    club.operator.network()
    club.network.gateway.kill()
    path = club.network.home / name
    path.chmod(0o644)
    with pytest.raises(AssertionError) as raised:
        club.network.restart_gateway()
    said = str(raised.value)
    assert f"Run: chmod 600 {path}" in said
    assert "mode is 0644, wanted 0600" in said
    path.chmod(0o600)
    club.network.gateway = club.network._listen()


def test_private_keys_are_in_no_log_error_or_repr(clubs: Clubs, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[object] = []
    stop = trace.subscribe(seen.append)
    try:
        club = clubs()
        lab = club.member("box", "node")
        node = lab.node("lab", log_level="debug")
        node.register(lambda: 1, name="one", allow=[])
        node.serve(blocking=False)
        assert node.wait_for_connection(10)
        client = club.member("carol").client()
        until(lambda: client.list_nodes())
        with pytest.raises(PermissionError) as raised:
            client.execute("one")
        said = "\n".join(
            [
                caplog.text,
                club.network.gateway.said,
                str(raised.value),
                repr(raised.value),
                repr(seen),
                *map(repr, _everything(club, lab.home)),
            ]
        )
    finally:
        stop()
    secrets = private_parts(club.network.home) | private_parts(lab.home)
    assert len(secrets) >= 5
    for path, data in secrets.items():
        for form in _forms(data):
            assert form not in said, path


def _forms(data: bytes) -> list[str]:
    text = data.decode("ascii", "replace").strip()
    if text.startswith("-----"):
        return [line for line in text.splitlines() if not line.startswith("-----")]
    seed = bytes.fromhex(text)
    return [text, repr(seed)[2:-1], base64.b64encode(seed).decode(), base64.urlsafe_b64encode(seed).decode()]


def _everything(club: Club, home: Path) -> list[object]:
    keyring = Keyring(home)
    identity = keyring.key("device.key")
    line = club.invite("client")
    invite = read_invite(line)
    assert repr(invite.seed)[2:-1] not in repr(invite)
    return [keyring, identity, invite, club.network.home]


def test_a_private_key_does_not_leave_its_process(tmp_path: Path) -> None:
    identity = Keyring(tmp_path).identity(bytes(range(32)))
    with pytest.raises(TypeError, match="private key"):
        pickle.dumps(identity)
    with pytest.raises(TypeError):
        pickle.Pickler(io.BytesIO()).dump([identity])


def test_secrets_shown_as_objects_hide_themselves(clubs: Clubs, tmp_path: Path) -> None:
    club = clubs()
    made = club.stranger("owner").easynet("network", "init", "--offline")
    delegation = read_delegation(made.output[0])
    assert delegation.seed.hex() not in repr(delegation)
    assert write_delegation(delegation) == made.output[0]
    carol = club.member("carol")
    given = club.member("boss", "operator").easynet("grant", "*", "--to", carol.id, "--expires", "1h")
    assert len(repr(Grant(read_grant(given.output[0])))) < 60


def test_a_home_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(IdentityError, match="EASYREMOTE_HOME"):
        Keyring(tmp_path / "file").identity(bytes(32))
