"""``ComputeNode``: a device that serves functions.

It joins three things and adds nothing of its own: the registry (what is served), the machine (which
calls are taken) and the executor (what runs them).
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar, overload

from easyremote.errors import EasyRemoteError, ListenError, UsageError
from easyremote.links.address import check_address, default_gateway
from easyremote.links.connector import LOCAL, check_listen
from easyremote.links.ending import told_to_end, wait
from easyremote.links.entrance import Entrance
from easyremote.links.loop import background_loop, run_in_background
from easyremote.links.machine import machine_name
from easyremote.node.household import Household
from easyremote.node.registry import Registry
from easyremote.node.serving import Profile, Reception, Serving
from easyremote.protocol.worker import CALLS_MAX
from easyremote.trace import announce, log
from easyremote.trust.keyring import Keyring
from easyremote.wire.limits import NODE_MAX_VALUE_BYTES

F = TypeVar("F", bound=Callable[..., Any])

DRAIN_SECONDS = 10.0

IGNORED = frozenset(
    [
        "function_type",
        "priority",
        "enable_caching",
        "cache_ttl_seconds",
        "execution_mode",
        "load_balancing",
        "resource_requirements",
    ]
)
"""Registration options of version 2.0.2 that mean nothing here."""


class ComputeNode:
    """A device that serves functions to those who may call them.

    ::

        node = ComputeNode("your-gateway:8080")

        @node.register
        def ai_inference(prompt):
            return your_local_model.generate(prompt)

        node.serve()

    Args:
        gateway_address: ``host:port``; default what ``EASYREMOTE_GATEWAY`` says, else this machine's port 8080.
        node_id: The node's name, as in ``"name.function"``; default the machine's, with a number
            behind it if another process has that.
        node_capabilities: Words for what the node can do; callers may ask for them.
        invite: A line from ``easynet invite``, if this device has not joined the network yet; default
            ``EASYREMOTE_INVITE``.
        listen: Where callers may reach the node without the gateway, which is quicker and goes on when the gateway
            is away: ``"local"`` for programs of this machine, ``"lan"`` for all its addresses, ``"host:port"``
            for one that is this machine's or leads to it, None for nowhere. Members of the network alone get in.
        audit: Whether to write down who called what, when, and how it ended (see ``easynet audit``).
        jobs: Whether calls may wait for this node in the gateway's mailbox while it is away
            (``client.submit(…, durable=True)``), and are made when it is back.
        labels: Names and values callers may ask for, such as ``{"zone": "eu"}``.
        max_value_bytes: The largest argument the node takes.
        threads: How many plain functions may run at a time.
        capacity: How many calls may run or wait at a time; more are refused.
        post_quantum: Whether sessions are agreed on with ML-KEM-768 and X25519 together, or X25519 alone.
        log_level: ``"info"``, or ``"debug"`` to see calls by id.
        home: Where this device's key is kept; default ``EASYREMOTE_HOME`` or ``~/.easyremote``.
    """

    def __init__(
        self,
        gateway_address: str | None = None,
        node_id: str | None = None,
        node_capabilities: Iterable[Any] | None = None,
        *,
        invite: str | None = None,
        listen: str | None = LOCAL,
        audit: bool = True,
        jobs: bool = True,
        labels: dict[str, str] | None = None,
        max_value_bytes: int = NODE_MAX_VALUE_BYTES,
        threads: int = 64,
        capacity: int = CALLS_MAX,
        post_quantum: bool = True,
        log_level: str = "info",
        home: Path | None = None,
        **old_options: object,
    ) -> None:
        for name in old_options:
            if name == "name":
                raise TypeError(
                    "ComputeNode() has no option 'name': the node's name is node_id=, or the second argument"
                )
            if name != "config":
                raise TypeError(f"ComputeNode() has no option {name!r}")
            warnings.warn(f"ComputeNode({name}=…) has no effect since version 3", FutureWarning, stacklevel=2)
        self._gateway = check_address(gateway_address) if gateway_address is not None else None
        wanted_name = _check_name(node_id) if node_id is not None else f"{machine_name()}*"
        self._profile = Profile(
            wanted_name=wanted_name,
            capabilities=sorted(str(one) for one in node_capabilities or ()),
            labels=dict(labels or {}),
            max_value_bytes=max_value_bytes,
            threads=threads,
            capacity=capacity,
            suite="hybrid" if post_quantum else "classic",
            audit=audit,
            jobs=jobs,
            listen=check_listen(listen),
        )
        self._invite = invite
        self._verbose = log_level.lower() == "debug"
        self._home = home
        self._registry = Registry()
        household = Household(drain=self._drain_soon, stories=self._stories)
        self._registry.add_own(household.functions())
        self._reception = Reception(wanted_name.rstrip("*"))
        self._running: Serving | None = None
        self._stopped = threading.Event()
        self._failure: EasyRemoteError | None = None

    # ---- functions

    @overload
    def register(self, func: F) -> F: ...
    @overload
    def register(self, func: None = None, **options: Any) -> Callable[[F], F]: ...

    def register(self, func: Any = None, **options: Any) -> Any:
        """Serve a function; bare or with options, as a decorator or a call, before ``serve`` or after.

        Args:
            func: The function: ``def``, ``async def``, a generator of either kind, a bound method, or
                a lambda with ``name=``.
            **options: ``name``, ``description``, ``tags``, ``version``, ``timeout_seconds`` (enforced
                here), ``max_concurrent``, ``idempotent`` (running it twice does no harm),
                ``resources``, ``cache_ttl`` (seconds; only then are results kept), ``listed`` (False
                keeps its name out of the directory), ``allow`` (who may call it: ``"network"``, every
                member; ``"account"``, the owner's own devices; a list of names of devices or accounts; or
                a function that is given the ``Caller`` and says yes or no, quickly), ``codec``,
                ``pickle_from``, ``replace``.

        ``codec="pickle"`` has the function take pickled calls besides plain ones, and answer them with
        pickles, for objects that have no form on the wire otherwise. ``pickle_from`` says whose: a list of
        names of devices or accounts, or of device ids. **Each of them can run any code on this machine as
        you.** Only a device id is surely one device: unless its invite fixed it, a device chooses its own name
        when it joins, be it that of another device or of an account. Nobody else's pickles are loaded; the
        caller has to ask for it too, see ``Client``.

        Returns:
            The function, unchanged.

        Raises:
            UsageError: It has no name, the name is taken, or an option makes no sense.
        """
        cached = options.get("enable_caching", True)
        for name in [name for name in options if name in IGNORED]:
            value = options.pop(name)
            if name == "cache_ttl_seconds" and value is not None:
                options["cache_ttl"] = value if cached else None
            elif name == "resource_requirements" and isinstance(value, dict):
                options["resources"] = value
            elif name != "load_balancing":
                warnings.warn(
                    f"register({name}=…) has no effect since version 3", FutureWarning, stacklevel=2
                )

        def add(function: Any) -> Any:
            self._changed(self._registry.add(function, **options).name)
            return function

        return add if func is None else add(func)

    def unregister(self, function_name: str) -> bool:
        """Serve a function no longer; calls that run finish. False if it was not served."""
        removed = self._registry.remove(function_name)
        if removed:
            self._changed(function_name)
        return removed

    def _changed(self, name: str) -> None:
        """A function was added, replaced or removed."""
        running = self._running
        if running is not None:
            running.call(running.refresh, name)

    @property
    def registered_functions(self) -> dict[str, Callable[..., Any]]:
        """The functions served, by name."""
        return {entry.name: entry.function for entry in self._registry.entries()}

    # ---- serving

    @property
    def name(self) -> str:
        """The node's name; if none was given, what the gateway made of the machine's."""
        return self._reception.name

    node_id = name

    @property
    def gateway_address(self) -> str:
        """The gateway this node serves through."""
        return self._address()

    @property
    def is_connected(self) -> bool:
        """Whether the gateway has welcomed the node and the link stands."""
        return self._reception.connected.is_set()

    def serve(self, blocking: bool = True) -> threading.Thread | None:
        """Connect and serve, and reconnect whenever the link breaks.

        Blocking, it returns when ``stop`` is called or the process is told to end (Ctrl-C, SIGTERM):
        then what runs may finish, for up to ten seconds, and nothing new is taken.

        Returns:
            None when blocking; else a thread that ends when the node has stopped.

        Raises:
            NameTakenError: Another device has the node's name. When not blocking, ``wait_for_connection``
                raises it.
            ListenError: The address of ``listen=`` is in use, or not this machine's.
        """
        self._stopped.clear()
        if not blocking:
            self._start()
            waiter = threading.Thread(target=self._stopped.wait, name="easyremote-node", daemon=True)
            waiter.start()
            return waiter
        announce(verbose=self._verbose)
        with told_to_end(self._stopped):
            self._start()
            wait(self._stopped)
        self.stop()
        if self._failure is not None:
            raise self._failure
        return None

    def stop(self, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Take nothing new, let what runs finish for so many seconds, then leave.

        Raises:
            UsageError: An ``async def`` function of a node calls it, which would have to end first.
        """
        if _on_background_loop():
            raise UsageError(
                "node.stop() waits for calls to end, so an `async def` function of a node cannot call it: use "
                "threading.Thread(target=node.stop).start()"
            )
        running = self._running
        if running is not None:
            many = running.open_calls
            told = "1 call is" if many == 1 else f"{many} calls are"
            log.info("node %s is stopping; %s running", self._reception.name, told)
            try:
                run_in_background(running.close(drain_seconds))
            except KeyboardInterrupt:  # Ctrl-C again: what runs is not waited for
                run_in_background(running.close(0.0))
            if self._running is not running:
                return  # it was stopped by another before, and may serve anew
            self._running = None
            self._reception.connected.clear()
            log.info("node %s stopped", self._reception.name)
        self._stopped.set()
        self._reception.decided.set()  # for those who wait now
        self._reception.decided.clear()

    def drain(self) -> None:
        """Take nothing new, let what runs finish however long it takes, see every answer to its caller, then leave.

        A blocking ``serve`` returns then. To start programs of a network anew one after the other loses nothing.

        Raises:
            UsageError: As ``stop`` does.
        """
        self.stop(math.inf)

    def _drain_soon(self) -> int:
        """Begin to drain, for who asks on the loop; how many calls are to finish, but for this one."""
        running = self._running
        if running is None:
            return 0
        threading.Thread(target=self.drain, name="easyremote-drain", daemon=True).start()
        return running.open_calls - 1

    def _stories(self, calls: list[str]) -> list[tuple[float, str, str, str]]:
        """What happened to these calls here, of what their caller may know."""
        running = self._running
        return running.stories.of(calls) if running is not None else []

    def wait_for_connection(self, timeout: float | None = None) -> bool:
        """Wait until the gateway has welcomed the node; False if it has not within the time, or was stopped.

        Raises:
            NameTakenError: Another device has the node's name.
        """
        if self._failure is None:
            self._reception.decided.wait(timeout)
        if self._failure is not None:
            raise self._failure
        return self._reception.connected.is_set()

    def __enter__(self) -> ComputeNode:
        """Serve in the background."""
        self.serve(blocking=False)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def _address(self) -> str:
        return check_address(self._gateway) if self._gateway else default_gateway()

    def _start(self) -> None:
        if self._running is not None:
            raise UsageError(f"node {self._reception.name!r} is already serving")
        self._failure = None
        self._reception.decided.clear()
        address = self._address()
        keyring = Keyring(self._home)
        identity = keyring.identity(os.urandom(32))
        entrance = Entrance(
            address,
            identity,
            keyring,
            invite=self._invite,
            name=self._profile.wanted_name.rstrip("*"),
            role="node",
        )

        async def start() -> None:
            serving = Serving(
                self._profile,
                self._registry,
                self._reception,
                identity=identity,
                entrance=entrance,
                home=keyring.home,
                turned_away=self._turned_away,
            )
            self._running = serving  # before it looks: what is registered from now on is told to it
            try:
                await serving.start()
            except ListenError:
                self._running = None
                await serving.close(0.0)
                raise

        run_in_background(start())

    def _turned_away(self, error: EasyRemoteError) -> None:
        """The gateway will not have us; called on the background loop."""
        self._failure = error
        self._running = None
        self._reception.connected.clear()
        self._stopped.set()
        self._reception.decided.set()


def _on_background_loop() -> bool:
    try:
        return asyncio.get_running_loop() is background_loop()
    except RuntimeError:
        return False


def _check_name(name: str) -> str:
    if (
        not isinstance(name, str)
        or not name
        or len(name) > 64
        or not name.isprintable()
        or set(name) & set(" */\\'\"")
    ):
        raise UsageError(
            f"a node's name is 1 to 64 printable characters without blanks, quotes, slashes or '*', not {name!r}"
        )
    return name
