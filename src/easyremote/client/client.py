"""``AsyncClient``: calls functions on nodes, from a coroutine."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from msgspec import Struct

from easyremote.client.asking import OPTIONS, Options, ask, ask_durably, read, split_options
from easyremote.client.face import Face
from easyremote.client.mapping import MAP_IN_FLIGHT, Mapping, Source, drain_async
from easyremote.client.records import FunctionRecord, NodeRecord, function_records, node_records
from easyremote.client.retry import begin
from easyremote.client.streams import AsyncStream
from easyremote.errors import EasyRemoteError
from easyremote.protocol.directory import Directory
from easyremote.protocol.effects import Value
from easyremote.protocol.events import CallRequested

if TYPE_CHECKING:
    from easyremote.client.job import AsyncJob, JobStatus


class _Homecoming:
    """Answers on their way from the engine's loop to a program's: one wake-up for all that come meanwhile.

    It does not hold the program's loop, which may end.
    """

    __slots__ = ("_arrived", "_ringing")

    def __init__(self) -> None:
        self._arrived: deque[tuple[asyncio.Future[Value], Value | None, EasyRemoteError | None]] = deque()
        self._ringing = False

    def bring(
        self, future: asyncio.Future[Value], value: Value | None, error: EasyRemoteError | None
    ) -> None:
        """An answer is here; on the engine's loop, which is not the program's."""
        self._arrived.append((future, value, error))
        if not self._ringing:
            self._ringing = True
            try:
                future.get_loop().call_soon_threadsafe(self._settle)
            except RuntimeError:  # the program's loop is closed; nobody waits there
                self._arrived.clear()

    def _settle(self) -> None:
        self._ringing = False  # before looking: what comes from now on rings again
        arrived = self._arrived
        while arrived:
            _settle(*arrived.popleft())


_homecomings: WeakKeyDictionary[asyncio.AbstractEventLoop, _Homecoming] = WeakKeyDictionary()


def _homecoming(loop: asyncio.AbstractEventLoop) -> _Homecoming:
    found = _homecomings.get(loop)
    if found is None:
        found = _homecomings[loop] = _Homecoming()
    return found


class _Waiting(Struct, eq=False):
    """A coroutine that waits for one value, on the engine's loop, or on another: then its answer has a way home."""

    future: asyncio.Future[Value]
    home: _Homecoming | None

    def feed(self, value: Value, cost: int) -> None:
        """Plain calls have no items."""

    def settle(self, value: Value | None, error: EasyRemoteError | None) -> None:
        """The call ended."""
        if self.home is not None:
            self.home.bring(self.future, value, error)
        else:
            _settle(self.future, value, error)


def _settle(future: asyncio.Future[Value], value: Value | None, error: EasyRemoteError | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    elif value is not None:
        future.set_result(value)


class AsyncClient(Face):
    """Calls functions on nodes, through a gateway, sealed for the node.

    ::

        async with AsyncClient("your-gateway:8080") as client:
            print(await client.execute("ai_inference", "Hello AI"))

    It connects on first use, and again by itself whenever the link breaks. Entered, as here, it lives on the loop
    it is entered on, which is quickest, until it is left; merely used, it serves any number of loops, one after
    the other or at once.

    Args:
        gateway_address: ``host:port``; default what ``set_default_gateway`` or ``EASYREMOTE_GATEWAY``
            says, else this machine's port 8080.
        connect_timeout: Seconds to wait for the gateway before a call fails with ``LinkError``.
        lost_after: Seconds that calls in flight wait for a node that fell silent, or for this device's own link,
            before they fail; functions that are idempotent do not wait, but run elsewhere.
        timeout: Seconds a call may take unless it says otherwise; None for no limit.
        policy: Which node is chosen where several offer a function.
        patience: Seconds a call waits for a node with room when all that could take it are full; then ``BusyError``.
        retry: When calls that failed are made again: a ``Retry``; by default, never.
        hedge_after: After how many seconds a call of an idempotent function is made on another node as well.
        max_value_bytes: The largest result this client takes.
        invite: A line from ``easynet invite``, if this device has not joined the network yet; default
            ``EASYREMOTE_INVITE``.
        grants: Lines from ``easynet grant``, besides those this device has joined with.
        home: Where this device's key is kept; default ``EASYREMOTE_HOME`` or ``~/.easyremote``.
        direct: Whether nodes that can be reached without the gateway are; default yes, unless
            ``EASYREMOTE_DIRECT=off``.
        pickle_with: Names of nodes with which pickles may be exchanged, in calls with ``codec="pickle"`` that
            name the node. **Each of them can run any code on this machine as you**, through what it returns.
            The node's owner has to allow it too, see ``ComputeNode.register``.

    Raises:
        UsageError: The address or an option makes no sense.
    """

    # ---- calling

    async def execute(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function and return what it returns.

        Args:
            function: Its name, or ``"node.name"`` for that node's.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments; ``timeout``, ``node``, ``policy``, ``codec``,
                ``patience``, ``retry`` and ``hedge_after`` are options of the call unless the function has parameters of these names.

        Raises:
            RemoteError: The function raised; also the builtin exception it raised.
            CallError: The call did not bring a value; subclasses say why.
            ScheduleError: No node can be chosen.
            EncodingError: A value cannot cross the wire.
            LinkError: The gateway does not answer.
        """
        options = self._options
        if kwargs and not OPTIONS.isdisjoint(kwargs):
            kwargs, options = split_options(await self._directory(), function, kwargs, options)
        return await self._execute(function, args, kwargs, options, ())

    async def _execute(
        self,
        function: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options,
        known: tuple[type, ...],
    ) -> Any:
        engine = self._connection.engine
        request = ask(engine.number(), function, args, kwargs, options)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(loop.create_future(), None if loop is engine.loop else _homecoming(loop))
        begin(engine, request, waiting, options)
        try:
            value = await waiting.future
        except asyncio.CancelledError:
            engine.cancel(request.call)
            raise
        return read(value, function, options, known)

    def submit(self, function: str, /, *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """Call a function without waiting; the task brings what ``execute`` would.

        With ``durable=True`` it brings an ``AsyncJob``, once the call is on the gateway's disk; see ``Client.submit``.
        """
        return asyncio.create_task(self._submit(function, args, kwargs))

    async def _submit(self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        options = self._options
        if kwargs and not OPTIONS.isdisjoint(kwargs):
            kwargs, options = split_options(await self._directory(), function, kwargs, options)
        if not options.durable:
            return await self._execute(function, args, kwargs, options, ())
        from easyremote.client.job import AsyncJob, wait_on_async

        arguments = ask_durably(function, args, kwargs, options)
        work = self._connection.engine.jobs.submit(function, arguments, options)
        return AsyncJob(self._connection, await wait_on_async(self._connection, work))

    def job(self, id: str) -> AsyncJob:
        """A durable call, by the id that ``submit`` gave; from any process or device of the same account.

        Raises:
            UsageError: That is no job's id.
        """
        from easyremote.client.job import AsyncJob
        from easyremote.trust.letter import read_job

        return AsyncJob(self._connection, read_job(id))

    async def jobs(self) -> list[JobStatus]:
        """The durable calls this device has submitted, the newest first, and how they stand."""
        from easyremote.client.job import wait_on_async

        return await wait_on_async(self._connection, self._connection.engine.jobs.listed())

    def map(
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
        mapping = Mapping(
            self._connection,
            function,
            self._options,
            ordered=ordered,
            return_exceptions=return_exceptions,
            max_in_flight=max_in_flight,
        )
        return drain_async(mapping, Source(items))

    def stream(self, function: str, /, *args: Any, **kwargs: Any) -> AsyncStream:
        """Call a generator; ``async for`` takes its items as they are yielded."""
        split = bool(kwargs) and not OPTIONS.isdisjoint(kwargs)
        return self._stream(function, args, kwargs, (), split=split)

    def _stream(
        self,
        function: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        known: tuple[type, ...],
        *,
        split: bool = False,
    ) -> AsyncStream:
        engine = self._connection.engine

        async def request() -> tuple[CallRequested, Options]:
            own, options = kwargs, self._options
            if split:
                own, options = split_options(await self._directory(), function, kwargs, options)
            return ask(engine.number(), function, args, own, options, stream=True), options

        return AsyncStream(self._connection, known, request)

    # ---- looking

    async def functions(self) -> list[FunctionRecord]:
        """Every function some connected node lists, by name."""
        return function_records(await self._live_directory())

    async def list_nodes(self) -> list[NodeRecord]:
        """Every connected node, by name."""
        return node_records(await self._live_directory())

    async def _directory(self) -> Directory:
        """The directory as it was when last seen: good enough to know a function's parameters."""
        engine = self._connection.engine
        return engine.directory if engine.directory.synced else await self._live_directory()

    async def _live_directory(self) -> Directory:
        engine = self._connection.engine
        if engine.live:
            return engine.directory
        if asyncio.get_running_loop() is engine.loop:
            return await engine.ready()
        ready: Future[Directory] = asyncio.run_coroutine_threadsafe(engine.ready(), engine.loop)
        return await asyncio.wrap_future(ready)

    # ---- beginning and ending

    async def connect(self) -> AsyncClient:
        """Connect now instead of at the first call.

        Raises:
            LinkError: The gateway does not answer within the connect timeout.
        """
        self._connection.open_here()
        await self._live_directory()
        return self

    async def close(self) -> None:
        """Cancel what is open and disconnect."""
        engine = self._connection.take()
        if engine is None or not engine.loop.is_running():
            return
        if asyncio.get_running_loop() is engine.loop:
            await engine.close()
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(engine.close(), engine.loop))

    async def __aenter__(self) -> AsyncClient:
        """Connect; leaving closes."""
        return await self.connect()

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()
