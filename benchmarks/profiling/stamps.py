"""Notes of when a function is entered and left, put around it from outside; the product knows nothing of it.

The clock is the system's monotonic one, which all processes of a machine share, so that notes of several
processes fall into one order.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import time
from collections.abc import Callable
from typing import Any

PLACES: dict[str, dict[str, str]] = {
    "client": {
        "execute": "easyremote.client.client:AsyncClient.execute",
        "ask": "easyremote.client.client:ask",
        "inbox": "easyremote.client.engine:Engine._take_inbox",
        "request": "easyremote.protocol.caller:Caller.request",
        "pull": "easyremote.protocol.device:Device.pull",
        "send": "easyremote.links.rpc:Call.send",
        "arrive": "easyremote.links.http2:Connection.buffer_updated",
        "receive": "easyremote.links.rpc:Call.receive",
        "send directly": "easyremote.links.stream:_Stream.send",
        "arrive directly": "easyremote.links.stream:_Stream.buffer_updated",
        "receive directly": "easyremote.links.stream:_Stream.receive",
        "post": "easyremote.links.driver:Driver.post",
        "open": "easyremote.protocol.channel:Channel.receive",
        "take": "easyremote.protocol.caller:Caller.result",
        "home": "easyremote.client.client:_Waiting.settle",
        "read": "easyremote.client.client:read",
    },
    "gateway": {
        "arrive": "easyremote.links.http2:Connection.buffer_updated",
        "receive": "easyremote.links.rpc:Call.receive",
        "route": "easyremote.protocol.router:Router.handle",
        "send": "easyremote.links.rpc:Call.send",
    },
    "node": {
        "arrive": "easyremote.links.http2:Connection.buffer_updated",
        "receive": "easyremote.links.rpc:Call.receive",
        "post": "easyremote.links.driver:Driver.post",
        "open": "easyremote.protocol.channel:Channel.receive",
        "admit": "easyremote.protocol.guard:Guard.admit",
        "start": "easyremote.node.executor:Executor.start",
        "unpack": "easyremote.node.running:Running.unpack",
        "encode": "easyremote.node.running:Running.pack",
        "answer": "easyremote.protocol.worker:Worker.done",
        "pull": "easyremote.protocol.device:Device.pull",
        "send": "easyremote.links.rpc:Call.send",
        "send directly": "easyremote.links.stream:_Stream.send",
        "arrive directly": "easyremote.links.stream:_Stream.buffer_updated",
        "receive directly": "easyremote.links.stream:_Stream.receive",
    },
}
"""By process, what is noted: a short name, and where the function is looked up when it is called."""

_clock = time.perf_counter_ns


class Notebook:
    """One process's notes: nanoseconds, and what was entered (``ask>``) or left (``ask<``)."""

    def __init__(self) -> None:
        self.open = False
        self.notes: list[tuple[int, str]] = []

    def watch(self, process: str) -> None:
        """Put notes around all places of a process, but for those that are no longer there."""
        for name, place in PLACES[process].items():
            module, _, path = place.partition(":")
            *owners, attribute = path.split(".")
            with contextlib.suppress(ImportError, AttributeError):
                owner = functools.reduce(getattr, owners, importlib.import_module(module))
                setattr(owner, attribute, self._noted(name, getattr(owner, attribute)))

    def _noted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        entered, left = f"{name}>", f"{name}<"
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def waited(*args: Any, **kwargs: Any) -> Any:
                self.note(entered)
                try:
                    return await function(*args, **kwargs)
                finally:
                    self.note(left)

            return waited

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            self.note(entered)
            try:
                return function(*args, **kwargs)
            finally:
                self.note(left)

        return called

    def note(self, what: str) -> None:
        """Write down that this happens now, if anybody wants to know."""
        if self.open:
            self.notes.append((_clock(), what))
