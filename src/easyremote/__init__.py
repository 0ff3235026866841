"""EasyRemote: call a function on somebody's own device, sealed end to end.

::

    Server(port=8080).start()                                              # a cheap server
    node = ComputeNode("gateway:8080"); node.register(f); node.serve()     # your device
    Client("gateway:8080").execute("f", x)                                 # anywhere

Names are loaded when they are first used, so that importing this package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from easyremote.client.blocking import Client
    from easyremote.client.client import AsyncClient
    from easyremote.client.job import AsyncJob, Job, JobStatus
    from easyremote.client.records import FunctionRecord, LoadRecord, NodeRecord
    from easyremote.client.remote import remote
    from easyremote.client.retry import Retry
    from easyremote.errors import (
        CallError,
        CallTimeoutError,
        EasyRemoteError,
        LinkError,
        MailboxError,
        MembershipError,
        NodeLostError,
        NotAllowedError,
        RemoteError,
        TrustError,
    )
    from easyremote.gateway.server import Server
    from easyremote.links.address import set_default_gateway
    from easyremote.node.calls import Caller, current_call, current_caller, report_progress
    from easyremote.node.node import ComputeNode
    from easyremote.protocol.limits import MailboxLimits
    from easyremote.wire.values import register_type

__version__ = "3.0.0a1"

_PLACES = {
    "AsyncClient": "client.client",
    "AsyncJob": "client.job",
    "CallError": "errors",
    "CallTimeoutError": "errors",
    "Caller": "node.calls",
    "Client": "client.blocking",
    "ComputeNode": "node.node",
    "EasyRemoteError": "errors",
    "FunctionRecord": "client.records",
    "Job": "client.job",
    "JobStatus": "client.job",
    "LinkError": "errors",
    "LoadRecord": "client.records",
    "MailboxError": "errors",
    "MailboxLimits": "protocol.limits",
    "MembershipError": "errors",
    "NodeLostError": "errors",
    "NodeRecord": "client.records",
    "NotAllowedError": "errors",
    "RemoteError": "errors",
    "Retry": "client.retry",
    "Server": "gateway.server",
    "TrustError": "errors",
    "current_call": "node.calls",
    "current_caller": "node.calls",
    "register_type": "wire.values",
    "remote": "client.remote",
    "report_progress": "node.calls",
    "set_default_gateway": "links.address",
}

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "CallError",
    "CallTimeoutError",
    "Caller",
    "Client",
    "ComputeNode",
    "EasyRemoteError",
    "FunctionRecord",
    "Job",
    "JobStatus",
    "LinkError",
    "LoadRecord",
    "MailboxError",
    "MailboxLimits",
    "MembershipError",
    "NodeLostError",
    "NodeRecord",
    "NotAllowedError",
    "RemoteError",
    "Retry",
    "Server",
    "TrustError",
    "__version__",
    "current_call",
    "current_caller",
    "register_type",
    "remote",
    "report_progress",
    "set_default_gateway",
]


def __getattr__(name: str) -> object:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'easyremote' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"easyremote.{place}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
