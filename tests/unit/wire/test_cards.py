"""Cards: written, read, and refused when they are not cards."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from easyremote.errors import DecodeError, EncodeError
from easyremote.wire.cards import FunctionCard, NodeCard, PrekeyCard, decode_card, encode_card

PREKEY = PrekeyCard(id=b"12345678", suite="hybrid", aead="aes256gcm", key=b"k" * 1216)


def node_card(**changes: object) -> NodeCard:
    fields: dict[str, object] = {"endpoint": b"e" * 40, "name": "studio-mac", "number": 7, "prekey": PREKEY}
    return NodeCard(**{**fields, **changes})


def test_a_card_reads_back_as_it_was_written():
    card = node_card(
        functions=[
            FunctionCard(
                name="resize",
                description="Make it smaller.",
                parameters={"type": "object", "properties": {"width": {"type": "integer"}}},
                signature="(width: int) -> bytes",
                tags=["image"],
                timeout_seconds=2.5,
                resources={"gpu": 1},
                accepts=["width"],
            ),
            FunctionCard(name="watch", stream=True, var_keyword=True),
        ],
        facts={"cpus": 8, "gpu": "none", "load": 0.5, "battery": False},
        labels={"room": "attic"},
        capabilities=["gpu"],
        max_value_bytes=2**30,
        capacity=64,
        expires_seconds=1.9e9,
    )
    assert decode_card(encode_card(card)) == card


def test_any_msgpack_library_reads_it_by_field_name():
    plain = msgspec.msgpack.decode(encode_card(node_card(functions=[FunctionCard(name="f")])))
    assert plain["format"] == 1
    assert plain["name"] == "studio-mac"
    assert plain["functions"] == [{"name": "f"}]


def test_a_newer_node_may_say_more():
    plain = msgspec.msgpack.decode(encode_card(node_card()))
    plain["mood"] = "sunny"
    assert decode_card(msgspec.msgpack.encode(plain)) == node_card()


def test_another_format_is_refused_by_number():
    plain = msgspec.msgpack.decode(encode_card(node_card()))
    plain["format"] = 2
    with pytest.raises(DecodeError, match=r"format 2.*format 1.*update"):
        decode_card(msgspec.msgpack.encode(plain))


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoint": b"short"},
        {"name": ""},
        {"name": "x" * 129},
        {"name": "evil\x1b[2J"},
        {"number": -1},
        {"functions": [{"name": "a\nb"}]},
        {"prekey": {"id": b"1", "suite": "hybrid", "aead": "a", "key": b"k"}},
        {"facts": {"deep": {"a": 1}}},
        {"capacity": "many"},
    ],
)
def test_what_does_not_fit_is_refused(changes):
    plain = msgspec.msgpack.decode(encode_card(node_card()))
    with pytest.raises(DecodeError):
        decode_card(msgspec.msgpack.encode({**plain, **changes}))


@given(st.binary(max_size=200))
def test_whatever_the_bytes_only_decode_errors_come_out(data):
    with pytest.raises(DecodeError):
        decode_card(data)


def test_bytes_nested_without_end_are_refused():
    with pytest.raises(DecodeError):
        decode_card(b"\x81\xa9resources" + b"\x91" * 100_000)


def test_a_truncated_card_is_refused_at_every_length():
    data = encode_card(node_card())
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            decode_card(data[:length])


def test_resources_of_no_plain_form_are_the_owners_error():
    card = node_card(functions=[FunctionCard(name="f", resources={"gpu": object()})])
    with pytest.raises(EncodeError, match="studio-mac"):
        encode_card(card)


def test_a_card_that_others_would_refuse_is_not_made():
    with pytest.raises(EncodeError):
        encode_card(node_card(name="x" * 200))
    with pytest.raises(EncodeError):
        encode_card(node_card(endpoint=b"short"))


@pytest.mark.parametrize("field", ["parameters", "returns", "resources"])
@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"a": {1: 2}}, "found 1"),
        ({"a": [{"b": b"raw"}]}, "found b'raw'"),
        ({"a": {(1, 2): 3}}, "a tuple"),
        ({"a": dict.fromkeys((number, number) for number in range(1000))}, "key"),
    ],
    ids=["number as a key", "bytes", "list as a key", "many lists as keys"],
)
def test_what_json_has_no_form_for_is_refused(field, found, words):
    plain = msgspec.msgpack.decode(encode_card(node_card()))
    plain["functions"] = [{"name": "f", field: found}]
    with pytest.raises(DecodeError, match=words):
        decode_card(msgspec.msgpack.encode(plain))


def test_a_large_card_with_any_schema_comes_back():
    schema: dict[str, object] = {"type": "number", "enum": [number / 7 for number in range(2000)]}
    for _ in range(30):
        schema = {"type": "object", "properties": {"inner": schema}, "default": None, "examples": [True]}
    card = node_card(functions=[FunctionCard(name="f", parameters=schema)])
    assert decode_card(encode_card(card)) == card
