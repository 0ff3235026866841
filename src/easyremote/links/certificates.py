"""The certificate a gateway shows: looking at it, and telling one from another."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path

from cryptography import x509

from easyremote.errors import CertificateError, LinkError
from easyremote.trust.wallet import fingerprint


async def look_at(address: str, *, timeout_seconds: float, vouched: bool = False) -> bytes:
    """The certificate (DER) that is shown at ``host:port``; nothing is said there, and nothing believed.

    Args:
        address: Where to look.
        timeout_seconds: How long.
        vouched: Whether a public authority must vouch for it.

    Raises:
        LinkError: Nothing that speaks TLS answers.
        CertificateError: No authority vouches for it.
    """
    context = client_context(vouched=vouched)
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(timeout_seconds):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context)
    except TimeoutError:
        raise LinkError(f"nothing answers at {address} within {timeout_seconds:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise unvouched(address, error) from None
    except ssl.SSLError as error:
        raise LinkError(
            f"what answers at {address} does not speak TLS ({error.reason}): it is no gateway of this version"
        ) from None
    except OSError as error:
        raise LinkError(f"nothing answers at {address}: {error.strerror or error}") from None
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(True)
    finally:
        writer.close()
    if not shown:
        raise LinkError(f"what answers at {address} shows no certificate: it is no gateway")
    return bytes(shown)


def client_context(*, vouched: bool) -> ssl.SSLContext:
    """How TLS is spoken to a gateway; not ``vouched`` for, its certificate is for the caller to compare."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not vouched:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif (authorities := own_authorities()) is not None:
        context.load_verify_locations(cadata=authorities.decode("ascii", "replace"))
    else:
        context.load_default_certs()
    context.set_alpn_protocols(["h2"])
    return context


def unvouched(address: str, error: ssl.SSLCertVerificationError) -> CertificateError:
    """The error for a gateway whose certificate no authority vouches for."""
    return CertificateError(
        f"no authority vouches for the certificate shown at {address} ({error.verify_message}). Nothing was sent "
        "there. If its operator has an authority of their own, name its certificate: EASYREMOTE_CA=FILE"
    )


def shown_name(certificate: bytes) -> str:
    """A host name the certificate is good for."""
    try:
        names = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        found = names.value.get_values_for_type(x509.DNSName)
    except (ValueError, x509.ExtensionNotFound):
        found = []
    return found[0].replace("*", "gateway") if found else "easyremote"


def own_authorities() -> bytes | None:
    """Certificates of authorities the user trusts instead of the public ones: ``EASYREMOTE_CA``, a PEM file.

    Raises:
        CertificateError: It cannot be read.
    """
    named = os.environ.get("EASYREMOTE_CA")
    if not named:
        return None
    try:
        return Path(named).read_bytes()
    except OSError as error:
        raise CertificateError(
            f"EASYREMOTE_CA names {named}, which cannot be read: {error.strerror}"
        ) from None


def fingerprint_text(certificate: bytes) -> str:
    """A certificate's fingerprint as people compare it: ``SHA256:`` and pairs of hexadecimal digits."""
    return "SHA256:" + fingerprint(certificate).hex(":")


def changed_certificate(address: str, known: bytes, shown: bytes) -> CertificateError:
    """The error for a gateway that shows another certificate than the one known here."""
    return CertificateError(
        f"THE GATEWAY AT {address} HAS CHANGED. It shows a certificate that is not the one known here.\n"
        f"  known  {fingerprint_text(known)}\n"
        f"  shown  {fingerprint_text(shown)}\n"
        "Somebody may be answering in its place, and nothing was sent to them. It may also have been set up anew: "
        "ask its operator to compare the fingerprint (easynet network show), and only if it is the shown one run: "
        f"easynet network forget {address}, then join again with a fresh invite"
    )
