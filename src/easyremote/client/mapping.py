"""``map``: many calls of one function, so many in flight at a time, results in order or as they come.

The bookkeeping is here, once; the two clients only differ in how they wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any

from easyremote.client.asking import Options, ask, read
from easyremote.client.face import Connection
from easyremote.client.retry import begin
from easyremote.client.streams import Arrivals
from easyremote.errors import EasyRemoteError, UsageError
from easyremote.protocol.effects import Value

MAP_IN_FLIGHT = 256


class _Place:
    """One item's call, and where its outcome goes."""

    __slots__ = ("mapping", "number", "outcome")

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self.number = 0
        self.outcome: tuple[Value | None, BaseException | None] | None = None

    def feed(self, value: Value, cost: int) -> None:
        """Plain calls have no items."""

    def settle(self, value: Value | None, error: EasyRemoteError | None) -> None:
        """The call ended; on the engine's loop."""
        self.outcome = (value, error)
        self.mapping.arrivals.arrived(self)


class Mapping:
    """The state of one ``map``: what is in flight, what can be given out."""

    def __init__(
        self,
        connection: Connection,
        function: str,
        options: Options,
        *,
        ordered: bool,
        return_exceptions: bool,
        max_in_flight: int,
    ) -> None:
        if max_in_flight < 1:
            raise UsageError(f"max_in_flight is at least 1, not {max_in_flight!r}")
        self._connection = connection  # held, so that it stays open although its client may be dropped
        self._engine = connection.engine
        self._function = function
        self._options = options
        self._ordered = ordered
        self._return_exceptions = return_exceptions
        self._max_in_flight = max_in_flight
        self._places: deque[_Place] = deque()
        self._in_flight: dict[int, None] = {}
        self.arrivals: Arrivals[_Place] = Arrivals()

    @property
    def room(self) -> bool:
        """Whether a further call may be made; results not yet given out count as well."""
        waiting = len(self._places) if self._ordered else len(self._in_flight)
        return waiting < self._max_in_flight

    @property
    def empty(self) -> bool:
        """Whether nothing is in flight and nothing is left to give out."""
        return not (self._in_flight or self.arrivals or (self._ordered and self._places))

    def begin(self, item: Any) -> None:
        """Make the call for one more item."""
        place = _Place(self)
        if self._ordered:
            self._places.append(place)
        try:
            request = ask(self._engine.number(), self._function, (item,), {}, self._options)
        except EasyRemoteError as error:
            if not self._return_exceptions:
                raise
            place.outcome = (None, error)
            self.arrivals.append(place)
            return
        place.number = request.call
        self._in_flight[place.number] = None
        begin(self._engine, request, place, self._options)

    def results(self) -> Iterator[Any]:
        """All that can be given out now; raises the first error unless those are wanted as results."""
        while self.arrivals:
            place = self.arrivals.popleft()
            self._in_flight.pop(place.number, None)
            if not self._ordered:
                yield self._open(place)
        while self._ordered and self._places and self._places[0].outcome is not None:
            yield self._open(self._places.popleft())

    def _open(self, place: _Place) -> Any:
        value, error = place.outcome or (None, None)
        if error is None and value is not None:
            try:
                return read(value, self._function, self._options)
            except EasyRemoteError as failed:
                error = failed
        if error is None or self._return_exceptions:
            return error
        raise error

    async def some(self) -> None:
        """Return when results have arrived."""
        await self.arrivals.some(self._engine.loop)

    def cancel(self) -> None:
        """Cancel the calls still in flight."""
        for number in self._in_flight:
            self._engine.cancel(number)


def drain(mapping: Mapping, items: Iterator[Any]) -> Iterator[Any]:
    """Give out results while making calls; leaving early cancels the calls in flight."""
    more = True
    try:
        while more or not mapping.empty:
            while more and mapping.room and not mapping.arrivals:
                try:
                    mapping.begin(next(items))
                except StopIteration:
                    more = False
            if not mapping.empty and not mapping.arrivals:
                mapping.arrivals.some_in_thread()
            yield from mapping.results()
    finally:
        mapping.cancel()


async def drain_async(mapping: Mapping, source: Source) -> AsyncIterator[Any]:
    """The same in a coroutine; results are given out while the next item is awaited."""
    try:
        while not (source.over and mapping.empty):
            while mapping.room and not mapping.arrivals and await source.has_next(mapping):
                mapping.begin(source.take())
            if not mapping.empty and not mapping.arrivals and (source.over or not mapping.room):
                await mapping.some()
            for result in mapping.results():
                yield result
    finally:
        mapping.cancel()
        await source.close()


class Source:
    """The items of a ``map`` in a coroutine, whichever kind of iterable holds them."""

    def __init__(self, items: Iterable[Any] | AsyncIterable[Any]) -> None:
        self.over = False
        self._plain = None if isinstance(items, AsyncIterable) else iter(items)
        self._awaited = aiter(items) if isinstance(items, AsyncIterable) else None
        self._coming: asyncio.Future[Any] | None = None
        self._item: Any = None

    async def has_next(self, mapping: Mapping) -> bool:
        """Whether there is an item to take; False when it was the last, or when results came first."""
        if self.over:
            return False
        try:
            if self._plain is not None:
                self._item = next(self._plain)
                return True
            if self._awaited is not None and self._coming is None:
                self._coming = asyncio.ensure_future(anext(self._awaited))
            coming = self._coming
            if coming is not None and await _first(coming, mapping):
                self._coming = None
                self._item = coming.result()
                return True
        except (StopIteration, StopAsyncIteration):
            self.over = True
        return False

    def take(self) -> Any:
        """The item there is."""
        item, self._item = self._item, None
        return item

    async def close(self) -> None:
        """Await no further item."""
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.gather(self._coming, return_exceptions=True)


async def _first(coming: asyncio.Future[Any], mapping: Mapping) -> bool:
    """Wait for an item or for results; whether the item is here."""
    arriving = asyncio.ensure_future(mapping.some())
    try:
        await asyncio.wait({coming, arriving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        arriving.cancel()
    return coming.done()
