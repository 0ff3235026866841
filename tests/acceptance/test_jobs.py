"""Durable calls: the caller may leave, the node may be away, any process may be killed; each call is made once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from acceptance.commands import easynet
from acceptance.members import Club
from acceptance.network import Network
from acceptance.processes import PROGRAMS, Program, run, until
from acceptance.programs.files import marks

from easyremote import AsyncClient, Client, Job, Server
from easyremote.cli.exits import Exit
from easyremote.errors import (
    CallCancelledError,
    CallTimeoutError,
    LinkError,
    MailboxError,
    NodeLostError,
    NotAllowedError,
    UnknownFunctionError,
    UnknownJobError,
    UnknownNodeError,
    UsageError,
)
from easyremote.links.loop import run_in_background
from easyremote.wire.mail import FindNodes, KeptCard

Networks = Callable[..., Network]


@pytest.fixture
def own(own_network: Networks) -> Network:
    """A network of this test's own, whose node ``desk`` takes durable calls."""
    made = own_network()
    made.spawn_node("patient", name="desk")
    await_letters(made.client)
    return made


def await_letters(client: Client) -> None:
    """The gateway knows that letters may be put into its mailbox for ``desk``."""
    engine = client.connect()._connection.engine
    ask = engine.questions.ask

    def known() -> bool:
        return bool(run_in_background(ask(FindNodes("desk"), list[KeptCard])))

    until(known, what="the card of the node desk")


def leave(own: Network) -> None:
    """The node is killed."""
    own.dismiss("desk")


def come_back(own: Network) -> None:
    own.spawn_node("patient", name="desk")


def journal(own: Network, state: str) -> int:
    """How many jobs the node has written down as being so far."""
    with contextlib.closing(sqlite3.connect(own.home / "jobs" / "desk.db")) as database:
        return int(database.execute("select count(*) from job where state = ?", (state,)).fetchone()[0])


def shown(job: Job) -> str:
    return job.status().state


# ---- what a person gets


def test_the_caller_may_leave_and_another_program_fetches_the_result(own: Network, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with Program(
        [str(PROGRAMS / "submitter.py"), own.address, str(ledger), "3"], environment=own.environment
    ) as submitter:
        assert submitter.wait() == 0, submitter
        ids = list(submitter.output)
    results = [own.client.job(id).result(10) for id in ids]
    assert results == [0, 1, 2]
    assert marks(ledger) == 3
    assert [own.client.job(id).result(10) for id in ids] == results  # it is kept here


def test_a_call_waits_for_a_node_that_is_away(own: Network, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    leave(own)
    by_name = own.client.submit("desk.count", str(ledger), "by name", durable=True)
    by_function = own.client.submit("count", str(ledger), "by function", durable=True)
    assert [shown(by_name), shown(by_function)] == ["waiting", "waiting"]
    with pytest.raises(CallTimeoutError, match="it goes on"):
        by_name.result(0.2)
    come_back(own)
    assert [by_name.result(10), by_function.result(10)] == ["by name", "by function"]
    assert marks(ledger) == 2


def test_coroutines_have_the_same(own: Network, tmp_path: Path) -> None:
    asyncio.run(coroutines_have_the_same(own, tmp_path))


async def coroutines_have_the_same(own: Network, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    async with AsyncClient(own.address) as client:
        job = await client.submit("count", str(ledger), {"a": (1, 2)}, durable=True)
        assert await job.result(10) == {"a": (1, 2)}
        assert await job.done()
        again = client.job(job.id)
        assert again == job
        assert [status.state async for status in again.follow()] == ["done"]
        assert [status.id for status in await client.jobs()] == [job.id]
        gate, started = tmp_path / "gate", tmp_path / "started"
        held = await client.submit("hold", str(started), str(gate), durable=True)
        await held.cancel()
        with pytest.raises(CallCancelledError):
            await held.result(10)


def test_what_a_function_raises_and_what_cannot_be_called_is_told_as_ever(
    own: Network, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    job = own.client.submit("fail", str(ledger), durable=True)
    with pytest.raises(ValueError, match="the third layer is missing") as caught:
        job.result(10)
    assert "patient.py" in caught.value.remote_traceback  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="the third layer"):
        own.client.job(job.id).result(10)
    assert marks(ledger) == 1
    with pytest.raises(TypeError, match="unexpected"):
        own.client.submit("desk.count", str(ledger), unexpected=1, durable=True).result(10)
    with pytest.raises(UnknownFunctionError, match="serves no function 'cuont'"):
        own.client.submit("desk.cuont", durable=True).result(10)
    with pytest.raises(UnknownFunctionError, match="did you mean 'count'"):
        own.client.submit("cuont", durable=True)
    with pytest.raises(UnknownNodeError, match="no node called 'nobody'"):
        own.client.submit("nobody.count", durable=True)
    with pytest.raises(UsageError, match="a stream cannot be durable"):
        own.client.submit("numbers", durable=True)
    with pytest.raises(UsageError, match=r"client\.submit"):
        own.client.execute("count", str(ledger), durable=True)
    with pytest.raises(UsageError, match="is it copied whole"):
        own.client.job(job.id[:-1])
    for wrong in (-1, 0, "soon", True, float("nan")):
        with pytest.raises(UsageError, match="timeout is a number of seconds above 0"):
            job.result(wrong)  # type: ignore[arg-type]
    for option in ({"durable": "yes"}, {"keep": -1}, {"keep": 1e9}, {"codec": "pickle"}):
        with pytest.raises(UsageError):
            own.client.submit("count", str(ledger), **{"durable": True, **option})
    with pytest.raises(UsageError, match="a function's name"):
        own.client.submit(5, durable=True)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match=r"mailbox is MailboxLimits\(…\)"):
        Server(mailbox=5)  # type: ignore[arg-type]


def test_large_values_go_both_ways(own: Network, tmp_path: Path) -> None:
    picture = np.random.default_rng(7).integers(0, 255, (3000, 1000), dtype=np.uint8)
    job = own.client.submit("count", str(tmp_path / "ledger"), picture, durable=True)
    assert np.array_equal(job.result(20), picture)


def test_a_hundred_jobs_of_a_function_that_runs_one_at_a_time(own: Network, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    jobs = [own.client.submit("one_at_a_time", str(ledger), durable=True) for _ in range(100)]
    assert sorted(job.result(30) for job in jobs) == list(range(1, 101))


def test_a_job_is_cancelled_whether_it_waits_or_runs(own: Network, tmp_path: Path) -> None:
    started, gate = tmp_path / "started", tmp_path / "gate"
    running = own.client.submit("hold", str(started), str(gate), durable=True)
    until(lambda: marks(started) == 1)
    assert shown(running) == "running"
    running.cancel()
    with pytest.raises(CallCancelledError):
        running.result(10)
    leave(own)
    waiting = own.client.submit("count", str(tmp_path / "ledger"), durable=True)
    waiting.cancel()
    assert waiting.done()
    with pytest.raises(CallCancelledError, match="before it began"):
        waiting.result(10)
    come_back(own)
    assert own.client.submit("count", str(tmp_path / "later"), 1, durable=True).result(10) == 1
    assert marks(tmp_path / "ledger") == 0


def test_progress_is_seen_while_it_runs(own: Network, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    job = own.client.submit("steps", 40, str(gate), durable=True)
    seen: list[tuple[float | None, float | None]] = []
    for status in job.follow():
        if status.done is not None:
            seen.append((status.done, status.total))
        if status.message == "waiting":
            gate.touch()
    assert seen == sorted(seen)
    assert len({done for done, _ in seen}) >= 2
    assert seen[-1] == (40.0, 40.0)
    assert job.result(10) == "stepped"


# ---- whoever is killed


def test_a_gateway_that_is_killed_forgets_nothing(own: Network, tmp_path: Path) -> None:
    ledger, started, gate = tmp_path / "ledger", tmp_path / "started", tmp_path / "gate"
    done = own.client.submit("count", str(ledger), "done", durable=True)
    until(lambda: shown(done) == "done")
    running = own.client.submit("hold", str(started), str(gate), durable=True)
    until(lambda: marks(started) == 1)
    leave_waiting = own.client.submit("desk.one_at_a_time", str(tmp_path / "other"), durable=True)
    own.gateway.kill()
    gate.touch()  # it ends while there is no mailbox to put its result into
    own.restart_gateway()
    assert [done.result(20), running.result(20), leave_waiting.result(20)] == ["done", "held", 1]
    assert (marks(ledger), marks(started), marks(tmp_path / "other")) == (1, 1, 1)


def test_a_node_killed_while_a_job_runs_says_so_unless_it_may_run_again(own: Network, tmp_path: Path) -> None:
    gate, once, often = tmp_path / "gate", tmp_path / "once", tmp_path / "often"
    unrepeatable = own.client.submit("hold", str(once), str(gate), durable=True)
    repeatable = own.client.submit("hold_repeatable", str(often), str(gate), durable=True)
    until(lambda: marks(once) == 1 and marks(often) == 1)
    leave(own)
    gate.touch()
    come_back(own)
    with pytest.raises(NodeLostError, match="It was not run again") as caught:
        unrepeatable.result(20)
    assert caught.value.ran == "accepted"
    assert repeatable.result(20) == "held"
    assert (marks(once), marks(often)) == (1, 2)


def test_a_result_that_nobody_could_take_survives_its_node(own: Network, tmp_path: Path) -> None:
    """The gateway is killed, the job ends, its node is killed; then both come back, in turn."""
    started, gate = tmp_path / "started", tmp_path / "gate"
    job = own.client.submit("hold", str(started), str(gate), durable=True)
    until(lambda: marks(started) == 1)
    own.gateway.kill()
    gate.touch()
    until(lambda: journal(own, "finished") == 1)
    own.nodes.pop("desk").kill()
    own.restart_gateway()
    assert shown(job) == "running"
    come_back(own)
    assert job.result(20) == "held"
    assert marks(started) == 1
    until(lambda: journal(own, "delivered") == 1)


def test_a_node_that_stops_in_good_order_delivers_first_and_begins_nothing(
    own: Network, tmp_path: Path
) -> None:
    started, gate = tmp_path / "started", tmp_path / "gate"
    job = own.client.submit("hold", str(started), str(gate), durable=True)
    until(lambda: marks(started) == 1)
    own.nodes["desk"].interrupt()
    own.nodes["desk"].wait_for("is stopping")
    late = own.client.submit("desk.count", str(tmp_path / "ledger"), "late", durable=True)
    gate.touch()
    assert own.nodes["desk"].wait() == 0, own.nodes["desk"]
    assert job.result(20) == "held"
    assert shown(late) in ("waiting", "running")
    assert marks(tmp_path / "ledger") == 0
    come_back(own)
    assert late.result(20) == "late"
    assert marks(tmp_path / "ledger") == 1


# ---- whom it concerns


def test_a_result_is_for_the_account_and_for_who_knows_the_id(
    clubs: Callable[..., Club], tmp_path: Path
) -> None:
    club = clubs()
    club.network.spawn_node("patient", name="desk")
    anna, bens = club.member("anna"), club.member("ben")
    job = anna.client().submit("count", str(tmp_path / "ledger"), "for anna", durable=True)
    until(lambda: shown(job) == "done")
    strangers = bens.client()
    with pytest.raises(UnknownJobError, match="no such job of this account"):
        strangers.job(job.id).result(5)  # he knows the id, and it is not his
    with pytest.raises(UnknownJobError):
        strangers.job(job.id).cancel()
    assert strangers.job(job.id).status().state == "unknown"
    assert strangers.jobs() == []
    assert job.result(10) == "for anna"


def test_another_device_of_the_account_fetches_it_and_the_first_is_told(
    clubs: Callable[..., Club], tmp_path: Path
) -> None:
    club = clubs()
    club.network.spawn_node("patient", name="desk")
    laptop, phone = (club.member(name, account="anna") for name in ("laptop", "phone"))
    job = laptop.client().submit("count", str(tmp_path / "ledger"), "hello", durable=True)
    there = phone.client()
    assert there.job(job.id).result(10) == "hello"
    assert there.job(job.id).result(10) == "hello"
    until(lambda: shown(job) == "fetched")
    with pytest.raises(MailboxError, match="was fetched by device"):
        job.result(5)


def test_a_caller_that_was_revoked_meanwhile_is_refused(clubs: Callable[..., Club], tmp_path: Path) -> None:
    club = clubs()
    club.network.spawn_node("patient", name="desk")
    anna = club.member("anna")
    client = anna.client()
    await_letters(client)
    club.network.dismiss("desk")
    client.submit("desk.count", str(tmp_path / "ledger"), durable=True)
    club.operator.revoke(anna.device)
    club.network.spawn_node("patient", name="desk")
    desk = Path(club.network.home) / "jobs" / "desk.db"

    def refused() -> bool:
        with contextlib.closing(sqlite3.connect(desk)) as database:
            return bool(database.execute("select 1 from job where state = 'delivered'").fetchone())

    until(refused)
    assert marks(tmp_path / "ledger") == 0


def test_a_function_that_is_not_for_everybody(clubs: Callable[..., Club], tmp_path: Path) -> None:
    club = clubs()
    owner = club.member("owner", "node")
    node = owner.node("vault")
    node.register(lambda: "gold", name="open", allow="account")
    node.serve(blocking=False)
    assert node.wait_for_connection(10)
    client = club.member("ben").client()
    until(lambda: any(one.name == "vault" for one in client.list_nodes()))
    job = client.submit("vault.open", durable=True)
    with pytest.raises(NotAllowedError, match="may not call 'open'"):
        job.result(10)


def test_the_gateway_keeps_nothing_it_could_read(own: Network, tmp_path: Path) -> None:
    """Arguments, results, progress and the names of functions are nowhere in its files, before or after."""
    secrets = [b"thequestion" * 3, b"theanswer" * 3]
    ledger = tmp_path / "ledger"
    leave(own)
    job = own.client.submit("desk.count", str(ledger), secrets, durable=True)
    files = [own.home / "network" / name for name in ("mailbox.db", "mailbox.db-wal", "gateway.db")]

    def seen() -> bytes:
        return b"".join(path.read_bytes() for path in files if path.exists())

    stored = seen()
    assert len(stored) > 1000
    for secret in (*secrets, str(ledger).encode()):
        assert secret not in stored
    come_back(own)
    until(lambda: shown(job) == "done")
    for secret in secrets:
        assert secret not in seen()
    assert job.result(10) == secrets


# ---- bounds


def test_a_full_mailbox_says_what_is_full_and_what_to_do(own_network: Networks, tmp_path: Path) -> None:
    own = own_network(mailbox={"account_jobs": 2, "letter_bytes": 100_000})
    own.spawn_node("patient", name="desk")
    await_letters(own.client)
    leave(own)
    ledger = str(tmp_path / "ledger")
    kept = [own.client.submit("desk.count", ledger, number, durable=True) for number in range(2)]
    with pytest.raises(
        MailboxError, match=r"2 jobs .* \(account_jobs\)\. Fetch or cancel some: easynet jobs"
    ) as caught:
        own.client.submit("desk.count", ledger, durable=True)
    assert caught.value.code == "full"
    kept[0].cancel()
    with pytest.raises(MailboxError, match=r"\(letter_bytes\)") as caught:
        own.client.submit("desk.count", ledger, bytes(200_000), durable=True)
    assert caught.value.code == "too_large"
    assert len(own.client.jobs()) == 2  # what was not kept is not listed
    own.client.submit("desk.count", ledger, 2, durable=True)


def test_a_result_too_large_for_the_mailbox_is_told(own_network: Networks, tmp_path: Path) -> None:
    own = own_network(mailbox={"letter_bytes": 100_000})
    own.spawn_node("patient", name="desk")
    job = own.client.submit("twice", "x" * 60_000, durable=True)
    with pytest.raises(MailboxError, match=r"a result of more than 100,000 bytes .* \(letter_bytes\)"):
        job.result(10)
    assert own.client.submit("twice", "x", durable=True).result(10) == ["x", "x"]


def test_a_gateway_without_a_mailbox_says_so(own_network: Networks, tmp_path: Path) -> None:
    own = own_network(mailbox=None)
    own.spawn_node("patient", name="desk")
    with pytest.raises(MailboxError, match="this gateway has no mailbox") as caught:
        own.client.submit("count", str(tmp_path / "ledger"), durable=True)
    assert caught.value.code == "none"
    assert own.client.execute("count", str(tmp_path / "ledger"), 5) == 5


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, leave_bytes: int) -> Path:
    """Somebody else fills the disk."""
    filler = place / "filler"
    filler.write_bytes(bytes(max(0, shutil.disk_usage(place).free - leave_bytes)))
    return filler


@pytest.mark.parametrize("spare_bytes", [0, 1 << 20])
def test_a_full_disk_at_the_gateway_is_a_clear_refusal(
    small_disk: Path, tmp_path: Path, spare_bytes: int
) -> None:
    network = Network(small_disk, mailbox={"spare_bytes": spare_bytes})
    club = Club(network, tmp_path)
    try:
        node, client = club.member("host", "node").node("desk"), club.member("anna").client()
        node.register(lambda value: value, name="echo")
        node.serve(blocking=False)
        assert node.wait_for_connection(10)
        first = client.submit("desk.echo", "first", durable=True)
        assert first.result(10) == "first"
        node.stop()
        kept = client.submit("desk.echo", "kept", durable=True)
        filler = fill(small_disk, spare_bytes)
        for size in (10, 100_000, 1_000_000):
            with pytest.raises(MailboxError, match=r"the gateway's disk is full.*nothing was kept") as caught:
                client.submit("desk.echo", bytes(size), durable=True)
            assert caught.value.code == "disk"
        assert [status.state for status in client.jobs()] == ["waiting", "done"]
        network.gateway.kill()
        filler.unlink()
        network.restart_gateway()  # nothing half-written is in its way
        node.serve(blocking=False)
        assert kept.result(20) == "kept"
        assert client.submit("desk.echo", "more", durable=True).result(20) == "more"
    finally:
        club.close()
        network.close()


def test_a_gateway_that_is_not_there_is_told(own: Network, tmp_path: Path) -> None:
    own.gateway.kill()
    with pytest.raises(LinkError):
        Client(own.address, connect_timeout=0.5).submit("desk.count", str(tmp_path / "ledger"), durable=True)


# ---- the command


def command(own: Network, *words: str) -> Program:
    return run(easynet(*words), environment={**own.environment, "EASYREMOTE_GATEWAY": own.address})


def test_the_command_submits_lists_follows_and_cancels(own: Network, tmp_path: Path) -> None:
    ledger, gate = tmp_path / "ledger", tmp_path / "gate"
    submitted = command(own, "call", "count", str(ledger), "42", "--durable")
    assert submitted.wait() == Exit.OK, submitted
    id = submitted.output[0]
    assert re.fullmatch("job-[a-z2-7]{29}", id)
    fetched = command(own, "job", id, "--follow")
    assert fetched.wait() == Exit.OK, fetched
    assert fetched.output == ["42"]
    steps = own.client.submit("steps", 5, str(gate), durable=True)
    with Program(
        easynet("job", steps.id, "--follow"),
        environment={**own.environment, "EASYREMOTE_GATEWAY": own.address},
    ) as following:
        following.wait_for("steps on desk: running, 5 of 5, waiting")
        gate.touch()
        assert following.wait() == Exit.OK, following
        assert following.output == ["stepped"]
    held = own.client.submit("hold", str(tmp_path / "started"), str(tmp_path / "never"), durable=True)
    until(lambda: shown(held) == "running")
    status = command(own, "job", held.id)
    assert status.wait() == Exit.OK, status
    assert status.output[0].startswith(f"{held.id}\thold\tdesk\trunning\t")
    assert command(own, "job", held.id, "--cancel").wait() == Exit.OK
    cancelled = command(own, "job", held.id, "--follow")
    assert cancelled.wait() == Exit.INTERRUPTED, cancelled
    assert "CallCancelledError" in cancelled.errors[-1]
    listed = command(own, "jobs", "--json")
    states = {record["id"]: record["state"] for record in map(json.loads, listed.output)}
    assert states == {id: "done", steps.id: "done", held.id: "done"}


def test_ids_are_kept_from_others(own: Network, tmp_path: Path) -> None:
    own.client.submit("count", str(tmp_path / "ledger"), durable=True).result(10)
    for name in ("jobs.db", "jobs/desk.db", "network/mailbox.db"):
        assert os.stat(own.home / name).st_mode & 0o077 == 0
