"""The event loop EasyRemote's own threads run: one background loop for everything blocking in a process."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from easyremote.errors import UsageError

T = TypeVar("T")

POLL_SECONDS = 0.25

_lock = threading.Lock()
_background: tuple[int, asyncio.AbstractEventLoop] | None = None


_forks = 0


def forks() -> int:
    """How many forks lie between the first process and this one; costs less to ask than the process's number."""
    return _forks


def _forked() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def new_loop() -> asyncio.AbstractEventLoop:
    """A fresh event loop: uvloop's where it is installed, asyncio's elsewhere."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def background_loop() -> asyncio.AbstractEventLoop:
    """The process's background loop, started on first use in a daemon thread of its own.

    Raises:
        UsageError: The process was forked from one that had such a loop.
    """
    global _background
    with _lock:
        if _background is not None and _background[0] != _forks:
            raise UsageError(
                "this process was forked from one that had used EasyRemote, and a fork takes no threads along. "
                "Use multiprocessing.get_context('spawn'), or fork before the first call"
            )
        if _background is None:
            loop = new_loop()
            threading.Thread(target=_run, args=(loop,), name="easyremote", daemon=True).start()
            _background = (_forks, loop)
        return _background[1]


def _on(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


def run_in_background(coroutine: Coroutine[Any, Any, T], timeout_seconds: float | None = None) -> T:
    """Run a coroutine on the background loop and wait for what it returns.

    Raises:
        UsageError: This is that loop: waiting here would wait for ever.
    """
    if _on(background_loop()):
        coroutine.close()
        raise UsageError(
            "this cannot be waited for on EasyRemote's own loop, where `async def` functions of a node run; "
            "call it from a thread: await asyncio.to_thread(…)"
        )
    future = asyncio.run_coroutine_threadsafe(coroutine, background_loop())
    give_up_at = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    try:
        while True:  # Ctrl-C may have been given to another thread: then it is seen when this one looks up
            left = POLL_SECONDS if give_up_at is None else min(POLL_SECONDS, give_up_at - time.monotonic())
            try:
                return future.result(max(left, 0.0))
            except TimeoutError:
                if future.done() or left < POLL_SECONDS:
                    raise
    except BaseException:
        future.cancel()
        raise
