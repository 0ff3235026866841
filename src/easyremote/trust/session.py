"""Seal, open, refuse what was seen: the traffic of one session.

Each direction has a key and an IV of its own. A frame's nonce is the IV, exclusive-or its space and
counter, as in TLS 1.3 (RFC 8446, 5.3); session, direction, space and counter are its associated data. A
bulk segment is sealed apart, under the same counter in a space of its own, so that it can be opened
straight into place. A counter opens once: behind the newest, a window of 1,024 is remembered.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from easyremote.errors import ReplayError, SealError
from easyremote.trust.handshake import AES, CHACHA, Keys

WINDOW = 1024
COUNTER_MAX = 1 << 48
TAG_BYTES = 16
ORDERED, LOOSE, BULK = 0, 1, 2

_SEEN = (1 << WINDOW) - 1
_CIPHERS: dict[str, type[AESGCM] | type[ChaCha20Poly1305]] = {AES: AESGCM, CHACHA: ChaCha20Poly1305}


class _Direction:
    """One direction's cipher, nonces and associated data."""

    __slots__ = ("_prefix", "cipher", "iv")

    def __init__(self, key: bytes, iv: bytes, aead: str, session: int, direction: int) -> None:
        self.cipher = _CIPHERS[aead](key)
        self.iv = int.from_bytes(iv, "big")
        self._prefix = b"easyremote/v1" + session.to_bytes(8, "little") + bytes((direction,))

    def nonce(self, space: int, counter: int) -> bytes:
        return (self.iv ^ (space << 88 | counter)).to_bytes(12, "big")

    def associated(self, space: int, counter: int) -> bytes:
        return self._prefix + (space << 64 | counter).to_bytes(9, "big")


class _Window:
    """Which counters of a space were opened."""

    __slots__ = ("bits", "newest")

    def __init__(self) -> None:
        self.newest = -1
        self.bits = 0

    def check(self, counter: int) -> None:
        behind = self.newest - counter
        if behind >= WINDOW:
            raise ReplayError(f"frame {counter} is too old; the newest is {self.newest}")
        if behind >= 0 and self.bits >> behind & 1:
            raise ReplayError(f"frame {counter} was opened before")

    def holds(self, counter: int) -> bool:
        behind = self.newest - counter
        return 0 <= behind < WINDOW and bool(self.bits >> behind & 1)

    def mark(self, counter: int) -> None:
        ahead = counter - self.newest
        if ahead > 0:
            self.bits = (self.bits << ahead | 1) & _SEEN if ahead < WINDOW else 1
            self.newest = counter
        else:
            self.bits |= 1 << -ahead


class Session:
    """One end of a session."""

    def __init__(self, keys: Keys, *, initiator: bool) -> None:
        self.id = keys.session_id
        caller = _Direction(keys.caller_key, keys.caller_iv, keys.aead, keys.session_id, 0)
        node = _Direction(keys.node_key, keys.node_iv, keys.aead, keys.session_id, 1)
        self._out, self._in = (caller, node) if initiator else (node, caller)
        self._counters = [0, 0]
        self._windows = (_Window(), _Window())
        self._bulk_opened = -1

    def seal(
        self, space: int, bundle: bytes, bulk: bytes | memoryview | None = None
    ) -> tuple[int, bytes, bytes | None]:
        """Seal a bundle, and the bulk segment that goes with it; returns the counter, and both.

        Raises:
            SealError: The session has sealed all it may.
        """
        counter = self._counters[space]
        if counter >= COUNTER_MAX:
            raise SealError("this session has sealed all it may; a new one is due")
        self._counters[space] = counter + 1
        out = self._out
        sealed = out.cipher.encrypt(out.nonce(space, counter), bundle, out.associated(space, counter))
        if bulk is None:
            return counter, sealed, None
        sealed_bulk = out.cipher.encrypt(out.nonce(BULK, counter), bulk, out.associated(BULK, counter))
        return counter, sealed, sealed_bulk

    def open(self, space: int, counter: int, sealed: bytes | memoryview) -> bytes:
        """Open a bundle.

        Raises:
            SealError: It was altered, or is another session's, direction's, space's or counter's.
            ReplayError: This counter was opened before.
        """
        if space not in (ORDERED, LOOSE) or not 0 <= counter < COUNTER_MAX:
            raise SealError(f"there is no frame {counter} of space {space}")
        window = self._windows[space]
        window.check(counter)
        inward = self._in
        try:
            bundle = inward.cipher.decrypt(
                inward.nonce(space, counter), sealed, inward.associated(space, counter)
            )
        except (InvalidTag, ValueError):
            raise SealError(f"frame {counter} of session {self.id:016x} does not open") from None
        window.mark(counter)
        return bundle

    def open_bulk(self, counter: int, sealed: bytes | memoryview, into: memoryview) -> None:
        """Open a bulk segment into its place, after the bundle of the same counter.

        A segment that does not open leaves zeros there, never bytes that nobody vouches for.

        Raises:
            SealError: It was altered, does not fit its place, or came without its bundle.
            ReplayError: It, or the bulk of a later frame, was opened before.
        """
        if counter <= self._bulk_opened:
            raise ReplayError(f"the bulk of frame {counter} was opened before")
        if not self._windows[ORDERED].holds(counter):
            raise SealError(f"the bulk of frame {counter} came without the frame")
        if len(sealed) != len(into) + TAG_BYTES:
            raise SealError(
                f"a sealed bulk segment of {len(sealed)} bytes does not fit a place of {len(into)} bytes"
            )
        inward = self._in
        try:
            inward.cipher.decrypt_into(
                inward.nonce(BULK, counter), sealed, inward.associated(BULK, counter), into
            )
        except (InvalidTag, ValueError):
            into[:] = bytes(len(into))  # the cipher writes before it knows whether the tag fits
            raise SealError(f"the bulk of frame {counter} does not open") from None
        self._bulk_opened = counter
