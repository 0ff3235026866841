"""``Client``: the same verbs for programs without an event loop.

A thin face: the engine runs on the process's background loop, and a thread waits for its answer.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from easyremote.client.asking import OPTIONS, Options, ask, split_options
from easyremote.client.client import CONNECT_TIMEOUT_SECONDS, MAP_IN_FLIGHT
from easyremote.client.engine import Engine
from easyremote.client.mapping import Mapping, drain, drain_async, each
from easyremote.client.records import FunctionRecord, NodeRecord, function_records, node_records
from easyremote.client.streams import AsyncStream, Stream
from easyremote.errors import EasyRemoteError, UnknownNodeError, UsageError
from easyremote.links.address import check_address, default_gateway
from easyremote.links.loop import run_in_background
from easyremote.protocol.call import unknown_node_error
from easyremote.protocol.directory import Directory
from easyremote.protocol.effects import Value
from easyremote.protocol.events import CallRequested
from easyremote.wire.limits import CLIENT_MAX_VALUE_BYTES
from easyremote.wire.values import decode

IGNORED = frozenset(
    ["client_id", "retry_policy", "enable_monitoring", "enable_caching", "connection_pool_size", "log_level"]
)
"""Options of version 2.0.2 that mean nothing here; they are taken, warned about and ignored."""


class _Answer(Future[Any]):
    """The future of one call; cancelling it cancels the call."""

    def __init__(self, engine: Engine, known: tuple[type, ...]) -> None:
        super().__init__()
        self._engine = engine
        self._known = known
        self.number = 0
        self._decoded = False
        self._outcome: Any = None

    def feed(self, value: Value, cost: int) -> None:
        """Plain calls have no items."""

    def settle(self, value: Value | None, error: EasyRemoteError | None) -> None:
        """The call ended; on the engine's loop."""
        if self.cancelled() or not self.set_running_or_notify_cancel():
            return
        if error is not None:
            self.set_exception(error)
        else:
            self.set_result(value)

    def result(self, timeout: float | None = None) -> Any:
        """What the call brought, decoded by whoever asks, not by the loop."""
        value = super().result(timeout)
        if not self._decoded:
            self._outcome = decode(value, known=self._known)
            self._decoded = True
        return self._outcome

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What went wrong, be it that the result does not decode; None if nothing did."""
        error = super().exception(timeout)
        if error is None:
            try:
                self.result(timeout)
            except EasyRemoteError as failed:
                return failed
        return error

    def cancel(self) -> bool:
        """Cancel the call, here and on its node."""
        cancelled = super().cancel()
        if cancelled:
            self._engine.cancel_from_thread(self.number)
        return cancelled


class Client:
    """Calls functions on nodes, through a gateway, sealed for the node.

    ::

        result = Client("your-gateway:8080").execute("ai_inference", "Hello AI")

    A client may be used from any number of threads. It connects on first use, and again by itself
    whenever the link breaks. Options are those of ``AsyncClient``; ``connection_timeout_ms`` and
    ``request_timeout_ms`` of version 2.0.2 are understood, its other old options are ignored with a warning.
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
        connection_timeout_ms: float | None = None,
        request_timeout_ms: float | None = None,
        **old_options: object,
    ) -> None:
        for name in old_options:
            if name not in IGNORED:
                raise TypeError(f"Client() has no option {name!r}")
            warnings.warn(f"Client({name}=…) has no effect since version 3", FutureWarning, stacklevel=2)
        if connection_timeout_ms is not None:
            connect_timeout = connection_timeout_ms / 1000
        if request_timeout_ms is not None:
            timeout = request_timeout_ms / 1000
        self._gateway = check_address(gateway_address) if gateway_address else default_gateway()
        self._settings = (connect_timeout, max_value_bytes, home)
        self._options = Options().changed({"timeout": timeout, "policy": policy})
        self._shared = _Shared()

    @property
    def gateway_address(self) -> str:
        """The gateway this client uses."""
        return self._gateway

    def options(self, **changes: Any) -> Client:
        """This client with other options for its calls: ``timeout=``, ``node=``, ``policy=``.

        Raises:
            UsageError: An option is unknown, or its value makes no sense.
        """
        return self._with(self._options.changed(changes))

    def _with(self, options: Options) -> Client:
        other = object.__new__(Client)
        other.__dict__.update(self.__dict__)
        other._options = options
        return other

    # ---- calling

    def execute(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function and return what it returns; see ``AsyncClient.execute``."""
        answer = self.submit(function, *args, **kwargs)
        try:
            return answer.result()
        except BaseException:
            answer.cancel()  # Ctrl-C while waiting; nothing if it had ended
            raise

    def submit(self, function: str, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function without waiting; cancelling the future cancels the call."""
        return self._submit(function, args, kwargs, ())

    def _submit(
        self,
        function: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        known: tuple[type, ...],
        *,
        all_for_function: bool = False,
    ) -> Future[Any]:
        engine = self._engine()
        kwargs, options = (kwargs, self._options) if all_for_function else self._split(function, kwargs)
        request = ask(engine.number(), function, args, kwargs, options)
        answer = _Answer(engine, known)
        answer.number = request.call
        engine.request_from_thread(request, answer)
        return answer

    def map(
        self,
        function: str,
        items: Iterable[Any],
        /,
        *,
        ordered: bool = True,
        return_exceptions: bool = False,
        max_in_flight: int = MAP_IN_FLIGHT,
    ) -> Iterator[Any]:
        """Call a function once for every item; see ``AsyncClient.map``."""
        engine, mapping = self._mapping(function, ordered, return_exceptions, max_in_flight)
        return drain(mapping, iter(items), engine.cancel_from_thread)

    def _map_async(
        self,
        function: str,
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        ordered: bool,
        return_exceptions: bool,
        max_in_flight: int,
    ) -> AsyncIterator[Any]:
        engine, mapping = self._mapping(function, ordered, return_exceptions, max_in_flight)
        return drain_async(mapping, each(items), engine.cancel_from_thread, engine.loop)

    def _mapping(
        self, function: str, ordered: bool, return_exceptions: bool, max_in_flight: int
    ) -> tuple[Engine, Mapping]:
        engine, options = self._engine(), self._options

        def send(item: Any, place: Any) -> int:
            request = ask(engine.number(), function, (item,), {}, options)
            engine.request_from_thread(request, place)
            return request.call

        return engine, Mapping(
            send, ordered=ordered, return_exceptions=return_exceptions, max_in_flight=max_in_flight
        )

    def stream(self, function: str, /, *args: Any, **kwargs: Any) -> Stream:
        """Call a generator; ``for`` takes its items as they are yielded."""
        return self._stream(function, args, kwargs, ())

    def _stream(
        self,
        function: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        known: tuple[type, ...],
        *,
        all_for_function: bool = False,
    ) -> Stream:
        engine = self._engine()
        kwargs, options = (kwargs, self._options) if all_for_function else self._split(function, kwargs)
        return Stream(engine, known, ask(engine.number(), function, args, kwargs, options, stream=True))

    def _stream_async(
        self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any], known: tuple[type, ...]
    ) -> AsyncStream:
        engine, options = self._engine(), self._options

        async def request() -> CallRequested:
            return ask(engine.number(), function, args, kwargs, options, stream=True)

        return AsyncStream(engine, known, request)

    def execute_on_node(
        self, node_id: str, function_name: str, /, *args: Any, timeout_ms: float | None = None, **kwargs: Any
    ) -> Any:
        """Call a function of this node; as in version 2.0.2."""
        return self._on(node_id, timeout_ms).execute(function_name, *args, **kwargs)

    def stream_on_node(
        self, node_id: str, function_name: str, /, *args: Any, timeout_ms: float | None = None, **kwargs: Any
    ) -> Stream:
        """Call a generator of this node; as in version 2.0.2."""
        return self._on(node_id, timeout_ms).stream(function_name, *args, **kwargs)

    def _on(self, node: str, timeout_ms: float | None) -> Client:
        changes: dict[str, Any] = {"node": node}
        if timeout_ms is not None:
            changes["timeout"] = timeout_ms / 1000
        return self.options(**changes)

    def _split(self, function: str, kwargs: dict[str, Any]) -> tuple[dict[str, Any], Options]:
        if not kwargs or OPTIONS.isdisjoint(kwargs):
            return kwargs, self._options
        return split_options(self._directory(), function, kwargs, self._options)

    # ---- looking

    def functions(self) -> list[FunctionRecord]:
        """Every function some connected node lists, by name."""
        return function_records(self._directory())

    def list_nodes(self) -> list[NodeRecord]:
        """Every connected node, by name."""
        return node_records(self._directory())

    def find_nodes(
        self,
        *,
        required_capabilities: Iterable[str] | None = None,
        required_functions: Iterable[str] | None = None,
    ) -> list[NodeRecord]:
        """The nodes that have all these capabilities and functions."""
        capabilities, functions = set(required_capabilities or ()), set(required_functions or ())
        return [
            record
            for record in self.list_nodes()
            if capabilities <= set(record.capabilities) and functions <= set(record.functions)
        ]

    def get_node_status(self, node_id: str) -> NodeRecord:
        """One node's record.

        Raises:
            UnknownNodeError: No node of this name is connected.
        """
        records = {record.name: record for record in self.list_nodes()}
        if node_id not in records:
            error: UnknownNodeError = unknown_node_error(node_id, set(records))
            raise error
        return records[node_id]

    def _directory(self) -> Directory:
        engine = self._engine()
        return engine.directory if engine.directory.synced else run_in_background(engine.ready())

    # ---- beginning and ending

    def connect(self) -> Client:
        """Connect now instead of at the first call.

        Raises:
            LinkError: The gateway does not answer within the connect timeout.
        """
        self._shared.closed = False
        self._directory()
        return self

    def close(self) -> None:
        """Cancel what is open and disconnect."""
        self._shared.close()

    disconnect = close

    def __enter__(self) -> Client:
        """Connect; leaving closes."""
        return self.connect()

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _engine(self) -> Engine:
        engine = self._shared.engine
        if engine is None or self._shared.pid != os.getpid():
            engine = self._shared.open(self._gateway, *self._settings)
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            return engine
        if running is engine.loop:
            raise UsageError(
                "a blocking Client cannot wait on EasyRemote's own loop: in an `async def` function "
                "of a node, use AsyncClient"
            )
        return engine


class _Shared:
    """The engine that a client and its variants with other options have in common."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.pid = 0
        self.closed = False

    def open(self, gateway: str, connect_timeout: float, max_value_bytes: int, home: Path | None) -> Engine:
        if self.closed:
            raise UsageError("this client is closed; make another, or call its connect()")

        async def make() -> Engine:
            if self.engine is None or self.pid != os.getpid():
                self.engine = Engine(
                    gateway, connect_timeout=connect_timeout, max_value_bytes=max_value_bytes, home=home
                )
                self.pid = os.getpid()
            return self.engine

        return run_in_background(make())

    def close(self) -> None:
        self.closed = True
        engine, self.engine = self.engine, None
        if engine is not None and self.pid == os.getpid():
            run_in_background(engine.close())

    def __del__(self) -> None:
        """A client nobody holds disconnects."""
        engine = self.engine
        if engine is not None and self.pid == os.getpid() and not engine.loop.is_closed():
            asyncio.run_coroutine_threadsafe(engine.close(), engine.loop)
