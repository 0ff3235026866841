"""Durable calls while client, gateway and node are killed in any order: none is lost, none is made twice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.network import Network
from acceptance.processes import Program, until
from chaos.lengths import FULL, pass_time

from easyremote import Client, MailboxLimits
from easyremote.errors import LinkError, NodeLostError

pytestmark = pytest.mark.timeout(300)
PROGRAMS = Path(__file__).resolve().parent / "programs"
KILLS = 40 if FULL else 9
SEEDS = range(4) if FULL else range(1)


@pytest.mark.parametrize("seed", SEEDS)
def test_durable_calls_survive_kills_in_any_order(
    own_network: Callable[..., Network], tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    own = own_network(mailbox={"account_jobs": MailboxLimits().jobs})
    own.spawn_node(PROGRAMS / "tally.py", name="tally")
    ledger = tmp_path / "ledger"
    said: list[str] = []
    started = 0

    def submitting() -> Program:
        nonlocal started
        started += 1
        words = [str(PROGRAMS / "submitting.py"), own.address, str(ledger), f"{seed}.{started}"]
        return Program(words, environment=own.environment)

    submitter = submitting()
    submitter.wait_for("^job-")
    victims = ["client", "gateway", "node"] * (KILLS // 3 + 1)
    chance.shuffle(victims)
    for victim in victims[:KILLS]:
        pass_time(chance.uniform(0.0, 0.6))
        down = chance.uniform(0.0, 0.6)
        if victim == "client":
            submitter.kill()
            said += submitter.output
            submitter = submitting()
        elif victim == "gateway":
            own.gateway.kill()
            pass_time(down)
            own.restart_gateway()
        else:
            own.nodes["tally"].kill()
            pass_time(down)
            own.launch_node(PROGRAMS / "tally.py", name="tally").wait_for("^serving$")
    until(lambda: len(submitter.output) > 0, within_seconds=30)
    submitter.kill()
    said += submitter.output
    client = own.client.connect()
    whole = [
        words for words in map(str.split, said) if len(words) == 3
    ]  # the last may be cut short by a kill
    told = {id: name for id, name, _ in whole}
    outcomes: Counter[str] = Counter()
    lost: set[str] = set()
    # The newest thousand, with those that their program was killed before it told of, and all that were told of.
    jobs = {status.id: status for status in client.jobs()}
    jobs |= {id: client.job(id).status() for id in told.keys() - jobs.keys()}
    for id, status in jobs.items():
        if status.state in ("unknown", "arriving"):
            assert id not in told, f"{told[id]} was acknowledged, and is {status.state}"
            outcomes["never whole"] += 1
            continue
        try:
            name = client.job(id).result(60).rstrip("x")
            assert told.get(id, name) == name
            outcomes["done"] += 1
        except NodeLostError:
            assert id not in told or told[id].startswith("tally.once")
            lost.add(told.get(id, id))
            outcomes["lost with its node"] += 1
    begun = Counter(line.rstrip("x") for line in ledger.read_text().split())
    doubled = {name: times for name, times in begun.items() if times > 1 and name.startswith("tally.once")}
    assert not doubled
    # One that was lost may have been written down as begun, and its node killed before its first line.
    assert {name for name in told.values() if name not in begun} <= lost
    assert outcomes["done"] > KILLS
    print(dict(outcomes), len(begun))


def test_a_client_that_waits_for_a_result_sits_out_a_gateway_that_is_killed(
    own_network: Callable[..., Network], tmp_path: Path
) -> None:
    own = own_network()
    own.spawn_node(PROGRAMS / "tally.py", name="tally")
    ledger = str(tmp_path / "ledger")
    client = Client(own.address, lost_after=60)
    with client:
        jobs = [client.submit("tally.once", ledger, f"n{number}", 0.5, durable=True) for number in range(20)]
        for _ in range(3):
            own.gateway.kill()
            own.restart_gateway()
        assert [job.result(60) for job in jobs] == [f"n{number}" for number in range(20)]
    short = Client(own.address, connect_timeout=0.5, lost_after=0.5)
    with short:
        waiting = short.submit("tally.once", ledger, "late", 3.0, durable=True)
        own.gateway.kill()
        with pytest.raises(LinkError):
            waiting.result(30)
        own.restart_gateway()
        until(lambda: _answers(short, waiting.id), within_seconds=20)
    begun = Counter(Path(ledger).read_text().split())
    assert max(begun.values()) == 1
    assert len(begun) == 21


def _answers(client: Client, id: str) -> bool:
    try:
        return bool(client.job(id).result(30) == "late")
    except LinkError:
        return False
