"""Durable calls among bad luck and bad will: letters made to do harm, databases that go back in time, files that are damaged."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from acceptance.members import Club
from acceptance.network import Network
from acceptance.processes import until
from acceptance.programs.files import marks

from easyremote import Client, ComputeNode, MailboxError, Server
from easyremote.links.loop import run_in_background
from easyremote.trust.handshake import PublicPrekey
from easyremote.trust.letter import Secret, seal_letter
from easyremote.wire.cards import decode_card
from easyremote.wire.mail import FindNodes, KeptCard, Letter, MailRequest, PutLetter, encode_mail
from easyremote.wire.values import encode_arguments

Networks = Callable[..., Network]


def ask(client: Client, request: MailRequest, kind: Any = None) -> Any:
    """Ask the mailbox as a device may that does not keep to our client."""
    engine = client.connect()._connection.engine
    return run_in_background(engine.questions.ask(request, kind))


def post(client: Client, node: str, function: str, *args: object, **fields: object) -> Secret:
    """A letter of one's own making."""
    engine = client.connect()._connection.engine
    (kept,) = until(lambda: ask(client, FindNodes(node), list[KeptCard]))
    card, secret = decode_card(kept.card), Secret(os.urandom(16))
    given = {"made": time.time(), "keep_seconds": 3600.0, "timeout": None} | fields
    letter = Letter(
        function,
        bytes(encode_arguments(args, {})),
        secret.secret,
        list(engine.standing.tokens),
        **given,  # type: ignore[arg-type]
    )
    prekey = card.prekey
    parts = seal_letter(
        engine.identity,
        secret.number,
        node=kept.device,
        prekey=PublicPrekey(prekey.id, prekey.suite, prekey.aead, prekey.key),
        secret=os.urandom(32),
        data=encode_mail(letter),
    )
    for number, part in enumerate(parts):
        ask(client, PutLetter(secret.number, kept.device, node, number, len(parts), part, 3600.0))
    return secret


def damage(path: Path) -> None:
    """Nothing of a database is left, nor of its log."""
    path.write_bytes(b"this is no database" * 1000)
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


@pytest.fixture
def own(own_network: Networks) -> Network:
    made = own_network()
    made.spawn_node("patient", name="desk")
    until(lambda: ask(made.client, FindNodes("desk"), list[KeptCard]), what="the card of the node desk")
    return made


def test_letters_made_to_do_harm_do_not_keep_others_from_being_opened(own: Network, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    nan, far = float("nan"), float("inf")
    harm: list[dict[str, object]] = [
        {"timeout": nan},
        {"timeout": -1.0},
        {"timeout": far},
        {"keep_seconds": nan},
        {"keep_seconds": -1.0},
        {"keep_seconds": 1e300},
        {"made": nan},
        {"made": -far},
        {"made": far},
        {"made": time.time() - 40 * 86400},
    ]
    secrets = [post(own.client, "desk", "count", str(ledger), **fields) for fields in harm * 8]
    honest = own.client.submit("count", str(ledger), "honest", durable=True)
    assert honest.result(10) == "honest"
    assert marks(ledger) == 1
    jobs = own.client._connection.engine.jobs
    for secret in secrets:
        until(lambda secret=secret: run_in_background(jobs.status(secret.secret)).state == "refused")
    assert own.client.execute("count", str(ledger), 1) == 1  # the node is well


def test_slow_jobs_do_not_keep_others_from_being_opened(own: Network, tmp_path: Path) -> None:
    ledger, gate = tmp_path / "ledger", tmp_path / "gate"
    slow = [own.client.submit("hold_alone", str(ledger), str(gate), durable=True) for _ in range(90)]
    until(lambda: marks(ledger) == 1)
    assert own.client.submit("count", str(tmp_path / "other"), "quick", durable=True).result(5) == "quick"
    slow[-1].cancel()
    gate.touch()
    assert [job.result(30) for job in slow[:-1]] == ["held"] * 89
    assert marks(ledger) == 89


def test_letters_are_opened_however_many_wait_before_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("gateway.mailbox", "node.letters"):
        monkeypatch.setattr(f"easyremote.{place}.LISTED_MAX", 10)
    monkeypatch.setattr("easyremote.node.letters.AT_ONCE", 4)
    gate = threading.Event()
    home = tmp_path / "home"
    with Server(port=0, host="127.0.0.1", home=home) as server, Client(server.address, home=home) as client:
        node = ComputeNode(server.address, "desk", home=home)
        node.register(lambda: gate.wait(30), name="slow", max_concurrent=1)
        node.register(lambda value: value, name="quick")
        with node:
            assert node.wait_for_connection(10)
            slow = [client.submit("desk.slow", durable=True) for _ in range(35)]
            assert client.submit("desk.quick", 1, durable=True).result(10) == 1
            gate.set()
            assert all(job.result(20) for job in slow)


def test_a_gateway_that_goes_back_in_time_has_no_job_run_twice(own: Network, tmp_path: Path) -> None:
    """Its database is put back to where the letter had not been answered, as a backup would, or a liar."""
    ledger, backup = tmp_path / "ledger", tmp_path / "backup"
    own.dismiss("desk")
    job = own.client.submit("desk.count", str(ledger), "once", durable=True)
    own.gateway.kill()
    shutil.copytree(own.home / "network", backup)
    own.restart_gateway()
    own.spawn_node("patient", name="desk")
    until(lambda: job.status().state == "done")
    own.gateway.kill()
    for path in (own.home / "network").glob("mailbox.db*"):
        path.unlink()
    for path in backup.glob("mailbox.db*"):
        shutil.copy(path, own.home / "network")
    own.restart_gateway()
    until(lambda: job.status().state == "refused")
    with pytest.raises(MailboxError, match="has delivered the result of this job before"):
        job.result(10)
    assert marks(ledger) == 1


def test_a_node_whose_journal_is_damaged_serves_on_without_jobs_and_says_so(
    own: Network, tmp_path: Path
) -> None:
    own.dismiss("desk")
    damage(own.home / "jobs" / "desk.db")
    node = own.spawn_node("patient", name="desk")
    node.wait_for(
        r"takes no durable calls: its journal .*desk\.db cannot be used .* Restore it from a backup"
    )
    assert own.client.execute("count", str(tmp_path / "ledger"), 5) == 5


def test_a_book_that_is_damaged_is_a_clear_error(own: Network, tmp_path: Path) -> None:
    job = own.client.submit("count", str(tmp_path / "ledger"), 5, durable=True)
    assert job.result(10) == 5
    own.client.close()
    damage(own.home / "jobs.db")
    with (
        Client(own.address) as client,
        pytest.raises(MailboxError, match=r"jobs\.db .* Restore it from a backup"),
    ):
        client.jobs()


def test_a_node_that_stops_while_its_gateway_is_away_loses_no_result(own: Network, tmp_path: Path) -> None:
    started, gate = tmp_path / "started", tmp_path / "gate"
    job = own.client.submit("hold", str(started), str(gate), durable=True)
    until(lambda: marks(started) == 1)
    own.gateway.kill()
    own.nodes["desk"].wait_for("lost its gateway")
    own.nodes["desk"].interrupt()
    own.nodes["desk"].wait_for("is stopping")
    gate.touch()
    assert own.nodes["desk"].wait() == 0, own.nodes["desk"]
    with contextlib.closing(sqlite3.connect(own.home / "jobs" / "desk.db")) as database:
        assert database.execute("select state from job").fetchall() == [("finished",)]
    own.restart_gateway()
    own.spawn_node("patient", name="desk")
    assert job.result(20) == "held"
    assert marks(started) == 1


def test_letters_follow_a_node_that_is_renamed(clubs: Callable[..., Club]) -> None:
    club = clubs()
    host, client = club.member("host", "node"), club.member("anna").client()
    node = host.node("old")
    running, gate = threading.Event(), threading.Event()

    def hold() -> str:
        running.set()
        return "held" if gate.wait(30) else "nobody came"

    node.register(lambda value: value, name="echo")
    node.register(hold)
    node.serve(blocking=False)
    assert node.wait_for_connection(10)
    assert client.submit("old.echo", 1, durable=True).result(10) == 1
    node.stop()
    waiting = client.submit("old.echo", 2, durable=True)  # sealed to the key the node had under that name
    club.operator.rename(host.device, "new", "old")
    node.serve(blocking=False)  # whose program calls it as it did before
    assert waiting.result(10) == 2
    held = client.submit("new.hold", durable=True)
    assert running.wait(10)
    club.operator.rename(host.device, "newest", "new")  # and while it serves
    until(lambda: any(one.name == "newest" for one in client.list_nodes()))
    assert client.submit("newest.echo", 3, durable=True).result(10) == 3
    gate.set()
    assert held.result(10) == "held"
    node.stop()
    assert [path.name for path in (host.home / "jobs").glob("*.db")] == ["newest.db"]
