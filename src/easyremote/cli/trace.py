"""``easynet trace``: one call's story, as this home and the nodes that may tell it know it."""

from __future__ import annotations

import re
from concurrent.futures import Future
from datetime import datetime
from typing import Any

import msgspec

from easyremote.cli.output import Output
from easyremote.cli.settings import Settings
from easyremote.client.blocking import Client
from easyremote.errors import EasyRemoteError, LinkError, UsageError
from easyremote.links.diary import read_diary
from easyremote.node.audit_check import read_audit
from easyremote.node.record import AUDIT_FOLDER
from easyremote.node.stories import audited
from easyremote.protocol.call import call_text
from easyremote.trust.identity import device_text
from easyremote.trust.keyring import Keyring
from easyremote.trust.letter import Secret, read_job
from easyremote.wire.mail import job_call

__all__ = ["trace_call"]

NODE_SECONDS = 5.0
YEAR_9999 = 253_370_764_800.0


class Happening(msgspec.Struct, frozen=True):
    """One thing that happened to a call, by the clock of where it did."""

    time: float
    where: str
    what: str
    call: str
    detail: str


def trace_call(text: str, settings: Settings, out: Output) -> None:
    """Gather and show it, in order of time.

    Raises:
        UsageError: That is no call's id, or nobody here knows of that call.
    """
    call = _call_of(text)
    entries = read_diary(settings.home, [call])
    calls = sorted({call} | {entry.call for entry in entries if entry.call})
    found = [Happening(entry.time, entry.program, entry.name, entry.call, entry.detail) for entry in entries]
    for files in read_audit(settings.home / AUDIT_FOLDER):
        found += [
            Happening(
                entry.time,
                f"node {files.name}",
                "call ended",
                entry.call,
                f"{entry.outcome}, after {entry.seconds:.3f} s",
            )
            for entry in audited(files, set(calls))
        ]
    silent: list[str] = []
    try:
        found += _told_by_nodes(calls, settings, silent)
    except LinkError as error:
        silent.append(f"no node could be asked: {error}")
    if not found:
        raise UsageError(
            f"nothing is known of call {call}, here or at the nodes that are there. What went as it should is not written "
            "down but at its node; EASYREMOTE_TRACE=on has a program write down all of its calls"
        )
    found = [one for one in found if 0.0 <= one.time < YEAR_9999]  # a node may say anything
    found.sort(key=lambda one: one.time)
    rows = [
        {
            "time": datetime.fromtimestamp(one.time).strftime("%H:%M:%S.%f")[:-3],
            "where": one.where,
            "what": one.what,
            "call": "" if one.call == call else one.call,
            "more": one.detail,
        }
        for one in found
    ]
    out.table(rows, records=found, empty="")
    if out.terminal and not out.as_json:
        for line in silent:
            out.line(line)


def _call_of(text: str) -> str:
    """The call's id, which may be given as a job's."""
    if text.startswith("job-"):
        return call_text(job_call(Secret(read_job(text)).number))
    if not re.fullmatch("[0-9a-f]{16}", text):
        raise UsageError(
            f"a call's id is 16 hexadecimal digits, as errors and logs show it, or a job's id, not {text!r}"
        )
    return text


def _told_by_nodes(calls: list[str], settings: Settings, silent: list[str]) -> list[Happening]:
    own = Keyring(settings.home).key("device.key")
    own_device = device_text(own.device) if own is not None else ""
    found: list[Happening] = []
    with Client(settings.gateway, connect_timeout=settings.connect_timeout) as client:
        asked: dict[str, Future[Any]] = {
            node.name: client.options(timeout=NODE_SECONDS).submit(f"{node.name}.easynet-trace", calls)
            for node in client.list_nodes()
            if node.device != own_device  # what those know lies in this home
        }
        for name, answer in asked.items():
            try:
                told = msgspec.convert(answer.result(), list[tuple[float, str, str, str]])
            except (EasyRemoteError, msgspec.ValidationError) as error:
                silent.append(f"node {name} does not tell: {error}")
                continue
            found += [
                Happening(time, f"node {name}", what, call, detail) for time, call, what, detail in told
            ]
    return found
