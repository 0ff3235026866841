"""``ComputeNode``: a device that serves functions.

It joins three things and adds nothing of its own: the registry (what is served), the machine (which
calls are taken) and the executor (what runs them).
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar, overload

from easyremote.errors import EasyRemoteError, LinkError, UsageError
from easyremote.links.address import check_address, default_gateway
from easyremote.links.driver import Driver
from easyremote.links.ending import told_to_end, wait
from easyremote.links.entrance import Entrance
from easyremote.links.link import Link
from easyremote.links.loop import background_loop, run_in_background
from easyremote.node.executor import Executor
from easyremote.node.facts import has_aes, machine_facts
from easyremote.node.record import Record
from easyremote.node.registry import Entry, Registry
from easyremote.protocol.device import Device
from easyremote.protocol.directory import card_transcript
from easyremote.protocol.effects import (
    Attached,
    CallEnded,
    Detached,
    Effect,
    Grant,
    Notice,
    Renewed,
    RevocationsChanged,
    Start,
    Stop,
    Turned,
)
from easyremote.protocol.events import CardChanged, DrainStarted, Joined, Offer, Offered, Withdrawn, Woken
from easyremote.protocol.worker import CALLS_MAX
from easyremote.trace import announce, emit, log, watched
from easyremote.trust.handshake import Prekeys
from easyremote.trust.identity import Identity
from easyremote.trust.keyring import Keyring
from easyremote.wire.cards import NodeCard, PrekeyCard, encode_card
from easyremote.wire.limits import NODE_MAX_VALUE_BYTES

F = TypeVar("F", bound=Callable[..., Any])

CONNECT_TIMEOUT_SECONDS = 5.0
DRAIN_SECONDS = 10.0
PREKEY_SECONDS = 3600.0
WEAR_SECONDS = 10.0
CARD_SECONDS = 2 * PREKEY_SECONDS
"""A card is shown anew with every prekey; one that is older than this is nobody's."""

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
        audit: Whether to write down who called what, when, and how it ended (see ``easynet audit``).
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
        audit: bool = True,
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
            if name != "config":
                raise TypeError(f"ComputeNode() has no option {name!r}")
            warnings.warn(f"ComputeNode({name}=…) has no effect since version 3", FutureWarning, stacklevel=2)
        self._gateway = check_address(gateway_address) if gateway_address is not None else None
        self._wanted_name = _check_name(node_id) if node_id is not None else f"{_machine_name()}*"
        self._capabilities = sorted(str(one) for one in node_capabilities or ())
        self._labels = dict(labels or {})
        self._invite, self._audit = invite, audit
        self._max_value_bytes = max_value_bytes
        self._threads = threads
        self._capacity = capacity
        self._suite = "hybrid" if post_quantum else "classic"
        self._verbose = log_level.lower() == "debug"
        self._home = home
        self._registry = Registry()
        self._name = self._wanted_name.rstrip("*")
        self._running: _Running | None = None
        self._connected = threading.Event()
        self._decided = threading.Event()  # welcomed, turned away or stopped
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
        return self._name

    node_id = name

    @property
    def gateway_address(self) -> str:
        """The gateway this node serves through."""
        return self._address()

    @property
    def is_connected(self) -> bool:
        """Whether the gateway has welcomed the node and the link stands."""
        return self._connected.is_set()

    def serve(self, blocking: bool = True) -> threading.Thread | None:
        """Connect and serve, and reconnect whenever the link breaks.

        Blocking, it returns when ``stop`` is called or the process is told to end (Ctrl-C, SIGTERM):
        then what runs may finish, for up to ten seconds, and nothing new is taken.

        Returns:
            None when blocking; else a thread that ends when the node has stopped.

        Raises:
            NameTakenError: Another device has the node's name. When not blocking, ``wait_for_connection``
                raises it.
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
        running, self._running = self._running, None
        if running is not None:
            log.info("node %s is stopping; %d calls are running", self._name, running.open_calls)
            try:
                run_in_background(running.close(drain_seconds))
            except KeyboardInterrupt:  # Ctrl-C again: what runs is not waited for
                run_in_background(running.close(0.0))
            self._connected.clear()
            log.info("node %s stopped", self._name)
        self._stopped.set()
        self._decided.set()  # for those who wait now
        self._decided.clear()

    def wait_for_connection(self, timeout: float | None = None) -> bool:
        """Wait until the gateway has welcomed the node; False if it has not within the time, or was stopped.

        Raises:
            NameTakenError: Another device has the node's name.
        """
        if self._failure is None:
            self._decided.wait(timeout)
        if self._failure is not None:
            raise self._failure
        return self._connected.is_set()

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
            raise UsageError(f"node {self._name!r} is already serving")
        self._failure = None
        self._decided.clear()
        address = self._address()
        keyring = Keyring(self._home)
        identity = keyring.identity(os.urandom(32))
        entrance = Entrance(
            address, identity, keyring, invite=self._invite, name=self._wanted_name.rstrip("*"), role="node"
        )

        async def start() -> None:
            _Running(self, identity, entrance, keyring.home)

        run_in_background(start())


class _Running:
    """A node while it serves; everything here happens on the background loop."""

    def __init__(self, node: ComputeNode, identity: Identity, entrance: Entrance, home: Path) -> None:
        self._node = node
        self._identity = identity
        self._entrance = entrance
        self._address = entrance.address
        self._home = home
        self._record: Record | None = None
        self._credential = b""
        self._loop = asyncio.get_running_loop()
        self._endpoint = identity.device + os.urandom(8)
        self._card_number = 0
        self._told_unreachable = False
        self._draining = False
        self._ending: asyncio.Task[None] | None = None
        self._prekeys = Prekeys(suite=node._suite, aead="aes256gcm" if has_aes() else "chacha20poly1305")
        self._device = Device(
            identity,
            self._endpoint,
            name=node._wanted_name,
            role="node",
            entropy=os.urandom,
            dice=random.random,
            prekeys=self._prekeys,
            max_value_bytes=node._max_value_bytes,
            capacity=node._capacity,
            clock=time.time,
        )
        self._driver = Driver(self._device, self._connect, self._perform)
        self._executor = Executor(node._registry, self._driver.post, loop=self._loop, threads=node._threads)
        self._facts = machine_facts()
        self._rotate_prekey()
        self._replace_worn_prekey()
        node._running = self  # before looking: what is registered from now on is told to us
        for entry in node._registry.entries():
            self._driver.post(_offered(entry))
        self._driver.start()

    def call(self, function: Callable[..., None], *args: Any) -> None:
        """Do something on the loop, from any thread."""
        self._loop.call_soon_threadsafe(function, *args)

    @property
    def open_calls(self) -> int:
        """Calls that run or wait."""
        return len(self._device.worker) if self._device.worker is not None else 0

    def refresh(self, name: str) -> None:
        """Serve a function as it is registered now, or no longer: changes may come out of order."""
        entry = self._node._registry.get(name)
        self._driver.post(_offered(entry) if entry is not None else Withdrawn(name))
        self._show_card()

    async def close(self, drain_seconds: float) -> None:
        """Drain, leave, stop."""
        self._rotation.cancel()
        self._wear_check.cancel()
        self._draining = True
        self._driver.post(DrainStarted())
        if self._driver.connected:
            self._show_card()
        deadline = self._loop.time() + drain_seconds
        while self.open_calls and self._driver.connected and self._loop.time() < deadline:
            await asyncio.sleep(0.01)
        await self._executor.close()
        if self._driver.connected:
            await self._driver.flush(1.0)
            self._driver.let_go()
            self._device.attachment.leave()
            self._driver.post(Woken())  # so that it is sent
            await self._driver.flush(0.2)
        await self._driver.close()
        if self._record is not None:
            await asyncio.to_thread(self._record.close)

    # ---- what the machine asks for

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Start):
            if watched():
                emit("call started", effect.call_id, effect.function)
            if effect.spends and self._record is not None:
                self._record.pay_then(effect, self._executor.start, self._driver.post)
            else:
                self._executor.start(effect)
        elif isinstance(effect, CallEnded):
            if self._record is not None:
                self._record.ended(effect)
        elif isinstance(effect, Stop):
            if self._record is not None:
                self._record.abandon(effect.key)
            self._executor.stop(effect.key, effect.reason)
        elif isinstance(effect, Grant):
            self._executor.grant(effect.key, effect.size)
        elif isinstance(effect, Renewed):
            self._credential = effect.credential
            if self._node._connected.is_set():
                self._show_card()
        elif isinstance(effect, RevocationsChanged):
            self._entrance.keep_revocations(effect.revocations)
        elif isinstance(effect, Attached):
            self._attached(effect.name)
        elif isinstance(effect, Detached):
            self._node._connected.clear()
            self._node._decided.clear()
            if not self._draining:
                log.warning("node %s lost its gateway: %s; reconnecting", self._node._name, effect.reason)
        elif isinstance(effect, Turned):
            self._turned(effect.error)
        elif isinstance(effect, Notice) and watched():
            emit(effect.name, f"{effect.call:016x}" if effect.call else "", effect.detail)

    def _attached(self, name: str) -> None:
        node = self._node
        node._name = name
        if self._record is None:
            self._open_record(name)
        if node._wanted_name.endswith("*"):
            self._device.attachment.name = f"{name}*"  # the same again after a restart of the gateway
        self._show_card()
        node._connected.set()
        node._decided.set()
        many = len(node._registry.entries())
        log.info(
            "node %s serves %d function%s through %s", name, many, "" if many == 1 else "s", self._address
        )

    def _open_record(self, name: str) -> None:
        """The name is known: from now on it is written down who calls, and what grants have paid for."""
        self._record = Record(self._home, name, audit=self._node._audit)
        worker = self._device.worker
        if worker is not None:
            worker.guard.recall(self._record.used())

    def _turned(self, error: EasyRemoteError) -> None:
        """The gateway will not have us: trying again would not help."""
        node = self._node
        log.error("node %s was turned away: %s", node._name, error)
        node._failure = error
        node._running = None
        node._connected.clear()
        self._ending = self._loop.create_task(self.close(0.0))
        node._stopped.set()
        node._decided.set()

    async def _connect(self) -> Link:
        try:
            link = await self._entrance.connect(CONNECT_TIMEOUT_SECONDS, self._joined)
        except LinkError as error:
            if not self._told_unreachable:
                self._told_unreachable = True
                log.warning("%s; still trying", error)
            raise
        self._told_unreachable = False
        return link

    def _joined(self, joined: Joined) -> None:
        self._credential = joined.credential
        self._driver.post(joined)

    # ---- the card

    def _rotate_prekey(self) -> None:
        """A fresh prekey: what was sealed to one before the last can be opened by nobody any more."""
        self._prekeys.rotate(os.urandom)
        self._rotation = self._loop.call_later(PREKEY_SECONDS, self._rotate_prekey)
        if self._node._connected.is_set():
            self._show_card()

    def _replace_worn_prekey(self) -> None:
        """A prekey remembers the handshakes sealed to it; when they are many, the next is due early."""
        self._wear_check = self._loop.call_later(WEAR_SECONDS, self._replace_worn_prekey)
        if self._prekeys.worn:
            self._rotation.cancel()
            self._rotate_prekey()

    def _show_card(self) -> None:
        node = self._node
        self._card_number += 1
        prekey = self._prekeys.current
        card = encode_card(
            NodeCard(
                endpoint=self._endpoint,
                name=node._name,
                number=self._card_number,
                prekey=PrekeyCard(id=prekey.id, suite=prekey.suite, aead=prekey.aead, key=prekey.key),
                membership=self._credential,
                expires_seconds=time.time() + CARD_SECONDS,
                functions=node._registry.cards(),
                facts=self._facts,
                labels=node._labels,
                capabilities=node._capabilities,
                max_value_bytes=node._max_value_bytes,
                capacity=node._capacity,
                draining=self._draining,
            )
        )
        self._driver.post(CardChanged(card, self._identity.sign(card_transcript(card))))


def _offered(entry: Entry) -> Offered:
    return Offered(Offer(entry.name, entry.max_concurrent, entry.timeout_seconds, entry.rule))


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


def _machine_name() -> str:
    name = socket.gethostname().split(".")[0].lower()
    kept = "".join(c if c.isalnum() or c in "-_" else "-" for c in name).strip("-")[:48]
    return kept or "node"
