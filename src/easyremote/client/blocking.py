"""``Client``: the same verbs for programs without an event loop: a thread waits for the engine's answer."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from easyremote.client.asking import OPTIONS, Options, ask, ask_durably, read, split_options
from easyremote.client.engine import Engine
from easyremote.client.face import CONNECT_TIMEOUT_SECONDS, Connection, Face
from easyremote.client.mapping import MAP_IN_FLIGHT, Mapping, drain
from easyremote.client.records import FunctionRecord, NodeRecord, function_records, node_records
from easyremote.client.retry import Retry, begin
from easyremote.client.streams import Stream
from easyremote.errors import CallCancelledError, EasyRemoteError, UsageError
from easyremote.links.loop import background_loop, run_in_background
from easyremote.protocol.call import unknown_node_error
from easyremote.protocol.directory import Directory
from easyremote.protocol.effects import Value
from easyremote.protocol.events import CallRequested
from easyremote.wire.limits import CLIENT_MAX_VALUE_BYTES, LOST_AFTER_SECONDS

if TYPE_CHECKING:
    from easyremote.client.job import Job, JobStatus

IGNORED = frozenset(
    ["client_id", "retry_policy", "enable_monitoring", "enable_caching", "connection_pool_size", "log_level"]
)
"""Options of version 2.0.2 that mean nothing here; they are taken, warned about and ignored."""


class _Answer(Future[Any]):
    """The future of one call; cancelling it cancels the call."""

    def __init__(
        self,
        connection: Connection,
        engine: Engine,
        known: tuple[type, ...],
        request: CallRequested,
        options: Options,
    ) -> None:
        super().__init__()
        self._connection = connection  # held, so that it stays open although its client may be dropped
        self._engine = engine
        self._known = known
        self._number = request.call
        self._function, self._options = request.function, options
        self._decoded = False
        self._outcome: Any = None

    def feed(self, value: Value, cost: int) -> None:
        """Plain calls have no items."""

    def settle(self, value: Value | None, error: EasyRemoteError | None) -> None:
        """The call ended; on the engine's loop."""
        if not self.set_running_or_notify_cancel():
            return  # it was cancelled; now those know who wait for it among others
        if error is not None:
            self.set_exception(error)
        else:
            self.set_result(value)

    def result(self, timeout: float | None = None) -> Any:
        """What the call brought, decoded by whoever asks, not by the loop."""
        if not self.done():
            refuse_to_block()
        value = super().result(timeout)
        if not self._decoded:
            self._outcome = read(value, self._function, self._options, self._known)
            self._decoded = True
        return self._outcome

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What went wrong, be it that the result does not decode; None if nothing did."""
        if not self.done():
            refuse_to_block()
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
            self._engine.cancel(self._number)
        return cancelled


class _Reply:
    """What one thread waits for; a lock is all it takes, and wakes it sooner than a future would."""

    __slots__ = ("error", "here", "value")

    def __init__(self) -> None:
        self.here = threading.Lock()
        self.here.acquire()
        self.value: Value | None = None
        self.error: EasyRemoteError | None = None

    def feed(self, value: Value, cost: int) -> None:
        """Plain calls have no items."""

    def settle(self, value: Value | None, error: EasyRemoteError | None) -> None:
        """The call ended; on the engine's loop."""
        self.value, self.error = value, error
        self.here.release()


class Client(Face):
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
        lost_after: float = LOST_AFTER_SECONDS,
        timeout: float | None = None,
        policy: str = "prequal",
        patience: float = 30.0,
        retry: Retry | None = None,
        hedge_after: float | None = None,
        max_value_bytes: int = CLIENT_MAX_VALUE_BYTES,
        invite: str | None = None,
        grants: Iterable[str] = (),
        home: Path | None = None,
        pickle_with: Iterable[str] = (),
        direct: bool | None = None,
        connection_timeout_ms: float | None = None,
        request_timeout_ms: float | None = None,
        **old_options: object,
    ) -> None:
        for name in old_options:
            if name not in IGNORED:
                raise TypeError(f"Client() has no option {name!r}")
            warnings.warn(f"Client({name}=…) has no effect since version 3", FutureWarning, stacklevel=2)
        super().__init__(
            gateway_address,
            connect_timeout=connect_timeout
            if connection_timeout_ms is None
            else connection_timeout_ms / 1000,
            lost_after=lost_after,
            timeout=timeout if request_timeout_ms is None else request_timeout_ms / 1000,
            policy=policy,
            patience=patience,
            retry=retry,
            hedge_after=hedge_after,
            max_value_bytes=max_value_bytes,
            invite=invite,
            grants=grants,
            home=home,
            pickle_with=pickle_with,
            direct=direct,
        )

    # ---- calling

    def execute(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function and return what it returns; see ``AsyncClient.execute``."""
        kwargs, options = self._split(function, kwargs)
        return self._execute(function, args, kwargs, options, ())

    @overload
    def submit(
        self, function: str, /, *args: Any, durable: Literal[True], keep: float = ..., **kwargs: Any
    ) -> Job: ...
    @overload
    def submit(self, function: str, /, *args: Any, **kwargs: Any) -> Future[Any]: ...

    def submit(self, function: str, /, *args: Any, **kwargs: Any) -> Future[Any] | Job:
        """Call a function without waiting; cancelling the future cancels the call.

        With ``durable=True`` the call is on the gateway's disk, sealed for its node, when this returns a ``Job``: this
        program may end, the node may be away. The call is made once, when the node is there; its result waits at the
        gateway, sealed, for whoever asks with the job's id. Each waits up to ``keep=`` seconds, seven days by default.

        Raises:
            UnknownFunctionError: No node that takes durable calls offers it.
            MailboxError: The gateway's mailbox is full, or does not take so much; nothing is kept.
            LinkError: The gateway does not answer.
        """
        kwargs, options = self._split(function, kwargs)
        if options.durable:
            from easyremote.client.job import Job

            arguments = ask_durably(function, args, kwargs, options)
            work = self._connection.engine.jobs.submit(function, arguments, options)
            return Job(self._connection, run_in_background(work))
        return self._submit(function, args, kwargs, options, ())

    def _execute(
        self,
        function: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options,
        known: tuple[type, ...],
    ) -> Any:
        refuse_to_block()
        engine = self._connection.engine
        request = ask(engine.number(), function, args, kwargs, options)
        reply = _Reply()
        begin(engine, request, reply, options)
        try:
            reply.here.acquire()
        except BaseException:  # interrupted while waiting
            engine.cancel(request.call)
            raise
        if reply.error is not None or reply.value is None:
            raise reply.error or CallCancelledError()
        return read(reply.value, function, options, known)

    def _submit(
        self,
        function: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options,
        known: tuple[type, ...],
    ) -> Future[Any]:
        engine = self._connection.engine
        request = ask(engine.number(), function, args, kwargs, options)
        answer = _Answer(self._connection, engine, known, request, options)
        begin(engine, request, answer, options)
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
        refuse_to_block()
        mapping = Mapping(
            self._connection,
            function,
            self._options,
            ordered=ordered,
            return_exceptions=return_exceptions,
            max_in_flight=max_in_flight,
        )
        return drain(mapping, iter(items))

    def stream(self, function: str, /, *args: Any, **kwargs: Any) -> Stream:
        """Call a generator; ``for`` takes its items as they are yielded."""
        kwargs, options = self._split(function, kwargs)
        return self._stream(function, args, kwargs, options, ())

    def _stream(
        self,
        function: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options,
        known: tuple[type, ...],
    ) -> Stream:
        refuse_to_block()
        number = self._connection.engine.number()
        request = ask(number, function, args, kwargs, options, stream=True)
        return Stream(self._connection, known, request, options)

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

    # ---- durable calls

    def job(self, id: str) -> Job:
        """A durable call, by the id that ``submit`` gave; from any process or device of the same account.

        Raises:
            UsageError: That is no job's id.
        """
        from easyremote.client.job import Job
        from easyremote.trust.letter import read_job

        return Job(self._connection, read_job(id))

    def jobs(self) -> list[JobStatus]:
        """The durable calls this device has submitted, the newest first, and how they stand."""
        return run_in_background(self._connection.engine.jobs.listed())

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
        return function_records(self._live_directory())

    def list_nodes(self) -> list[NodeRecord]:
        """Every connected node, by name."""
        return node_records(self._live_directory())

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
            raise unknown_node_error(node_id, set(records))
        return records[node_id]

    def _directory(self) -> Directory:
        """The directory as it was when last seen: good enough to know a function's parameters."""
        engine = self._connection.engine
        return engine.directory if engine.directory.synced else self._live_directory()

    def _live_directory(self) -> Directory:
        engine = self._connection.engine
        if engine.live:
            return engine.directory
        refuse_to_block()
        return run_in_background(engine.ready())

    # ---- beginning and ending

    def connect(self) -> Client:
        """Connect now instead of at the first call.

        Raises:
            LinkError: The gateway does not answer within the connect timeout.
        """
        self._connection.closed = False
        self._live_directory()
        return self

    def close(self) -> None:
        """Cancel what is open and disconnect."""
        refuse_to_block()
        engine = self._connection.take()
        if engine is not None:
            run_in_background(engine.close())

    disconnect = close

    def __enter__(self) -> Client:
        """Connect; leaving closes."""
        return self.connect()

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def refuse_to_block() -> None:
    """Waiting is for threads: EasyRemote's own loop would wait for itself.

    Raises:
        UsageError: This is EasyRemote's own loop.
    """
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        return
    if running is background_loop():
        raise UsageError(
            "a blocking Client cannot wait on EasyRemote's own loop: in an `async def` function of a "
            "node, use AsyncClient; in a future's callback, submit() and do not wait"
        )
