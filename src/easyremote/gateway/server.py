"""The gateway: links on one side, the router's machine on the other, nothing of its own between."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from easyremote.errors import ListenError, MailboxError, RemoteProtocolError, UsageError
from easyremote.gateway.office import Office
from easyremote.gateway.ports import Backlog, Port
from easyremote.gateway.postoffice import PostOffice
from easyremote.gateway.views import GatewayView, view_of
from easyremote.links.address import check_address
from easyremote.links.ending import told_to_end, wait
from easyremote.links.link import Link, Listener
from easyremote.links.loop import background_loop, run_in_background
from easyremote.links.relay import listen, peer_address
from easyremote.protocol.attachment import FEATURES
from easyremote.protocol.gateway_effects import (
    Admit,
    Close,
    Mailing,
    Operation,
    Pause,
    Renew,
    Report,
    Send,
)
from easyremote.protocol.gateway_events import (
    DeviceRenamed,
    GatewayLinkClosed,
    GatewayLinkOpened,
    GatewayPacketReceived,
    GatewayWoken,
    RouterEvent,
)
from easyremote.protocol.limits import DEFAULT_LIMITS, DEFAULT_MAILBOX, Limits, MailboxLimits
from easyremote.protocol.router import Router
from easyremote.trace import announce, log
from easyremote.trust.identity import device_text
from easyremote.trust.keyring import Keyring
from easyremote.trust.membership import MEMBERSHIP_SECONDS
from easyremote.wire.frame import walk
from easyremote.wire.limits import LEASE_SECONDS

IGNORED = frozenset(
    [
        "max_queue_size",
        "max_workers",
        "max_total_active_streams",
        "max_streams_per_node",
        "stream_response_queue_size",
        "enable_monitoring",
        "enable_analytics",
        "enable_security",
        "enable_clustering",
        "cleanup_interval_seconds",
    ]
)
"""Options of version 2.0.2 that mean nothing here; they are taken, warned about and ignored."""


MAILBOX = "network/mailbox.db"
TURN_FRAMES = 16
"""Frames of one packet that are passed on before others have their turn."""


class Server:
    """A gateway: devices connect to it, and it carries what they say to each other, sealed.

    ::

        Server(port=8080).start()

    On its first start it makes a network, whose members alone get in: every process of this user on this machine
    at once, other devices with an invite (``easynet invite``).

    Args:
        port: The TCP port; 0 lets the system choose one, see ``address``.
        host: The address to listen on; default what ``EASYREMOTE_HOST`` says, else all interfaces.
        heartbeat_timeout_seconds: The lease: a device with calls that is silent for so long is taken for gone, and
            an idle one after twice as long.
        open: Whether anyone may join the network. Nodes still decide whom they serve: there, functions are
            for their owner's devices unless registered with ``allow=``.
        certificate: A PEM file with a certificate that a public authority vouches for; default one of the
            gateway's own making, which devices know by its fingerprint.
        key: The PEM file with the certificate's key.
        addresses: How devices elsewhere reach the gateway, for invites; default this machine's addresses.
        membership_seconds: How long a membership holds; devices in good standing get the next in time. The
            shorter, the sooner a device is out that a network's root or another gateway would put out.
        limits: What one address and one device may take; see ``protocol.limits.Limits``.
        mailbox: What the mailbox holds at most, in which calls wait for nodes that are away, and results for callers
            that left; None for a gateway without one.
        log_level: ``"info"``, or ``"debug"`` to see more.
        home: Where the network's keys and its devices are kept; default ``EASYREMOTE_HOME`` or ``~/.easyremote``.
        **old_options: Options of version 2.0.2, ignored with a warning.
    """

    def __init__(
        self,
        port: int = 8080,
        heartbeat_timeout_seconds: float = LEASE_SECONDS,
        *,
        host: str | None = None,
        open: bool = False,
        certificate: Path | str | None = None,
        key: Path | str | None = None,
        addresses: Sequence[str] = (),
        membership_seconds: float = MEMBERSHIP_SECONDS,
        limits: Limits = DEFAULT_LIMITS,
        mailbox: MailboxLimits | None = DEFAULT_MAILBOX,
        log_level: str = "info",
        home: Path | None = None,
        **old_options: object,
    ) -> None:
        for name in old_options:
            if name not in IGNORED:
                raise TypeError(f"Server() has no option {name!r}")
            warnings.warn(f"Server({name}=…) has no effect since version 3", FutureWarning, stacklevel=2)
        if not 0 <= port <= 65535:
            raise UsageError(f"a port is a number from 0 to 65535, not {port!r}")
        if heartbeat_timeout_seconds <= 0:
            raise UsageError(f"heartbeat_timeout_seconds must be above 0, not {heartbeat_timeout_seconds!r}")
        if (certificate is None) != (key is None):
            raise UsageError(
                "a certificate comes with its key: Server(certificate='gateway.pem', key='gateway.key')"
            )
        self._host = os.environ.get("EASYREMOTE_HOST", "") if host is None else host
        self._port = port
        self._lease_seconds = float(heartbeat_timeout_seconds)
        self._open_to_all = open
        self._files = (Path(certificate), Path(key)) if certificate is not None and key is not None else None
        self._addresses = [check_address(one) for one in addresses]
        if not membership_seconds >= 1.0:
            raise UsageError(f"membership_seconds is 1 or more, not {membership_seconds!r}")
        self._membership_seconds = float(membership_seconds)
        self._limits = limits
        if mailbox is not None and not isinstance(mailbox, MailboxLimits):
            raise UsageError(
                f"mailbox is MailboxLimits(…), or None for a gateway without one, not {mailbox!r}"
            )
        self._mailbox_limits = mailbox
        self._verbose = log_level.lower() == "debug"
        self._home = home
        self._links = itertools.count(1)
        self._ports: dict[int, Port] = {}
        self._pauses: dict[int, float] = {}
        self._full: dict[int, Port] = {}  # links that are read no further, and what they wait for
        self._backlog = Backlog(limits.queue_bytes_per_connection)
        self._router: Router | None = None
        self._office: Office | None = None
        self._post_office: PostOffice | None = None
        self._listener: Listener | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = threading.Event()
        self._stopped.set()

    # ---- what a program calls

    @property
    def address(self) -> str:
        """``host:port`` as devices reach it; known once started."""
        if self._listener is None:
            raise UsageError("the server has no address before it is started")
        return self._listener.address

    @property
    def is_running(self) -> bool:
        """Whether it takes connections."""
        return self._listener is not None

    def start(self) -> Server:
        """Serve until ``stop`` is called or the process is told to end (Ctrl-C, SIGTERM).

        Raises:
            ListenError: The address is in use.
        """
        announce(verbose=self._verbose)
        self._stopped.clear()
        with told_to_end(self._stopped):
            self._open()
            log.info("gateway ready at %s; stop with Ctrl-C", self.address)
            wait(self._stopped)
        self.stop()
        log.info("gateway stopped")
        return self

    def start_background(self) -> threading.Thread:
        """Serve from a background thread; returns a thread that ends when the server does.

        Raises:
            ListenError: The address is in use.
        """
        self._stopped.clear()
        self._open()
        waiter = threading.Thread(target=self._stopped.wait, name="easyremote-server", daemon=True)
        waiter.start()
        return waiter

    def stop(self, grace: float = 0.5, timeout: float = 10.0) -> None:
        """Close every link and stop; devices will try to reconnect."""
        if self._listener is not None:
            run_in_background(self._close(grace), timeout)
        self._stopped.set()

    def view(self) -> GatewayView:
        """Who is connected, and how much was routed; a copy."""
        if self._router is None:
            raise UsageError("the server is not started")
        return view_of(self._router)

    def __enter__(self) -> Server:
        """Serve in the background."""
        self.start_background()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    # ---- on the loop

    def _open(self) -> None:
        if self._listener is not None:
            raise UsageError("the server is already started")
        _raise_open_files()
        office = self._office = Office(
            Keyring(self._home),
            open_to_all=self._open_to_all,
            files=self._files,
            addresses=self._addresses,
            limits=self._limits,
            membership_seconds=self._membership_seconds,
        )
        self._router = Router(
            office.gateway,
            lease_seconds=self._lease_seconds,
            limits=self._limits,
            revocations=office.revocations,
            features=FEATURES if self._mailbox_limits is not None else (),
        )
        try:
            run_in_background(self._listen(office))
        except (ListenError, MailboxError):
            self._stopped.set()
            self._close_offices()
            raise

    async def _listen(self, office: Office) -> None:
        certificate = office.certificate
        if self._mailbox_limits is not None:
            self._post_office = PostOffice(
                office.home / MAILBOX,
                self._mailbox_limits,
                clock=time.time,
                loop=asyncio.get_running_loop(),
                holder=office.holder,
                tell=self._handle,
            )
        self._listener = await listen(
            self._host,
            self._port,
            self._serve,
            office.enroll,
            key=certificate.key,
            chain=certificate.chain,
        )
        office.listening(self._host, self._listener.address)

    async def _close(self, grace_seconds: float) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.close(grace_seconds)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None  # started again, it looks after leases again
        self._close_offices()

    def _close_offices(self) -> None:
        post_office, self._post_office = self._post_office, None
        if post_office is not None:
            post_office.close()
        if self._office is not None:
            self._office.close()

    async def _serve(self, link: Link) -> None:
        """One device's link, from open to closed."""
        number = next(self._links)
        port = self._ports[number] = Port(number, link, self._backlog)
        self._handle(GatewayLinkOpened(number, os.urandom(32), peer_address(link.address)))
        try:
            while (packet := await link.receive()) is not None:
                frames, size = walk(packet), len(packet)
                while len(frames) > TURN_FRAMES:
                    self._handle(GatewayPacketReceived(number, frames[:TURN_FRAMES], size))
                    frames, size = frames[TURN_FRAMES:], 0
                    await asyncio.sleep(0)  # others get their turn in between
                self._handle(GatewayPacketReceived(number, frames, size))
                if (pause := self._pauses.pop(number, 0.0)) > 0.0:  # who sends too fast waits
                    await asyncio.sleep(pause)
                while (full := self._full.pop(number, None)) is not None and full.waits_for(number):
                    self._full[number] = full
                    await full.written()
        except RemoteProtocolError as error:
            log.warning("closed a link that broke the protocol: %s", error)
        finally:
            del self._ports[number]
            self._pauses.pop(number, None)
            self._full.pop(number, None)
            self._handle(GatewayLinkClosed(number, "closed"))
            if self._post_office is not None:
                self._post_office.left(number)
            await port.drop()

    def _handle(self, event: RouterEvent) -> None:
        router = self._router
        if router is None:
            return
        ports = self._ports
        written: dict[Port, None] = {}
        for effect in router.handle(event, asyncio.get_running_loop().time()):
            if isinstance(effect, Send):
                port = ports.get(effect.link)
                if port is None:
                    continue
                written[port] = None
                if not port.send(effect.frame, effect.source):
                    _hang_up_on_slow_reader(port)
                elif effect.source and port.waits_for(effect.source):
                    self._full[effect.source] = port
            elif isinstance(effect, Close):
                port = ports.get(effect.link)
                if port is not None:
                    port.close_when_written()
            elif isinstance(effect, Pause):
                self._pauses[effect.link] = effect.seconds
            elif isinstance(effect, Report):
                _report(effect)
            else:
                self._ask_office(effect, router)
        for port in written:
            port.write()
        if self._backlog.bytes > self._limits.queue_bytes:
            _hang_up_on_slow_reader(max(ports.values(), key=lambda port: port.queued_bytes))
        self._set_timer(router)

    def _ask_office(self, effect: Admit | Renew | Operation | Mailing, router: Router) -> None:
        """The router asks who is a member; the office knows, and may have more to tell everybody."""
        office, post_office = self._office, self._post_office
        if office is None:
            return
        if isinstance(effect, Mailing):
            if post_office is not None:
                post_office.ask(effect, office.member(effect.device))
        elif isinstance(effect, Admit):
            attached = router.table.by_link.get(effect.link)
            self._handle(office.admit(effect, attached.address if attached is not None else ""))
        elif isinstance(effect, Renew):
            self._handle(office.renew(effect))
        else:
            online = {endpoint[:32] for endpoint in router.table.by_endpoint}
            for event in office.operate(effect, online, list(router.table.by_endpoint.values())):
                if isinstance(event, DeviceRenamed) and post_office is not None:
                    post_office.rename(event.device, event.old, event.new)  # before it comes back
                self._handle(event)

    def _set_timer(self, router: Router) -> None:
        if self._timer is not None and router.wake_at < self._timer.when():
            self._timer.cancel()
            self._timer = None
        if self._timer is None and router.wake_at < float("inf"):
            self._timer = background_loop().call_at(router.wake_at, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._handle(GatewayWoken())


def _raise_open_files() -> None:
    """Let this process have as many connections as the system lets it."""
    try:
        import resource
    except ImportError:  # not POSIX
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _hang_up_on_slow_reader(port: Port) -> None:
    log.warning(
        "disconnecting a device that does not read what it is sent (%d bytes wait)", port.queued_bytes
    )
    port.close_at_once()


def _report(report: Report) -> None:
    if report.event == "turned away":
        log.warning(
            "turned away a device%s: %s", f" at {report.address}" if report.address else "", report.detail
        )
        return
    who = f"{report.role} {report.name}".strip()
    detail = f" ({report.detail})" if report.detail else ""
    level = log.info if report.role == "node" else log.debug
    level("%s %s%s, device %s", who, report.event, detail, device_text(report.device)[:8])
