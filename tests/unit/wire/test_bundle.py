"""What is sealed: bundles of messages, and the frame around them, there and back and against nonsense."""

from __future__ import annotations

import json
import math
import struct
import tracemalloc
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from google.protobuf.message import DecodeError as ProtobufError
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw

from easyremote.errors import RemoteProtocolError
from easyremote.wire import bundle as kinds
from easyremote.wire._pb.easyremote.v1 import gateway_pb2 as pb
from easyremote.wire.bundle import (
    LOOSE,
    ORDERED,
    RESET,
    Bundle,
    Cancel,
    End,
    Fault,
    Invoke,
    Item,
    Message,
    Part,
    Present,
    Refuse,
    Result,
    Sealed,
    Window,
    decode_bundle,
    encode_bundle,
    read_head,
    read_sealed,
    write_sealed,
)
from easyremote.wire.frame import varint
from easyremote.wire.limits import GRANTS_MAX, TOKEN_BYTES_MAX

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "bundles.json").read_text(encoding="utf-8"))

pack = msgspec.msgpack.encode
unpack = msgspec.msgpack.decode

counts = st.integers(0, 2**64 - 1)
seconds = st.floats(0, allow_nan=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.sampled_from(
    [None, 0, "x", b"\x00\xff", [1, [2]], {"a": 1.5}, msgspec.msgpack.Ext(5, b"\x01")]
).map(lambda value: Raw(pack(value)))
messages = st.one_of(
    st.builds(Invoke, counts, texts, values, counts, counts, st.none() | seconds, counts),
    st.builds(Result, counts, values, counts, counts),
    st.builds(Fault, counts, texts, texts, texts, texts, texts),
    st.builds(Item, counts, values, counts, counts),
    st.builds(End, counts),
    st.builds(Refuse, counts, texts, texts, seconds, counts),
    st.builds(Cancel, counts),
    st.builds(Window, counts, counts),
    st.builds(Part, counts, counts, counts),
    st.builds(Present, st.lists(st.binary(max_size=50), max_size=4)),
)
bundles = st.builds(Bundle, counts, counts, st.lists(messages, max_size=4))


def fields(message: Message) -> list[Any]:
    """A message as the list that msgpack has of it."""
    listed = [getattr(message, name) for name in message.__struct_fields__]
    tag = message.__struct_config__.tag
    return [tag, *(unpack(field) if isinstance(field, Raw) else field for field in listed)]


def listed(bundle: Bundle) -> list[Any]:
    return [bundle.ack, bundle.load, [fields(message) for message in bundle.messages]]


def written(bundle: Bundle) -> bytes:
    return encode_bundle(bundle.ack, bundle.load, bundle.messages)


# ---- bundles, there and back


@given(bundles)
def test_a_bundle_reads_back_as_it_was_written(bundle):
    data = written(bundle)
    assert listed(decode_bundle(data)) == listed(bundle)
    assert listed(decode_bundle(memoryview(data))) == listed(bundle)


@given(bundles)
def test_a_bundle_is_what_any_msgpack_library_makes_of_it(bundle):
    assert unpack(written(bundle)) == listed(bundle)
    assert listed(decode_bundle(pack(listed(bundle)))) == listed(bundle)


def test_every_message_has_a_number_of_its_own():
    numbers = [kind.__struct_config__.tag for kind in typing.get_args(Message)]
    assert numbers == list(range(1, 12))


@given(st.one_of(messages), st.data())
def test_fields_with_defaults_may_be_left_out(message, data):
    full, defaults = fields(message), list(message.__struct_defaults__)
    kept = data.draw(st.integers(len(full) - len(defaults), len(full)))
    (read,) = decode_bundle(pack([0, 0, [full[:kept]]])).messages
    left_out = len(full) - kept
    assert fields(read) == full[:kept] + defaults[len(defaults) - left_out :]


FORMS: dict[str, Callable[[Any], Any]] = {
    "arguments": lambda value: Raw(bytes.fromhex(value)),
    "value": lambda value: Raw(bytes.fromhex(value)),
    "tokens": lambda tokens: [bytes.fromhex(token) for token in tokens],
}
"""How fields stand in the vectors, where JSON has no form for them."""


@pytest.mark.parametrize("vector", VECTORS["bundles"], ids=lambda vector: vector["name"])
def test_frozen_bundles(vector):
    data = bytes.fromhex(vector["bundle"])
    made = [
        getattr(kinds, message["type"])(
            **{
                name: FORMS[name](value) if name in FORMS else value
                for name, value in message.items()
                if name != "type"
            }
        )
        for message in vector["messages"]
    ]
    if vector["canonical"]:
        assert encode_bundle(vector["ack"], vector["load"], made) == data
    assert listed(decode_bundle(data)) == listed(Bundle(vector["ack"], vector["load"], made))


@pytest.mark.parametrize("vector", VECTORS["malformed_bundles"], ids=lambda vector: vector["name"])
def test_frozen_bundles_that_are_none(vector):
    with pytest.raises(RemoteProtocolError):
        decode_bundle(bytes.fromhex(vector["bundle"]))


# ---- what later versions may add

later = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | texts | st.binary(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
unknown = st.builds(
    lambda number, rest: [number, *rest],
    st.integers(12, 2**64 - 1) | st.integers(-(2**63), 0),
    st.lists(later, max_size=4),
)


@given(bundles, st.lists(st.tuples(st.integers(0, 4), unknown), min_size=1, max_size=3))
def test_messages_of_a_later_version_are_left_out_and_the_others_kept(bundle, added):
    mixed = listed(bundle)
    for place, message in added:
        mixed[2].insert(place, message)
    assert listed(decode_bundle(pack(mixed))) == listed(bundle)


@given(bundles, st.lists(later, min_size=1, max_size=3))
def test_fields_of_a_later_version_are_passed_over(bundle, added):
    longer = [*listed(bundle), *added]
    longer[2] = [fields(message) + added for message in bundle.messages]
    assert listed(decode_bundle(pack(longer))) == listed(bundle)


def test_a_message_of_a_later_version_is_not_looked_into():
    not_text, no_time = b"\xa1\xff", b"\xc7\x0c\xff" + b"\xff" * 12
    data = b"\x93\x00\x00\x92\x93\x63" + not_text + no_time + pack([5, 7])
    assert decode_bundle(data).messages == [End(7)]


# ---- hostile bytes


def none_or_bundle(data: bytes) -> Bundle | None:
    """The bundle, or None when it was refused as it should be."""
    try:
        return decode_bundle(data)
    except RemoteProtocolError:
        return None


def changed(valid: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Valid bytes with a few of them overwritten, put in or cut off."""

    @st.composite
    def change(draw: Callable[..., Any]) -> bytes:
        data = draw(valid)
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 4)))
        new = draw(st.binary(max_size=4) | st.sampled_from([b"\xdd\xff\xff\xff\xff", b"\xff" * 9 + b"\x01"]))
        return (data[:start] + new + data[end:])[: draw(st.integers(0, len(data) + 10))]

    return change()


@given(st.binary(max_size=300) | changed(bundles.map(written)))
def test_nonsense_is_a_protocol_error_or_a_bundle(data):
    bundle = none_or_bundle(data)
    assert bundle is None or listed(decode_bundle(written(bundle))) == listed(bundle)


@given(bundles)
def test_a_bundle_cut_short_is_refused_wherever_it_is_cut(bundle):
    data = written(bundle)
    for cut in range(len(data)):
        with pytest.raises(RemoteProtocolError):
            decode_bundle(data[:cut])


DEEP = b"\x91" * 100_000 + b"\x00"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x93\x00\x00" + DEEP, id="where messages go"),
        pytest.param(b"\x93\x00\x00\x91\x93\x02\x01" + DEEP, id="in a value"),
        pytest.param(b"\x93\x00\x00\x91\x96\x02\x01\xc0\x00\x00" + DEEP, id="in a later field of a message"),
        pytest.param(b"\x93\x00\x00\x91\x92\x63" + DEEP, id="in a later message"),
        pytest.param(b"\x94\x00\x00\x90" + DEEP, id="in a later field of the bundle"),
    ],
)
def test_a_bundle_nested_without_end_is_refused(data):
    with pytest.raises(RemoteProtocolError, match="does not hold a bundle"):
        decode_bundle(data)


@pytest.mark.parametrize(
    "message",
    [
        [],
        [True, 1],
        ["Invoke", 1],
        [None],
        {"1": 2},
        7,
        [1, 2],
        [1, 2, 3, None],
        [1, -1, "f", None],
        [1, 1, "f", None, 0, -5],
        [1, 1, "f", None, 0, 2.0],
        [1, 1, "f", None, 0, 0, -0.5],
        [1, 1, "f", None, 0, 0, math.nan],
        [2, 1, None, 1, -1],
        [4, 1, None, -1],
        [6, 1, "busy", "", math.nan],
        [8, 1, -1],
        [9, 1, -1, 5],
        [9, 1, 0, -5],
        [10],
        [10, b"token"],
        [10, ["text"]],
        [10, [b"token", None]],
        [10, [b""] * (GRANTS_MAX + 2)],
        [10, [bytes(2 * TOKEN_BYTES_MAX + 1)]],
    ],
    ids=lambda message: repr(message)[:40],
)
def test_a_message_that_breaks_its_form_is_refused(message):
    with pytest.raises(RemoteProtocolError):
        decode_bundle(pack([0, 0, [message]]))


def test_as_many_tokens_as_may_be_shown_are_read_and_each_as_large_as_it_may_be():
    full = Present([bytes(2 * TOKEN_BYTES_MAX)] * (GRANTS_MAX + 1))
    assert decode_bundle(encode_bundle(0, 0, [full])).messages == [full]


def test_text_that_is_not_text_is_refused():
    for data in (b"\x97\x01\x01\xa1\xff\xc0\x00\x00\x00", b"\x95\x03\x01\xa1\xff\xa0\xa0"):
        with pytest.raises(RemoteProtocolError, match="utf-8"):
            decode_bundle(b"\x93\x00\x00\x91" + data)


@pytest.mark.parametrize("head", [b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"], ids=bytes.hex)
def test_what_is_only_claimed_is_not_allocated(head):
    claim = head + b"\xff" * 4 + b"\x01"
    places = [
        b"\x93\x00\x00" + claim,  # messages
        b"\x93\x00\x00\x91\x93\x02\x01" + claim,  # a value
        b"\x93\x00\x00\x91\x92\x63" + claim,  # a later message
        b"\x93\x00\x00\x91\x92\x63\x81" + claim,  # the key of a map there
        b"\x93\x00\x00\x91" + claim,  # a message
    ]
    tracemalloc.start()
    try:
        for data in places:
            assert none_or_bundle(data) is None
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


# ---- sealed frames: the same bytes as generated code, both ways

blobs = st.binary(max_size=60) | st.sampled_from([b"a" * 127, b"a" * 128])
frames = st.builds(
    Sealed,
    counts,
    counts,
    st.sampled_from([ORDERED, LOOSE, RESET, 127, 128, 2**32 - 1]),
    blobs,
    st.none() | blobs,
    st.none() | blobs,
)


def by_hand(frame: Sealed) -> bytes:
    return b"".join(
        write_sealed(
            frame.session, frame.counter, frame.space, bytes(frame.bundle), frame.bulk, frame.handshake
        )
    )


def generated(frame: Sealed) -> Any:
    return pb.Sealed(
        session=frame.session,
        counter=frame.counter,
        space=frame.space,
        bundle=bytes(frame.bundle),
        bulk=bytes(frame.bulk or b""),
        handshake=frame.handshake or b"",
    )


def told(frame: Any) -> tuple[Any, ...]:
    """The same of our record and of protobuf's, which does not tell nothing from nothing at all."""
    return (
        frame.session,
        frame.counter,
        frame.space,
        bytes(frame.bundle),
        bytes(frame.bulk or b""),
        bytes(frame.handshake or b""),
    )


@given(frames)
def test_a_sealed_frame_by_hand_is_read_by_generated_code(frame):
    data = by_hand(frame)
    assert told(pb.Sealed.FromString(data)) == told(frame)
    assert read_sealed(data) == frame
    view = read_sealed(memoryview(data))
    assert told(view) == told(frame)
    if frame.session and frame.counter and frame.bundle and frame.bulk != b"" and frame.handshake is None:
        assert data == generated(frame).SerializeToString()


@given(frames)
@example(Sealed(0, 0, 0, b""))
def test_a_sealed_frame_of_generated_code_is_read_by_hand(frame):
    data = generated(frame).SerializeToString()
    assert told(read_sealed(data)) == told(frame)
    assert told(read_sealed(memoryview(data))) == told(frame)


def field(tag: int, value: int | bytes) -> bytes:
    """A protobuf field."""
    if isinstance(value, bytes):
        return varint(tag) + varint(len(value)) + value
    return varint(tag) + (struct.pack("<Q", value) if tag & 7 == 1 else varint(value))


known_fields = st.one_of(
    st.builds(field, st.just(0x09), counts),
    st.builds(field, st.just(0x10), counts),
    st.builds(field, st.just(0x18), counts),
    st.builds(field, st.sampled_from([0x22, 0x2A, 0x32]), st.binary(max_size=10)),
)
unknown_fields = st.one_of(
    st.builds(field, st.sampled_from([0x08, 0x20, 0x28, 0x38, 0xFFFFFFF8]), counts),
    st.builds(field, st.sampled_from([0x0A, 0x12, 0x1A, 0x3A, 0xFFFFFFFA]), st.binary(max_size=10)),
    st.builds(field, st.sampled_from([0x11, 0x21, 0x39]), counts),
    st.sampled_from([b"\x3d1234", b"\x25\xff\xff\xff\xff", b"\x0d\x00\x00\x00\x00"]),
)


@given(st.lists(known_fields | unknown_fields, max_size=10).map(b"".join))
def test_fields_in_any_order_repeated_and_unknown_mean_what_they_mean_to_generated_code(data):
    assert told(read_sealed(data)) == told(pb.Sealed.FromString(data))


@pytest.mark.parametrize("size", [2**14 - 1, 2**14, 2**21 - 1, 2**21])
def test_lengths_at_which_a_length_takes_one_more_byte(size):
    frame = Sealed(1, 2, ORDERED, b"b" * size, b"k" * size)
    data = by_hand(frame)
    assert data == generated(frame).SerializeToString()
    assert told(read_sealed(data)) == told(frame)


def test_what_is_large_is_not_copied():
    bulk = memoryview(bytes(100_000))
    pieces = write_sealed(1, 2, ORDERED, b"bundle", bulk)
    assert pieces[-1] is bulk
    body = memoryview(b"".join(pieces))
    read = read_sealed(body)
    assert isinstance(read.bulk, memoryview)
    assert read.bulk.obj is body.obj
    assert read.bulk.nbytes == 100_000


@pytest.mark.parametrize("vector", VECTORS["sealed"], ids=lambda vector: vector["name"])
def test_frozen_sealed_frames(vector):
    data = bytes.fromhex(vector["sealed"])
    frame = Sealed(
        int(vector["session"], 16),
        vector["counter"],
        vector["space"],
        bytes.fromhex(vector["bundle"]),
        None if vector["bulk"] is None else bytes.fromhex(vector["bulk"]),
        None if vector["handshake"] is None else bytes.fromhex(vector["handshake"]),
    )
    if vector["canonical"]:
        assert by_hand(frame) == data
        assert read_head(data[:48]) == (frame.session, frame.counter, frame.space)
    assert read_sealed(data) == frame
    assert told(pb.Sealed.FromString(data)) == told(frame)


# ---- hostile sealed frames


@pytest.mark.parametrize("vector", VECTORS["malformed_sealed"], ids=lambda vector: vector["name"])
def test_frozen_sealed_frames_that_are_none(vector):
    with pytest.raises(RemoteProtocolError, match=vector["error"]):
        read_sealed(bytes.fromhex(vector["sealed"]))


@given(st.binary(max_size=200) | changed(frames.map(by_hand)))
def test_nonsense_is_a_protocol_error_or_what_generated_code_reads(data):
    try:
        read = told(read_sealed(data))
    except RemoteProtocolError:
        return
    try:
        expected = told(pb.Sealed.FromString(data))
    except ProtobufError:
        return  # tags written in more than five bytes, which we do not mind
    assert read == expected


@given(frames)
def test_a_sealed_frame_cut_short_is_refused_or_lacks_whole_fields(frame):
    data = by_hand(frame)
    for cut in range(len(data)):
        try:
            read = told(read_sealed(data[:cut]))
        except RemoteProtocolError:
            continue
        assert read == told(pb.Sealed.FromString(data[:cut]))


def test_a_huge_claim_costs_nothing():
    for claim in (2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1):
        for tag in (0x22, 0x2A, 0x32, 0x3A):
            with pytest.raises(RemoteProtocolError, match=f"ends {claim - 1} bytes before"):
                read_sealed(varint(tag) + varint(claim) + b"x")


# ---- the head that comes back with an undeliverable frame


@given(frames)
def test_a_head_tells_which_frame_it_was_of(frame):
    assert read_head(by_hand(frame)[:48]) == (frame.session, frame.counter, frame.space)


@given(frames)
def test_a_head_cut_short_tells_nothing_wrong_of_session_and_counter(frame):
    data = by_hand(frame)
    for cut in range(min(len(data), 48)):
        found = read_head(data[:cut])
        assert found is None or found[:2] == (frame.session, frame.counter)
        assert found is not None or cut < 10 + len(varint(frame.counter)) + 7


@given(st.binary(max_size=48) | st.binary(max_size=48).map(lambda rest: b"\x09" + bytes(8) + b"\x10" + rest))
@example(b"\x09" + bytes(8) + b"\x10" + b"\xff" * 10)
@example(b"\x09" + bytes(8) + b"\x10\x05\x18" + b"\xff" * 10)
def test_a_head_of_nonsense_tells_nothing_or_something_harmless(head):
    found = read_head(head)
    assert found is None or all(0 <= number < 2**64 for number in found)
