"""A gateway's end of links, with nothing behind it."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from easyremote.gateway.certificate import Certificate, own_certificate
from easyremote.links.link import Link
from easyremote.links.relay import TakeEnrollment, listen
from easyremote.trust.keyring import Keyring
from easyremote.wire.messages import EnrollReply, EnrollRequest


def make_certificate() -> Certificate:
    """One that no other gateway has."""
    with tempfile.TemporaryDirectory() as home:
        return own_certificate(Keyring(Path(home)), time.time())


CERTIFICATE = make_certificate()


class Served:
    """Where it listens, and the first link that came."""

    def __init__(self, address: str, arrived: asyncio.Future[Link]) -> None:
        self.address, self.arrived = address, arrived


def take_nobody(request: EnrollRequest, address: str) -> EnrollReply:
    return EnrollReply(code="refused", message="nobody may join here")


@asynccontextmanager
async def gateway(
    certificate: Certificate = CERTIFICATE, take_enrollment: TakeEnrollment = take_nobody
) -> AsyncIterator[Served]:
    """Listen on loopback."""
    arrived: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def accept(link: Link) -> None:
        arrived.set_result(link)
        await over.wait()

    listener = await listen(
        "127.0.0.1", 0, accept, take_enrollment, key=certificate.key, chain=certificate.chain
    )
    try:
        yield Served(listener.address, arrived)
    finally:
        over.set()
        await listener.close(0.0)
