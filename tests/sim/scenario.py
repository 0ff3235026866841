"""What happens in a world, drawn from its seed.

The last digit of a seed, so to speak (``seed % len(KINDS)``), says what goes wrong there; all else is drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from msgspec import structs

from easyremote.protocol.events import CallRequested
from easyremote.testing.actors import SimClient, SimNode
from easyremote.testing.fakes import FILL, Script, write_script
from easyremote.testing.network import Line, Network, Weather
from easyremote.testing.world import World
from easyremote.trust.handshake import CLASSIC, HYBRID
from easyremote.trust.identity import Identity
from easyremote.wire.cards import FunctionCard
from easyremote.wire.frame import Carry, walk

KINDS = ("calm", "lossy", "snaps", "gateway", "partitions", "silences", "nodes", "clients", "storm")
HARMLESS = ("calm", "lossy", "snaps", "gateway", "partitions", "clients")
"""Where nothing that goes wrong excuses a lost call."""

READY_SECONDS = 2.0
"""By then everyone is there."""
BUSY_SECONDS = 6.0
"""For how long calls are made, and things go wrong."""
FUNCTIONS: dict[str, dict[str, Any]] = {
    "quick": {},
    "count": {"stream": True},
    "steady": {"idempotent": True},
    "narrow": {"max_concurrent": 2},
}


class Scenario:
    """One world with everything in it."""

    clock_errors_seconds: Sequence[float] = (0.0, 0.0, 3600.0, -3600.0)
    """How far a device's clock may be off."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.chance = self.world.random
        self.kind = KINDS[seed % len(KINDS)]
        self.token = self.chance.randbytes(6).hex()
        self.leaks: list[str] = []
        self.network = Network(self.world, self._weather())
        self.network.gateway.inspect = self._inspect
        self.suite = HYBRID if self.chance.random() < 0.1 else CLASSIC
        self.heavy = self.chance.random() < 0.04
        self.capacity = self.chance.choice([256, 256, 256, 2])
        self.max_value_bytes = self.chance.choice([1 << 24, 1 << 24, 1 << 24, 100_000])
        self.direct = self.chance.random() < 0.5
        self.scripts: dict[int, Script] = {}
        self.nodes: list[SimNode] = []
        self.clients: list[SimClient] = []
        self._clock_errors: dict[str, float] = {}
        self._owners: dict[Line, tuple[Identity, list[FunctionCard]]] = {}
        self._make_nodes()
        for number in range(self.chance.randint(1, 3)):
            self._make_client(f"client-{number}")
        self._make_calls()
        self._make_trouble()

    def function(self, kind: str) -> str:
        """A function's name; what tells it from other bytes must not be seen in a sealed frame."""
        return f"{kind}_{self.token}"

    # ---- who is there

    def _weather(self) -> Weather:
        chance = self.chance
        # A node whose link broke has a second to come back: where that is to be enough, links are quick.
        slowest = chance.choice([0.002, 0.02, 0.02 if self.kind == "snaps" else 0.2])
        weather = Weather(
            latency_seconds=(chance.choice([0.0, 0.001]), slowest),
            bytes_per_second=chance.choice([2e6, 50e6, 1e9]),
        )
        if self.kind not in ("lossy", "storm"):
            return weather
        return Weather(
            latency_seconds=weather.latency_seconds,
            bytes_per_second=weather.bytes_per_second,
            loss=chance.choice([0.0, 0.02, 0.05, 0.15]),
            repeat=chance.choice([0.0, 0.1]),
            overtaken=chance.choice([0.0, 0.1, 0.4]),
        )

    def _make_nodes(self) -> None:
        chance = self.chance
        for number in range(chance.randint(1, 3)):
            kinds = [kind for kind in FUNCTIONS if number == 0 or chance.random() < 0.7]
            cards = [FunctionCard(name=self.function(kind), **FUNCTIONS[kind]) for kind in kinds]
            line = self.network.line(f"node-{number}")
            self._owners[line] = (Identity.from_seed(chance.randbytes(32)), cards)
            self._clock_errors[line.name] = chance.choice(self.clock_errors_seconds)
            self._later(0.3, lambda line=line: self._start_node(line))

    def _start_node(self, line: Line) -> None:
        if line not in self._owners:
            return  # its machine has lost power
        identity, cards = self._owners[line]
        node = SimNode(
            self.network,
            line,
            identity,
            cards,
            suite=self.suite,
            capacity=self.capacity,
            max_value_bytes=self.max_value_bytes,
            direct=self.direct,
            clock_error_seconds=self._clock_errors.get(line.name, 0.0),
        )
        self.nodes.append(node)
        node.begin()

    def _make_client(self, name: str) -> None:
        identity = Identity.from_seed(self.chance.randbytes(32))
        line = self.network.line(name)
        client = SimClient(
            self.network,
            line,
            identity,
            max_value_bytes=self.max_value_bytes,
            clock_error_seconds=self.chance.choice(self.clock_errors_seconds),
        )
        client.slowness_seconds = self.chance.choice([0.0, 0.0, 0.01, 0.1])
        self.clients.append(client)
        self._later(0.3, client.begin)

    # ---- what they do

    def _make_calls(self) -> None:
        for place, client in enumerate(self.clients):
            first = (self.world.seed << 16 | place << 12) & (1 << 62) - 1
            for number in range(first + 1, first + self.chance.randint(3, 18)):
                # Not before every node had time to come: a function nobody offers is an error at once.
                self._make_call(
                    client, number, READY_SECONDS + self.chance.random() * (BUSY_SECONDS - READY_SECONDS)
                )

    def _make_call(self, client: SimClient, number: int, seconds: float) -> None:
        chance = self.chance
        kind = chance.choice(list(FUNCTIONS))
        stream = kind == "count"
        script = Script(
            f"{self.token}:{number:x}",
            seconds=chance.choice([0.0, 0.001, 0.05, 0.05, 0.5, 2.0]) * (0.05 if stream else 1.0),
            raises=chance.random() < 0.15,
            result_bytes=chance.choice([0, 10, 200, 5_000, 64_000]),
            items=chance.choice([0, 1, 7, 40]) if stream else 0,
            stop_seconds=chance.choice([0.0, 0.0, 0.3]),
        )
        if chance.random() < 0.06:
            script = structs.replace(
                script, result_bytes=chance.choice([65_600, 300_000, 1_200_000]) // (8 if stream else 1)
            )
        if chance.random() < 0.06:
            script = structs.replace(
                script, padding=(FILL * 6000)[: chance.choice([65_600, 300_000, 1_200_000])]
            )
        if self.heavy and chance.random() < 0.2:
            script = structs.replace(script, result_bytes=1_000_000 if stream else 7_000_000)
        self.scripts[number] = script
        name = self.function(kind)
        request = CallRequested(
            number,
            name,
            write_script(script),
            node="node-0" if chance.random() < 0.15 else None,
            timeout=chance.choice([0.02, 0.3, 3.0]) if chance.random() < 0.12 else None,
            stream=stream,
            policy=chance.choice(["prequal", "random", "round_robin"]),
            patience=300.0,
        )
        self.world.after(seconds, lambda: client.call(request))
        if chance.random() < 0.07:
            self.world.after(seconds + chance.random(), lambda: client.cancel(number))

    # ---- what goes wrong

    def _make_trouble(self) -> None:
        troubles: dict[str, tuple[Callable[[], None], ...]] = {
            "calm": (),
            "lossy": (),
            "snaps": (self._snap,),
            "gateway": (self._restart_gateway,),
            "partitions": (self._silence, self._silence, self._restart_gateway),
            "silences": (self._silence, self._silence, self._silence, self._lose_power),
            "nodes": (self._crash_node, self._leave_node, self._replace_node, self._withdraw, self._evict),
            "clients": (self._crash_client,),
            "storm": (
                self._snap,
                self._restart_gateway,
                self._silence,
                self._crash_node,
                self._leave_node,
                self._replace_node,
                self._withdraw,
                self._evict,
                self._lose_power,
                self._crash_client,
            ),
        }
        for _ in range(self.chance.randint(1, 6)):
            if troubles[self.kind]:
                self._in_time(self.chance.choice(troubles[self.kind]))
        for _ in range(self.chance.choice([0, 0, 0, 1, 3])):
            self._in_time(self._rotate)

    def _snap(self) -> None:
        self.network.snap(self.chance.choice(self.network.lines))

    def _restart_gateway(self) -> None:
        self.network.gateway.die(self.chance.choice([0.01, 0.2, 1.0, 4.0]))

    def _silence(self) -> None:
        line = self.chance.choice(self.network.lines)
        self.network.cut(line, self.chance.choice([0.3, 3.0, 9.0, 15.0, 45.0]))

    def _crash_node(self) -> None:
        node = self.chance.choice(self.nodes)
        if node.alive:
            node.kill()
            self.world.after(self.chance.choice([0.05, 0.5, 2.0, 9.0]), lambda: self._start_node(node.line))

    def _leave_node(self) -> None:
        node = self.chance.choice(self.nodes)
        if node.alive:
            node.leave(self.chance.choice([0.0, 0.5, 5.0]))
            self.world.after(self.chance.choice([6.0, 9.0]), lambda: self._start_node(node.line))

    def _replace_node(self) -> None:
        node = self.chance.choice(self.nodes)
        if node.alive:
            self._start_node(node.line)  # on the same device, while the old process still runs

    def _lose_power(self) -> None:
        node = self.chance.choice(self.nodes)
        if node.alive:
            self.network.cut(node.line, inf)  # so its system does not close its links either
            for process in self.nodes:
                if process.line is node.line and process.alive:
                    process.kill()
            line = self.network.line(f"node-{len(self.network.lines)}")
            self._owners[line] = self._owners.pop(node.line)
            self.world.after(self.chance.choice([0.1, 5.0]), lambda: self._start_node(line))

    def _evict(self) -> None:
        node = self.chance.choice(self.nodes)
        if node.alive and list(node.machine.sessions):
            self.world.note("evicts", node.line.name)
            node.machine.sessions.evict()

    def _withdraw(self) -> None:
        node = self.chance.choice(self.nodes)
        if node.alive and node.attached:
            node.withdraw(self.function(self.chance.choice(list(FUNCTIONS))))

    def _crash_client(self) -> None:
        client = self.chance.choice(self.clients)
        if client.alive:
            client.kill()

    def _rotate(self) -> None:
        node = self.chance.choice(self.nodes)
        if node.alive and node.attached:
            node.rotate_prekey()

    def _in_time(self, action: Callable[[], None]) -> None:
        """Once everyone has had time to come."""
        self.world.after(READY_SECONDS + self.chance.random() * (BUSY_SECONDS - READY_SECONDS), action)

    def _later(self, within_seconds: float, action: Callable[[], None]) -> None:
        self.world.after(self.chance.random() * within_seconds, action)

    # ---- what the gateway may see

    def _inspect(self, packet: bytes) -> None:
        if FILL[:48] in packet:
            self.leaks.append("the gateway saw a part of a large value")
        token = self.token.encode()
        if token in packet:
            for frame in walk(packet):
                if isinstance(frame, Carry) and token in bytes(frame.body):
                    self.leaks.append("the gateway saw a name, an argument or a result in a sealed frame")
                elif token + b":" in packet:
                    self.leaks.append("the gateway saw an argument or a result")

    # ---- how it went

    def calls_are_open(self) -> bool:
        """Whether a program that lives still waits for an answer."""
        return any(client.open_calls for client in self.clients if client.alive)

    def runs(self) -> Counter[tuple[bytes, int]]:
        """How often each call's body began, on all nodes together."""
        total: Counter[tuple[bytes, int]] = Counter()
        for node in self.nodes:
            total.update(node.executor.started)
        return total
