"""A second peer, written from docs/protocol.md alone.

It shares no code with the product: HPKE (RFC 9180, base mode, single shot), X-Wing, the key schedule and the
framing are spelled out here over bare primitives, so that what both agree on is what the document says.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

KEM_IDS = {"hybrid": 0x647A, "classic": 0x0020}
AEAD_IDS = {"aes256gcm": 2, "chacha20poly1305": 3}
CIPHERS = {"aes256gcm": AESGCM, "chacha20poly1305": ChaCha20Poly1305}
ENC_BYTES = {"hybrid": 1120, "classic": 32}
XWING_LABEL = bytes.fromhex("5c2e2f2f5e5c")


# ---- HKDF-SHA256 and the labels of RFC 9180


def extract(salt: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), ikm, "sha256")


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    made, block, number = b"", b"", 1
    while len(made) < length:
        block = hmac.digest(prk, block + info + bytes((number,)), "sha256")
        made, number = made + block, number + 1
    return made[:length]


def labeled_extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return extract(salt, b"HPKE-v1" + suite + label + ikm)


def labeled_expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return expand(prk, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


# ---- the two KEMs


def x25519(private: bytes, public: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))


def x25519_public(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def classic_shared(dh: bytes, enc: bytes, public: bytes) -> bytes:
    suite = b"KEM" + KEM_IDS["classic"].to_bytes(2, "big")
    prk = labeled_extract(suite, b"", b"eae_prk", dh)
    return labeled_expand(suite, prk, b"shared_secret", enc + public, 32)


def hybrid_shared(mlkem_secret: bytes, dh: bytes, enc_x25519: bytes, public_x25519: bytes) -> bytes:
    return hashlib.sha3_256(mlkem_secret + dh + enc_x25519 + public_x25519 + XWING_LABEL).digest()


def encapsulate(suite: str, public: bytes, ephemeral: bytes) -> tuple[bytes, bytes]:
    """The shared secret and ``enc``; the ML-KEM part draws its own randomness."""
    dh, enc = x25519(ephemeral, public[-32:]), x25519_public(ephemeral)
    if suite == "classic":
        return classic_shared(dh, enc, public), enc
    mlkem_secret, mlkem_enc = MLKEM768PublicKey.from_public_bytes(public[:1184]).encapsulate()
    return hybrid_shared(mlkem_secret, dh, enc, public[1184:]), mlkem_enc + enc


def decapsulate(suite: str, seed: bytes, enc: bytes) -> bytes:
    private = seed[8:40]
    dh, public = x25519(private, enc[-32:]), x25519_public(private)
    if suite == "classic":
        return classic_shared(dh, enc, public)
    mlkem_secret = MLKEM768PrivateKey.from_seed_bytes(seed[40:]).decapsulate(enc[:1088])
    return hybrid_shared(mlkem_secret, dh, enc[1088:], public)


def hpke_cipher(suite: str, aead: str, shared: bytes, info: bytes) -> tuple[bytes, bytes]:
    """The key and the nonce of the one message."""
    ids = b"".join(number.to_bytes(2, "big") for number in (KEM_IDS[suite], 1, AEAD_IDS[aead]))
    suite_id = b"HPKE" + ids
    context = (
        b"\x00"
        + labeled_extract(suite_id, b"", b"psk_id_hash", b"")
        + labeled_extract(suite_id, b"", b"info_hash", info)
    )
    secret = labeled_extract(suite_id, shared, b"secret", b"")
    return (
        labeled_expand(suite_id, secret, b"key", context, 32),
        labeled_expand(suite_id, secret, b"base_nonce", context, 12),
    )


# ---- the handshake


def packed(head8: int, head16: int, data: bytes) -> bytes:
    """A msgpack bin of the shortest form."""
    return (
        bytes((head8, len(data))) if len(data) < 256 else bytes((head16,)) + len(data).to_bytes(2, "big")
    ) + data


def packed_text(text: str) -> bytes:
    return bytes((0xA0 | len(text),)) + text.encode()  # all of ours are shorter than 32


@dataclass
class Prekey:
    """What the prekey of a seed shows to the world."""

    seed: bytes
    suite: str
    aead: str

    @property
    def id(self) -> bytes:
        return self.seed[:8]

    @property
    def public(self) -> bytes:
        public = x25519_public(self.seed[8:40])
        if self.suite == "classic":
            return public
        return MLKEM768PrivateKey.from_seed_bytes(self.seed[40:]).public_key().public_bytes_raw() + public


@dataclass
class Agreement:
    """Every value on the way from a secret to the session's keys."""

    info: bytes
    sealed: bytes
    transcript: bytes
    signature: bytes
    handshake: bytes
    salt: bytes
    okm: bytes

    @property
    def session(self) -> int:
        return int.from_bytes(self.okm[88:96], "little")


def info_of(caller: bytes, node: bytes, prekey: Prekey) -> bytes:
    fields = [
        b"easyremote/v1 handshake",
        caller,
        node,
        prekey.suite.encode(),
        prekey.aead.encode(),
        prekey.id,
        prekey.public,
    ]
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def agree(
    device_seed: bytes,
    caller: bytes,
    node: bytes,
    prekey: Prekey,
    *,
    secret: bytes,
    sealed: bytes,
    version: int = 1,
) -> Agreement:
    """What follows from a secret and the form it was sealed in."""
    info = info_of(caller, node, prekey)
    digest = hashlib.sha256(info + len(sealed).to_bytes(4, "big") + sealed).digest()
    transcript = b"easyremote/v1 handshake" + digest
    signature = Ed25519PrivateKey.from_private_bytes(device_seed).sign(transcript)
    handshake = (
        bytes((0x96, version))
        + packed_text(prekey.suite)
        + packed_text(prekey.aead)
        + packed(0xC4, 0xC5, prekey.id)
        + packed(0xC4, 0xC5, sealed)
        + packed(0xC4, 0xC5, signature)
    )
    salt = hashlib.sha256(transcript + signature).digest()
    okm = expand(extract(salt, secret), b"easyremote/v1 session", 96)
    return Agreement(info, sealed, transcript, signature, handshake, salt, okm)


def seal_secret(prekey: Prekey, info: bytes, secret: bytes, ephemeral: bytes) -> bytes:
    shared, enc = encapsulate(prekey.suite, prekey.public, ephemeral)
    key, nonce = hpke_cipher(prekey.suite, prekey.aead, shared, info)
    return enc + CIPHERS[prekey.aead](key).encrypt(nonce, secret, b"")


def open_secret(prekey: Prekey, info: bytes, sealed: bytes) -> bytes:
    length = ENC_BYTES[prekey.suite]
    shared = decapsulate(prekey.suite, prekey.seed, sealed[:length])
    key, nonce = hpke_cipher(prekey.suite, prekey.aead, shared, info)
    return CIPHERS[prekey.aead](key).decrypt(nonce, sealed[length:], b"")


# ---- the frames


@dataclass
class Frame:
    """One seal: its nonce, its associated data, its ciphertext."""

    nonce: bytes
    associated: bytes
    sealed: bytes


def seal_frame(
    aead: str, key: bytes, iv: bytes, session: int, direction: int, space: int, counter: int, plain: bytes
) -> Frame:
    number = bytes((space,)) + bytes(3) + counter.to_bytes(8, "big")
    nonce = bytes(a ^ b for a, b in zip(iv, number, strict=True))
    associated = (
        b"easyremote/v1"
        + session.to_bytes(8, "little")
        + bytes((direction, space))
        + counter.to_bytes(8, "big")
    )
    return Frame(nonce, associated, CIPHERS[aead](key).encrypt(nonce, plain, associated))
