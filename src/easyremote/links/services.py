"""gRPC's standard services: is it well (``grpc.health.v1``), and what does it offer (``grpc.reflection``).

A probe of a load balancer asks the first, ``grpcurl`` the second. Their few messages are written here by
hand: generated code for them would clash with that of a program that has its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from easyremote.errors import RemoteProtocolError
from easyremote.links.rpc import Call, Serve, asked
from easyremote.wire.frame import read_varint, varint
from easyremote.wire.messages import load_descriptors

HEALTH = "grpc.health.v1.Health"
REFLECTIONS = ("grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection")
SERVING, SERVICE_UNKNOWN = 1, 3
NOT_FOUND = 5
_LENGTH_DELIMITED = 2


def standard_services(served: str) -> Mapping[str, Serve]:
    """Their methods by path, for a server of this service."""
    names = [served, HEALTH, *REFLECTIONS]

    async def check(call: Call) -> None:
        named = await _service(call)
        if named in ("", *names):
            await call.send(b"\x08" + varint(SERVING))
        else:
            call.finish(NOT_FOUND, f"there is no service {named!r} here")

    async def watch(call: Call) -> None:
        named = await _service(call)
        await call.send(b"\x08" + varint(SERVING if named in ("", *names) else SERVICE_UNKNOWN))
        await call.gone()  # nothing changes while the server lives

    async def reflect(call: Call) -> None:
        while (request := await call.receive()) is not None:
            asked_for = bytes(request)
            await call.send(field(2, asked_for) + _describe(fields(asked_for), names))

    methods: dict[str, Serve] = {f"/{HEALTH}/Check": check, f"/{HEALTH}/Watch": watch}
    return methods | {f"/{name}/ServerReflectionInfo": reflect for name in REFLECTIONS}


async def _service(call: Call) -> str:
    """The service that a question about health names."""
    return fields(await asked(call) or b"").get(1, b"").decode("utf-8", "replace")


def _describe(request: Mapping[int, bytes], names: list[str]) -> bytes:
    """What of a ServerReflectionResponse answers this ServerReflectionRequest."""
    file = load_descriptors()
    if 7 in request:  # list_services
        return field(6, b"".join(field(1, field(1, name.encode())) for name in names))
    name = request.get(3, b"").decode("utf-8", "replace")
    symbol = request.get(4, b"").decode("utf-8", "replace")
    ours = {
        file.package,
        *(f"{file.package}.{one}" for one in (*file.message_types_by_name, *file.services_by_name)),
    }
    if name == file.name or symbol in ours or symbol.rpartition(".")[0] in ours - {file.package}:
        return field(4, field(1, file.serialized_pb))
    return field(7, b"\x08" + varint(NOT_FOUND) + field(2, f"{name or symbol!r} is not known here".encode()))


def field(number: int, data: bytes) -> bytes:
    """A field of a protobuf message that holds bytes, text or a message."""
    return varint(number << 3 | _LENGTH_DELIMITED) + varint(len(data)) + data


def fields(message: bytes) -> dict[int, bytes]:
    """The fields of such kinds in a message, the last of each; a few at most.

    Raises:
        RemoteProtocolError: It is no message of such fields alone.
    """
    found: dict[int, bytes] = {}
    position = 0
    while position < len(message):
        tag, position = read_varint(message, position)
        size, position = read_varint(message, position)
        if tag & 7 != _LENGTH_DELIMITED or size > len(message) - position:
            raise RemoteProtocolError("a message of other fields than its service has")
        found[tag >> 3] = message[position : position + size]
        position += size
    return found
