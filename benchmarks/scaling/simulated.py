"""Ten thousand nodes in the simulated network: the product's own machines in virtual time, no sockets.

It shows what the gateway's machine does, and how often, without what gRPC costs. A program of its own, because
the memory it measures is the whole process's.
"""

from __future__ import annotations

import gc
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import psutil

from easyremote.protocol.gateway_events import GatewayPacketReceived, RouterEvent
from easyremote.protocol.limits import Limits
from easyremote.testing.actors import SimClient, SimNode
from easyremote.testing.network import Network
from easyremote.testing.world import World
from easyremote.trust.handshake import CLASSIC
from easyremote.trust.identity import Identity
from easyremote.wire.cards import FunctionCard
from scaling.programs import Program, progress, say
from scaling.rows import Part, Row

FUNCTIONS = [
    FunctionCard(name=name, description=f"What {name} does, in one line.")
    for name in ("summarize", "translate", "transcribe")
]
BETWEEN_SECONDS = 0.002
IDLE_SECONDS = 20.0
MOST_SECONDS = 60.0


def measure(*, nodes: int, watchers: int) -> Part:
    """Run it as a program and take what it says."""
    with Program("scaling.simulated", str(nodes), str(watchers)) as program:
        return msgspec.convert(program.hear(), Part)


class Scene:
    """A network of many nodes, and what its gateway's machine has had to do."""

    def __init__(self, nodes: int) -> None:
        self.world = World(7)
        self.network = Network(self.world)
        self.router_seconds = 0.0
        self.events: Counter[str] = Counter()
        self.nodes: list[SimNode] = []
        self._watch_router()
        for number in range(nodes):
            self.world.after(number * BETWEEN_SECONDS, lambda: self.nodes.append(self.make_node()))

    def _watch_router(self) -> None:
        router = self.network.gateway.router
        if router is None:
            return
        router.limits = Limits(connections_per_address=1_000_000)  # they all seem to come from one
        handle = router.handle

        def watched(event: RouterEvent, now: float) -> Any:
            kind = "packet" if isinstance(event, GatewayPacketReceived) else type(event).__name__
            self.events[kind] += 1
            began = time.perf_counter()
            effects = handle(event, now)
            self.router_seconds += time.perf_counter() - began
            return effects

        router.handle = watched  # type: ignore[method-assign]

    def make_node(self) -> SimNode:
        line = self.network.line(f"node-{len(self.nodes)}")
        identity = Identity.from_seed(self.world.random.randbytes(32))
        node = SimNode(self.network, line, identity, FUNCTIONS, suite=CLASSIC)
        node.begin()
        return node

    def add_client(self) -> SimClient:
        line = self.network.line("client")
        client = SimClient(self.network, line, Identity.from_seed(self.world.random.randbytes(32)))
        client.begin()
        return client

    def run(self, enough: Callable[[], bool]) -> None:
        if not self.world.run(self.world.now + MOST_SECONDS, enough=enough):
            raise RuntimeError("the simulated network did not come to where it was to be")
        self.world.log.clear()


def play(nodes: int, watchers: int) -> Part:
    part = Part(f"{nodes:,} nodes in the simulated network")
    gc.collect()
    before = psutil.Process().memory_info().rss
    scene = Scene(nodes)
    for _ in range(10):
        scene.world.run_for(nodes * BETWEEN_SECONDS / 10)
        scene.world.log.clear()  # a note of every packet; nobody reads them here
        progress(f"  {len(scene.nodes)} nodes")
    scene.run(lambda: all(one.attached for one in scene.nodes))
    scene.world.run_for(1.0)
    each = (psutil.Process().memory_info().rss - before) / nodes
    part.rows += [
        Row("memory of a simulated node with its record at the gateway", each / 1024, "KiB"),
        Row("gateway's machine, CPU to let one in", scene.router_seconds / nodes * 1e6, "µs"),
    ]
    _idle(part, scene)
    _newcomers(part, scene, watchers)
    return part


def _idle(part: Part, scene: Scene) -> None:
    """Virtual seconds in which nobody wants anything."""
    scene.router_seconds = 0.0
    scene.events.clear()
    scene.world.run_for(IDLE_SECONDS)
    scene.world.log.clear()
    many = len(scene.nodes)
    part.rows += [
        Row(
            f"gateway's machine, idle, {many:,} nodes",
            scene.router_seconds / IDLE_SECONDS * 100,
            "% of a core",
        ),
        Row("packets from each idle node", scene.events["packet"] / IDLE_SECONDS / many * 60, "a minute"),
        Row("gateway's own wake-ups, idle", scene.events["GatewayWoken"] / IDLE_SECONDS * 60, "a minute"),
    ]
    part.remarks.append(
        "In the simulation a packet costs no TLS and no system call: what is left is the machine in plain Python."
    )


def _newcomers(part: Part, scene: Scene, watchers: int) -> None:
    """Clients that take in the whole directory, then one more node that all of them are told of."""
    many, points = len(scene.nodes), []
    clients: list[SimClient] = []
    for number in range(watchers):
        began = time.process_time()
        clients.append(scene.add_client())
        scene.run(lambda: len(clients[-1].machine.directory.nodes) >= many)
        points.append(time.process_time() - began)
        progress(f"  client {number + 1} knows {many} nodes after {points[-1]:.2f} s of CPU")
    packets = scene.network.packets
    node = scene.make_node()
    began = scene.world.now
    scene.run(lambda: all(node.machine.endpoint in one.machine.directory.nodes for one in clients))
    part.rows += [
        Row(f"CPU until a fresh client knows {many:,} nodes", min(points) * 1e3, "ms"),
        Row("of that, for each node", min(points) / many * 1e6, "µs"),
        Row(
            f"until {watchers} watchers know of one more node, virtual", (scene.world.now - began) * 1e3, "ms"
        ),
        Row("packets for that, pings included", scene.network.packets - packets, "packets"),
    ]


if __name__ == "__main__":
    say(**msgspec.to_builtins(play(int(sys.argv[1]), int(sys.argv[2]))))
    sys.stdin.read()
