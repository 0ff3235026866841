"""What both clients share: an address, options, and the engine behind them.

An engine runs on the process's background loop, which serves many loops and threads, unless a program says where:
``async with AsyncClient()`` has it on the loop it is entered on, where a call crosses no threads. It can be used
from elsewhere all the same while that loop runs; when it does not any more, the next use opens a new engine.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

from easyremote.client.asking import Options
from easyremote.client.engine import Engine
from easyremote.client.retry import Retry
from easyremote.errors import UsageError
from easyremote.links.address import check_address, default_gateway
from easyremote.links.loop import background_loop, forks, run_in_background
from easyremote.trust.grant import read_grant
from easyremote.wire.limits import CLIENT_MAX_VALUE_BYTES, LOST_AFTER_SECONDS

CONNECT_TIMEOUT_SECONDS = 5.0
DIRECT_VARIABLE = "EASYREMOTE_DIRECT"


class Connection:
    """One engine, opened on first use; a client and its variants with other options share it."""

    def __init__(self, gateway: str, make: Callable[[], Engine]) -> None:
        self.gateway = gateway
        self.closed = False
        self._here = False
        self._make = make
        self._engine: Engine | None = None
        self._process = 0

    @property
    def engine(self) -> Engine:
        """The engine; a forked child gets its own."""
        engine = self._engine
        if engine is None or self._process != forks() or (self._here and not engine.loop.is_running()):
            if self.closed:
                raise UsageError("this client is closed; make another, or call its connect()")
            self._open()
            engine = self._engine
        if engine is None:
            raise UsageError("this client could not be opened")
        return engine

    def open_here(self) -> None:
        """Open it on the running loop, if it is not open: there it is quickest."""
        self.closed = False
        engine = self._engine
        if engine is None or self._process != forks() or (self._here and not engine.loop.is_running()):
            self._engine, self._process, self._here = self._make(), forks(), True

    def _open(self) -> None:
        async def make() -> None:
            if self._engine is None or self._process != forks():
                self._engine, self._process = self._make(), forks()

        self._here = False
        if _running_loop() is background_loop():  # an `async def` function of a node, calling another
            self._engine, self._process = self._make(), forks()
        else:
            run_in_background(make())

    def take(self) -> Engine | None:
        """The engine, to be closed; the connection has none any more."""
        self.closed = True
        engine, self._engine = self._engine, None
        return engine if self._process == forks() else None

    def __del__(self) -> None:
        """A client nobody holds disconnects."""
        engine = self.take()
        if engine is not None and engine.loop.is_running():
            asyncio.run_coroutine_threadsafe(engine.close(), engine.loop)


def new_connection(
    gateway: str,
    *,
    connect_timeout: float = CONNECT_TIMEOUT_SECONDS,
    lost_after: float = LOST_AFTER_SECONDS,
    max_value_bytes: int = CLIENT_MAX_VALUE_BYTES,
    invite: str | None = None,
    grants: Iterable[str] = (),
    home: Path | None = None,
    direct: bool | None = None,
) -> Connection:
    """A connection that opens its engine with these options.

    Raises:
        GrantError: One of the lines is not a grant.
    """
    given = tuple(read_grant(line) for line in grants)
    wants_direct = os.environ.get(DIRECT_VARIABLE, "").lower() not in ("0", "off", "no", "false")

    def make() -> Engine:
        return Engine(
            gateway,
            connect_timeout=connect_timeout,
            lost_after=lost_after,
            max_value_bytes=max_value_bytes,
            home=home,
            invite=invite,
            grants=given,
            direct=wants_direct if direct is None else direct,
        )

    return Connection(gateway, make)


class Face:
    """The part of a client that does not depend on how it waits."""

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
    ) -> None:
        gateway = check_address(gateway_address) if gateway_address is not None else default_gateway()
        if not (isinstance(connect_timeout, (int, float)) and connect_timeout > 0):
            raise UsageError(f"connect_timeout is a number of seconds above 0, not {connect_timeout!r}")
        if not (isinstance(lost_after, (int, float)) and 0 <= lost_after < float("inf")):
            raise UsageError(f"lost_after is a number of seconds, 0 or more, not {lost_after!r}")
        given = {"timeout": timeout, "policy": policy, "patience": patience, "retry": retry}
        given["hedge_after"] = hedge_after
        self._options = Options().changed(given).trusting(pickle_with)
        self._connection = new_connection(
            gateway,
            connect_timeout=connect_timeout,
            lost_after=lost_after,
            max_value_bytes=max_value_bytes,
            invite=invite,
            grants=grants,
            home=home,
            direct=direct,
        )

    @property
    def gateway_address(self) -> str:
        """The gateway this client uses."""
        return self._connection.gateway

    def options(self, **changes: Any) -> Self:
        """This client with other options for its calls: ``timeout=``, ``node=``, ``policy=``, ``codec=``,
        ``retry=``, ``hedge_after=``.

        Raises:
            UsageError: An option is unknown, or its value makes no sense.
        """
        return self.over(self._connection, self._options.changed(changes))

    @classmethod
    def over(cls, connection: Connection, options: Options) -> Self:
        """A client over a connection that there is already."""
        made = object.__new__(cls)
        made._connection, made._options = connection, options
        return made


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
