"""Control frames: records and bytes, there and back."""

from __future__ import annotations

import contextlib
import json
import typing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from easyremote.errors import RemoteProtocolError
from easyremote.wire import messages
from easyremote.wire._pb.easyremote.v1 import gateway_pb2 as pb
from easyremote.wire.messages import (
    Advertise,
    Challenge,
    Change,
    Departed,
    EnrollReply,
    EnrollRequest,
    Goodbye,
    Hello,
    LoadReport,
    NodeLoad,
    Operate,
    Operated,
    PacketLimit,
    Ping,
    Pong,
    Presence,
    Rejected,
    Renewed,
    Revoked,
    Snapshot,
    Undeliverable,
    Watch,
    Welcome,
    decode,
    decode_enroll_reply,
    decode_enroll_request,
    encode,
    encode_enrollment,
)

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "frames.json").read_text())

endpoints = st.binary(min_size=40, max_size=40)
keys = st.binary(min_size=32, max_size=32)
data = st.binary(max_size=100)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
words = st.lists(texts, max_size=3)
counts = st.integers(0, 2**32 - 1)
amounts = st.floats(0, allow_nan=False, allow_infinity=False).map(abs)  # abs: there is no -0.0 here

loads = st.builds(LoadReport, counts, counts, counts, amounts)
presences = st.builds(Presence, endpoints, texts, data, data, loads)
controls = st.one_of(
    st.builds(Challenge, keys, texts, words, keys),
    st.builds(Hello, endpoints, data, texts, words, data, texts, texts),
    st.builds(Welcome, texts, words, amounts, texts, keys, data, data),
    st.builds(Rejected, texts, texts),
    st.builds(Advertise, data, data),
    loads,
    st.just(Watch()),
    st.builds(Snapshot, st.lists(presences, max_size=3), st.booleans()),
    st.builds(
        Change, presences | st.builds(Departed, endpoints, texts) | st.builds(NodeLoad, endpoints, loads)
    ),
    st.builds(Undeliverable, endpoints, data, texts),
    st.builds(Ping, st.integers(0, 2**64 - 1)),
    st.builds(Pong, st.integers(0, 2**64 - 1)),
    st.builds(Goodbye, texts, texts),
    st.builds(Renewed, data),
    st.builds(Revoked, data),
    st.builds(Operate, st.integers(0, 2**64 - 1), data),
    st.builds(Operated, st.integers(0, 2**64 - 1), data, texts),
    st.builds(PacketLimit, st.integers(0, 2**64 - 1)),
)
enrollments = st.one_of(
    st.builds(EnrollRequest, data, texts, texts, data, data, data),
    st.builds(EnrollReply, texts, texts, data, data, data, texts),
)


@given(controls)
def test_a_record_reads_back_as_it_was_written(record):
    written = encode(record)
    assert decode(written) == record
    assert decode(memoryview(written)) == record


@given(controls)
def test_a_record_is_the_message_of_the_schema(record):
    frame = pb.Frame.FromString(encode(record))
    kind = frame.WhichOneof("kind")
    assert kind is not None
    assert frame.DESCRIPTOR.fields_by_name[kind].message_type.name == type(record).__name__
    message = getattr(frame, kind)
    if isinstance(record, Change):
        message, record = getattr(message, message.WhichOneof("event")), record.event
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if isinstance(value, str | bytes | int | float):
            assert getattr(message, name) == value


@given(enrollments)
def test_a_request_to_enroll_and_its_reply_read_back_as_they_were_written(record):
    asked = isinstance(record, EnrollRequest)
    written = encode_enrollment(record)
    assert (decode_enroll_request if asked else decode_enroll_reply)(written) == record
    message = (pb.EnrollRequest if asked else pb.EnrollReply).FromString(written)
    assert [getattr(message, name) for name in record.__struct_fields__] == list(
        msgspec.structs.astuple(record)
    )
    assert [field.name for field in message.DESCRIPTOR.fields] == list(record.__struct_fields__)


@given(st.binary(max_size=200))
def test_nonsense_is_no_request_to_enroll(data):
    for read in (decode_enroll_request, decode_enroll_reply):
        with contextlib.suppress(RemoteProtocolError):
            read(data)


def test_every_kind_in_the_schema_has_its_record_and_every_field_its_name():
    records = {record.__name__: record for record in typing.get_args(messages.Control)}
    kinds = {field.message_type.name: field.message_type for field in pb.Frame.DESCRIPTOR.fields}
    assert set(kinds) == set(records) | {"Carry"}
    for name, record in records.items():
        if record is not Change:
            assert [field.name for field in kinds[name].fields] == list(record.__struct_fields__)


@pytest.mark.parametrize("vector", VECTORS["controls"], ids=lambda vector: vector["kind"])
def test_frozen_records(vector):
    frame = bytes.fromhex(vector["frame"])
    record = decode(frame)
    assert type(record).__name__ == vector["kind"]
    assert json.loads(msgspec.json.encode(record)) == vector["record"]
    assert encode(record) == frame


@pytest.mark.parametrize("vector", VECTORS["enrollments"], ids=lambda vector: vector["kind"])
def test_frozen_enrollments(vector):
    data = bytes.fromhex(vector["message"])
    record = (decode_enroll_request if vector["kind"] == "EnrollRequest" else decode_enroll_reply)(data)
    assert type(record).__name__ == vector["kind"]
    assert json.loads(msgspec.json.encode(record)) == vector["record"]
    assert encode_enrollment(record) == data


@given(
    st.binary(max_size=200)
    | st.tuples(controls.map(encode), st.binary(max_size=4), st.integers(0, 200)).map(
        lambda told: told[0][: told[2]] + told[1] + told[0][told[2] + len(told[1]) :]
    )
)
def test_nonsense_is_a_protocol_error_or_a_record(frame):
    try:
        record = decode(frame)
    except RemoteProtocolError:
        return
    assert record is None or decode(encode(record)) == record


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (Hello(endpoint=b"e" * 39), "the endpoint of a frame has 40 bytes, found 39"),
        (Undeliverable(peer=b"p" * 41), "the peer of a frame has 40 bytes, found 41"),
        (Snapshot([Presence(endpoint=b"")]), "the endpoint of a frame has 40 bytes, found 0"),
        (Change(Departed(endpoint=b"e")), "the endpoint of a frame has 40 bytes, found 1"),
        (Challenge(nonce=b""), "the nonce of a frame has 32 bytes, found 0"),
        (Challenge(nonce=b"n" * 32), "the gateway of a frame has 32 bytes, found 0"),
        (Challenge(nonce=b"n" * 32, gateway=b"g"), "the gateway of a frame has 32 bytes, found 1"),
        (Welcome(gateway=b"g" * 33), "the gateway of a frame has 32 bytes, found 33"),
        (
            Welcome(gateway=b"g" * 32, lease_seconds=float("nan")),
            "lease_seconds of a frame is a number from 0",
        ),
        (Welcome(gateway=b"g" * 32, lease_seconds=-1.0), "found -1.0"),
        (LoadReport(cpu=float("inf")), "the cpu of a frame is a number from 0 up, found inf"),
    ],
)
def test_a_field_of_the_wrong_size_or_out_of_range_is_refused(record, said):
    with pytest.raises(RemoteProtocolError, match=said):
        decode(encode(record))


def test_text_that_is_not_text_is_refused():
    with pytest.raises(RemoteProtocolError, match="not protobuf"):
        decode(b"\x22\x03\x0a\x01\xff")


def test_a_change_of_a_later_kind_says_nothing():
    assert decode(b"\x4a\x05\xa2\x06\x02hi") == Change(None)


def test_an_empty_frame_and_a_carried_one_are_no_records():
    assert decode(b"") is None
    assert decode(b"\x52\x2a\x0a\x28" + bytes(40)) is None
