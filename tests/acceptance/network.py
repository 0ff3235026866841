"""A small network of real processes: one gateway, some nodes, and a client in the test itself."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from acceptance.processes import PROGRAMS, Program, free_port, until

from easyremote import Client
from easyremote.client.operator import Operator


class Network:
    """One gateway and its nodes as processes that share a home directory.

    Args:
        home: ``EASYREMOTE_HOME`` of every process in it.
        options: Keyword arguments of ``Server``; without ``port`` a free one is used.
    """

    def __init__(self, home: Path, **options: object) -> None:
        self.home = home
        self._options = {"port": free_port(), **options}
        self.nodes: dict[str, Program] = {}
        self._client: Client | None = None
        self.gateway = self._listen()

    def _listen(self) -> Program:
        gateway = Program(
            [str(PROGRAMS / "gateway.py"), json.dumps(self._options)], environment=self.environment
        )
        try:
            self.address = gateway.wait_for(r"listening on (\S+)")[1]
        except BaseException:
            gateway.kill()
            raise
        return gateway

    @property
    def environment(self) -> dict[str, str | None]:
        return {"EASYREMOTE_HOME": str(self.home), "EASYREMOTE_GATEWAY": None}

    @property
    def client(self) -> Client:
        """A client in this process, made on first use and closed with the network."""
        if self._client is None:
            self._client = Client(self.address)
        return self._client

    def invite(self, role: str) -> str:
        """A line that lets one more device in."""
        with Operator(self.address, home=self.home) as operator:
            return operator.invite(role)

    def restart_gateway(self) -> None:
        """A new gateway process on the port of the one before, which must have ended."""
        assert not self.gateway.running
        self.gateway = self._listen()

    def spawn_node(
        self,
        program: str | Path,
        *,
        name: str,
        address: str | None = None,
        **environment: str,
    ) -> Program:
        """Start a node program and return once callers can see it.

        Args:
            program: A file of ``programs/`` by its name without ``.py``, or any path.
            name: The node's name; the program finds it as ``NODE`` in its environment.
            address: Where it finds the gateway, when not at the gateway's own address.
            environment: More variables for it.
        """
        node = self.launch_node(program, name=name, address=address, **environment)
        node.wait_for("^serving$")
        self.wait_for_node(name)
        return node

    def launch_node(
        self, program: str | Path, *, name: str, address: str | None = None, **environment: str
    ) -> Program:
        """Start a node program and do not wait for it."""
        path = program if isinstance(program, Path) else PROGRAMS / f"{program}.py"
        given = {**self.environment, "GATEWAY": address or self.address, "NODE": name, **environment}
        previous = self.nodes.pop(name, None)
        if previous is not None:
            previous.kill()
        self.nodes[name] = Program([str(path)], environment=given)
        return self.nodes[name]

    def wait_for_node(self, name: str, *, within_seconds: float = 10.0) -> None:
        def there() -> bool:
            return any(record.name == name for record in self.client.list_nodes())

        until(there, within_seconds=within_seconds, what=f"node {name!r} in the directory")

    def wait_for_departure(self, name: str, *, within_seconds: float = 10.0) -> None:
        def gone() -> bool:
            return all(record.name != name for record in self.client.list_nodes())

        until(gone, within_seconds=within_seconds, what=f"node {name!r} gone from the directory")

    def dismiss(self, name: str) -> None:
        """Kill a node and wait until the directory knows."""
        self.nodes.pop(name).kill()
        self.wait_for_departure(name)

    def close(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self.gateway.kill)
            for node in self.nodes.values():
                stack.callback(node.kill)
            if self._client is not None:
                stack.callback(self._client.close)
