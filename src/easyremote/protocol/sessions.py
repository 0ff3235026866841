"""The sessions of one device: which channel leads to which peer, opened and accepted.

The caller opens: it seals a fresh secret to the prekey in the node's signed card, and the first call
rides along. The node accepts: it proves who calls by the signature, and refuses a handshake it has
seen before. A frame for a session nobody knows is answered by a reset, which is not sealed and so is
believed only where a lie would cost nothing but the call.
"""

from __future__ import annotations

from collections.abc import Iterator

from easyremote.errors import SealError
from easyremote.protocol.channel import Channel, Opened, Tally
from easyremote.protocol.machine import NEVER, Entropy
from easyremote.protocol.routes import RELAY, Route
from easyremote.trust.handshake import Prekeys, PublicPrekey, initiate
from easyremote.trust.identity import Identity
from easyremote.trust.session import Session
from easyremote.wire.bundle import RESET, Present, Sealed, write_sealed
from easyremote.wire.frame import Pieces
from easyremote.wire.limits import AWAY_SECONDS

SESSION_SECONDS = 3600.0
"""After this a caller agrees on fresh keys."""
IDLE_SECONDS = 1800.0
"""A session in which nothing happened for this long is forgotten."""
SESSIONS_MAX = 10_000
RETAINED_BYTES_MAX = 1 << 30
"""What is kept for all peers together until they acknowledge it; who was heard of longest ago loses it first."""
RESETS_MAX = 8
"""Resets in one packet: who sends frames of sessions that nobody knows is not answered one by one."""


class Sessions:
    """All channels of one device."""

    def __init__(
        self, identity: Identity, endpoint: bytes, entropy: Entropy, prekeys: Prekeys | None
    ) -> None:
        self._identity = identity
        self.endpoint = endpoint
        self._entropy = entropy
        self.prekeys = prekeys
        self._channels: dict[tuple[bytes, int], Channel] = {}
        self._tally = Tally()
        self._current: dict[bytes, Channel] = {}
        self._awake: dict[Route, None] = {}
        self._relay = Route(RELAY, self._awake)
        self._routes: dict[int, Route] = {RELAY: self._relay}
        self._direct: dict[bytes, Route] = {}
        """The routes of peers that are reached directly."""
        self._resets: dict[int, list[tuple[bytes, Pieces]]] = {}
        self.tokens: list[bytes] = []
        """What this device shows those whom it calls, first thing in every session."""
        self.bundled = 0
        """How many messages the last pull gave."""
        self.peers = 0
        """How many peers there was something to do for on that link, then or later."""
        self.refused = 0
        """Frames that did not open, since the start."""

    def __iter__(self) -> Iterator[Channel]:
        return iter(list(self._channels.values()))

    def open_to(self, peer: bytes, now: float) -> Channel | None:
        """The channel for new calls to this peer, if there is one that is not old."""
        channel = self._current.get(peer)
        return channel if channel is not None and now - channel.opened_at < SESSION_SECONDS else None

    def to(self, peer: bytes, prekey: PublicPrekey, now: float) -> Channel:
        """The channel for new calls to this peer; opened if there is none, or the last is old.

        Raises:
            HandshakeError: The prekey in the peer's card cannot be used.
        """
        channel = self.open_to(peer, now)
        if channel is not None:
            return channel
        handshake, keys = initiate(
            self._identity, caller=self.endpoint, node=peer, prekey=prekey, secret=self._entropy(32)
        )
        channel = Channel(
            Session(keys, initiator=True),
            peer,
            now,
            handshake=handshake,
            route=self._direct.get(peer, self._relay),
            tally=self._tally,
        )
        self._channels[peer, channel.session.id] = channel
        self._current[peer] = channel
        self._present(channel)
        return channel

    def gathered(self, peer: bytes) -> int:
        """Messages that wait for the next packet to this peer, in the session for new calls."""
        channel = self._current.get(peer)
        return channel.gathered if channel is not None else 0

    def present_again(self, tokens: list[bytes]) -> None:
        """Show these from now on, also in sessions that there are."""
        self.tokens = tokens
        for channel in self._current.values():
            self._present(channel)

    def _present(self, channel: Channel) -> None:
        channel.say(Present(self.tokens), 16 + sum(map(len, self.tokens)))

    def receive(
        self, peer: bytes, sealed: Sealed, now: float, link: int = RELAY
    ) -> tuple[Channel, list[Opened]] | None:
        """Open a frame that came from this peer over that link; None when it does not open, which changes nothing.

        A channel that was accepted goes the way its caller's newest frame came: the caller knows which links work.
        """
        channel = self._channels.get((peer, sealed.session))
        accepted, newest = channel is None, channel.newest if channel is not None else -1
        if channel is None:
            channel = self._accept(peer, sealed, now, link)
            if channel is None:
                return None
        try:
            opened = channel.receive(sealed, now)
        except SealError:
            self.refused += 1
            return None
        if accepted:
            if not channel.heard:  # nothing has opened yet: an altered frame must not spoil the true one
                return None
            if len(self._channels) >= SESSIONS_MAX:
                self.evict()
            self._channels[peer, sealed.session] = channel
            if self.prekeys is not None and sealed.handshake is not None:
                self.prekeys.remember(sealed.handshake)
        if link != channel.route.link and channel.newest > newest and channel.follows:
            channel.move(self._routes.get(link, self._relay))
        return channel, opened

    def _accept(self, peer: bytes, sealed: Sealed, now: float, link: int) -> Channel | None:
        if sealed.handshake is None or self.prekeys is None:
            self.reset(peer, sealed.session, link)
            return None
        try:
            keys = self.prekeys.respond(sealed.handshake, caller=peer, node=self.endpoint)
        except SealError:  # for a prekey that is gone, or of a session that was forgotten here
            self.refused += 1
            self.reset(peer, sealed.session, link)
            return None
        if keys.session_id != sealed.session:
            self.refused += 1
            return None
        return Channel(Session(keys, initiator=False), peer, now, route=self._relay, tally=self._tally)

    def reset(self, peer: bytes, session: int, link: int = RELAY) -> None:
        """Tell a peer, over the link it used, that this session is not known here."""
        resets = self._resets.setdefault(link, [])
        if len(resets) < RESETS_MAX:
            resets.append((peer, write_sealed(session, 0, RESET, b"")))

    def find(self, peer: bytes, session: int) -> Channel | None:
        """The channel of this session, if it is known."""
        return self._channels.get((peer, session))

    def close(self, channel: Channel) -> None:
        """Forget a session."""
        self._channels.pop((channel.peer, channel.session.id), None)
        channel.close()
        if self._current.get(channel.peer) is channel:
            del self._current[channel.peer]

    def evict(self) -> None:
        """Forget the session that is missed least: where nothing waits, and nothing was heard for longest."""
        idle = min(self._channels.values(), key=lambda channel: (not channel.quiet, channel.heard_at))
        self.close(idle)

    def too_much(self) -> Channel | None:
        """The session that is given up because too much is kept for all together: of its peer nothing was heard for longest."""
        if self._tally.bytes <= RETAINED_BYTES_MAX:
            return None
        waiting = [channel for channel in self._channels.values() if channel.retained_bytes]
        return min(waiting, key=lambda channel: channel.heard_at, default=None)

    def forget_idle(self, now: float, busy: set[int]) -> None:
        """Drop sessions in which nothing happened for long, or nobody listens, and no call is open."""
        for channel in list(self._channels.values()):
            limit = IDLE_SECONDS if channel.quiet else AWAY_SECONDS
            if now - channel.heard_at > limit and channel.session.id not in busy:
                self.close(channel)

    # ---- routes

    def open_route(self, link: int, peer: bytes, *, move: bool) -> None:
        """There is a direct link to this peer; ``move`` what goes to it over the gateway, and what will."""
        route = self._routes[link] = Route(link, self._awake)
        if move:
            self._direct[peer] = route
            for channel in self:
                if channel.peer == peer:
                    channel.move(route)

    def close_route(self, link: int, now: float) -> None:
        """A direct link is gone: what went over it goes through the gateway, and what is not acknowledged again."""
        route = self._routes.pop(link, None)
        self._resets.pop(link, None)
        if route is None:
            return
        self._direct = {peer: one for peer, one in self._direct.items() if one is not route}
        self._awake.pop(route, None)
        for channel in self:
            if channel.route is route:
                channel.move(self._direct.get(channel.peer, self._relay))
                channel.resend_all(now)

    def due(self, now: float, *, relay: bool) -> list[int]:
        """The links that ``pull`` would give something for; the relay's only if that is up."""
        links = [link for link in self._resets if relay or link != RELAY] if self._resets else []
        for route in tuple(self._awake):
            if not route.channels:
                del self._awake[route]
            elif relay or route is not self._relay:
                for channel in route.channels:
                    if channel.ready(now):
                        links.append(route.link)
                        break
        return links

    def pull(self, now: float, load: int, budget: int, link: int = RELAY) -> list[tuple[bytes, Pieces]]:
        """Frames to send over that link now, each with its peer."""
        frames = self._resets.pop(link, [])
        self.bundled = self.peers = 0
        route = self._routes.get(link)
        if route is None:
            return frames
        active = route.channels
        self.peers = len(active)
        for channel in list(active):
            if budget <= 0:
                break
            if channel.ready(now):
                for pieces in channel.pull(now, load, budget):
                    frames.append((channel.peer, pieces))
                    budget -= sum(map(len, pieces))
                self.bundled += channel.bundled
                channel.bundled = 0
                if budget <= 0 and channel in active:  # next time the others go first
                    active[channel] = active.pop(channel)
        return frames

    def wake(self, now: float, *, relay: bool) -> set[int]:
        """Let every channel whose time has come act; the direct links over which a peer has fallen silent."""
        silent: set[int] = set()
        for route in list(self._awake):
            if route is self._relay and not relay:
                continue
            for channel in list(route.channels):
                if channel.wake_at <= now and channel.wake(now) and route is not self._relay:
                    silent.add(route.link)
        return silent

    def wake_at(self, *, relay: bool) -> float:
        """The earliest time a channel wants to be woken; of the relay's only if that is up."""
        at = NEVER
        for route in self._awake:
            if relay or route is not self._relay:
                for channel in route.channels:
                    at = min(at, channel.wake_at)
        return at
