"""``AsyncClient``: calls functions on nodes, from a coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from easyremote.client.asking import OPTIONS, Options, ask, split_options
from easyremote.client.engine import Engine
from easyremote.client.mapping import Mapping, drain_async, each
from easyremote.client.records import FunctionRecord, NodeRecord, function_records, node_records
from easyremote.client.streams import AsyncStream
from easyremote.errors import EasyRemoteError, UsageError
from easyremote.links.address import check_address, default_gateway
from easyremote.protocol.effects import Value
from easyremote.protocol.events import CallRequested
from easyremote.wire.limits import CLIENT_MAX_VALUE_BYTES
from easyremote.wire.values import decode

CONNECT_TIMEOUT_SECONDS = 5.0
MAP_IN_FLIGHT = 256


class _Waiting:
    """A coroutine that waits for one value."""

    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[Value]) -> None:
        self.future = future

    def feed(self, value: Value, cost: int) -> None:
        """Plain calls have no items."""

    def settle(self, value: Value | None, error: EasyRemoteError | None) -> None:
        """The call ended."""
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        elif value is not None:
            self.future.set_result(value)


class _Shared:
    """What a client and its variants with other options have in common."""

    __slots__ = ("closed", "engine")

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.closed = False


class AsyncClient:
    """Calls functions on nodes, through a gateway, sealed for the node.

    ::

        async with AsyncClient("your-gateway:8080") as client:
            print(await client.execute("ai_inference", "Hello AI"))

    A client belongs to the event loop it is first used on. It connects on first use, and again by
    itself whenever the link breaks.

    Args:
        gateway_address: ``host:port``; default what ``set_default_gateway`` or ``EASYREMOTE_GATEWAY``
            says, else this machine's port 8080.
        connect_timeout: Seconds to wait for the gateway before a call fails with ``LinkError``.
        timeout: Seconds a call may take unless it says otherwise; None for no limit.
        policy: Which node is chosen where several offer a function.
        max_value_bytes: The largest result this client takes.
        home: Where this device's key is kept; default ``EASYREMOTE_HOME`` or ``~/.easyremote``.

    Raises:
        UsageError: The address or an option makes no sense.
    """

    def __init__(
        self,
        gateway_address: str | None = None,
        *,
        connect_timeout: float = CONNECT_TIMEOUT_SECONDS,
        timeout: float | None = None,
        policy: str = "prequal",
        max_value_bytes: int = CLIENT_MAX_VALUE_BYTES,
        home: Path | None = None,
    ) -> None:
        self._gateway = check_address(gateway_address) if gateway_address else default_gateway()
        self._connect_timeout = connect_timeout
        self._max_value_bytes = max_value_bytes
        self._home = home
        self._options = Options().changed({"timeout": timeout, "policy": policy})
        self._shared = _Shared()

    @property
    def gateway_address(self) -> str:
        """The gateway this client uses."""
        return self._gateway

    def options(self, **changes: Any) -> AsyncClient:
        """This client with other options for its calls: ``timeout=``, ``node=``, ``policy=``.

        Raises:
            UsageError: An option is unknown, or its value makes no sense.
        """
        other = object.__new__(AsyncClient)
        other.__dict__.update(self.__dict__)
        other._options = self._options.changed(changes)
        return other

    # ---- calling

    async def execute(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function and return what it returns.

        Args:
            function: Its name, or ``"node.name"`` for that node's.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments; ``timeout``, ``node`` and ``policy`` are options of the
                call unless the function has parameters of these names.

        Raises:
            RemoteError: The function raised; also the builtin exception it raised.
            CallError: The call did not bring a value; subclasses say why.
            ScheduleError: No node can be chosen.
            EncodingError: A value cannot cross the wire.
            LinkError: The gateway does not answer.
        """
        options = self._options
        if kwargs and not OPTIONS.isdisjoint(kwargs):
            directory = await self._engine().ready()
            kwargs, options = split_options(directory, function, kwargs, options)
        engine = self._engine()
        request = ask(engine.number(), function, args, kwargs, options)
        future: asyncio.Future[Value] = engine.loop.create_future()
        engine.request(request, _Waiting(future))
        try:
            value = await future
        except asyncio.CancelledError:
            engine.cancel(request.call)
            raise
        return decode(value)

    def submit(self, function: str, /, *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """Call a function without waiting; the task brings what ``execute`` would."""
        return asyncio.ensure_future(self.execute(function, *args, **kwargs))

    async def map(
        self,
        function: str,
        items: Iterable[Any] | AsyncIterable[Any],
        /,
        *,
        ordered: bool = True,
        return_exceptions: bool = False,
        max_in_flight: int = MAP_IN_FLIGHT,
    ) -> AsyncIterator[Any]:
        """Call a function once for every item; results stream out while calls are still being made.

        Args:
            function: Its name; each item is its one argument.
            items: May be endless: only ``max_in_flight`` calls are open at a time.
            ordered: Whether results come in the order of the items, or as soon as they are there.
            return_exceptions: Whether an error is given out in a result's place instead of raised.
            max_in_flight: The most calls open at a time.
        """
        engine, options = self._engine(), self._options

        def send(item: Any, place: Any) -> int:
            request = ask(engine.number(), function, (item,), {}, options)
            engine.request(request, place)
            return request.call

        mapping = Mapping(
            send, ordered=ordered, return_exceptions=return_exceptions, max_in_flight=max_in_flight
        )
        async for result in drain_async(mapping, each(items), engine.cancel, engine.loop):
            yield result

    def stream(self, function: str, /, *args: Any, **kwargs: Any) -> AsyncStream:
        """Call a generator; ``async for`` takes its items as they are yielded.

        Raises:
            EncodeError: An argument cannot cross the wire.
        """
        engine = self._engine()

        async def request() -> CallRequested:
            own, options = kwargs, self._options
            if kwargs and not OPTIONS.isdisjoint(kwargs):
                own, options = split_options(await engine.ready(), function, kwargs, options)
            return ask(engine.number(), function, args, own, options, stream=True)

        return AsyncStream(engine, (), request)

    # ---- looking

    async def functions(self) -> list[FunctionRecord]:
        """Every function some connected node lists, by name."""
        return function_records(await self._engine().ready())

    async def list_nodes(self) -> list[NodeRecord]:
        """Every connected node, by name."""
        return node_records(await self._engine().ready())

    # ---- beginning and ending

    async def connect(self) -> AsyncClient:
        """Connect now instead of at the first call.

        Raises:
            LinkError: The gateway does not answer within the connect timeout.
        """
        self._shared.closed = False
        await self._engine().ready()
        return self

    async def close(self) -> None:
        """Cancel what is open and disconnect."""
        shared = self._shared
        shared.closed = True
        engine, shared.engine = shared.engine, None
        if engine is not None:
            await engine.close()

    async def __aenter__(self) -> AsyncClient:
        """Connect; leaving closes."""
        return await self.connect()

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    def _engine(self) -> Engine:
        shared = self._shared
        if shared.closed:
            raise UsageError("this client is closed; make another, or call its connect()")
        engine = shared.engine
        if engine is None:
            engine = shared.engine = Engine(
                self._gateway,
                connect_timeout=self._connect_timeout,
                max_value_bytes=self._max_value_bytes,
                home=self._home,
            )
        if engine.loop is not asyncio.get_running_loop():
            raise UsageError(
                "an AsyncClient belongs to the event loop it was first used on; make another here"
            )
        return engine
