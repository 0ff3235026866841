"""Pickled values: what msgpack has no form for, between two ends whose owners both said so.

To load a pickle is to run whatever its sender wrote into it, as the user who loads it. So this is the one
file that loads any, and it never does without a ``Consent``: the word of this end's owner about the peer
the value came from. A pickled value is the extension ``codes.PICKLED``, alone at the top; ordinary decoding
refuses it wherever it meets one, unread.

The payload is ``[pickle, [buffer...]]``: pickle protocol 5 with its buffers out of band (PEP 574), so that
large arrays are not copied. How large it may be is what the receiver takes of any value.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

import msgspec
from msgspec.msgpack import Ext

from easyremote.errors import DecodeError, EncodeError, UsageError
from easyremote.wire import codes
from easyremote.wire.codec import RAISE, Reader, Writer
from easyremote.wire.segments import Segments, build, take_apart

__all__ = [
    "CODECS",
    "MSGPACK",
    "PICKLE",
    "Consent",
    "Data",
    "decode",
    "decode_arguments",
    "encode",
    "encode_arguments",
    "is_pickled",
    "peers",
]

MSGPACK, PICKLE = "msgpack", "pickle"
CODECS = (MSGPACK, PICKLE)

PROTOCOL = 5

Data = msgspec.Raw | bytes | bytearray | memoryview

_encode = msgspec.msgpack.Encoder().encode
_decode_ext = msgspec.msgpack.Decoder(Ext).decode

_CODE_AT = {0xC7: 2, 0xC8: 3, 0xC9: 5, 0xD4: 1, 0xD5: 1, 0xD6: 1, 0xD7: 1, 0xD8: 1}
"""Where an extension's code stands, by the byte it opens with."""


class Consent(msgspec.Struct, frozen=True):
    """This end's owner trusts a peer to run any code here, which is what loading its pickles means.

    Make one only where the owner's list has been asked about the peer.

    Attributes:
        peer: Whose pickles may be loaded, as people call it.
        option: How the owner said so.
    """

    peer: str
    option: str


def peers(option: str, names: object, what: str) -> frozenset[str]:
    """The names an owner lists in this option.

    Raises:
        UsageError: It is no list of names.
    """
    if isinstance(names, Iterable) and not isinstance(names, (str, bytes)):
        listed = list(names)
        if all(isinstance(name, str) and name for name in listed):
            return frozenset(listed)
    raise UsageError(f"{option}= is a list of {what}, not {names!r}: each of them may run any code as you")


def is_pickled(data: Data) -> bool:
    """Whether this is a pickled value; nothing of it is loaded, and nonsense is none."""
    body = memoryview(data)
    if not body:
        return False
    if body[0] == codes.NEVER_MSGPACK:
        try:
            body = memoryview(take_apart(body)[0])
        except DecodeError:
            return False
    at = _CODE_AT.get(body[0]) if body else None
    return at is not None and len(body) > at and body[at] == codes.PICKLED


def encode(value: object) -> bytes | Segments:
    """Return ``value`` pickled; segments refer to its own memory, see ``values.encode``.

    Raises:
        EncodeError: It cannot be pickled.
    """
    return _dump(value, "the value")


def encode_arguments(args: tuple[object, ...], kwargs: dict[str, object]) -> bytes | Segments:
    """Return a call's arguments pickled.

    Raises:
        EncodeError: One of them cannot be pickled.
    """
    return _dump((args, kwargs), "an argument")


def decode(data: Data, consent: Consent) -> Any:
    """Load the value a peer pickled, and with it run what the peer wrote into it.

    Raises:
        DecodeError: It is not a pickled value, or does not load.
    """
    import pickle

    if not isinstance(consent, Consent):
        raise TypeError(f"a pickle is loaded with its owner's Consent, not with {consent!r}")
    try:
        stream, buffers = _take_out(memoryview(data))
        return pickle.loads(stream, buffers=buffers)
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(
            f"what {consent.peer!r} pickled cannot be loaded here: {type(error).__name__}: {f'{error}'[:400]}. "
            "A pickle needs the modules its classes come from, under the same names, at both ends"
        ) from error


def decode_arguments(data: Data, consent: Consent) -> tuple[list[Any], dict[str, Any]]:
    """Load the positional and named arguments a peer pickled; see ``decode``.

    Raises:
        DecodeError: They are no pickled arguments, or do not load.
    """
    found = decode(data, consent)
    if type(found) is tuple and len(found) == 2:
        args, kwargs = found
        if type(args) is tuple and type(kwargs) is dict and all(type(name) is str for name in kwargs):
            return list(args), kwargs
    raise DecodeError("a pickled value was found, but not the arguments of a call")


def _dump(value: object, what: str) -> bytes | Segments:
    import pickle

    writer, buffers = Writer(), list[pickle.PickleBuffer]()
    try:
        stream = pickle.dumps(value, PROTOCOL, buffer_callback=buffers.append)
        lowered = writer.ext(
            codes.PICKLED, (writer.store(memoryview(stream)), [writer.store(one.raw()) for one in buffers])
        )
        return build(lowered, writer.buffers) if writer.buffers else _encode(lowered)
    except Exception as error:  # pickling runs the value's own code
        raise EncodeError(f"{what} cannot be pickled: {type(error).__name__}: {error}") from error


def _take_out(body: memoryview) -> tuple[Any, list[Any]]:
    """The pickle and its buffers, not loaded."""
    head: msgspec.Raw | memoryview = body
    parts: list[memoryview] = []
    if body and body[0] == codes.NEVER_MSGPACK:
        head, parts = take_apart(body)
    found = _decode_ext(head)
    reader = Reader(parts, ())
    stream, buffers = reader.items(memoryview(found.data), 2)
    if found.code != codes.PICKLED or type(buffers) is not list:
        raise DecodeError(f"extension {found.code} is no pickled value")
    return reader.fetch(stream), [reader.fetch(one) for one in buffers]


def _refuse(reader: Reader, data: memoryview) -> NoReturn:
    raise DecodeError(
        "a pickled value was found, and was not loaded: a pickle runs any code its sender likes, so both ends "
        "must allow it for each other. The node does with register(codec='pickle', pickle_from=[the caller]), the "
        "caller with Client(pickle_with=[the node]) and codec='pickle' in the call"
    )


RAISE[codes.PICKLED] = _refuse
