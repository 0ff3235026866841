"""The gateway's certificate: one of its own making, or one that its operator gives.

A certificate of its own is told apart by its fingerprint, which is in every invite and pinned by those who
join. One that a public authority vouches for may change whenever it is renewed.
"""

from __future__ import annotations

import datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from easyremote.errors import CertificateError
from easyremote.trust.keyring import Keyring

KEY_FILE, CERTIFICATE_FILE = "network/tls.pem.key", "network/tls.crt"
NAME = "easyremote"
YEARS = 20


class Certificate(msgspec.Struct, frozen=True):
    """What TLS needs: the key and the chain in PEM, the certificate itself in DER, and who vouches for it."""

    key: bytes
    chain: bytes
    der: bytes
    public: bool

    def __repr__(self) -> str:
        """Never the key."""
        return f"<Certificate {'given' if self.public else 'of its own'}>"


def own_certificate(keyring: Keyring, now: float) -> Certificate:
    """The gateway's self-signed certificate; made on its first start, and the same from then on.

    Raises:
        IdentityError: The files cannot be read or written, or others may read the key.
    """
    fresh_key = ec.generate_private_key(ec.SECP256R1())
    key_pem = keyring.create(
        KEY_FILE,
        fresh_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    key = serialization.load_pem_private_key(key_pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(
            f"the key in {keyring.home / KEY_FILE} is not the one the gateway made. Move it away"
        )
    chain = keyring.create(CERTIFICATE_FILE, _self_signed(key, now))
    return Certificate(key_pem, chain, _der(chain, keyring.home / CERTIFICATE_FILE), public=False)


def given_certificate(certificate: Path, key: Path) -> Certificate:
    """The certificate and key in these PEM files.

    Raises:
        CertificateError: They cannot be read, or do not belong together.
    """
    try:
        chain, key_pem = Path(certificate).read_bytes(), Path(key).read_bytes()
        private = serialization.load_pem_private_key(key_pem, None)
        shown = x509.load_pem_x509_certificate(chain)
    except OSError as error:
        raise CertificateError(f"cannot read {error.filename}: {error.strerror}") from None
    except (ValueError, TypeError) as error:
        raise CertificateError(
            f"{certificate} and {key} are not a certificate and its key in PEM: {error}"
        ) from None
    if _public(private.public_key()) != _public(shown.public_key()):
        raise CertificateError(f"the key in {key} is not the one of the certificate in {certificate}")
    return Certificate(key_pem, chain, shown.public_bytes(serialization.Encoding.DER), public=True)


def _self_signed(key: ec.EllipticCurvePrivateKey, now: float) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    start = datetime.datetime.fromtimestamp(now, datetime.UTC) - datetime.timedelta(days=2)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=365 * YEARS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _der(chain: bytes, path: Path) -> bytes:
    try:
        return x509.load_pem_x509_certificate(chain).public_bytes(serialization.Encoding.DER)
    except ValueError:
        raise CertificateError(
            f"{path} is not a certificate. Move it and its key away: a new one is made, and devices must join again"
        ) from None


def _public(key: object) -> bytes:
    return key.public_bytes(  # type: ignore[attr-defined,no-any-return]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
