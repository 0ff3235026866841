"""``easynet drain``: a node finishes what it has, takes nothing new, and leaves."""

from __future__ import annotations

import time

from easyremote.cli.output import Output
from easyremote.cli.settings import Settings
from easyremote.client.blocking import Client
from easyremote.errors import CallError

__all__ = ["drain_node"]

LOOK_SECONDS = 0.25


def drain_node(node: str, settings: Settings, out: Output, *, wait: bool) -> None:
    """Tell it, and wait until it has left.

    Raises:
        NotAllowedError: This device is not of the node's account, nor an operator.
        ScheduleError: No such node is connected.
    """
    with Client(settings.gateway, connect_timeout=settings.connect_timeout) as client:
        process = next((record.process for record in client.list_nodes() if record.name == node), "")
        try:
            calls = client.execute(f"{node}.easynet-drain", timeout=settings.timeout or 10.0)
        except CallError as error:
            error.add_note(f"{node} serves on")
            raise
        finishing = f"{calls} call{'' if calls == 1 else 's'}"
        out.line(f"{node} takes nothing new, and leaves when it has finished {finishing}")
        while wait and any(one.name == node and one.process == process for one in client.list_nodes()):
            time.sleep(LOOK_SECONDS)
        if wait:
            out.line(f"{node} has left")
