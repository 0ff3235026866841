"""Links under TLS: the one certificate that is known, and the door for those who want to join."""

from __future__ import annotations

import asyncio

import pytest
from links.gateways import CERTIFICATE, gateway, make_certificate

from easyremote.errors import CertificateError, LinkError
from easyremote.links.certificates import fingerprint_text, look_at
from easyremote.links.relay import connect, enroll, peer_address
from easyremote.wire.messages import EnrollReply, EnrollRequest

REQUEST = EnrollRequest(device=bytes(32), name="lab", role="node")


def test_a_gateway_that_shows_another_certificate_is_not_spoken_to() -> None:
    async def play() -> None:
        known = make_certificate()
        async with gateway() as served:
            with pytest.raises(CertificateError, match="HAS CHANGED") as caught:
                await connect(served.address, known.der, timeout_seconds=10.0)
            assert fingerprint_text(known.der) in str(caught.value)
            assert fingerprint_text(CERTIFICATE.der) in str(caught.value)
            with pytest.raises(CertificateError):
                await enroll(served.address, known.der, REQUEST, timeout_seconds=10.0)
            assert not served.arrived.done()

    asyncio.run(play())


def test_a_certificate_nobody_vouches_for_is_not_taken_where_a_public_one_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("EASYREMOTE_CA", raising=False)

    async def play() -> None:
        async with gateway() as served:
            with pytest.raises(CertificateError, match="no authority vouches"):
                await connect(served.address, b"", timeout_seconds=10.0)
            assert not served.arrived.done()

    asyncio.run(play())


def test_what_does_not_answer_is_unreachable() -> None:
    async def play() -> None:
        async with gateway() as served:
            address = served.address
        with pytest.raises(LinkError, match="no gateway answers"):
            await connect(address, CERTIFICATE.der, timeout_seconds=0.3)

    asyncio.run(play())


def test_what_does_not_speak_tls_is_no_gateway() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-other\r\n")
        await writer.drain()
        writer.close()

    async def play() -> None:
        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            with pytest.raises(LinkError, match="does not speak TLS"):
                await look_at(f"127.0.0.1:{port}", timeout_seconds=5.0)

    asyncio.run(play())


def test_a_stranger_may_look_at_the_certificate() -> None:
    async def play() -> bytes:
        async with gateway() as served:
            return await look_at(served.address, timeout_seconds=5.0)

    assert asyncio.run(play()) == CERTIFICATE.der


def test_a_request_to_enroll_comes_with_its_address_and_is_answered() -> None:
    reply = EnrollReply(membership=b"credential", root=bytes(32), gateway=bytes([1]) * 32, name="lab-2")
    asked: list[tuple[EnrollRequest, str]] = []

    def take(request: EnrollRequest, address: str) -> EnrollReply:
        asked.append((request, address))
        return reply

    async def play() -> EnrollReply:
        async with gateway(take_enrollment=take) as served:
            return await enroll(served.address, CERTIFICATE.der, REQUEST, timeout_seconds=5.0)

    assert asyncio.run(play()) == reply
    assert asked == [(REQUEST, "127.0.0.1")]


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("10.0.0.7:1234", "10.0.0.7"),
        ("[::1]:1234", "::1"),
        ("[fe80::1%eth0]:1234", "fe80::1%eth0"),
        ("[::ffff:10.0.0.7]:1234", "10.0.0.7"),
    ],
)
def test_limits_go_by_the_address_without_its_port(peer: str, address: str) -> None:
    assert peer_address(peer) == address
