"""Two ends agree on keys: bytes in, bytes out.

The caller seals a fresh secret to the node's prekey with HPKE (RFC 9180, single shot), either to
ML-KEM-768 and X25519 together or to X25519 alone, with both endpoints and the prekey in ``info``; it signs
the transcript with its device key, so the node knows who speaks. Both derive the session's keys from the
secret with HKDF-SHA256 (RFC 5869), salted with the signed transcript. The prekey, which the node signed,
says which suite and cipher are used; the handshake only repeats it, and must agree.

A prekey lives in memory only and is deleted after the rotation that follows its successor's: from then
on nobody can open what was sealed to it. A handshake is taken once for as long as its prekey lives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from easyremote.errors import HandshakeError, ReplayError, SignatureError
from easyremote.trust.identity import Identity, verify

LABEL = b"easyremote/v1 handshake"
SESSION_LABEL = b"easyremote/v1 session"
VERSION = 1
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
        if len(seed) != 104:
            raise HandshakeError(f"a prekey's seed has 104 bytes, found {len(seed)}")
        if suite not in _KEMS or aead not in _AEADS:
            raise HandshakeError(f"there is no suite {suite!r} with cipher {aead!r}")
        x25519 = X25519PrivateKey.from_private_bytes(seed[8:40])
        public = x25519.public_key().public_bytes_raw()
        self.private: Any = x25519
        if suite == HYBRID:
            mlkem = MLKEM768PrivateKey.from_seed_bytes(seed[40:])
            self.private = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
            public = mlkem.public_key().public_bytes_raw() + public
        self.public = PublicPrekey(seed[:8], suite, aead, public)
        self.seen: set[bytes] = set()

    def __repr__(self) -> str:
        """The public half only."""
        return f"<Prekey {self.public.id.hex()} {self.public.suite}>"


class Prekeys:
    """The prekeys of a node: the one in its card, and the one before."""

    def __init__(self, *, suite: str = HYBRID, aead: str = AES) -> None:
        self._suite, self._aead = suite, aead
        self._alive: list[Prekey] = []

    def rotate(self, entropy: Callable[[int], bytes]) -> PublicPrekey:
        """Make a new one; the one before the last is deleted."""
        fresh = Prekey(entropy(104), suite=self._suite, aead=self._aead)
        self._alive = [fresh, *self._alive[:1]]
        return fresh.public

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

        Raises:
            HandshakeError: It is not.
            ReplayError: It was taken before.
        """
        opened = _read(handshake)
        prekey = next((one for one in self._alive if one.public.id == opened.prekey), None)
        if prekey is None:
            raise HandshakeError("the handshake is for a prekey this node does not have")
        if _mark(handshake) in prekey.seen:
            raise ReplayError("this handshake was taken before")
        if len(prekey.seen) >= SEEN_MAX:
            raise HandshakeError("this prekey has been used too often; the next is due")
        public = prekey.public
        if (opened.suite, opened.aead) != (public.suite, public.aead):
            raise HandshakeError(
                f"the handshake says {opened.suite} with {opened.aead}; the prekey is for {public.suite} "
                f"with {public.aead}"
            )
        context = _context(caller, node, public)
        transcript = _transcript(context, opened.sealed)
        try:
            verify(caller[:32], opened.signature, transcript)
            secret = _hpke(public).decrypt(opened.sealed, prekey.private, context)
        except (SignatureError, InvalidTag, ValueError):
            raise HandshakeError("the handshake is not the caller's, or not for this node") from None
        return _derive(secret, transcript, opened.signature, public.aead)

    def remember(self, handshake: bytes) -> None:
        """The session has begun: take this handshake never again."""
        opened = _read(handshake)
        for prekey in self._alive:
            if prekey.public.id == opened.prekey:
                prekey.seen.add(_mark(handshake))


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
        HandshakeError: The prekey cannot be used.
    """
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
    try:
        opened = _decoder.decode(handshake)
    except (msgspec.MsgspecError, RecursionError):
        raise HandshakeError("the handshake is malformed") from None
    if opened.version != VERSION:
        raise HandshakeError(f"the handshake is of version {opened.version}; this node speaks {VERSION}")
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


def _mark(handshake: bytes) -> bytes:
    return hashlib.sha256(handshake).digest()[:16]
