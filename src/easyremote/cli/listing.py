"""``easynet functions`` and ``easynet nodes``: what the network offers, and who offers it."""

from __future__ import annotations

from collections.abc import Mapping

from easyremote.cli.output import Output
from easyremote.cli.settings import Settings
from easyremote.client.blocking import Client

__all__ = ["list_functions", "list_nodes"]


def list_functions(settings: Settings, out: Output) -> None:
    """Show every listed function, by name."""
    with Client(settings.gateway, connect_timeout=settings.connect_timeout) as client:
        records = sorted(client.functions(), key=lambda record: record.name)
    rows = [
        {
            "function": record.name + record.signature,
            "kind": "stream" if record.stream else "call",
            "nodes": sorted(record.nodes),
            "what it does": record.description.strip().split("\n", 1)[0],
        }
        for record in records
    ]
    empty = f"no functions at {settings.gateway}; serve some: easynet node FILE.py"
    out.table(rows, records=records, empty=empty)


def list_nodes(settings: Settings, out: Output) -> None:
    """Show every node connected, by name."""
    with Client(settings.gateway, connect_timeout=settings.connect_timeout) as client:
        records = sorted(client.list_nodes(), key=lambda record: record.name)
    rows = [
        {
            "node": record.name,
            "functions": len(record.functions),
            "running": record.load.running,
            "waiting": record.load.waiting,
            "machine": _machine(record.facts),
            "device": record.device[:8],
        }
        for record in records
    ]
    empty = f"no nodes at {settings.gateway}; start one: easynet node FILE.py"
    out.table(rows, records=records, empty=empty)


def _machine(facts: Mapping[str, object]) -> str:
    """What a node says of its machine, as far as it says it."""
    told = [f"{facts.get('os', '')} {facts.get('machine', '')}".strip()]
    if "cpus" in facts:
        told.append(f"{facts['cpus']} CPUs")
    memory = facts.get("memory_bytes")
    if isinstance(memory, int):
        told.append(f"{memory / 2**30:.0f} GiB")
    return ", ".join(part for part in told if part)
