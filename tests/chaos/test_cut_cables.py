"""Cables that are cut with a thousand calls in flight, and addresses that change: every call is answered, and runs once."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance.processes import PROGRAMS, Program
from chaos.crowd import COUNTER, Crowd, Plan
from chaos.lengths import CALLS, FULL, LEASE_SECONDS, LOST_AFTER_SECONDS, SCALE, pass_time
from chaos.wires import Wires, available

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not available(), reason="network namespaces need Linux, root and iproute2"),
]


@pytest.fixture
def wires() -> Iterator[Wires]:
    with Wires() as made:
        yield made


@pytest.fixture
def crowd(wires: Wires, tmp_path: Path) -> Iterator[Crowd]:
    """A gateway, a node and a client, each on a device of its own; the client has its calls in flight."""
    ledger, home = tmp_path / "ledger", str(tmp_path / "home")
    environment: dict[str, str | None] = {
        "EASYREMOTE_HOME": home,
        "EASYREMOTE_GATEWAY": None,
        "EASYREMOTE_DIRECT": "off",
    }
    host = wires.plug("gateway")
    for name in ("node", "client"):
        wires.plug(name)
    options = json.dumps({"host": host, "port": 8080, "heartbeat_timeout_seconds": LEASE_SECONDS})
    python = sys.executable
    with Program(
        [*wires.within("gateway"), python, str(PROGRAMS / "gateway.py"), options], environment=environment
    ) as gateway:
        address = gateway.wait_for(r"listening on (\S+)")[1]
        given = {**environment, "GATEWAY": address, "NODE": "a", "LEDGER": str(ledger)}
        with Program([*wires.within("node"), python, str(COUNTER)], environment=given) as node:
            node.wait_for("^serving$")
            plan = Plan(
                address=address,
                calls=CALLS,
                seed=30,
                longest_seconds=40.0 * SCALE,
                lost_after=LOST_AFTER_SECONDS,
            )
            made = Crowd(plan, ledger, environment, within=(*wires.within("client"), python))
            try:
                yield made
            finally:
                made.program.kill()


@pytest.mark.parametrize("cut", [("node",), ("client",), ("node", "client"), ("gateway",)], ids="-".join)
@pytest.mark.parametrize("seconds", [3.0, 12.0, 30.0] if FULL else [30.0])
def test_cables_that_are_cut_for_a_while(
    wires: Wires, crowd: Crowd, cut: tuple[str, ...], seconds: float
) -> None:
    pass_time(2.0 * SCALE)
    wires.cut(*cut)
    pass_time(seconds * SCALE)
    wires.mend(*cut)
    crowd.all_answered(within_seconds=200)


@pytest.mark.parametrize("name", ["node", "client"])
def test_a_device_whose_address_changes(wires: Wires, crowd: Crowd, name: str) -> None:
    pass_time(2.0 * SCALE)
    wires.renumber(name, 99)
    crowd.all_answered(within_seconds=200)
