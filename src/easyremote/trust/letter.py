"""Sealing what waits at a gateway: a letter for a node that may be away, and its result for whoever knows the secret.

A letter is sealed as a session is begun: HPKE to the node's mailbox key, signed by the caller's device (see
``handshake``). That key is kept on the node's disk, because it must outlive the node's process, and is replaced every
week: a letter has forward secrecy of weeks, a session of hours. A result is sealed under keys drawn with HKDF-SHA256
(RFC 5869) from the job's secret, 16 random bytes that travel in the letter, salted with 16 fresh ones that go before the
result: so no two seals share a key, whatever the node is made to say twice. Whoever has the secret can read the result.

Either is cut into parts, each sealed with ChaCha20-Poly1305 under its number, and the last marked as the last, so that
none can be left out, doubled, moved or cut off (the STREAM construction: Hoang, Reyhanitabar, Rogaway, Vizár, 2015).
"""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from easyremote.errors import SealError, UsageError
from easyremote.trust.handshake import HANDSHAKE_BYTES_MAX, Prekeys, PublicPrekey, initiate
from easyremote.trust.identity import DEVICE_BYTES, Identity
from easyremote.wire.limits import JOB_BYTES, MAIL_PART_BYTES, PROGRESS_BYTES_MAX

__all__ = ["SALT_BYTES", "Secret", "address_of", "open_letter", "read_job", "seal_letter", "write_job"]

SECRET_BYTES = SALT_BYTES = 16
_LABEL = b"easyremote/v1 job "
_LETTER, _RESULT = b"\x00", b"\x01"
_TAG_BYTES, _NONCE_BYTES, _CHECK_BYTES = 16, 12, 2
_PREFIX = "job-"
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    version: int
    caller: Annotated[bytes, msgspec.Meta(min_length=DEVICE_BYTES, max_length=DEVICE_BYTES)]
    handshake: Annotated[bytes, msgspec.Meta(max_length=HANDSHAKE_BYTES_MAX)]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Envelope)


def write_job(secret: bytes) -> str:
    """A job's secret as the id that people see: who has it can ask for the job, and read its result."""
    data = secret + hashlib.sha256(_LABEL + secret).digest()[:_CHECK_BYTES]
    number, digits = int.from_bytes(data, "big"), []
    for _ in range(29):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return _PREFIX + "".join(reversed(digits))


def read_job(text: str) -> bytes:
    """The secret in a job's id.

    Raises:
        UsageError: It is no such id, or was not copied whole.
    """
    digits = text.strip().lower().removeprefix(_PREFIX) if isinstance(text, str) else ""
    if len(digits) == 29 and set(digits) <= set(_ALPHABET):
        number = 0
        for digit in digits:
            number = number * 32 + _ALPHABET.index(digit)
        if number < 1 << 8 * (SECRET_BYTES + _CHECK_BYTES):
            secret = number.to_bytes(SECRET_BYTES + _CHECK_BYTES, "big")[:SECRET_BYTES]
            if write_job(secret) == _PREFIX + digits:
                return secret
    raise UsageError(
        f"a job's id is 'job-' and 29 letters or digits, as client.submit(…, durable=True) gave it, not {text!r}: "
        "is it copied whole?"
    )


class Secret:
    """A job's secret, and what follows from it."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise SealError(f"a job's secret has {SECRET_BYTES} bytes, found {len(secret)}")
        self.secret = secret
        self.number = self._draw(b"number", JOB_BYTES)
        """What the gateway calls the job; the secret does not follow from it."""

    def __repr__(self) -> str:
        """The number; never the secret."""
        return f"<Secret of job {self.number.hex()}>"

    def _draw(self, what: bytes, size: int, salt: bytes | None = None) -> bytes:
        return HKDF(hashes.SHA256(), size, salt, _LABEL + what).derive(self.secret)

    def seal_result(self, data: bytes, salt: bytes) -> list[bytes]:
        """The result in parts, each sealed; ``salt`` are 16 fresh random bytes."""
        keys = self._draw(b"result", 32 + _NONCE_BYTES, salt)
        first, *others = _seal(keys[:32], keys[32:], _RESULT + self.number, data)
        return [salt + first, *others]

    def open_result(self, parts: list[bytes]) -> bytes:
        """The result.

        Raises:
            SealError: The parts are not those, or not all, that were sealed under this secret.
        """
        if not parts or len(parts[0]) < SALT_BYTES:
            raise SealError("what waited at the gateway is no result")
        first, *others = parts
        keys = self._draw(b"result", 32 + _NONCE_BYTES, first[:SALT_BYTES])
        return _open(keys[:32], keys[32:], _RESULT + self.number, [first[SALT_BYTES:], *others])

    def seal_progress(self, nonce: bytes, data: bytes) -> bytes:
        """What is said of how far the job is; ``nonce`` are 12 fresh random bytes."""
        sealed = ChaCha20Poly1305(self._draw(b"progress", 32)).encrypt(nonce, data, self.number)
        if len(sealed) + _NONCE_BYTES > PROGRESS_BYTES_MAX:
            raise SealError(f"a progress report of {len(data)} bytes is too long")
        return nonce + sealed

    def open_progress(self, sealed: bytes) -> bytes:
        """What it says.

        Raises:
            SealError: It was not sealed under this secret.
        """
        try:
            return ChaCha20Poly1305(self._draw(b"progress", 32)).decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self.number
            )
        except (InvalidTag, ValueError):
            raise SealError("a progress report does not open with this job's secret") from None


def address_of(device: bytes) -> bytes:
    """What letters to a device are addressed to: no process of it, but whichever serves next."""
    return device + bytes(8)


def seal_letter(
    identity: Identity, job: bytes, *, node: bytes, prekey: PublicPrekey, secret: bytes, data: bytes
) -> list[bytes]:
    """The parts of a letter: its envelope, then what it says.

    Args:
        identity: The caller's device.
        job: The job's number.
        node: The node's device id.
        prekey: The node's mailbox key, from its signed card.
        secret: 32 fresh random bytes.
        data: What it says.

    Raises:
        HandshakeError: The mailbox key cannot be used.
    """
    caller = identity.device + job[:8]
    handshake, keys = initiate(identity, caller=caller, node=address_of(node), prekey=prekey, secret=secret)
    envelope = _encoder.encode(_Envelope(1, identity.device, handshake))
    return [envelope, *_seal(keys.caller_key, keys.caller_iv, _LETTER + job, data)]


def open_letter(prekeys: Prekeys, job: bytes, *, node: bytes, parts: list[bytes]) -> tuple[bytes, bytes]:
    """The caller's device id, which it proved, and what the letter says.

    Raises:
        SealError: It is not for this node, not whole, or not from the device it names.
    """
    try:
        envelope = _decoder.decode(parts[0])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, IndexError):
        raise SealError("this is no letter") from None
    if envelope.version != 1:
        raise SealError(f"a letter of version {envelope.version}; this node reads version 1")
    keys = prekeys.respond(envelope.handshake, caller=envelope.caller + job[:8], node=address_of(node))
    return envelope.caller, _open(keys.caller_key, keys.caller_iv, _LETTER + job, parts[1:])


def _seal(key: bytes, iv: bytes, associated: bytes, data: bytes) -> list[bytes]:
    cipher, view = ChaCha20Poly1305(key), memoryview(data)
    last = max(0, len(data) - 1) // MAIL_PART_BYTES
    return [
        cipher.encrypt(
            _nonce(iv, number, number == last),
            view[number * MAIL_PART_BYTES : (number + 1) * MAIL_PART_BYTES],
            associated,
        )
        for number in range(last + 1)
    ]


def _open(key: bytes, iv: bytes, associated: bytes, parts: list[bytes]) -> bytes:
    cipher, last = ChaCha20Poly1305(key), len(parts) - 1
    try:
        opened = [
            cipher.decrypt(_nonce(iv, number, number == last), part, associated)
            for number, part in enumerate(parts)
        ]
    except (InvalidTag, ValueError):
        raise SealError("what waited at the gateway does not open: it was changed, or is not whole") from None
    if not opened:
        raise SealError("what waited at the gateway is empty")
    return b"".join(opened)


def _nonce(iv: bytes, number: int, last: bool) -> bytes:
    return (int.from_bytes(iv, "big") ^ (number << 1 | last)).to_bytes(_NONCE_BYTES, "big")
