"""A node writes down who called what, when, and how it ended; the log shows whether anybody changed it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest
from acceptance.members import Club
from acceptance.processes import until

from easyremote.errors import CallTimeoutError, NotAllowedError, RemoteError

Clubs = Callable[..., Club]


def test_every_call_is_written_down_with_how_it_ended_and_without_what_it_said(clubs: Clubs) -> None:
    club = clubs()
    lab, carol = club.member("box", "node"), club.member("carol", account="friends")
    node = lab.node("lab")

    def fail(text: str) -> None:
        raise ValueError(f"no {text}")

    node.register(lambda text: text * 2, name="double")
    node.register(fail, name="fail")
    node.register(lambda: 1, name="mine", allow="account")
    node.register(lambda: iter(range(5)), name="items")
    node.serve(blocking=False)
    assert node.wait_for_connection(10)
    client = carol.client()
    until(lambda: client.list_nodes())
    assert client.execute("double", "top-secret") == "top-secrettop-secret"
    assert client.execute("double", "x" * 200_000)
    with pytest.raises(RemoteError):
        client.execute("fail", "top-secret")
    with pytest.raises(NotAllowedError):
        client.execute("mine")
    node.stop()
    log = lab.home / "audit" / "lab.jsonl"
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    told = [(e["function"], e["outcome"], e["name"], e["account"]) for e in entries]
    assert told == [
        ("double", "ok", "carol", "friends"),
        ("double", "ok", "carol", "friends"),
        ("fail", "error ValueError", "carol", "friends"),
        ("mine", "refused not_allowed", "carol", "friends"),
    ]
    assert all(entry["device"] == carol.id for entry in entries)
    assert entries[0]["bytes_in"] < 40
    assert entries[0]["bytes_out"] < 40
    assert entries[1]["bytes_in"] > 200_000
    assert entries[1]["bytes_out"] > 400_000
    assert "secret" not in log.read_text()
    shown = lab.easynet("audit", "--json")
    assert [json.loads(line)["function"] for line in shown.output] == [one["function"] for one in entries]
    checked = lab.easynet("audit", "--verify")
    assert "holds" in checked.said


def test_timeouts_and_cancellations_are_told_apart(clubs: Clubs) -> None:
    club = clubs()
    lab, over = club.member("box", "node"), threading.Event()
    node = lab.node("lab")
    node.register(lambda: over.wait(20), name="too_long", timeout_seconds=0.2)
    node.register(lambda: over.wait(20), name="unwanted")
    node.serve(blocking=False)
    assert node.wait_for_connection(10)
    client = club.member("carol").client()
    until(lambda: client.list_nodes())
    with pytest.raises(CallTimeoutError):
        client.execute("too_long")
    running = client.submit("unwanted")
    until(lambda: client.get_node_status("lab").load.running >= 1)
    running.cancel()
    log = lab.home / "audit" / "lab.jsonl"
    until(lambda: log.exists() and len(log.read_text().splitlines()) >= 2, what="both entries")
    over.set()
    ended = {one["function"]: one["outcome"] for one in map(json.loads, log.read_text().splitlines())}
    assert ended == {"too_long": "timeout", "unwanted": "cancelled"}


def test_an_edited_log_is_found_out(clubs: Clubs) -> None:
    club = clubs()
    lab, carol = club.member("box", "node"), club.member("carol")
    node = lab.node("lab")
    node.register(lambda a: a, name="echo")
    node.serve(blocking=False)
    assert node.wait_for_connection(10)
    client = carol.client()
    until(lambda: client.list_nodes())
    for number in range(10):
        client.execute("echo", number)
    node.stop()
    head = json.loads(lab.easynet("audit", "--verify", "--json").output[0])["head"]
    log = lab.home / "audit" / "lab.jsonl"
    good = log.read_text()
    for bad in (
        good.replace('"carol"', '"nobody"', 1),
        "".join(line for n, line in enumerate(good.splitlines(keepends=True)) if n != 4),
        "".join(good.splitlines(keepends=True)[:-2]),
    ):
        log.write_text(bad)
        found = lab.easynet("audit", "--verify", "--head", head)
        assert found.wait() == 7, found
        assert "broken" in found.said
    log.write_text(good)
    assert lab.easynet("audit", "--verify", "--head", head).wait() == 0


def test_a_node_may_keep_no_log(clubs: Clubs) -> None:
    club = clubs()
    lab = club.member("box", "node")
    node = lab.node("lab", audit=False)
    node.register(lambda: 1, name="one")
    node.serve(blocking=False)
    assert node.wait_for_connection(10)
    assert lab.client().execute("lab.one") == 1
    node.stop()
    assert not (lab.home / "audit").exists()
