"""What a program asks of its gateway's mailbox, and who waits for the answers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from easyremote.errors import LinkError, MailboxError, UnknownJobError
from easyremote.protocol.effects import MailDone
from easyremote.protocol.events import MailRequested
from easyremote.wire.mail import MailRequest, decode_mail, encode_mail

__all__ = ["Questions"]

ANSWER_SECONDS = 30.0
"""A gateway that says nothing for so long, its link being up, has lost the question."""


class Questions:
    """One device's, on its loop.

    Args:
        post: Hands an event to the device's machine.
    """

    def __init__(self, post: Callable[[MailRequested], None]) -> None:
        self._post = post
        self._number = itertools.count(1).__next__
        self._open: dict[int, asyncio.Future[bytes]] = {}

    async def ask(self, request: MailRequest, kind: Any = None, *, seconds: float = 0.0) -> Any:
        """What the mailbox answers: a record of this kind, or bytes.

        Args:
            request: The question.
            kind: What the answer is; None for bytes as they are.
            seconds: How long the gateway may keep it until there is news.

        Raises:
            LinkError: The gateway cannot be asked at the moment, or was lost before it answered.
            UnknownJobError: It knows no such job.
            MailboxError: It was not done; ``code`` and the message say why.
        """
        number = self._number()
        waiting = self._open[number] = asyncio.get_running_loop().create_future()
        self._post(MailRequested(number, encode_mail(request)))
        try:
            async with asyncio.timeout(seconds + ANSWER_SECONDS):
                answer = await waiting
        except TimeoutError:
            raise LinkError("the gateway did not answer a question about its mailbox") from None
        finally:
            del self._open[number]
        return answer if kind is None else decode_mail(answer, kind)

    def answered(self, done: MailDone) -> None:
        """The gateway has answered."""
        waiting = self._open.get(done.number)
        if waiting is None or waiting.done():
            return
        if not done.code:
            waiting.set_result(done.reply)
        elif done.code == "away":
            waiting.set_exception(LinkError(done.error))
        elif done.code == "unknown":
            waiting.set_exception(UnknownJobError(done.error, code=done.code))
        else:
            waiting.set_exception(MailboxError(done.error, code=done.code))

    def lost(self) -> None:
        """The link is gone, and with it whatever was asked over it."""
        for waiting in self._open.values():
            if not waiting.done():
                waiting.set_exception(LinkError("the link to the gateway was lost before it answered"))
