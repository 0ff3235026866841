"""``@remote``: a function that is called as if it were here, and runs on a node.

The body stays what it is and can be run here with ``.local()``. Its kind decides how it is called: a
``def`` waits, an ``async def`` is awaited, a generator and an async generator stream.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import threading
import typing
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Generic, ParamSpec, TypeVar, overload

from easyremote.client.asking import OPTIONS, Options
from easyremote.client.blocking import Client
from easyremote.client.client import AsyncClient
from easyremote.client.face import Connection, new_connection
from easyremote.client.mapping import MAP_IN_FLIGHT
from easyremote.errors import UsageError
from easyremote.links.address import check_address, default_gateway

P = ParamSpec("P")
R = TypeVar("R")

_connections: dict[tuple[int, str], Connection] = {}
_lock = threading.Lock()


def shared_connection(gateway: str | None = None) -> Connection:
    """This process's connection to a gateway; all ``@remote`` functions of the gateway share it."""
    address = gateway or default_gateway()
    with _lock:
        connection = _connections.get((os.getpid(), address))
        if connection is None:
            connection = new_connection(address)
            _connections[os.getpid(), address] = connection
        return connection


class RemoteFunction(Generic[P, R]):
    """A function whose calls go to the network.

    Made by ``@remote``. Calling it from a thread waits; in a coroutine, an ``async def`` is awaited.
    """

    def __init__(
        self,
        function: Callable[P, R],
        *,
        function_name: str,
        gateway: str | None,
        options: Options,
        stream: bool,
        is_async: bool,
    ) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._name = function_name
        self._gateway = gateway
        self._options = options
        self._stream = stream
        self._async = is_async

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call it on a node: a value, an awaitable, or an iterator, as the body's kind says."""
        return self._call(args, kwargs)  # type: ignore[no-any-return]

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._stream:
            return self._items(args, kwargs)
        if self._async:
            return self._async_client()._execute(self._name, args, kwargs, self._options, self._known())
        return self._client()._execute(self._name, args, kwargs, self._options, self._known())

    def _items(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._async:
            return self._async_client()._stream(self._name, args, kwargs, self._known())
        return self._client()._stream(self._name, args, kwargs, self._options, self._known())

    def _future(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        return self._client()._submit(self._name, args, kwargs, self._options, self._known())

    def local(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the body here."""
        return self._function(*args, **kwargs)

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any] | asyncio.Task[Any]:
        """Call it without waiting: a future, or a task if the body is ``async``."""
        if not self._async:
            return self._future(args, kwargs)
        call = self._async_client()._execute(self._name, args, kwargs, self._options, self._known())
        return asyncio.create_task(call)

    def map(
        self,
        items: Iterable[Any],
        *,
        ordered: bool = True,
        return_exceptions: bool = False,
        max_in_flight: int = MAP_IN_FLIGHT,
    ) -> Any:
        """Call it once for every item, see ``Client.map``; ``async for`` if the body is ``async``."""
        client = self._async_client() if self._async else self._client()
        return client.map(
            self._name,
            items,
            ordered=ordered,
            return_exceptions=return_exceptions,
            max_in_flight=max_in_flight,
        )

    def stream(self, *args: Any, **kwargs: Any) -> Any:
        """Its items as they are yielded, whether the body is a generator or not."""
        return self._items(args, kwargs)

    def options(self, **changes: Any) -> RemoteFunction[P, R]:
        """This function with other options for its calls: ``timeout=``, ``node=``, ``policy=``, ``retry=`` and so on."""
        return RemoteFunction(
            self._function,
            function_name=self._name,
            gateway=self._gateway,
            options=self._options.changed(changes),
            stream=self._stream,
            is_async=self._async,
        )

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """As a method: the instance is the first argument."""
        return self if instance is None else functools.partial(self._call_as_method, instance)

    def _call_as_method(self, instance: object, *args: Any, **kwargs: Any) -> Any:
        return self._call((instance, *args), kwargs)

    def __reduce__(self) -> str:
        """Pickled by name, like any function, so that processes can be given it."""
        return str(self.__qualname__)  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        """What it is, for people."""
        return f"<remote {self._name!r}>"

    def _client(self) -> Client:
        return Client.over(shared_connection(self._gateway), self._options)

    def _async_client(self) -> AsyncClient:
        return AsyncClient.over(shared_connection(self._gateway), self._options)

    def _known(self) -> tuple[type, ...]:
        """Classes named by the result's type hint: results may be rebuilt as these."""
        try:
            hints = typing.get_type_hints(self._function)
        except Exception:  # a hint that names something only type checkers know
            return ()
        return tuple(_classes(hints.get("return")))


def _classes(hint: object) -> Iterator[type]:
    if isinstance(hint, type):
        yield hint
    for part in typing.get_args(hint):
        yield from _classes(part)


@overload
def remote(func: Callable[P, R]) -> RemoteFunction[P, R]: ...
@overload
def remote(
    func: None = None,
    *,
    function_name: str | None = None,
    node_id: str | None = None,
    timeout: float | None = None,
    stream: bool | None = None,
    async_func: bool | None = None,
    load_balancing: bool | str | dict[str, Any] = False,
    gateway_address: str | None = None,
    **more: Any,
) -> Callable[[Callable[P, R]], RemoteFunction[P, R]]: ...


def remote(
    func: Callable[..., Any] | None = None,
    *,
    function_name: str | None = None,
    node_id: str | None = None,
    timeout: float | None = None,
    stream: bool | None = None,
    async_func: bool | None = None,
    load_balancing: bool | str | dict[str, Any] = False,
    gateway_address: str | None = None,
    **more: Any,
) -> Any:
    """Make calls of a function go to a node that serves it. Bare, or with options.

    Args:
        func: The function, when used bare.
        function_name: The name nodes serve it under; default its own.
        node_id: The one node to ask, by name.
        timeout: Seconds a call may take.
        stream: Whether it streams; default whether it is a generator.
        async_func: Whether it is awaited; default whether it is ``async``.
        load_balancing: A policy's name, or ``{"strategy": …, "requirements": …}``.
        gateway_address: ``host:port``; default as for ``Client``.
        **more: Options of a call, ``policy=``, ``codec=``, ``retry=`` and ``hedge_after=``, and ``pickle_with=`` as for ``Client``; others
            warn and are ignored.
    """

    def decorate(function: Callable[..., Any]) -> RemoteFunction[..., Any]:
        if not callable(function):
            raise UsageError(f"@remote decorates a function, not {function!r}")
        changes: dict[str, Any] = {"timeout": timeout, "node": node_id}
        changes |= {name: more[name] for name in OPTIONS - changes.keys() if name in more}
        for name in more.keys() - OPTIONS - {"pickle_with"}:
            warnings.warn(f"@remote({name}=…) has no effect since version 3", FutureWarning, stacklevel=3)
        options = Options().trusting(more.get("pickle_with", ()))
        options = options.changed(changes).balanced(load_balancing)
        is_stream = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        return RemoteFunction(
            function,
            function_name=function_name or function.__name__,
            gateway=check_address(gateway_address) if gateway_address else None,
            options=options,
            stream=is_stream if stream is None else stream,
            is_async=is_async if async_func is None else async_func,
        )

    return decorate if func is None else decorate(func)
