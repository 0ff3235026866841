"""Many devices in one process: each with an identity, a membership, a machine and a real link of its own.

They share an event loop and nothing else. The gateway sees as many TLS connections from as many devices; the
process signs their memberships itself, with the network's keys in the gateway's home.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from easyremote.errors import EasyRemoteError
from easyremote.gateway.authority import NetworkKeys
from easyremote.links.driver import Driver
from easyremote.links.link import Link
from easyremote.links.relay import connect
from easyremote.node.facts import has_aes, machine_facts
from easyremote.protocol.device import Device
from easyremote.protocol.directory import card_transcript
from easyremote.protocol.effects import Attached, Renewed, Synced, Turned
from easyremote.protocol.events import CardChanged, Joined
from easyremote.trust.handshake import Prekeys
from easyremote.trust.identity import Identity
from easyremote.trust.keyring import Keyring
from easyremote.trust.wallet import Wallet
from easyremote.wire.cards import FunctionCard, NodeCard, PrekeyCard, encode_card
from scaling.programs import progress, say, serve

AT_ONCE = 16
"""Devices that connect at a time: more, and on a small machine some would be too late to say hello."""
CONNECT_SECONDS = 60.0
SMALL_BYTES = 96
"""A packet as small as this only says that the gateway is there."""
FUNCTIONS = [
    FunctionCard(name=name, description=f"What {name} does, in one line.")
    for name in ("summarize", "translate", "transcribe")
]


class CountingLink:
    """A link that counts what comes over it; deaf, it keeps all but signs of life from its device.

    A deaf device costs this process next to nothing, so that many of them stand for machines elsewhere.
    """

    def __init__(self, link: Link, member: Member) -> None:
        self._link, self._member = link, member
        self.address = link.address

    async def send(self, *packet: bytes | memoryview) -> None:
        await self._link.send(*packet)

    async def receive(self) -> bytes | bytearray | None:
        while (packet := await self._link.receive()) is not None:
            self._member.bytes_in += len(packet)
            if not self._member.deaf or len(packet) <= SMALL_BYTES:
                break
        return packet

    async def close(self, reason: str = "") -> None:
        await self._link.close(reason)


class Member:
    """One device: a node, or a client that watches the directory."""

    def __init__(self, fleet: Fleet, name: str, role: str) -> None:
        self.name = name
        self._fleet, self._role = fleet, role
        self._identity = Identity.from_seed(os.urandom(32))
        self._prekeys: Prekeys | None = None
        if role == "node":
            self._prekeys = Prekeys(suite="hybrid", aead="aes256gcm" if has_aes() else "chacha20poly1305")
            self._prekeys.rotate(os.urandom)
        self._credential = fleet.credential(self._identity.device, name, role)
        self._cards = 0
        self.bytes_in = 0
        self.deaf = False
        self.trouble: EasyRemoteError | None = None
        self.ready = asyncio.Event()
        self.links = 0
        self.device = Device(
            self._identity,
            self._identity.device + os.urandom(8),
            name=name if role == "node" else "",
            role=role,
            entropy=os.urandom,
            dice=random.random,
            prekeys=self._prekeys,
            max_value_bytes=1 << 24,
            clock=time.time,
        )
        self.driver = Driver(
            self.device,
            self._connect,
            {
                Turned: self._turned,
                Attached: self._attached,
                Synced: lambda _: self.ready.set(),
                Renewed: self._renewed,
            },
        )

    async def join(self) -> None:
        """Connect, and wait until the gateway has welcomed it and, as a client, shown the directory."""
        self.driver.start()
        await asyncio.wait_for(self.ready.wait(), CONNECT_SECONDS)
        if self.trouble is not None:
            raise self.trouble

    async def _connect(self) -> Link:
        fleet = self._fleet
        link = await connect(fleet.address, fleet.certificate, timeout_seconds=CONNECT_SECONDS)
        self.links += 1
        self.driver.post(Joined(fleet.root, fleet.gateway, self._credential))
        return CountingLink(link, self)

    def _turned(self, turned: Turned) -> None:
        self.trouble = turned.error
        self.ready.set()

    def _attached(self, _: Attached) -> None:
        if self._role == "node":
            self._show_card()
            self.ready.set()

    def _renewed(self, renewed: Renewed) -> None:
        self._credential = renewed.credential

    def _show_card(self) -> None:
        if self._prekeys is None:
            return
        self._cards += 1
        prekey = self._prekeys.current
        card = encode_card(
            NodeCard(
                endpoint=self.device.endpoint,
                name=self.name,
                number=self._cards,
                prekey=PrekeyCard(id=prekey.id, suite=prekey.suite, aead=prekey.aead, key=prekey.key),
                membership=self._credential,
                expires_seconds=time.time() + 7200,
                functions=FUNCTIONS,
                facts=self._fleet.facts,
                max_value_bytes=1 << 24,
                capacity=256,
            )
        )
        self.driver.post(CardChanged(card, self._identity.sign(card_transcript(card))))


class Fleet:
    """All of them."""

    def __init__(self, address: str, prefix: str) -> None:
        keyring = Keyring()
        self._keys = NetworkKeys.load(keyring, time.time())
        kept = Wallet(keyring).of(self._keys.root)
        if kept is None:
            sys.exit("there is no network in this home")
        self.address, self._prefix = address, prefix
        self.root, self.gateway, self.certificate = kept.root, kept.gateway, kept.certificate
        self.facts = machine_facts()
        self.members: list[Member] = []

    def credential(self, device: bytes, name: str, role: str) -> bytes:
        """A membership, as the gateway would have signed it for an invited device."""
        return self._keys.issue(
            device=device,
            name=name,
            roles=("client", "node") if role == "node" else ("client",),
            account=name,
            functions=("*",),
            expires=float(int(time.time()) + 86400),
        )

    async def answer(self, what: str, **details: Any) -> dict[str, Any]:
        """Do what the benchmark asks."""
        ways: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
            "grow": self._grow,
            "join": self._join,
            "deafen": self._deafen,
            "count": self._count,
            "sees": self._sees,
            "leave": self._leave,
        }
        return await ways[what](**details)

    async def _grow(self, *, to: int, role: str = "node") -> dict[str, Any]:
        """Have so many members; ``failed`` says why not, if it came to that."""
        gate, failed = asyncio.Semaphore(AT_ONCE), ""

        async def one(member: Member) -> None:
            nonlocal failed
            async with gate:
                if failed:
                    return
                try:
                    await member.join()
                except (TimeoutError, EasyRemoteError) as error:
                    failed = f"{type(error).__name__}: {error}"
                    return
                if sum(one.ready.is_set() for one in self.members) % 250 == 0:
                    progress(f"  {len(self.members)} asked for, connecting")

        began = len(self.members)
        fresh = [Member(self, f"{self._prefix}-{number}", role) for number in range(began, to)]
        self.members += fresh
        await asyncio.gather(*(one(member) for member in fresh))
        return {"connected": self._connected(), "failed": failed}

    async def _join(self, *, role: str = "node") -> dict[str, Any]:
        """Let one more in; when it began, when it was done, and what it was sent."""
        member = Member(self, f"{self._prefix}-{len(self.members)}", role)
        self.members.append(member)
        began, spent = time.monotonic(), time.process_time()
        await member.join()
        return {
            "began": began,
            "seconds": time.monotonic() - began,
            "cpu_seconds": time.process_time() - spent,
            "bytes": member.bytes_in,
            "nodes": sum(1 for _ in member.device.directory),
            "name": member.name,
        }

    async def _deafen(self) -> dict[str, Any]:
        for member in self.members:
            member.deaf = True
        return await self._count()

    async def _count(self) -> dict[str, Any]:
        return {
            "bytes": sum(member.bytes_in for member in self.members),
            "connected": self._connected(),
            "links": sum(member.links for member in self.members),
        }

    async def _sees(self, *, name: str) -> dict[str, Any]:
        """When the first member's directory had a node of this name."""
        directory = self.members[0].device.directory
        until = time.monotonic() + 30
        while directory.named(name) is None and time.monotonic() < until:
            await asyncio.sleep(0.0002)
        return {"at": time.monotonic()}

    async def _leave(self) -> dict[str, Any]:
        leaving, self.members = self.members, []
        await asyncio.gather(*(member.driver.close() for member in leaving))
        return {}

    def _connected(self) -> int:
        return sum(member.driver.connected and member.device.attachment.attached for member in self.members)


async def main() -> None:
    fleet = Fleet(sys.argv[1], sys.argv[2])
    say(ready=True)
    await serve(fleet.answer)
    os._exit(0)


if __name__ == "__main__":
    uvloop.run(main())
