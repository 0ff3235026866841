"""The sessions of one device: which channel leads to which peer, opened and accepted.

The caller opens: it seals a fresh secret to the prekey in the node's signed card, and the first call
rides along. The node accepts: it proves who calls by the signature, and refuses a handshake it has
seen before. A frame for a session nobody knows is answered by a reset, which is not sealed and so is
believed only where a lie would cost nothing but the call.
"""

from __future__ import annotations

from collections.abc import Iterator

from easyremote.errors import SealError
from easyremote.protocol.channel import Channel, Opened
from easyremote.protocol.machine import NEVER, Entropy
from easyremote.trust.handshake import Prekeys, PublicPrekey, initiate
from easyremote.trust.identity import Identity
from easyremote.trust.session import Session
from easyremote.wire.bundle import RESET, Present, Sealed, write_sealed
from easyremote.wire.frame import Pieces

SESSION_SECONDS = 3600.0
"""After this a caller agrees on fresh keys."""
IDLE_SECONDS = 1800.0
"""A session in which nothing happened for this long is forgotten."""
UNHEARD_SECONDS = 300.0
"""A peer that has not acknowledged what it was sent, and has said nothing for this long, is gone."""
SESSIONS_MAX = 10_000
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
        self._current: dict[bytes, Channel] = {}
        self._active: dict[Channel, None] = {}
        self._resets: list[tuple[bytes, Pieces]] = []
        self.tokens: list[bytes] = []
        """What this device shows those whom it calls, first thing in every session."""
        self.bundled = 0
        """How many messages the last pull gave."""
        self.refused = 0
        """Frames that did not open, since the start."""

    def __iter__(self) -> Iterator[Channel]:
        return iter(list(self._channels.values()))

    def to(self, peer: bytes, prekey: PublicPrekey, now: float) -> Channel:
        """The channel for new calls to this peer; opened if there is none, or the last is old.

        Raises:
            HandshakeError: The prekey in the peer's card cannot be used.
        """
        channel = self._current.get(peer)
        if channel is not None and now - channel.opened_at < SESSION_SECONDS:
            return channel
        handshake, keys = initiate(
            self._identity, caller=self.endpoint, node=peer, prekey=prekey, secret=self._entropy(32)
        )
        channel = Channel(Session(keys, initiator=True), peer, now, handshake=handshake, active=self._active)
        self._channels[peer, channel.session.id] = channel
        self._current[peer] = channel
        self._present(channel)
        return channel

    def present_again(self, tokens: list[bytes]) -> None:
        """Show these from now on, also in sessions that there are."""
        self.tokens = tokens
        for channel in self._current.values():
            self._present(channel)

    def _present(self, channel: Channel) -> None:
        channel.say(Present(self.tokens), 16 + sum(map(len, self.tokens)))

    def receive(self, peer: bytes, sealed: Sealed, now: float) -> tuple[Channel, list[Opened]] | None:
        """Open a frame from this peer; None when it does not open, which changes nothing."""
        channel = self._channels.get((peer, sealed.session))
        accepted = channel is None
        if channel is None:
            channel = self._accept(peer, sealed, now)
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
        return channel, opened

    def _accept(self, peer: bytes, sealed: Sealed, now: float) -> Channel | None:
        if sealed.handshake is None or self.prekeys is None:
            self.reset(peer, sealed.session)
            return None
        try:
            keys = self.prekeys.respond(sealed.handshake, caller=peer, node=self.endpoint)
        except SealError:  # for a prekey that is gone, or of a session that was forgotten here
            self.refused += 1
            self.reset(peer, sealed.session)
            return None
        if keys.session_id != sealed.session:
            self.refused += 1
            return None
        return Channel(Session(keys, initiator=False), peer, now, active=self._active)

    def reset(self, peer: bytes, session: int) -> None:
        """Tell a peer that this session is not known here."""
        if len(self._resets) < RESETS_MAX:
            self._resets.append((peer, write_sealed(session, 0, RESET, b"")))

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

    def forget_idle(self, now: float, busy: set[int]) -> None:
        """Drop sessions in which nothing happened for long, or nobody listens, and no call is open."""
        for channel in list(self._channels.values()):
            limit = IDLE_SECONDS if channel.quiet else UNHEARD_SECONDS
            if now - channel.heard_at > limit and channel.session.id not in busy:
                self.close(channel)

    def ready(self, now: float) -> bool:
        """Whether ``pull`` would give something."""
        return bool(self._resets) or any(channel.ready(now) for channel in self._active)

    def pull(self, now: float, load: int, budget: int) -> list[tuple[bytes, Pieces]]:
        """Frames to send now, each with its peer."""
        frames: list[tuple[bytes, Pieces]] = self._resets
        self._resets = []
        self.bundled = 0
        for channel in list(self._active):
            if budget <= 0:
                break
            if channel.ready(now):
                for pieces in channel.pull(now, load, budget):
                    frames.append((channel.peer, pieces))
                    budget -= sum(map(len, pieces))
                self.bundled += channel.bundled
                channel.bundled = 0
                if budget <= 0 and channel in self._active:  # next time the others go first
                    self._active[channel] = self._active.pop(channel)
        return frames

    def wake(self, now: float) -> None:
        """Let every channel whose time has come act."""
        for channel in list(self._active):
            if channel.wake_at <= now:
                channel.wake(now)

    @property
    def wake_at(self) -> float:
        """The earliest time a channel wants to be woken."""
        return min((channel.wake_at for channel in self._active), default=NEVER)
