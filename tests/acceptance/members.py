"""Devices of their own: separate home folders, invited into a network or strangers to it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from acceptance.commands import easynet
from acceptance.network import Network
from acceptance.processes import Program, run

from easyremote import Client, ComputeNode
from easyremote.cli.members import join_with
from easyremote.cli.output import Output
from easyremote.cli.settings import Settings
from easyremote.client.operator import Operator
from easyremote.trust.identity import device_text
from easyremote.trust.keyring import Keyring


class Member:
    """One device, in this process or in programs of its own, with its own home."""

    def __init__(self, home: Path, address: str) -> None:
        self.home = home
        self.address = address
        self._open: list[Client | ComputeNode] = []

    @property
    def device(self) -> bytes:
        identity = Keyring(self.home).key("device.key")
        assert identity is not None, "it has made no key yet"
        return identity.device

    @property
    def id(self) -> str:
        return device_text(self.device)

    def join(self, line: str, name: str | None = None) -> str:
        """``easynet join``; what it printed."""
        said = io.StringIO()
        join_with(line, Settings(home=self.home), Output(stream=said), name=name)
        return said.getvalue()

    def client(self, **options: Any) -> Client:
        made = Client(self.address, home=self.home, **options)
        self._open.append(made)
        return made

    def node(self, name: str, **options: Any) -> ComputeNode:
        made = ComputeNode(self.address, name, home=self.home, **options)
        self._open.append(made)
        return made

    def operator(self) -> Operator:
        return Operator(self.address, home=self.home)

    def easynet(self, *words: str, **environment: str) -> Program:
        """Run the command in this home, to its end."""
        return run(easynet(*words), environment=self.environment | environment)

    @property
    def environment(self) -> dict[str, str | None]:
        return {"EASYREMOTE_HOME": str(self.home), "EASYREMOTE_GATEWAY": self.address}

    def close(self) -> None:
        for one in self._open:
            if isinstance(one, Client):
                one.close()
            else:
                one.stop(0.0)


class Club:
    """A network, its operator, and whoever the test invites."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        self._folder = folder
        self._members: list[Member] = []
        self._operator = Operator(network.address, home=network.home)

    def invite(self, role: str = "node", **options: Any) -> str:
        return self._operator.invite(role, **options)

    @property
    def operator(self) -> Operator:
        return self._operator

    def stranger(self, name: str) -> Member:
        """A device that has never heard of the network."""
        made = Member(self._folder / name, self.network.address)
        self._members.append(made)
        return made

    def member(self, name: str, role: str = "client", **options: Any) -> Member:
        """A device that was invited and has joined."""
        made = self.stranger(name)
        made.join(self.invite(role, **options), name)
        return made

    def close(self) -> None:
        for member in self._members:
            member.close()
        self._operator.close()
