"""An environment of its own for every peer, made once and again whenever its list of requirements changes."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from roster import Peer

HERE = Path(__file__).parent
FOLDER = HERE / ".environments"
INSTALL_SECONDS = 900


class AbsentError(Exception):
    """A peer cannot take part; the text says why."""


def python_for(peer: Peer) -> str:
    """The interpreter a peer's programs run in.

    Raises:
        AbsentError: It cannot be installed.
    """
    if peer.binary and shutil.which(peer.binary) is None:
        raise AbsentError(f"{peer.binary} is not on this machine (apt-get install {peer.binary})")
    return environment(peer.requirements) if peer.requirements else sys.executable


def environment(name: str) -> str:
    """The interpreter of the environment for ``requirements/NAME.txt``, which is made if it is not there.

    Raises:
        AbsentError: It cannot be made.
    """
    wanted = HERE / "requirements" / f"{name}.txt"
    digest = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()
    place = FOLDER / name
    python, stamp = place / "bin" / "python", place / "made-from"
    if stamp.exists() and stamp.read_text() == digest:
        return str(python)
    shutil.rmtree(place, ignore_errors=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", str(place)], [*install, "-r", str(wanted)]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except subprocess.TimeoutExpired:
            raise AbsentError(f"installing took more than {INSTALL_SECONDS} s") from None
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no word why"]
            errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
            raise AbsentError(f"cannot be installed: {errors[0]}")
    stamp.write_text(digest)
    return str(python)


def versions(python: str, requirements: str) -> dict[str, str]:
    """What is installed there of what was asked for, by name; of everything if the list is not ours."""
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=60,
    )
    installed = {one["name"].lower(): str(one["version"]) for one in json.loads(listed.stdout or "[]")}
    if not requirements:
        wanted = ["easyremote", "grpcio", "protobuf", "cryptography", "biscuit-python", "msgspec", "uvloop"]
        wanted.append("numpy")
    else:
        lines = (HERE / "requirements" / f"{requirements}.txt").read_text().splitlines()
        wanted = [line.split("=")[0].rstrip("><~!") for line in lines]
    return {name: installed[name.lower()] for name in wanted if name.lower() in installed}
