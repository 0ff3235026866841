"""``Job`` and ``AsyncJob``: a durable call in a program's hands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

from easyremote.client.face import Connection
from easyremote.client.jobs import WATCH_SECONDS, JobStatus
from easyremote.links.loop import run_in_background
from easyremote.trust.letter import write_job
from easyremote.wire.values import decode

__all__ = ["AsyncJob", "Job", "JobStatus", "wait_on_async"]

T = TypeVar("T")


async def wait_on_async(connection: Connection, work: Coroutine[Any, Any, T]) -> T:
    """Have an engine's loop do this, which may be this one."""
    loop = connection.engine.loop
    if asyncio.get_running_loop() is loop:
        return await work
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))


class _Handle:
    """What both kinds of job have."""

    def __init__(self, connection: Connection, secret: bytes) -> None:
        self._connection = connection
        self._secret = secret

    @property
    def id(self) -> str:
        """What to ask for the job by, from any process or device of the same account; a secret."""
        return write_job(self._secret)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Handle) and other._secret == self._secret

    def __hash__(self) -> int:
        return hash(self._secret)


class Job(_Handle):
    """A call that outlives this program: it waits at the gateway for its node, and its result for whoever asks.

    ::

        job = client.submit("train", data, durable=True)
        print(job.id)                                    # in another program, or on another device of the account:
        print(client.job("job-…").result())
    """

    def result(self, timeout: float | None = None) -> Any:
        """What the function returned, when it is there; this device keeps it, and may ask again.

        Args:
            timeout: How many seconds to wait; the job goes on when they are over.

        Raises:
            RemoteError: The function raised; also the builtin exception it raised.
            CallTimeoutError: It is not over yet.
            NodeLostError: Its node ended while it ran, and it is not ``idempotent``.
            CallCancelledError: It was cancelled.
            MailboxError: The gateway does not have it, or another device has fetched the result.
            LinkError: The gateway does not answer.
        """
        jobs = self._connection.engine.jobs
        return decode(memoryview(run_in_background(jobs.result(self._secret, timeout))))

    def status(self) -> JobStatus:
        """How it stands."""
        return run_in_background(self._connection.engine.jobs.status(self._secret))

    def done(self) -> bool:
        """Whether it is over."""
        return self.status().over

    def cancel(self) -> None:
        """Do not want the result any more: one that waits is forgotten, one that runs is told to stop."""
        run_in_background(self._connection.engine.jobs.cancel(self._secret))

    def follow(self) -> Iterator[JobStatus]:
        """How it stands, again whenever there is news, until it is over."""
        seen = 0
        while True:
            jobs = self._connection.engine.jobs
            status, seen = run_in_background(jobs.watch(self._secret, seen, WATCH_SECONDS))
            yield status
            if status.over:
                return


class AsyncJob(_Handle):
    """The same for coroutines; see ``Job``."""

    async def result(self, timeout: float | None = None) -> Any:
        """What the function returned, when it is there; see ``Job.result``."""
        jobs = self._connection.engine.jobs
        return decode(memoryview(await wait_on_async(self._connection, jobs.result(self._secret, timeout))))

    async def status(self) -> JobStatus:
        """How it stands."""
        return await wait_on_async(self._connection, self._connection.engine.jobs.status(self._secret))

    async def done(self) -> bool:
        """Whether it is over."""
        return (await self.status()).over

    async def cancel(self) -> None:
        """Do not want the result any more; see ``Job.cancel``."""
        await wait_on_async(self._connection, self._connection.engine.jobs.cancel(self._secret))

    async def follow(self) -> AsyncIterator[JobStatus]:
        """How it stands, again whenever there is news, until it is over."""
        seen = 0
        while True:
            jobs = self._connection.engine.jobs
            status, seen = await wait_on_async(
                self._connection, jobs.watch(self._secret, seen, WATCH_SECONDS)
            )
            yield status
            if status.over:
                return
