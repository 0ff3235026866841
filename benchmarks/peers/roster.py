"""Who is measured, at what, and which way is better."""

from __future__ import annotations

from typing import Literal, NamedTuple

YARDSTICK = "nats"
RELAY = "relay"
OURS = "easyremote"
DIRECT = "easyremote-direct"


class Row(NamedTuple):
    """One figure of a workload: a line of the table."""

    key: str
    title: str
    unit: str
    better: Literal["higher", "lower"]
    stands_in: str = ""
    """The row whose figure counts for those who have none in this one: they know no such difference."""


ROWS = (
    Row("p50", "one call after another, median", "µs", "lower"),
    Row("p99", "one call after another, 99th percentile", "µs", "lower"),
    Row("blocking_p50", "one call after another, blocking client, median", "µs", "lower", "p50"),
    Row("in_flight", "256 in flight, in step", "calls/s", "higher"),
    Row("in_threads", "256 in flight, plain functions in threads", "calls/s", "higher", "in_flight"),
    Row("pausing", "256 callers that pause 0–4 ms", "calls/s", "higher"),
    Row("threads", "256 blocking threads", "calls/s", "higher"),
    Row("array", "16 MiB float32 array there and back", "MiB/s", "higher"),
    Row("first", "first result in a fresh process", "s", "lower"),
    Row("import", "import with its client", "s", "lower"),
    Row("map", "map over 100,000 items", "items/s", "higher"),
    Row("stream", "stream of 100,000 small items", "items/s", "higher"),
)
NODE_COUNTS = (1, 2, 4, 8, 16, 32)
NODE_ROWS = tuple(
    Row(f"nodes_{count}", f"256 in flight over {count} node{'s' * (count > 1)}", "calls/s", "higher")
    for count in NODE_COUNTS
)
ALL_ROWS = {row.key: row for row in (*ROWS, *NODE_ROWS)}

WORKLOADS = {
    "sequential": ("p50", "p99"),
    "sequential_blocking": ("blocking_p50",),
    "in_flight": ("in_flight",),
    "in_threads": ("in_threads",),
    "pausing": ("pausing",),
    "threads": ("threads",),
    "array": ("array",),
    "first": ("first",),
    "import": ("import",),
    "map": ("map",),
    "stream": ("stream",),
    "nodes": tuple(row.key for row in NODE_ROWS),
}
"""Each workload is one measuring process, and fills these rows."""


class Peer(NamedTuple):
    """One column of the table."""

    name: str
    title: str
    program: str
    servers: tuple[str, ...]
    """The programs that serve, in their order; the last is the one that more nodes are made of."""
    workloads: tuple[str, ...]
    requirements: str = ""
    """The list of what is installed for it; empty for ourselves."""
    words: tuple[str, ...] = ()
    binary: str = ""
    """A program that must be on the machine, because no Python package brings it."""
    guest: bool = False
    """Whether it works even when nobody calls, and so is only there for its own turn in a round."""
    batched: tuple[str, ...] = ()
    """Rows in which it works in whole batches instead of single calls: not quite the others' load."""
    note: str = ""


_COROUTINES = ("sequential", "in_flight", "pausing", "array", "first", "map")
_OWN = (*_COROUTINES, "sequential_blocking", "in_threads", "threads", "stream")

PEERS = (
    Peer(
        OURS,
        "EasyRemote",
        "easyremote_peer.py",
        ("gateway", "node"),
        (*_OWN, "import", "nodes"),
        words=("gateway",),
        note="through its gateway; TLS, sealing end to end, types, memberships and audit log on",
    ),
    Peer(
        DIRECT,
        "EasyRemote direct",
        "easyremote_peer.py",
        ("gateway", "node"),
        _OWN,
        words=("direct",),
        note="the same over direct links",
    ),
    Peer(
        YARDSTICK,
        "NATS",
        "nats_peer.py",
        ("broker", "responder"),
        (*_COROUTINES, "threads", "stream", "nodes"),
        requirements="nats",
        note="request and reply through nats-server, nats-py on uvloop; no TLS, bytes as they are, a message's "
        "limit raised to 64 MiB; it has no blocking client, so threads hand their calls to a loop; it has no "
        "map, so 256 callers share the items; its stream has no flow control",
    ),
    Peer(
        RELAY,
        "gRPC relay",
        "relay_peer.py",
        ("relay", "echo"),
        _COROUTINES,
        requirements="relay",
        note="one call a message, no TLS, nothing else",
    ),
    Peer(
        "bundling-relay",
        "gRPC relay, bundling",
        "bundling_relay_peer.py",
        ("relay", "echo"),
        _COROUTINES,
        requirements="relay",
        note="queued calls share a message of bytes that the relay never looks into; no TLS, no routing",
    ),
    Peer(
        "rpyc",
        "RPyC",
        "rpyc_peer.py",
        ("server",),
        ("sequential", "in_flight", "threads", "array", "first", "map", "stream"),
        requirements="rpyc",
        batched=("stream",),
        note="client and server face to face, without anything between them; a stream is fetched 1,000 items at a "
        "time; arrays as bytes",
    ),
    Peer(
        "pyro",
        "Pyro5",
        "pyro_peer.py",
        ("server",),
        ("sequential", "in_flight", "threads", "array", "first", "map", "stream"),
        requirements="pyro",
        batched=("in_flight", "map"),
        note="client and server face to face; msgpack; in flight and map are batches, each of which is one message; arrays as bytes",
    ),
    Peer(
        "ray",
        "Ray",
        "ray_peer.py",
        ("cluster",),
        (*_COROUTINES, "threads", "stream"),
        requirements="ray",
        guest=True,
        note="calls of one asynchronous actor; arrays are not sent but shared in memory, which only one machine "
        "can do",
    ),
    Peer(
        "dask",
        "Dask",
        "dask_peer.py",
        ("cluster",),
        (*_COROUTINES, "threads"),
        requirements="dask",
        guest=True,
        note="submit to one worker process; arrays scattered and gathered",
    ),
    Peer(
        "celery",
        "Celery + Redis",
        "celery_peer.py",
        ("broker", "worker"),
        ("sequential", "in_flight", "array", "first", "map"),
        requirements="celery",
        binary="redis-server",
        guest=True,
        batched=("in_flight", "map"),
        note="in flight and map are groups, each awaited whole; msgpack; arrays as bytes",
    ),
    Peer(
        "easyremote2",
        "easyremote 2.0.2",
        "easyremote2_peer.py",
        ("gateway", "node"),
        ("sequential", "threads", "array", "first", "stream"),
        requirements="easyremote2",
        guest=True,
        note="the version before this one, from the package index; no TLS, no sealing; its client's memory of answers is turned off",
    ),
)
