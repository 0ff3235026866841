"""Cards: how a function and a node introduce themselves.

A card is a msgpack map with named fields, so that a peer in another language reads it with any
msgpack library. Unknown fields are skipped: a newer node may say more. This file makes and reads the
bytes; who signed them is checked elsewhere, and nothing here may be believed before that check.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from easyremote.errors import DecodeError, EncodeError
from easyremote.wire.codec import SMALL_BYTES, brief, check_keys, may_collide
from easyremote.wire.limits import ADDRESSES_MAX, FUNCTIONS_MAX, TOKEN_BYTES_MAX

__all__ = ["CARD_FORMAT", "FunctionCard", "NodeCard", "PrekeyCard", "decode_card", "encode_card"]

CARD_FORMAT = 1
"""The one format of card this version writes and reads."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Line = Annotated[str, msgspec.Meta(max_length=16_384)]
Address = Annotated[str, msgspec.Meta(max_length=300)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class FunctionCard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a function is called, takes and gives.

    Attributes:
        name: The name callers use.
        description: What it does, in the words of its docstring.
        parameters: A JSON Schema of type ``object``, one property a parameter.
        returns: A JSON Schema of the result, or of one item if the function streams.
        signature: The signature as a person reads it: ``(x: int, *, y: str = 'a') -> float``.
        stream: Whether it yields items rather than returning one value.
        tags: Words to find it by.
        version: The function's own version.
        timeout_seconds: How long a call may take unless the caller says otherwise.
        max_concurrent: How many calls of it the node runs at a time.
        idempotent: Whether running it twice does no harm.
        resources: What it needs of the machine, as its owner wrote it.
        accepts: The names that may be given as keyword arguments.
        var_keyword: Whether it takes any keyword argument besides.
    """

    name: Name
    description: Line = ""
    parameters: dict[str, Any] = {}
    returns: dict[str, Any] = {}
    signature: Line = "(...)"
    stream: bool = False
    tags: list[Name] = []
    version: str = ""
    timeout_seconds: float | None = None
    max_concurrent: int | None = None
    idempotent: bool = False
    resources: dict[str, Any] = {}
    accepts: list[str] = []
    var_keyword: bool = False


class PrekeyCard(msgspec.Struct, frozen=True, kw_only=True):
    """The public half of the key that new sessions are sealed to.

    Attributes:
        id: 8 bytes naming the prekey.
        suite: How a secret is sealed to it: ``"hybrid"`` or ``"classic"``.
        aead: What the session's bodies are sealed with: ``"aes256gcm"`` or ``"chacha20poly1305"``.
        key: The public key.
    """

    id: Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
    suite: Name
    aead: Name
    key: Annotated[bytes, msgspec.Meta(min_length=1, max_length=8192)]


class NodeCard(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself.

    Attributes:
        format: The format of the card itself.
        endpoint: The 40 bytes packets for the node are addressed to.
        name: The node's human name.
        number: Grows with each card of an endpoint: the higher one holds.
        prekey: What a caller seals its first frame to.
        membership: The node's credential: that it belongs to the network, under this name.
        expires_seconds: When the card ends, in seconds since 1970 (UTC); None: with the node's presence.
        functions: What the node offers.
        facts: What was found on the machine: CPUs, memory, GPUs, versions.
        labels: What its owner says of it.
        capabilities: Words its owner says of it.
        max_value_bytes: The largest value the node takes.
        capacity: How many calls it takes at a time.
        draining: Whether it finishes what it has and takes nothing new.
        addresses: Where it may be reached without the gateway: ``host:port``, or ``local/MACHINE/host:port``
            for those on the same machine only.
        fingerprint: SHA-256 of the certificate it shows there.
        features: What it knows of what not every node does; callers use nothing of it that is not named here.
    """

    format: int = CARD_FORMAT
    endpoint: Annotated[bytes, msgspec.Meta(min_length=40, max_length=40)]
    name: Name
    number: Count
    prekey: PrekeyCard
    membership: Annotated[bytes, msgspec.Meta(max_length=TOKEN_BYTES_MAX)] = b""
    expires_seconds: float | None = None
    functions: Annotated[list[FunctionCard], msgspec.Meta(max_length=FUNCTIONS_MAX)] = []
    facts: dict[str, str | int | float | bool] = {}
    labels: dict[str, str] = {}
    capabilities: list[str] = []
    max_value_bytes: Count = 0
    capacity: Count = 0
    draining: bool = False
    addresses: Annotated[list[Address], msgspec.Meta(max_length=ADDRESSES_MAX)] = []
    fingerprint: Annotated[bytes, msgspec.Meta(max_length=32)] = b""
    features: list[str] = []


class _Format(msgspec.Struct):
    format: int = CARD_FORMAT


_TEXT = frozenset((str,))
_JSON_SCALARS = frozenset((type(None), bool, int, float, str))

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(NodeCard)
_format_decoder = msgspec.msgpack.Decoder(_Format)


def encode_card(card: NodeCard) -> bytes:
    """The card's bytes, as they are signed and advertised; ``decode_card`` takes them.

    Raises:
        EncodeError: A field holds what msgpack has no form for, such as an object in ``resources``, or
            more than a card may.
    """
    try:
        data = _encoder.encode(card)
        decode_card(data)
        return data
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EncodeError(f"the card of node {card.name!r} cannot be encoded: {error}") from error


def decode_card(data: bytes | bytearray | memoryview) -> NodeCard:
    """Read a card.

    Raises:
        DecodeError: The bytes are not a card, whatever they are, or one of a format not known here.
    """
    try:
        if len(data) > SMALL_BYTES and may_collide(body := memoryview(data)):
            check_keys(body)
        form = _format_decoder.decode(data).format
        if form != CARD_FORMAT:
            raise DecodeError(
                f"a node's card has format {form}, this version reads format {CARD_FORMAT}: update easyremote here or there"
            )
        card = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, OverflowError) as error:
        if isinstance(error, DecodeError):
            raise
        raise DecodeError(f"not a node's card ({len(data)} bytes): {error}") from error
    for name in (card.name, *[function.name for function in card.functions]):
        if not name.isprintable():
            raise DecodeError(f"a node's card has the name {name[:40]!r}: names are printable")
    for function in card.functions:
        _check_json(function)
    return card


def _check_json(function: FunctionCard) -> None:
    """Refuse in the free parts of a card what JSON has no form for: they are shown and passed on as JSON."""
    waiting: list[Any] = [function.parameters, function.returns, function.resources]
    for found in waiting:
        if type(found) is dict:
            if not _TEXT.issuperset(map(type, found)):
                key = next(key for key in found if type(key) is not str)
                raise DecodeError(f"a card's JSON wants text for keys, found {brief(key)}: write it as text")
            inner: Any = found.values()
        elif type(found) is list:
            inner = found
        else:
            raise DecodeError(f"a card's JSON wants what JSON has, found {brief(found)}: write it as text")
        if not _JSON_SCALARS.issuperset(map(type, inner)):
            waiting += [item for item in inner if type(item) not in _JSON_SCALARS]
