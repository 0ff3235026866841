"""Two ends agree on keys: bytes in, bytes out.

The caller seals a fresh secret to the node's prekey with HPKE (RFC 9180, single shot), either to
ML-KEM-768 and X25519 together or to X25519 alone, with both endpoints and the prekey in ``info``; it signs
the transcript with its device key, so the node knows who speaks. Both derive the session's keys from the
secret with HKDF-SHA256 (RFC 5869), salted with the signed transcript. The prekey, which the node signed,
says which suite and cipher are used; the handshake only repeats it, and must agree.

A prekey lives in memory only and is deleted after the rotation that follows its successor's: from then
on nobody can open what was sealed to it. A handshake is taken once for as long as its prekey lives: the
same keys twice would mean the same nonces twice. What is remembered is the sealed secret, which the caller
signed, and not how it was written down, which anyone on the way could change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from easyremote.errors import HandshakeError, ReplayError, SignatureError
from easyremote.trust.identity import DEVICE_BYTES, Identity, verify
from easyremote.wire.limits import ENDPOINT_BYTES

LABEL = b"easyremote/v1 handshake"
SESSION_LABEL = b"easyremote/v1 session"
VERSION = 1
SECRET_BYTES = 32
PREKEY_SEED_BYTES = 104
PREKEY_ID_BYTES = 8
HANDSHAKE_BYTES_MAX = 2048
"""The largest, of the hybrid suite, has 1,273."""
HYBRID, CLASSIC = "hybrid", "classic"
AES, CHACHA = "aes256gcm", "chacha20poly1305"

_MLKEM_PUBLIC_BYTES, _X25519_BYTES = 1184, 32
_KEMS: dict[str, Any] = {HYBRID: hpke.KEM.MLKEM768_X25519, CLASSIC: hpke.KEM.X25519}
_AEADS: dict[str, Any] = {AES: hpke.AEAD.AES_256_GCM, CHACHA: hpke.AEAD.CHACHA20_POLY1305}

SEEN_MAX = 100_000
"""Handshakes remembered for each prekey; when they are so many, a new prekey is due."""


class PublicPrekey(msgspec.Struct, frozen=True):
    """What a caller seals to; stands in the node's signed card."""

    id: bytes
    suite: str
    aead: str
    key: bytes


class Keys(msgspec.Struct, frozen=True):
    """What both ends of a session derive; ``id`` names it on the wire."""

    session_id: int
    aead: str
    caller_key: bytes
    node_key: bytes
    caller_iv: bytes
    node_iv: bytes

    def __repr__(self) -> str:
        """Which session; never its keys."""
        return f"<Keys of session {self.session_id:016x}>"


class _Handshake(msgspec.Struct, frozen=True, array_like=True):
    version: int
    suite: str
    aead: str
    prekey: bytes
    sealed: bytes
    signature: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Handshake)


class Prekey:
    """A node's prekey: the private half, for as long as it lives."""

    def __init__(self, seed: bytes, *, suite: str = HYBRID, aead: str = AES) -> None:
        """Make the prekey of a 104-byte seed: 8 bytes of name, 32 for X25519, 64 for ML-KEM-768."""
        if len(seed) != PREKEY_SEED_BYTES:
            raise HandshakeError(f"a prekey's seed has {PREKEY_SEED_BYTES} bytes, found {len(seed)}")
        if suite not in _KEMS or aead not in _AEADS:
            raise HandshakeError(f"there is no suite {suite!r} with cipher {aead!r}")
        x25519 = X25519PrivateKey.from_private_bytes(seed[8:40])
        public = x25519.public_key().public_bytes_raw()
        self.private: Any = x25519
        if suite == HYBRID:
            mlkem = MLKEM768PrivateKey.from_seed_bytes(seed[40:])
            self.private = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
            public = mlkem.public_key().public_bytes_raw() + public
        self.public = PublicPrekey(seed[:PREKEY_ID_BYTES], suite, aead, public)
        self.seen: set[bytes] = set()

    def __repr__(self) -> str:
        """The public half only."""
        return f"<Prekey {self.public.id.hex()} {self.public.suite}>"


class Prekeys:
    """The prekeys of a node: the one in its card, and the one before."""

    def __init__(self, *, suite: str = HYBRID, aead: str = AES) -> None:
        self._suite, self.aead = suite, aead
        self._alive: list[Prekey] = []

    def rotate(self, entropy: Callable[[int], bytes]) -> PublicPrekey:
        """Make a new one; the one before the last is deleted."""
        fresh = Prekey(entropy(PREKEY_SEED_BYTES), suite=self._suite, aead=self.aead)
        self._alive = [fresh, *self._alive[:1]]
        return fresh.public

    def keep(self, seeds: Iterable[bytes]) -> None:
        """Have those of these seeds, the newest first, and no others."""
        self._alive = [Prekey(seed, suite=self._suite, aead=self.aead) for seed in seeds]

    @property
    def current(self) -> PublicPrekey:
        """The one to show in the card."""
        return self._alive[0].public

    @property
    def worn(self) -> bool:
        """Whether the current one has been used so often that the next is due."""
        return len(self._alive[0].seen) >= SEEN_MAX // 2

    def respond(self, handshake: bytes, *, caller: bytes, node: bytes) -> Keys:
        """The node's side: the keys, if this handshake is for us, from that caller, and new.

        It is not used up by this; ``remember`` it once its first frame has opened.

        Raises:
            HandshakeError: It is not.
            ReplayError: It was taken before.
        """
        opened = _read(handshake)
        prekey = next((one for one in self._alive if one.public.id == opened.prekey), None)
        if prekey is None:
            raise HandshakeError("the handshake is for a prekey this node does not have")
        if _mark(opened) in prekey.seen:
            raise ReplayError("this handshake was taken before")
        if len(prekey.seen) >= SEEN_MAX:
            raise HandshakeError("this prekey has been used too often; the next is due")
        public = prekey.public
        if (opened.suite, opened.aead) != (public.suite, public.aead):
            raise HandshakeError(
                f"the handshake says {opened.suite!r} with {opened.aead!r}; the prekey is for "
                f"{public.suite!r} with {public.aead!r}"
            )
        context = _context(caller, node, public)
        transcript = _transcript(context, opened.sealed)
        try:
            verify(caller[:DEVICE_BYTES], opened.signature, transcript)
            secret = _hpke(public).decrypt(opened.sealed, prekey.private, context)
        except (SignatureError, InvalidTag, ValueError):
            raise HandshakeError("the handshake is not the caller's, or not for this node") from None
        if len(secret) != SECRET_BYTES:
            raise HandshakeError(f"a handshake's secret has {SECRET_BYTES} bytes, found {len(secret)}")
        return _derive(secret, transcript, opened.signature, public.aead)

    def remember(self, handshake: bytes) -> None:
        """The session has begun: take this handshake never again."""
        opened = _read(handshake)
        for prekey in self._alive:
            if prekey.public.id == opened.prekey:
                prekey.seen.add(_mark(opened))


def initiate(
    identity: Identity, *, caller: bytes, node: bytes, prekey: PublicPrekey, secret: bytes
) -> tuple[bytes, Keys]:
    """The caller's side: the handshake to send, and the keys.

    Args:
        identity: The caller's device.
        caller: The caller's endpoint, 40 bytes.
        node: The node's endpoint, 40 bytes.
        prekey: From the node's signed card.
        secret: 32 fresh random bytes.

    Raises:
        HandshakeError: The prekey cannot be used, or the secret or the caller's endpoint is not ours.
    """
    if len(secret) != SECRET_BYTES:
        raise HandshakeError(f"a handshake's secret has {SECRET_BYTES} bytes, found {len(secret)}")
    if caller[:DEVICE_BYTES] != identity.device:
        raise HandshakeError("a device opens sessions from its own endpoints only")
    context = _context(caller, node, prekey)
    try:
        sealed = _hpke(prekey).encrypt(secret, _public_key(prekey), context)
    except (ValueError, InvalidTag) as error:
        raise HandshakeError(f"the prekey in the node's card cannot be used: {error}") from None
    transcript = _transcript(context, sealed)
    signature = identity.sign(transcript)
    handshake = _encoder.encode(_Handshake(VERSION, prekey.suite, prekey.aead, prekey.id, sealed, signature))
    return handshake, _derive(secret, transcript, signature, prekey.aead)


def _read(handshake: bytes) -> _Handshake:
    if len(handshake) > HANDSHAKE_BYTES_MAX:
        raise HandshakeError(
            f"a handshake of {len(handshake):,} bytes; at most {HANDSHAKE_BYTES_MAX:,} are taken"
        )
    try:
        opened = _decoder.decode(handshake)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise HandshakeError("the handshake is malformed") from None
    if opened.version != VERSION:
        raise HandshakeError(f"the handshake is of version {opened.version}; this node speaks {VERSION}")
    if _encoder.encode(opened) != handshake:  # there is one way to write it
        raise HandshakeError("the handshake is malformed")
    return opened


def _hpke(prekey: PublicPrekey) -> hpke.Suite:
    if prekey.suite not in _KEMS or prekey.aead not in _AEADS:
        raise HandshakeError(
            f"the node's card asks for {prekey.suite!r} with {prekey.aead!r}, not known here"
        )
    return hpke.Suite(_KEMS[prekey.suite], hpke.KDF.HKDF_SHA256, _AEADS[prekey.aead])


def _public_key(prekey: PublicPrekey) -> Any:
    wanted = _X25519_BYTES + (_MLKEM_PUBLIC_BYTES if prekey.suite == HYBRID else 0)
    if len(prekey.key) != wanted:
        raise HandshakeError(f"a {prekey.suite} prekey has {wanted} bytes, found {len(prekey.key)}")
    x25519 = X25519PublicKey.from_public_bytes(prekey.key[-_X25519_BYTES:])
    if prekey.suite == CLASSIC:
        return x25519
    return hpke.MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(prekey.key[:-_X25519_BYTES]), x25519
    )


def _context(caller: bytes, node: bytes, prekey: PublicPrekey) -> bytes:
    """Everything both ends must agree on, each field with its length."""
    for side, endpoint in (("caller", caller), ("node", node)):
        if len(endpoint) != ENDPOINT_BYTES:
            raise HandshakeError(f"the {side}'s endpoint has {len(endpoint)} bytes, wanted {ENDPOINT_BYTES}")
    if len(prekey.id) != PREKEY_ID_BYTES:
        raise HandshakeError(f"a prekey's id has {PREKEY_ID_BYTES} bytes, found {len(prekey.id)}")
    fields = (LABEL, caller, node, prekey.suite.encode(), prekey.aead.encode(), prekey.id, prekey.key)
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def _transcript(context: bytes, sealed: bytes) -> bytes:
    """What the caller signs."""
    return LABEL + hashlib.sha256(context + len(sealed).to_bytes(4, "big") + sealed).digest()


def _derive(secret: bytes, transcript: bytes, signature: bytes, aead: str) -> Keys:
    salt = hashlib.sha256(transcript + signature).digest()
    okm = HKDF(hashes.SHA256(), 96, salt, SESSION_LABEL).derive(secret)
    return Keys(
        session_id=int.from_bytes(okm[88:], "little"),
        aead=aead,
        caller_key=okm[:32],
        node_key=okm[32:64],
        caller_iv=okm[64:76],
        node_iv=okm[76:88],
    )


def _mark(handshake: _Handshake) -> bytes:
    return hashlib.sha256(handshake.sealed).digest()[:16]
