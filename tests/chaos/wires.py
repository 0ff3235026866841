"""Devices that each have a network of their own, on cables that can be cut: Linux network namespaces and a bridge.

A cable that is cut carries nothing, and nobody is told: no connection is closed or refused.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess

SUBNET = "10.213.7"
_numbers = itertools.count()


def available() -> bool:
    """Whether this machine lets us make network namespaces."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"er-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return made.returncode == 0


class Wires:
    """A bridge, and devices plugged in to it; as a context manager."""

    def __init__(self) -> None:
        self._prefix = f"er{os.getpid()}x{next(_numbers)}"
        self._hub = f"{self._prefix}-hub"
        self._devices: dict[str, int] = {}

    def plug(self, name: str) -> str:
        """A new device with a cable to the bridge; its address."""
        number = len(self._devices) + 1
        self._devices[name] = number
        space, cable = self.space(name), self._cable(name)
        _ip("netns", "add", space)
        _ip("-n", self._hub, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("-n", self._hub, "link", "set", cable, "master", "br0", "up")
        _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", space, "link", "set", "eth0", "up")
        address = f"{SUBNET}.{number}"
        _ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
        return address

    def space(self, name: str) -> str:
        """The namespace of a device."""
        return f"{self._prefix}-{name}"

    def within(self, name: str) -> tuple[str, ...]:
        """What to put before a command so that it runs on this device."""
        return ("ip", "netns", "exec", self.space(name))

    def cut(self, *names: str) -> None:
        """Nothing passes these devices' cables any more."""
        for name in names:
            _ip("-n", self._hub, "link", "set", self._cable(name), "nomaster")

    def mend(self, *names: str) -> None:
        """It does again."""
        for name in names:
            _ip("-n", self._hub, "link", "set", self._cable(name), "master", "br0")

    def renumber(self, name: str, number: int) -> None:
        """The device has another address from now on, as after a change of networks."""
        space = self.space(name)
        _ip("-n", space, "addr", "flush", "dev", "eth0")
        _ip("-n", space, "addr", "add", f"{SUBNET}.{number}/24", "dev", "eth0")

    def _cable(self, name: str) -> str:
        return f"v{self._devices[name]}"

    def __enter__(self) -> Wires:
        _ip("netns", "add", self._hub)
        _ip("-n", self._hub, "link", "add", "br0", "type", "bridge")
        _ip("-n", self._hub, "link", "set", "br0", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for space in (self._hub, *(self.space(name) for name in self._devices)):
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")
