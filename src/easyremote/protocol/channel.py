"""One session as a reliable, ordered stream of bundles over links that may lose, repeat and reorder.

Frames of the ordered space are numbered by the session's counter, kept until acknowledged, and resent
byte for byte; the receiver takes them in order, once. So whatever stands above may think of a peer as
a pipe: a call asked twice for still runs once, a stream has no gap and no repeat. An acknowledgement
of the frame that carried an ``Invoke`` also says that the node took the call, unless it refuses it.

Nothing here grows without bound: unacknowledged bytes by the window, frames held out of order by number.
"""

from __future__ import annotations

import mmap
from collections import deque
from itertools import islice
from typing import Any

import msgspec

from easyremote.errors import RemoteProtocolError, ReplayError
from easyremote.protocol.machine import NEVER
from easyremote.protocol.routes import RELAY, Route
from easyremote.trust.session import Session
from easyremote.wire.bundle import (
    LOOSE,
    ORDERED,
    Bundle,
    Invoke,
    Message,
    Part,
    Sealed,
    decode_bundle,
    encode_bundle,
    write_sealed,
)
from easyremote.wire.frame import Pieces
from easyremote.wire.limits import (
    BUNDLE_BYTES,
    BUNDLE_MESSAGES,
    LEASE_SECONDS,
    LOST_AFTER_SECONDS,
    PART_BYTES,
    WINDOW_BYTES,
)
from easyremote.wire.values import Segments

ACK_DELAY_SECONDS = 0.1
RESEND_SECONDS = 1.0
RESEND_SECONDS_MAX = 8.0
MAPPED_BYTES = 1 << 20
HELD_FRAMES_MAX = 512
HELD_BYTES_MAX = 3 * WINDOW_BYTES
"""What may be held out of order; an honest peer never has so much under way."""


class Retained(msgspec.Struct):
    """A frame sent and not yet acknowledged."""

    counter: int
    pieces: Pieces
    size: int
    messages: list[Message]
    times_sent: int = 1


class Tally:
    """What is kept of all channels together until it is acknowledged, in bytes."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class Opened(msgspec.Struct, frozen=True):
    """A bundle whose turn it is, with its bulk segment still sealed."""

    counter: int
    messages: list[Message]
    bulk: bytes | memoryview | None


class _Body:
    """A large body on its way out."""

    __slots__ = ("data", "number", "offset", "size")

    def __init__(self, number: int, data: bytes | Segments) -> None:
        self.number, self.data, self.offset = number, data, 0
        self.size = len(data) if isinstance(data, bytes) else data.size

    def cut(self, most: int) -> tuple[Part, bytes | memoryview]:
        length = min(most, self.size - self.offset)
        part = Part(self.number, self.offset, length)
        if isinstance(self.data, bytes):
            bulk: bytes | memoryview = memoryview(self.data)[self.offset : self.offset + length]
        else:
            bulk = self.data.slice(self.offset, length)
        self.offset += length
        return part, bulk


class _Sink:
    """A large body on its way in."""

    __slots__ = ("buffer", "missing")

    def __init__(self, size: int) -> None:
        # Pages of a mapping are taken when they are written, so that announcing costs nothing.
        self.buffer = memoryview(mmap.mmap(-1, size) if size >= MAPPED_BYTES else bytearray(size))
        self.missing = size


class Channel:
    """The conversation with one peer under one session.

    A channel that has something to do, now or later, stands in its route; the others cost nothing.
    """

    def __init__(
        self,
        session: Session,
        peer: bytes,
        now: float,
        *,
        handshake: bytes | None = None,
        route: Route | None = None,
        tally: Tally | None = None,
    ) -> None:
        self._tally = Tally() if tally is None else tally
        self.route = Route(RELAY, {}) if route is None else route
        """The link it goes over."""
        self.session = session
        self.peer = peer
        self.introduced: Any = None
        """What the guard knows of the caller at the other end."""
        self.as_of: float | None = None
        """Its caller is here, and shows what counts now."""
        self.opened_at = now
        self.heard_at = now
        self.heard = False
        self.peer_load = 0
        self.bundled = 0
        self.absent_since = NEVER
        self.gone_since = NEVER
        self._patience_seconds = 0.0
        """Since when the gateway says that its connection broke off."""
        self.again = -1
        """The call that its caller said may run once more."""
        self.established = self.follows = handshake is None
        # whoever was called goes the way its caller goes
        self.wake_at = NEVER
        self._handshake = handshake
        # going out
        self._outbox: list[Message] = []
        self._sizes: list[int] = []
        self._outbox_bytes = 0
        self._bodies: deque[_Body] = deque()
        self._body_number = 0
        self._probe = False
        self._retained: deque[Retained] = deque()
        self._retained_bytes = 0
        self._resend: deque[Retained] = deque()
        self._sent = 0
        self._acked = 0
        self._recover_until = self._resent_until = self._recovering = 0
        self._resend_seconds = RESEND_SECONDS
        self._resend_at = NEVER
        # coming in
        self._expected = 0
        self.newest = -1
        """The highest number of an ordered frame that has opened."""
        self._held: dict[int, tuple[Bundle, bytes | memoryview | None]] = {}
        self._held_bytes = 0
        self._ack_at = NEVER
        self._ack_due = False
        self._bulk_unacked = 0
        self._sinks: dict[int, _Sink] = {}

    # ---- going out

    def say(self, message: Message, size: int = 32) -> None:
        """Queue a message; ``size`` is about what it takes on the wire, in bytes."""
        if not self._outbox:
            self.route.add(self)
        self._outbox.append(message)
        self._sizes.append(size)
        self._outbox_bytes += size

    def take_back(self, calls: set[int]) -> set[int]:
        """Do not ask for these calls, where the question has not left this device; for which it had not."""
        kept: list[Message] = []
        sizes: list[int] = []
        taken: set[int] = set()
        for message, size in zip(self._outbox, self._sizes, strict=True):
            if isinstance(message, Invoke) and message.call in calls:
                taken.add(message.call)
                self._outbox_bytes -= size
                if message.body:
                    self.drop_body(message.body)
            else:
                kept.append(message)
                sizes.append(size)
        self._outbox, self._sizes = kept, sizes
        self._reckon()
        return taken

    def number_body(self) -> int:
        """The number for the next large body; the message that names it goes before it."""
        self._body_number += 1
        return self._body_number

    def send_body(self, number: int, data: bytes | Segments) -> None:
        """Queue a large body, to be sent in parts as the window allows."""
        self.route.add(self)
        self._bodies.append(_Body(number, data))

    def drop_body(self, number: int) -> None:
        """Send no more of this body: the peer does not want it."""
        self._bodies = deque(body for body in self._bodies if body.number != number)

    def probe(self) -> None:
        """Send something that must be acknowledged, to learn whether the peer is still there."""
        self.route.add(self)
        self._probe = True

    @property
    def gathered(self) -> int:
        """Messages that wait for the next packet."""
        return len(self._outbox)

    @property
    def quiet(self) -> bool:
        """Whether nothing waits to be sent or acknowledged, here or there."""
        busy = self._outbox or self._bodies or self._retained or self._probe
        return not (busy or self._ack_due) and self._ack_at == NEVER

    @property
    def retained_bytes(self) -> int:
        """What was sent and is not acknowledged."""
        return self._retained_bytes

    @property
    def held_frames(self) -> int:
        """Frames that came before their turn."""
        return len(self._held)

    def ready(self, now: float) -> bool:
        """Whether ``pull`` would give something."""
        if self._resend or self._ack_due or self._ack_at <= now:
            return True
        if self._outbox or self._probe:
            return self._retained_bytes < 2 * WINDOW_BYTES
        return bool(self._bodies) and self._retained_bytes < WINDOW_BYTES

    def pull(self, now: float, load: int, budget: int) -> list[Pieces]:
        """Sealed frames to send now, of about ``budget`` bytes in all."""
        frames: list[Pieces] = []
        part_bytes = min(PART_BYTES, budget)
        acknowledged = False  # what is resent says nothing new
        while self._resend and budget > 0:
            retained = self._resend.popleft()
            if retained.counter >= self._acked:
                retained.times_sent += 1
                frames.append(retained.pieces)
                budget -= retained.size
        while budget > 0:
            messages = self._take_messages()
            bulk = None
            # a part never overtakes the message that announces its body
            if self._bodies and not self._outbox and self._retained_bytes < WINDOW_BYTES:
                body = self._bodies[0]
                part, bulk = body.cut(part_bytes)
                messages.append(part)
                self._bodies.popleft()
                if body.offset < body.size:
                    self._bodies.append(body)  # bodies take turns
            if not messages and not self._probe:
                break
            self._probe = False
            pieces, size = self._seal(messages, bulk, now, load)
            frames.append(pieces)
            budget -= size
            acknowledged = True
            if len(messages) >= BUNDLE_MESSAGES:
                break  # enough for one packet
        if not acknowledged and (self._ack_due or self._ack_at <= now):
            frames.append(self._loose_ack(load))
            acknowledged = True
        if acknowledged:
            self._ack_due, self._ack_at = False, NEVER
            self._bulk_unacked = 0
        self._reckon()
        return frames

    def _take_messages(self) -> list[Message]:
        if not self._outbox or self._retained_bytes >= 2 * WINDOW_BYTES:
            return []
        if self._outbox_bytes <= BUNDLE_BYTES and len(self._outbox) <= BUNDLE_MESSAGES:
            messages, self._outbox, self._sizes, self._outbox_bytes = self._outbox, [], [], 0
            return messages
        taken = total = 0
        for size in self._sizes[:BUNDLE_MESSAGES]:
            if taken and total + size > BUNDLE_BYTES:
                break
            total += size
            taken += 1
        messages = self._outbox[:taken]
        del self._outbox[:taken], self._sizes[:taken]
        self._outbox_bytes -= total
        return messages

    def _seal(
        self, messages: list[Message], bulk: bytes | memoryview | None, now: float, load: int
    ) -> tuple[Pieces, int]:
        plain = encode_bundle(self._expected, load, messages)
        counter, bundle, sealed_bulk = self.session.seal(ORDERED, plain, bulk)
        handshake = None if self.established else self._handshake
        pieces = write_sealed(self.session.id, counter, ORDERED, bundle, sealed_bulk, handshake)
        size = len(bundle) + (len(sealed_bulk) if sealed_bulk is not None else 0)
        self._retained.append(Retained(counter, pieces, size, messages))
        self._retained_bytes += size
        self._tally.bytes += size
        self._sent = counter + 1
        self.bundled += len(messages)
        if self._resend_at == NEVER:
            self._resend_at = now + self._resend_seconds
        return pieces, size

    def _loose_ack(self, load: int) -> Pieces:
        plain = encode_bundle(self._expected, load, [])
        counter, bundle, _ = self.session.seal(LOOSE, plain)
        return write_sealed(self.session.id, counter, LOOSE, bundle)

    # ---- coming in

    def receive(self, sealed: Sealed, now: float) -> list[Opened]:
        """Open a frame; return the bundles whose turn has come, in order.

        Raises:
            SealError: The frame does not open; it is as if it had never come.
            RemoteProtocolError: It opens, but what it says breaks the protocol.
        """
        ahead = sealed.counter - self._expected if sealed.space == ORDERED else 0
        if ahead < 0:
            self._owe_ack(now)  # a repeat: our acknowledgement was lost
            return []
        if ahead > 0 and (ahead > HELD_FRAMES_MAX or self._held_bytes + _size(sealed) > HELD_BYTES_MAX):
            return []  # too far ahead to hold: it will be resent
        try:
            bundle = decode_bundle(self.session.open(sealed.space, sealed.counter, sealed.bundle))
        except ReplayError:
            self._owe_ack(now)
            return []
        if self.absent_since < NEVER:
            self.resend_all(now)
        self.heard_at, self.heard, self.established = now, True, True
        self.peer_load = bundle.load
        if bundle.ack > self._acked:
            self._acknowledge(bundle.ack, now)
        if sealed.space != ORDERED:
            self._reckon()
            return []
        if sealed.counter > self.newest:
            self.newest = sealed.counter
        if sealed.bulk is not None:
            self._bulk_unacked += len(sealed.bulk)
        self._owe_ack(now, at_once=self._bulk_unacked >= WINDOW_BYTES // 4)
        if ahead > 0:
            self._held[sealed.counter] = (bundle, sealed.bulk)
            self._held_bytes += _size(sealed)
            self._owe_ack(now, at_once=True)
            return []
        opened = [Opened(sealed.counter, bundle.messages, sealed.bulk)]
        self._expected += 1
        while self._held and self._expected in self._held:
            bundle, bulk = self._held.pop(self._expected)
            opened.append(Opened(self._expected, bundle.messages, bulk))
            self._expected += 1
        if not self._held:
            self._held_bytes = 0
        return opened

    def expect_body(self, number: int, size: int) -> None:
        """Make room for a large body that was announced.

        Raises:
            RemoteProtocolError: It has no size that a body can have.
        """
        if size <= 0:
            raise RemoteProtocolError(f"a large body of {size} bytes was announced")
        try:
            self._sinks[number] = _Sink(size)
        except (OSError, OverflowError, MemoryError) as error:
            raise RemoteProtocolError(f"no room for a large body of {size:,} bytes: {error}") from None

    def refuse_body(self, number: int) -> None:
        """Forget a body that was expected; its parts are dropped unopened."""
        self._sinks.pop(number, None)

    def place(self, part: Part, opened: Opened) -> memoryview | None:
        """Open a bulk segment into its body; the body, when that made it whole."""
        sink = self._sinks.get(part.body)
        if sink is None:
            return None
        end = part.offset + part.length
        if opened.bulk is None or part.offset < 0 or part.length <= 0 or end > len(sink.buffer):
            raise RemoteProtocolError(
                f"a part claims bytes {part.offset} to {end} of a body of {len(sink.buffer)} bytes"
            )
        self.session.open_bulk(opened.counter, opened.bulk, sink.buffer[part.offset : end])
        sink.missing -= part.length
        if sink.missing > 0:
            return None
        del self._sinks[part.body]
        return sink.buffer

    def _owe_ack(self, now: float, *, at_once: bool = False) -> None:
        if at_once:
            self._ack_due = True
        elif not self._ack_due:
            self._ack_at = min(self._ack_at, now + ACK_DELAY_SECONDS)
        self._reckon()

    def _acknowledge(self, ack: int, now: float) -> None:
        if ack > self._sent:
            raise RemoteProtocolError(f"acknowledged frame {ack - 1}, but only {self._sent} were sent")
        self._acked = ack
        retained = self._retained
        before = self._retained_bytes
        while retained and retained[0].counter < ack:
            self._retained_bytes -= retained.popleft().size
        self._tally.bytes -= before - self._retained_bytes
        self._resend_seconds = RESEND_SECONDS
        self._resend_at = now + RESEND_SECONDS if retained else NEVER
        if retained and ack < self._recover_until:
            self._recover()

    def _recover(self) -> None:
        """Resend what was lost, twice as many frames with every acknowledgement that comes (RFC 5681, slow start)."""
        self._recovering *= 2
        oldest = self._retained[0].counter
        begin = max(oldest, self._resent_until)
        self._resent_until = max(begin, min(begin + self._recovering, self._recover_until))
        self._resend.extend(islice(self._retained, begin - oldest, self._resent_until - oldest))

    # ---- breakage

    def wake(self, now: float) -> bool:
        """Time has passed: resend the oldest frame if its acknowledgement is overdue; owe ours at once.

        Returns:
            Whether an acknowledgement is overdue and nothing at all has come from the peer meanwhile.
        """
        silent = False
        if now >= self._ack_at:
            self._ack_due, self._ack_at = True, NEVER
        if now >= self._resend_at and self._retained:
            if not self._resend:
                oldest = self._retained[0]
                self._resend.append(oldest)
                self._recover_until, self._resent_until, self._recovering = self._sent, oldest.counter + 1, 1
            silent = now - self.heard_at >= self._resend_seconds
            self._resend_seconds = min(self._resend_seconds * 2, RESEND_SECONDS_MAX)
            self._resend_at = now + self._resend_seconds
        self._reckon()
        return silent

    def resend_all(self, now: float) -> None:
        """The link or the peer is back: send again all that is not acknowledged."""
        self.absent_since = self.gone_since = NEVER
        self._resend = deque(self._retained)
        self._resend_seconds = RESEND_SECONDS
        self._resend_at = now + RESEND_SECONDS if self._retained else NEVER
        self._reckon()

    def move(self, route: Route) -> None:
        """Go over another link from now on."""
        if self in self.route.channels:
            self.route.discard(self)
            route.add(self)
        self.route = route

    def close(self) -> None:
        """The session is forgotten: whoever still speaks here speaks to nobody."""
        self.route.discard(self)
        self.route = Route(RELAY, {})
        self._tally.bytes -= self._retained_bytes
        self._tally = Tally()

    def undelivered(self, now: float, reason: str = "silent") -> None:
        """The gateway says that the peer is not there; what was sent may have reached it all the same.

        Args:
            now: The time.
            reason: ``silent`` or ``broken``, or that it ended: ``closed``, ``left``, ``replaced``; anything else is not known.
        """
        self.absent_since = min(self.absent_since, now)
        self.gone_since = min(self.gone_since, now) if reason in ("closed", "left", "replaced") else NEVER
        self._patience_seconds = LOST_AFTER_SECONDS if reason in ("silent", "broken") else LEASE_SECONDS

    def outstanding(self, now: float) -> bool:
        """Whether something waits to be sent or acknowledged, of which it may still come to that."""
        if self.quiet or self.gone_since < NEVER:
            return False
        return self.absent_since == NEVER or now - self.absent_since < self._patience_seconds

    def unsent(self) -> list[Message]:
        """Messages that never left this device."""
        return list(self._outbox)

    def unacknowledged(self) -> list[Message]:
        """Messages that may or may not have reached the peer."""
        return [m for retained in self._retained for m in retained.messages]

    def _reckon(self) -> None:
        self.wake_at = self._ack_at if self._ack_at < self._resend_at else self._resend_at
        if self.wake_at < NEVER or self._resend or self._ack_due:
            self.route.add(self)
        elif not (self._outbox or self._bodies or self._probe):
            self.route.discard(self)


def _size(sealed: Sealed) -> int:
    return len(sealed.bundle) + (len(sealed.bulk) if sealed.bulk is not None else 0)
