"""A gateway as a program, with room for many connections; on one core and in little memory, if told so."""

from __future__ import annotations

import argparse
import os
import resource
import sys

from scaling.programs import say


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lease", type=float, default=10.0)
    parser.add_argument("--cpu", type=int)
    parser.add_argument("--mib", type=int)
    options = parser.parse_args()
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    if options.mib is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (options.mib << 20, options.mib << 20))

    from easyremote import Server
    from easyremote.protocol.limits import Limits

    limits = Limits(connections_per_address=1_000_000, watches_per_device=1_000_000)
    server = Server(port=0, host="127.0.0.1", heartbeat_timeout_seconds=options.lease, limits=limits)
    server.start_background()
    say(address=server.address)
    sys.stdin.read()
    os._exit(0)  # hanging up on thousands, one by one, would tell nobody anything


if __name__ == "__main__":
    main()
