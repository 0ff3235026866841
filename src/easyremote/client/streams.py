"""Items that arrive on the engine's loop and are consumed elsewhere: in a coroutine, or in a thread.

An item consumed is credit given back: a consumer that is slow makes its producer wait.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

from easyremote.client.asking import Options, read
from easyremote.client.face import Connection
from easyremote.errors import EasyRemoteError
from easyremote.protocol.effects import Value
from easyremote.protocol.events import CallRequested

T = TypeVar("T")

_PLAIN = Options()

TELL_BYTES = 16 * 1024
"""Consumption is told to the engine in steps of this size."""


class Arrivals(deque[T]):
    """A queue from the engine's loop to one consumer, who is woken when it waits.

    Appending and looking are atomic; the consumer says how it wants to be woken before it looks again,
    so no arrival is missed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._wake: Callable[[], None] | None = None

    def arrived(self, thing: T) -> None:
        """Add something; on the engine's loop."""
        self.append(thing)
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    async def some(self, engine_loop: asyncio.AbstractEventLoop) -> None:
        """Return when there is something."""
        loop = asyncio.get_running_loop()
        while not self:
            woken = loop.create_future()

            def wake(woken: asyncio.Future[None] = woken) -> None:
                if loop is engine_loop:
                    _set(woken)
                elif not loop.is_closed():
                    loop.call_soon_threadsafe(_set, woken)

            self._wake = wake
            if not self:
                await woken

    def some_in_thread(self) -> None:
        """The same for a thread."""
        while not self:
            woken = threading.Event()
            self._wake = woken.set
            if not self:
                woken.wait()


def _set(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


class _Feed:
    """Where a streaming call's items go; all that the engine holds, so that a dropped stream is noticed."""

    __slots__ = ("arrivals",)

    def __init__(self) -> None:
        self.arrivals: Arrivals[tuple[Value | None, int, EasyRemoteError | None]] = Arrivals()

    def feed(self, value: Value, cost: int) -> None:
        """An item is here; on the engine's loop."""
        self.arrivals.arrived((value, cost, None))

    def settle(self, value: Value | None, error: EasyRemoteError | None) -> None:
        """The stream is over, with an error or without; on the engine's loop."""
        self.arrivals.arrived((None, 0, error))


class _Items:
    """What both kinds of stream share: the consumer's side of one streaming call."""

    def __init__(self, connection: Connection, known: tuple[type, ...]) -> None:
        self._number: int | None = None
        self._over = False
        self._connection = connection  # held, so that it stays open although its client may be dropped
        self._engine = connection.engine
        self._known = known
        self._feed = _Feed()
        self._arrivals = self._feed.arrivals
        self._untold = 0
        self._function = ""
        self._options = _PLAIN

    def _begin(self, request: CallRequested, options: Options) -> None:
        self._number = request.call
        self._function, self._options = request.function, options
        self._engine.send(request, self._feed)

    def _take(self) -> tuple[bool, Any]:
        """Whether there is a further item, and the item."""
        value, cost, error = self._arrivals.popleft()
        if value is None:
            self._over = True
            if error is not None:
                raise error
            return False, None
        self._untold += cost
        if self._untold >= TELL_BYTES or not self._arrivals:
            self._engine.taken(self._number or 0, self._untold)
            self._untold = 0
        return True, read(value, self._function, self._options, self._known)

    def _stop(self) -> None:
        if not self._over:
            self._over = True
            if self._number is not None:
                self._engine.cancel(self._number)

    def __del__(self) -> None:
        """A stream nobody holds is a stream nobody reads."""
        if not self._over and self._number is not None:
            self._engine.drop(self._number)


class AsyncStream(_Items, AsyncIterator[Any]):
    """The items of a remote generator, as they are yielded; ``async for`` takes them.

    Leaving the loop early, ``aclose()``, or dropping the stream stops the generator on its node.
    """

    def __init__(
        self,
        connection: Connection,
        known: tuple[type, ...],
        request: Callable[[], Awaitable[tuple[CallRequested, Options]]],
    ) -> None:
        super().__init__(connection, known)
        self._request: Callable[[], Awaitable[tuple[CallRequested, Options]]] | None = request

    async def __anext__(self) -> Any:
        """The next item, decoded."""
        if self._over:
            raise StopAsyncIteration
        if self._request is not None:
            request, self._request = self._request, None
            try:
                self._begin(*await request())
            except BaseException:
                self._over = True
                raise
        try:
            await self._arrivals.some(self._engine.loop)
        except asyncio.CancelledError:
            self._stop()
            raise
        more, item = self._take()
        if not more:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Stop the generator on its node."""
        self._stop()

    async def __aenter__(self) -> AsyncStream:
        """The stream itself; leaving stops it."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the generator on its node."""
        self._stop()


class Stream(_Items, Iterator[Any]):
    """The items of a remote generator, as they are yielded; ``for`` takes them.

    Leaving the loop early, ``close()``, or dropping the stream stops the generator on its node.
    """

    def __init__(
        self, connection: Connection, known: tuple[type, ...], request: CallRequested, options: Options
    ) -> None:
        super().__init__(connection, known)
        self._begin(request, options)

    def __next__(self) -> Any:
        """The next item, decoded."""
        if self._over:
            raise StopIteration
        try:
            self._arrivals.some_in_thread()
        except BaseException:  # Ctrl-C while waiting
            self._stop()
            raise
        more, item = self._take()
        if not more:
            raise StopIteration
        return item

    def close(self) -> None:
        """Stop the generator on its node."""
        self._stop()

    def __enter__(self) -> Stream:
        """The stream itself; leaving stops it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the generator on its node."""
        self._stop()
