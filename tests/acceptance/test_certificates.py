"""TLS always: the gateway's certificate is pinned, or vouched for by an authority; anything else is refused."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.members import Club
from acceptance.processes import until
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from easyremote import Client, Server
from easyremote.client.operator import Operator
from easyremote.errors import CertificateError, EasyRemoteError, LinkError, UsageError

Clubs = Callable[..., Club]


class Authority:
    """A certificate authority of one's own."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        self.certificate = self._sign(self.name, self.key.public_key(), ca=True)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def write_for(self, host: str, folder: Path) -> tuple[Path, Path]:
        """A certificate for a host, and its key, as files."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        chain, private = folder / "gateway.pem", folder / "gateway.key"
        chain.write_bytes(
            self._sign(name, key.public_key(), host=host).public_bytes(serialization.Encoding.PEM)
        )
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return chain, private

    def _sign(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, *, host: str = "", ca: bool = False
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        if ca:
            usage = dict.fromkeys(
                [
                    "digital_signature",
                    "content_commitment",
                    "key_encipherment",
                    "data_encipherment",
                    "key_agreement",
                    "encipher_only",
                    "decipher_only",
                ],
                False,
            )
            builder = builder.add_extension(
                x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True
            )
        if host:
            named = [x509.DNSName(host), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(named), critical=False)
        return builder.sign(self.key, hashes.SHA256())


def test_nothing_is_said_in_the_clear(clubs: Clubs) -> None:
    """Somebody who listens on the wire sees TLS and nothing else."""
    club = clubs()
    host, _, port = club.network.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as plain:
        plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        plain.settimeout(5)
        answer = plain.recv(1024)
    assert not answer or answer[0] == 0x15, "the end, or a TLS alert"


def test_a_changed_certificate_is_refused_and_explained(clubs: Clubs) -> None:
    club = clubs()
    carol = club.member("carol")
    client = carol.client()
    assert client.list_nodes() == []
    club.network.gateway.kill()
    for name in ("tls.crt", "tls.pem.key"):
        (club.network.home / "network" / name).unlink()
    club.network.restart_gateway()
    with pytest.raises(CertificateError, match="HAS CHANGED") as raised:
        carol.client().list_nodes()
    text = str(raised.value)
    assert text.count("SHA256:") == 2
    assert "easynet network show" in text
    assert f"easynet network forget {club.network.address}" in text
    until(lambda: _refuses(client), what="the client that was connected to refuse as well")
    refused = carol.easynet("call", "anything")
    assert refused.wait() == 8
    assert carol.easynet("network", "forget", club.network.address).wait() == 0
    with Operator(club.network.address, home=club.network.home) as local:
        line = local.invite("client")
    dave = club.stranger("dave")
    dave.join(line)
    with Operator(club.network.address, home=club.network.home) as local:
        carol.join(local.invite("client"))
    assert carol.client().list_nodes() == [], "who has compared the fingerprint joins again"


def _refuses(client: Client) -> bool:
    try:
        client.list_nodes()
    except CertificateError:
        return True
    except EasyRemoteError:
        return False
    return False


def test_a_listener_in_the_middle_is_told_nothing(clubs: Clubs, tmp_path: Path) -> None:
    """A port that takes connections in the gateway's place, with a certificate of its own."""
    club = clubs()
    carol = club.member("carol")
    club.network.gateway.kill()
    port = int(club.network.address.rpartition(":")[2])
    impostor = Server(port=port, home=tmp_path / "impostor")
    heard: list[object] = []
    with impostor:
        router = impostor._router
        assert router is not None
        handle = router.handle
        router.handle = lambda event, now: (heard.append(event), handle(event, now))[1]  # type: ignore[method-assign]
        with pytest.raises(CertificateError, match="HAS CHANGED"):
            carol.client().execute("secret", "argument")
    assert heard == [], "not one frame, not even a hello"


def look(address: str, home: Path, **options: object) -> int:
    """How many nodes a fresh client sees."""
    client = Client(address, home=home, connect_timeout=3.0, **options)  # type: ignore[arg-type]
    try:
        return len(client.list_nodes())
    finally:
        client.close()


def test_a_certificate_that_an_authority_vouches_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, carol, gateway_home = Authority(), tmp_path / "carol", tmp_path / "gateway"
    chain, key = authority.write_for("localhost", tmp_path)
    trusted = tmp_path / "authority.pem"
    trusted.write_bytes(authority.pem)
    with Server(port=0, home=gateway_home, certificate=chain, key=key) as server:
        port = int(server.address.rpartition(":")[2])
        address = f"localhost:{port}"
        with Operator(server.address, home=gateway_home) as operator:
            line = operator.invite("client", addresses=[address])
        with pytest.raises(CertificateError, match="EASYREMOTE_CA"):
            look(address, carol, invite=line)
        monkeypatch.setenv("EASYREMOTE_CA", str(trusted))
        assert look(address, carol, invite=line) == 0
    # The same host's next certificate is as good; another authority's, or another network's gateway, is not.
    chain, key = authority.write_for("localhost", folder(tmp_path / "renewed"))
    with Server(port=port, home=gateway_home, certificate=chain, key=key):
        assert look(address, carol) == 0
    with Server(port=port, home=tmp_path / "another network", certificate=chain, key=key) as other:
        assert other.is_running
        with pytest.raises(CertificateError, match="has the key"):
            look(address, carol)
    chain, key = Authority().write_for("localhost", folder(tmp_path / "other"))
    with Server(port=port, home=gateway_home, certificate=chain, key=key) as other:
        assert other.is_running
        with pytest.raises(CertificateError, match="no authority vouches"):
            look(address, carol)


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_files_that_are_no_certificate_are_told_so(tmp_path: Path) -> None:
    chain, key = Authority().write_for("localhost", tmp_path)
    with pytest.raises(UsageError, match="comes with its key"):
        Server(port=0, certificate=chain)
    (tmp_path / "other").mkdir()
    other_chain, _ = Authority().write_for("localhost", tmp_path / "other")
    for given_chain, given_key in ((other_chain, key), (key, key), (tmp_path / "none.pem", key)):
        with pytest.raises(CertificateError):
            Server(port=0, home=tmp_path / "home", certificate=given_chain, key=given_key).start_background()


def test_what_answers_without_tls_is_no_gateway(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        done = threading.Event()

        def answer() -> None:
            while not done.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(LinkError, match="no gateway of this version"):
            look(address, tmp_path)
        done.set()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
