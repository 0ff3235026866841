"""A Python value as bytes, and back.

Values are msgpack with extensions (``codes.py``); a pickle is refused here, unread (see ``pickled.py``).
Plain values (None, bool, int, float, str, and lists and dicts of them) take one C pass each way; whatever
else is in a value is lowered first. Large buffers are neither copied nor sent through msgpack: see
``segments.py``.

Decoding is safe for bytes from a stranger: it raises DecodeError and nothing else, imports nothing by a
name from the wire, allocates nothing for a length that is only claimed, and builds only classes this
program has already met.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, cast

import msgspec
from msgspec.msgpack import Ext

from easyremote.errors import DecodeError, EncodeError
from easyremote.wire import arrays, classes, codes, images, pickled, scalars, tables
from easyremote.wire.classes import register_type
from easyremote.wire.codec import (
    FLAT,
    LOWER,
    PLAIN,
    RAISE,
    SMALL_BYTES,
    NotFlat,
    Reader,
    Refused,
    Writer,
    check_hashes,
    decode_plain,
    show,
)
from easyremote.wire.limits import INLINE_BYTES
from easyremote.wire.segments import Segments, build, take_apart

__all__ = [
    "Segments",
    "decode",
    "decode_arguments",
    "encode",
    "encode_arguments",
    "register_type",
]

_KINDS = (arrays, tables, images, classes, scalars, pickled)  # importing them teaches the codec their types

_encode = msgspec.msgpack.Encoder().encode

Bytes = bytes | bytearray | memoryview


def _no_extension(code: int, data: memoryview) -> object:
    raise NotFlat


_decode_flat = msgspec.msgpack.Decoder(ext_hook=_no_extension).decode
_decode_flat_arguments = msgspec.msgpack.Decoder(
    tuple[list[Any], dict[str, Any]], ext_hook=_no_extension
).decode
_decode_plain_arguments = msgspec.msgpack.Decoder(tuple[list[PLAIN], dict[str, PLAIN]]).decode


def encode(value: object) -> bytes | Segments:
    """Return ``value`` as bytes, or as segments where it holds buffers over 64 KiB.

    Segments refer to the value's own memory: do not change it until they are sent.

    Raises:
        EncodeError: Something in it has no form on the wire; the message says where and what to do.
    """
    if type(value) in FLAT:
        try:
            return _encode(value)
        except (OverflowError, UnicodeEncodeError):
            pass  # an int past 64 bits or text with lone surrogates: looked at more closely below
    return _encode_rich(value, _lower_value)


def encode_arguments(args: tuple[object, ...], kwargs: dict[str, object]) -> bytes | Segments:
    """Return a call's arguments as bytes: the value ``[[positional...], {name: value}]``.

    Raises:
        EncodeError: An argument has no form on the wire; the message says which and what to do.
    """
    for value in args:
        kind = type(value)
        if kind not in FLAT and (kind is not bytes or len(cast(bytes, value)) > INLINE_BYTES):
            break
    else:
        if not kwargs or FLAT.issuperset(map(type, kwargs.values())):
            try:
                return _encode((args, kwargs))
            except (OverflowError, UnicodeEncodeError):
                pass
    return _encode_rich((args, kwargs), _lower_arguments)


def decode(data: Bytes, *, known: Sequence[type] = ()) -> object:
    """Return the value that ``data`` holds.

    Arrays and tensors in segments become views of ``data`` where it is writable: leave it to them.
    A value takes memory in proportion to ``data``, but the densest, such as a list of many empty dicts,
    takes about 100 bytes for each byte of it: bound the size of what comes from a stranger accordingly.

    Args:
        data: What ``encode`` gave.
        known: Classes that values may be rebuilt as, whatever module the sender had them in.

    Raises:
        DecodeError: The bytes make no value, whatever they are.
    """
    try:
        return _decode_flat(data) if len(data) <= SMALL_BYTES else decode_plain(data)
    except Exception:
        pass  # extensions, segments or nonsense: the long way tells them apart
    return _decode_rich(data, known)


def decode_arguments(data: Bytes, *, known: Sequence[type] = ()) -> tuple[list[object], dict[str, object]]:
    """Return the positional and named arguments that ``data`` holds; see ``decode``.

    Raises:
        DecodeError: The bytes make no arguments, whatever they are.
    """
    try:
        if len(data) <= SMALL_BYTES:
            return _decode_flat_arguments(data)
        return _decode_plain_arguments(data)
    except Exception:
        pass
    found = _decode_rich(data, known)
    if type(found) is list and len(found) == 2:
        args, kwargs = found
        if type(args) is list and type(kwargs) is dict and all(type(name) is str for name in kwargs):
            return args, kwargs
    raise DecodeError("the bytes hold a value, but not the arguments of a call")


def _lower_value(writer: Writer, value: object) -> object:
    try:
        return writer.lower(value, 0)
    except Refused as refused:
        refused.trail.append("the value")
        raise


def _lower_arguments(writer: Writer, value: Any) -> object:
    args, kwargs = value
    lowered_args: list[object] = []
    lowered_kwargs: dict[str, object] = {}
    place = ""
    try:
        for index, item in enumerate(args, start=1):
            place = f"argument {index}"
            lowered_args.append(writer.lower(item, 0))
        for name, item in kwargs.items():
            place = f"argument {name!r}"
            lowered_kwargs[name] = writer.lower(item, 0)
    except Refused as refused:
        refused.trail.append(place)
        raise
    return lowered_args, lowered_kwargs


def _encode_rich(value: object, lower: Any) -> bytes | Segments:
    try:
        try:
            return _assemble(writer := Writer(), lower(writer, value))
        except (OverflowError, UnicodeEncodeError):
            return _assemble(writer := Writer(careful=True), lower(writer, value))
    except Refused as refused:
        trail = refused.trail[::-1]
        place = "".join(trail if len(trail) <= 12 else [*trail[:6], "…", *trail[-5:]])
        raise EncodeError(f"{place} {refused.what}.") from refused.__cause__
    except RecursionError as error:
        raise EncodeError("the value is nested too deeply, or contains itself.") from error
    except Exception as error:  # a property or a library raised, or another thread changed the value
        raise EncodeError(f"the value could not be encoded: {type(error).__name__}: {error}") from error


def _assemble(writer: Writer, lowered: object) -> bytes | Segments:
    return build(lowered, writer.buffers) if writer.buffers else _encode(lowered)


def _decode_rich(data: Bytes, known: Sequence[type]) -> object:
    try:
        body = memoryview(data).cast("B")
        if len(body) and body[0] == codes.NEVER_MSGPACK:
            head, buffers = take_apart(body)
            return Reader(buffers, known).unpack(memoryview(head))
        return Reader((), known).unpack(body)
    except DecodeError:
        raise
    except RecursionError as error:
        raise DecodeError("a value is nested too deeply to be decoded") from error
    except Exception as error:
        reason = f"{error}"[:400] or type(error).__name__
        raise DecodeError(f"the bytes make no value: {reason}") from error


# The language's own containers.


def _lower_int(writer: Writer, value: int, depth: int) -> object:
    if -(1 << 63) <= value < 1 << 64:
        return value
    return Ext(codes.BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _lower_str(writer: Writer, value: str, depth: int) -> object:
    try:
        value.encode()
    except UnicodeEncodeError:
        return Ext(codes.LOOSE_TEXT, value.encode("utf-8", "surrogatepass"))
    return value


def _lower_bytes(writer: Writer, value: bytes, depth: int) -> object:
    if len(value) <= INLINE_BYTES:
        return value
    return writer.ext(codes.LARGE_BYTES, writer.store(memoryview(value)))


def _lower_bytearray(writer: Writer, value: bytearray, depth: int) -> object:
    # Copied: a bytearray is a buffer to be used again, and cannot grow while somebody looks into it.
    return writer.ext(codes.BYTEARRAY, writer.store(memoryview(bytes(value))))


def _lower_memoryview(writer: Writer, value: memoryview, depth: int) -> object:
    flat = value.cast("B") if value.c_contiguous and value.nbytes else memoryview(value.tobytes())
    return _lower_bytes(writer, cast(bytes, flat), depth) if len(flat) > INLINE_BYTES else bytes(flat)


def _lower_list(writer: Writer, value: list[object], depth: int) -> object:
    return writer.lower_items(value, depth)


def _lower_tuple(writer: Writer, value: tuple[object, ...], depth: int) -> object:
    return Ext(codes.TUPLE, _encode(writer.lower_items(value, depth)))


def _lower_set(writer: Writer, value: set[object], depth: int) -> object:
    return Ext(codes.SET, _encode(_lower_members(writer, value, depth)))


def _lower_frozenset(writer: Writer, value: frozenset[object], depth: int) -> object:
    return Ext(codes.FROZENSET, _encode(_lower_members(writer, value, depth)))


def _lower_members(writer: Writer, value: set[object] | frozenset[object], depth: int) -> object:
    return value if writer.flat.issuperset(map(type, value)) else writer.lower_items(list(value), depth)


def _lower_dict(writer: Writer, value: dict[object, object], depth: int) -> object:
    flat = writer.flat
    plain_keys = flat.issuperset(map(type, value))
    if plain_keys and flat.issuperset(map(type, value.values())):
        return value
    if not plain_keys and any(type(key) not in flat and type(key) is not bytes for key in value):
        return _lower_map(writer, value, depth)
    lower, lowered, key = writer.lower, {}, None
    try:
        for key, item in value.items():
            lowered[key] = item if type(item) in flat else lower(item, depth)
    except Refused as refused:
        refused.trail.append(f"[{show(key)}]")
        raise
    return lowered


def _lower_map(writer: Writer, value: dict[object, object], depth: int) -> object:
    pairs: list[object] = []
    key: object = None
    try:
        for key, item in value.items():
            pairs += writer.lower(key, depth), writer.lower(item, depth)
    except Refused as refused:
        refused.trail.append(f"[{show(key)}]")
        raise
    return writer.ext(codes.MAP, pairs)


def _lower_uuid(writer: Writer, value: uuid.UUID, depth: int) -> object:
    return Ext(codes.UUID, value.bytes)


def _raise_map(reader: Reader, data: memoryview) -> object:
    flat = reader.items(data)
    keys = flat[::2]
    check_hashes(keys)
    return dict(zip(keys, flat[1::2], strict=True))


LOWER.update(
    {
        type(None): lambda writer, value, depth: value,
        bool: lambda writer, value, depth: value,
        float: lambda writer, value, depth: value,
        int: _lower_int,
        str: _lower_str,
        bytes: _lower_bytes,
        bytearray: _lower_bytearray,
        memoryview: _lower_memoryview,
        list: _lower_list,
        tuple: _lower_tuple,
        set: _lower_set,
        frozenset: _lower_frozenset,
        dict: _lower_dict,
        uuid.UUID: _lower_uuid,
    }
)

RAISE.update(
    {
        codes.BIG_INT: lambda reader, data: int.from_bytes(data, "big", signed=True),
        codes.TUPLE: lambda reader, data: tuple(reader.items(data)),
        codes.SET: lambda reader, data: set(reader.members(data)),
        codes.FROZENSET: lambda reader, data: frozenset(reader.members(data)),
        codes.BYTEARRAY: lambda reader, data: bytearray(reader.fetch(reader.unpack(data))),
        codes.LARGE_BYTES: lambda reader, data: bytes(reader.fetch(reader.unpack(data))),
        codes.LOOSE_TEXT: lambda reader, data: str(data, "utf-8", "surrogatepass"),
        codes.MAP: _raise_map,
        codes.UUID: lambda reader, data: uuid.UUID(bytes=bytes(data)),
    }
)
