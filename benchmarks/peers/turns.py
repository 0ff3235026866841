"""How a peer's program is spoken to: what it is asked in its command line, what it answers on its output.

    PROGRAM SERVER [ADDRESS]                     serve: say an address, stay until the standard input ends
    PROGRAM measure WORKLOAD ADDRESS LENGTH …    do one workload once, answer with figures as JSON
    PROGRAM first ADDRESS …                      get one result and say so

It runs in the peer's own environment and its import counts as part of ``first``: it takes nothing but the
standard library, and little of that.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping

from loads import LENGTHS, Figures, Length

Measure = Callable[..., Figures]
_answers = sys.stdout


def say(line: str) -> None:
    """Answer the runner, whatever else the peer prints."""
    print(line, file=_answers, flush=True)


def let_print() -> None:
    """Give the standard output back to a server that says its address by itself."""
    os.dup2(_answers.fileno(), 1)


def until_told() -> None:
    """Return when the runner wants this process to end, or is gone."""
    sys.stdin.read()


def leave_when_told() -> None:
    """End this process then, for a server that can only be left by force."""

    def leave() -> None:
        until_told()
        os._exit(0)

    threading.Thread(target=leave, daemon=True).start()


def take_part(
    servers: Mapping[str, Callable[[str], None]],
    measures: Mapping[str, Measure],
    first: Callable[..., None],
) -> None:
    """Do what the command line asks for.

    Args:
        servers: By name; each gets the address of the server before it, "" if it is the first.
        measures: By workload; each gets the address, the length, and the words that follow.
        first: Gets the address, and the words that follow.
    """
    global _answers
    verb, *words = sys.argv[1:]
    if verb == "first":
        first(*words)
        say("first")
        return
    # Libraries that greet or log on the standard output must not be taken for answers.
    _answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if verb == "measure":
        import json

        workload, address, length, *rest = words
        chosen: Length = LENGTHS[length]
        say(json.dumps(measures[workload](address, chosen, *rest)))
    else:
        servers[verb](words[0] if words else "")
