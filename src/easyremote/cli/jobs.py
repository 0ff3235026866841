"""``easynet jobs`` and ``easynet job``: durable calls, how they stand and what they came to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from easyremote.cli.output import Output, printable
from easyremote.cli.settings import Settings
from easyremote.client.blocking import Client
from easyremote.client.job import Job, JobStatus

__all__ = ["cancel_job", "follow_job", "list_jobs", "show_job"]


def list_jobs(settings: Settings, out: Output) -> None:
    """Show the durable calls this device has submitted, the newest first."""
    with Client(settings.gateway, connect_timeout=settings.connect_timeout) as client:
        records = client.jobs()
    empty = "this device has submitted no durable calls; submit one: easynet call FN ARGS --durable"
    out.table([_row(record) for record in records], records=records, empty=empty)


def show_job(id: str, settings: Settings, out: Output) -> None:
    """Show how one stands.

    Raises:
        UsageError: That is no job's id.
    """
    with Client(settings.gateway, connect_timeout=settings.connect_timeout) as client:
        status = client.job(id).status()
    out.table([_row(status)], records=[status], empty="")


def cancel_job(id: str, settings: Settings, out: Output) -> None:
    """Want its result no more.

    Raises:
        UnknownJobError: The gateway does not know it, or no longer.
    """
    with Client(settings.gateway, connect_timeout=settings.connect_timeout) as client:
        job = client.job(id)
        job.cancel()
        state = job.status().state
    told = {
        "cancelled": "it had not begun, and will not",
        "running": "it runs, and was told to stop",
        "done": "it was over already: easynet job ID --follow prints its result",
    }
    out.line(told.get(state, f"it is {state}"))


def follow_job(id: str, settings: Settings, out: Output) -> None:
    """Show how far it is until it is over, then its result.

    Raises:
        EasyRemoteError: Whatever it ended with.
    """
    with Client(settings.gateway, connect_timeout=settings.connect_timeout) as client:
        job = client.job(id)
        with _teller(sys.stderr.isatty()) as tell:
            for status in job.follow():
                tell(status)
        _print_result(job, out)


def _print_result(job: Job, out: Output) -> None:
    value = job.result()
    if value is not None or out.as_json:
        out.value(value)


@contextmanager
def _teller(terminal: bool) -> Iterator[Callable[[JobStatus], None]]:
    """Tells how a job stands, on standard error: a bar on a terminal, elsewhere a line whenever it has changed."""
    if not terminal:
        said: list[str] = []

        def say(status: JobStatus) -> None:
            line = _line(status)
            if said[-1:] != [line] and not status.over:
                said.append(line)
                print(printable(line), file=sys.stderr, flush=True)

        yield say
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[far]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None, far="")

        def show(status: JobStatus) -> None:
            progress.update(
                task,
                description=Text(printable(f"{_what(status)}: {status.message or status.state}")).plain,
                completed=status.done or 0.0,
                total=status.total,
                far=_far(status),
            )

        yield show


def _what(status: JobStatus) -> str:
    function = status.function or status.id[:12] + "…"
    return f"{function} on {status.node}" if status.node else function


def _line(status: JobStatus) -> str:
    parts = [status.state, _far(status), status.message]
    return f"{_what(status)}: {', '.join(part for part in parts if part)}"


def _far(status: JobStatus) -> str:
    if status.done is None:
        return ""
    return f"{status.done:g} of {status.total:g}" if status.total is not None else f"{status.done:g}"


def _row(status: JobStatus) -> dict[str, object]:
    made = datetime.fromtimestamp(status.made).strftime("%Y-%m-%d %H:%M") if status.made else ""
    return {
        "job": status.id,
        "function": status.function,
        "node": status.node,
        "state": status.state,
        "progress": ", ".join(part for part in (_far(status), status.message) if part),
        "submitted": made,
    }
