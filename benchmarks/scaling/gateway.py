"""A gateway as a program, with room for many connections; on one core and in little memory, if told so."""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import sys
from pathlib import Path

from scaling.programs import say


def confine(most: int) -> str:
    """Let this process have so many bytes and no more; by what."""
    for folder, file in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = folder / f"easyremote-benchmark-{os.getpid()}"
        try:
            group.mkdir()
            (group / file).write_text(str(most))
            (group / "cgroup.procs").write_text(str(os.getpid()))
        except OSError:  # not an administrator, or no such system
            with contextlib.suppress(OSError):
                group.rmdir()
            continue
        return "a cgroup"
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    return "RLIMIT_DATA"


def leave() -> None:
    """Take the groups of ended gateways away; one that is still in use stays."""
    for folder in (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")):
        for group in folder.glob("easyremote-benchmark-*"):
            with contextlib.suppress(OSError):
                group.rmdir()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lease", type=float, default=10.0)
    parser.add_argument("--cpu", type=int)
    parser.add_argument("--mib", type=int)
    options = parser.parse_args()
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    bound = confine(options.mib << 20) if options.mib is not None else "nothing"

    from easyremote import Server
    from easyremote.protocol.limits import Limits

    limits = Limits(connections_per_address=1_000_000, watches_per_device=1_000_000)
    server = Server(port=0, host="127.0.0.1", heartbeat_timeout_seconds=options.lease, limits=limits)
    server.start_background()
    say(address=server.address, bound=bound)
    sys.stdin.read()
    os._exit(0)  # hanging up on thousands, one by one, would tell nobody anything


if __name__ == "__main__":
    main()
