"""How a program that serves is told to end."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def told_to_end(stopped: threading.Event) -> Iterator[None]:
    """Inside, Ctrl-C and SIGTERM set the event; only the main thread hears of those."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_: int, __: FrameType | None) -> None:
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


LOOK_SECONDS = 0.5
"""How often the main thread looks up: the system may give a signal to another thread, which does not wake this one."""


def wait(stopped: threading.Event) -> None:
    """Wait for the event in a way that lets signal handlers run."""
    while not stopped.wait(LOOK_SECONDS):
        pass
