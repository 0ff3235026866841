"""How a program that serves is told to end."""

from __future__ import annotations

import signal
import threading
from types import FrameType


def wait_until_told(stopped: threading.Event) -> None:
    """Wait until the event is set, or the process gets Ctrl-C or SIGTERM; only the main thread hears those."""
    if threading.current_thread() is not threading.main_thread():
        stopped.wait()
        return

    def stop(_: int, __: FrameType | None) -> None:
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while not stopped.wait(3600):
            pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
