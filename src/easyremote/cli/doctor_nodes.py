"""The part of ``easynet doctor`` that looks at what is behind the gateway: its version, nodes, their ports, large packets."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from easyremote.cli.findings import Finding
from easyremote.errors import (
    CallTimeoutError,
    EasyRemoteError,
    NodeLostError,
    RefusedError,
    RemoteError,
    UnknownNodeError,
)

if TYPE_CHECKING:
    from easyremote.client.blocking import Client
    from easyremote.client.records import NodeRecord

__all__ = ["check_health", "check_large", "check_ports", "check_version"]

ASKED_MAX = 50
"""So many nodes are asked how they are, and their ports tried."""
HEALTH_SECONDS = 3.0
PORT_SECONDS = 1.0
LARGE_BYTES = 4 << 20
LARGE_SECONDS = 20.0


def check_version(client: Client) -> Finding:
    """Whether the gateway speaks as this program does, and has what this one may ask of it."""
    from easyremote.protocol.attachment import FEATURES, VERSION

    engine = client._connection.engine
    missing = sorted(set(FEATURES) - engine.features)
    found = f"the gateway speaks version {VERSION} of the protocol, as this program does"
    if not missing:
        return Finding(check="version", state="ok", found=found)
    return Finding(
        check="version",
        state="note",
        found=f"{found}, and has no {', '.join(missing)}",
        remedy="durable calls need a mailbox: pip install --upgrade easyremote there, or start it with one",
    )


def check_health(client: Client, records: Sequence[NodeRecord]) -> Iterator[Finding]:
    """Whether the nodes that are there answer, and have room."""
    asked = list(records)[:ASKED_MAX]
    began = time.perf_counter()
    answers: dict[str, Future[Any]] = {
        record.name: client.options(timeout=HEALTH_SECONDS, patience=0.0).submit(
            f"{record.name}.easynet-trace", []
        )
        for record in asked
    }
    took: list[float] = []
    silent: list[str] = []
    for name, answer in answers.items():
        try:
            answer.result()
        except (CallTimeoutError, NodeLostError, UnknownNodeError):
            silent.append(name)
            continue
        except (RefusedError, RemoteError, EasyRemoteError):
            pass  # it answered, if only to say no
        took.append(time.perf_counter() - began)
    full = [
        one.name
        for one in asked
        if one.load.capacity and one.load.waiting + one.load.running >= one.load.capacity
    ]
    leaving = [one.name for one in asked if one.status == "draining"]
    if silent:
        yield Finding(
            check="health",
            state="wrong",
            found=f"connected, but without an answer in {HEALTH_SECONDS:g} s: {', '.join(silent)}",
            remedy="look at its log there; a function that holds Python's lock keeps its node from answering",
        )
    if full:
        yield Finding(
            check="health",
            state="note",
            found=f"full: {', '.join(full)}",
            remedy="calls wait for room; add a node, or raise capacity= there",
        )
    if took:
        also = f"; leaving: {', '.join(leaving)}" if leaving else ""
        many = f"{len(took)} of {len(asked)}" if silent else "all" if len(took) > 1 else asked[0].name
        yield Finding(
            check="health", state="ok", found=f"{many} answered within {max(took) * 1e3:.0f} ms{also}"
        )


def check_ports(client: Client, records: Sequence[NodeRecord]) -> Finding | None:
    """Whether the nodes that can be reached without the gateway can be reached from here; None if there are none."""
    from easyremote.links.connector import for_us

    directory = client._connection.engine.directory
    tries: list[tuple[str, str]] = []
    for record in list(records)[:ASKED_MAX]:
        view = directory.named(record.name)
        if view is not None:
            tries += [(record.name, place) for place in for_us(view.addresses)]
    if not tries:
        return None
    with ThreadPoolExecutor(min(16, len(tries))) as pool:
        open_ = list(pool.map(lambda one: _answers(one[1]), tries))
    reached = {name for (name, _), answers in zip(tries, open_, strict=True) if answers}
    names = {name for name, _ in tries}
    closed = [f"{name} at {place}" for name, place in tries if name not in reached]
    if not closed:
        return Finding(
            check="ports", state="ok", found=f"{_many(len(names))} can be reached without the gateway"
        )
    return Finding(
        check="ports",
        state="note",
        found=f"not reached without the gateway: {', '.join(closed[:5])}",
        remedy="calls go through the gateway, which works as well; for direct ones open the port in the firewall there",
    )


def _answers(place: str) -> bool:
    host, _, port = place.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), PORT_SECONDS):
            return True
    except (OSError, ValueError):
        return False


def _many(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"{nodes} nodes"


def check_large(client: Client, function: str) -> Finding:
    """Whether large packets get through: small ones do where a network cuts its packets wrongly, and large ones hang."""
    value = os.urandom(LARGE_BYTES)
    began = time.perf_counter()
    try:
        same = client.options(timeout=LARGE_SECONDS).execute(function, value) == value
    except CallTimeoutError:
        same = False
    took = time.perf_counter() - began
    size = f"{LARGE_BYTES >> 20} MiB"
    if same:
        speed = 2 * LARGE_BYTES / took / 1e6
        return Finding(
            check="large",
            state="ok",
            found=f"{size} there and back in {took * 1e3:.0f} ms, {speed:,.0f} MB/s",
        )
    return Finding(
        check="large",
        state="wrong",
        found=f"small calls come back, {size} do not within {LARGE_SECONDS:g} s",
        remedy="a network on the way drops large packets, as some tunnels do: lower the MTU here, for instance "
        "ip link set dev eth0 mtu 1400, or look for a proxy that limits sizes",
    )
