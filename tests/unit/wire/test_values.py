"""Plain and standard values there and back, and bytes from a stranger."""

from __future__ import annotations

import contextlib
import datetime as dt
import sys
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easyremote.errors import DecodeError, EncodeError
from easyremote.wire.segments import Segments
from easyremote.wire.values import decode, decode_arguments, encode, encode_arguments


def there_and_back(value, **options):
    body = encode(value)
    return decode(bytearray(body.join()) if isinstance(body, Segments) else body, **options)


def same(one, other):
    """Equal in value and in type, all the way down; NaN equals NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and one != one:
        return other != other
    if isinstance(one, (list, tuple, deque)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    return one == other


zones = (
    st.none()
    | st.timezones()
    | st.builds(dt.timezone, st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)))
)
keys = (
    st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.floats(allow_nan=False)
    | st.tuples(st.integers(), st.text()) | st.frozensets(st.integers()) | st.dates() | st.uuids()
)  # fmt: skip
leaves = (
    keys | st.floats() | st.complex_numbers(allow_nan=False) | st.decimals(allow_nan=False) | st.fractions()
    | st.datetimes(timezones=zones) | st.times() | st.timedeltas() | st.binary().map(bytearray)
    | st.text(st.characters(categories=["Cs", "L"]))
)  # fmt: skip
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(keys, inner)
        | st.lists(inner).map(deque)
        | st.sets(keys)
    ),
    max_leaves=12,
)


@given(values)
def test_a_value_comes_back_equal_and_of_the_same_types(value):
    assert same(there_and_back(value), value)


@given(st.lists(values, max_size=4).map(tuple), st.dictionaries(st.text(), values, max_size=4))
def test_arguments_come_back(args, kwargs):
    found_args, found_kwargs = decode_arguments(encode_arguments(args, kwargs))
    assert same(found_args, list(args))
    assert same(found_kwargs, kwargs)


@pytest.mark.parametrize(
    "value",
    [
        2**64 - 1,
        2**64,
        -(2**63),
        -(2**63) - 1,
        10**6000,
        -0.0,
        float("inf"),
        "\ud800 lone",
        {"\ud800": 1, 2**70: 2},
        {(1, (2,)): {"x": ()}},
        {1: "int", "1": "text", b"1": "bytes", 1.5: "float", None: "none"},
        range(1, 10**30, 3),
        slice(None, 2**70, "x"),
        OrderedDict(b=1, a=(2,)),
        Counter("abba"),
        defaultdict(list, a=[(1,)]),
        defaultdict(None, a=1),
        deque([1, 2], maxlen=3),
        Decimal("-0.00"),
        Decimal("Infinity"),
        Fraction(-(10**30), 7),
        uuid.UUID(int=5),
        Path("a/b"),
        Path("name with \udcff"),
        PurePosixPath("/x"),
        PureWindowsPath("C:/x"),
        dt.date.min,
        dt.datetime.max,
        dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        dt.time(1, 2, 3, 4, tzinfo=dt.timezone(dt.timedelta(hours=2), "mine")),
        dt.timezone(-dt.timedelta(hours=5, microseconds=1)),
        ZoneInfo("Asia/Tokyo"),
        frozenset({frozenset(), (1,)}),
        [[[], {}, (), set()]],
    ],
    ids=lambda value: type(value).__name__,
)
def test_corner_cases_come_back(value):
    found = there_and_back(value)
    assert same(found, value)
    assert getattr(found, "fold", 0) == getattr(value, "fold", 0)
    assert getattr(found, "maxlen", None) == getattr(value, "maxlen", None)
    assert getattr(found, "default_factory", None) == getattr(value, "default_factory", None)


def test_a_zone_keeps_its_rules():
    winter = dt.datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    assert there_and_back(winter).tzinfo is ZoneInfo("Europe/Berlin")


def test_a_zone_of_another_library_becomes_its_offset():
    class Odd(dt.tzinfo):
        def utcoffset(self, when):
            return dt.timedelta(hours=3)

    found = there_and_back(dt.datetime(2024, 1, 1, tzinfo=Odd()))
    assert found.tzinfo == dt.timezone(dt.timedelta(hours=3))


def test_a_memoryview_arrives_as_bytes():
    assert there_and_back([memoryview(b"abcd")[::2], memoryview(b"")]) == [b"ac", b""]


def test_large_buffers_are_not_copied():
    payload = bytes(range(256)) * 1024
    body = encode({"x": [payload, bytearray(payload)]})
    assert isinstance(body, Segments)
    assert body.size == len(body.join()) == len(body)
    found = decode(body.join())
    assert found == {"x": [payload, bytearray(payload)]}
    assert type(found["x"][1]) is bytearray
    view = body.slice(body.join().index(payload) + 5, 100)
    assert isinstance(view, memoryview)
    assert view.obj is payload


@given(st.lists(st.binary(max_size=9), max_size=6), st.integers(0, 60), st.integers(0, 60))
def test_a_slice_of_segments_is_that_of_the_joined_bytes(pieces, offset, length):
    segments = Segments(pieces)
    assert bytes(segments.slice(offset, length)) == segments.join()[offset : offset + length]


def test_buffers_are_aligned():
    parts = [bytes([n]) * (70_001 + n) for n in (7, 8, 9)]
    whole = encode(parts).join()
    assert [whole.index(part) % 64 for part in parts] == [0, 0, 0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: {"a": [1, (n for n in "x")]}, ["the value['a'][1]", "generator", "list(value)"]),
        (lambda: [print], ["the value[0]", "pass its name"]),
        (lambda: (1, {2: object()}), ["the value[1][2]", "object", "dataclass"]),
        (lambda: {(1, print): 1}, ["the value", "print", "[1]"]),
        (lambda: ValueError("x"), ["ValueError", "no form"]),
        (lambda: [sys], ["module"]),
        (lambda: defaultdict(lambda: 1), ["defaultdict", "dict(value)"]),
        (lambda: type("Name", (str,), {})("x"), ["Name", "subclass of str", "str(value)"]),
        (lambda: Fraction(1, 2**70000), ["Fraction", "65536 bits"]),
    ],
)
def test_what_cannot_travel_is_named_with_its_place_and_a_way_out(make, words):
    with pytest.raises(EncodeError) as caught:
        encode(make())
    for word in words:
        assert word in str(caught.value)


def test_what_a_class_raises_while_it_is_looked_at_is_an_encode_error():
    class Odd:
        def __repr__(self):
            raise ZeroDivisionError

        __hash__ = object.__hash__

    with pytest.raises(EncodeError, match="Odd"):
        encode({Odd(): 1})
    with pytest.raises(EncodeError, match="int"):
        encode({(1,): 1, "x": {10**5000: print}})


def test_an_argument_that_cannot_travel_is_named():
    with pytest.raises(EncodeError, match=r"^argument 2\[0\] is a "):
        encode_arguments((1, [object()]), {})
    with pytest.raises(EncodeError, match=r"^argument 'x' is a "):
        encode_arguments((1,), {"x": object()})


def test_a_value_that_contains_itself_is_refused():
    loop: list[object] = [1]
    loop.append({"again": loop})
    with pytest.raises(EncodeError, match="contains itself"):
        encode(loop)


def test_depth_is_bounded_both_ways():
    deep: object = ()
    for _ in range(90):
        deep = (deep,)
    assert there_and_back(deep) == deep
    body = b"\xc0"
    for _ in range(150):
        body = msgspec.msgpack.encode(msgspec.msgpack.Ext(2, b"\x91" + body))
    with pytest.raises(DecodeError, match="nested"):
        decode(body)
    with pytest.raises(DecodeError, match="nested"):
        decode(b"\x91" * 100_000)


ext = msgspec.msgpack.Ext


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\xc1" + b"\xff" * 12,
        b"\xc1\x7f\x90",
        b"\xc1\x03\x92\xc0\x90\x00",  # a byte too many
        b"\xc1\x07\x92\xc0\x91\xce\xff\xff\xff\xff",  # claims 4 GiB
        b"\xc1\x04\x92\xc0\x91\xff",  # a length below zero
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xa1\xff",
        b"\x01\x01",
        b"\x81\x80\x01",
        *(
            msgspec.msgpack.encode(each)
            for each in [
                ext(99, b""),
                ext(-5, b""),
                ext(2, b"\xc0"),
                ext(3, b"\x91\x90"),
                ext(6, b"\xff"),
                ext(8, b"\x00"),
                ext(9, b"\x93\x01\x02\x03"),
                ext(16, msgspec.msgpack.encode(["2024-01-01", 7, None])),
                ext(16, msgspec.msgpack.encode(["2024-01-01", 0, ["../../etc/passwd", None]])),
                ext(16, msgspec.msgpack.encode(["2024-01-01", 0, ["No/Such", None]])),
                ext(18, b"\x93\xc0\xc0\xc0"),
                ext(19, msgspec.msgpack.encode([10**15, 0, 0])),
                ext(21, b"nonsense"),
                ext(22, b"\x92\x01\x00"),
                ext(23, b"short"),
                ext(24, b"\x92\xa5posix\x01"),
                ext(24, b"\x92\x01\x01"),
                ext(11, b"\x93\x00\x01\x00"),
                ext(7, b"1234"),
                ext(10, b"\x93\xa7default\x80\xa4eval"),
            ]
        ),
    ],
)
def test_malformed_bytes_are_a_decode_error(body):
    with pytest.raises(DecodeError):
        decode(body)
    with pytest.raises(DecodeError):
        decode_arguments(body)


def test_a_buffer_can_be_used_once_only():
    # Else a few bytes, each asking for a copy of the same buffer, would fill the memory.
    big = b"x" * 100_000
    head = msgspec.msgpack.encode([[ext(8, b"\x00"), ext(8, b"\x00")], [len(big)]])
    body = b"\xc1" + bytes([len(head)]) + head
    with pytest.raises(DecodeError, match="twice"):
        decode(body + bytes(-len(body) % 64) + big)


def test_a_buffer_of_no_bytes_is_refused():
    head = msgspec.msgpack.encode([None, [0]])
    with pytest.raises(DecodeError, match="at least 1 byte"):
        decode(b"\xc1" + bytes([len(head)]) + head + bytes(64 - 2 - len(head)))


MANY = 1000


def map_of(keys):
    """A map whose keys are given encoded, each with the value nil."""
    return b"\xde" + len(keys).to_bytes(2, "big") + b"".join(key + b"\xc0" for key in keys)


@pytest.mark.parametrize("before", [b"", b"\xc4\x01x"], ids=["alone", "after bytes"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda body: body,
        lambda body: b"\x91" * 60 + body,
        lambda body: b"\x81\xa1x" + body,
        lambda body: b"\xde\x00\x02\xa1x" + body + b"\xa1x\xc4\x00",
        lambda body: msgspec.msgpack.encode(ext(2, b"\x91" + body)),
        lambda body: b"\x92" + msgspec.msgpack.encode(ext(2, b"\x90")) + body,
    ],
    ids=["plain", "deep", "in a map", "in a map, and replaced", "in a tuple", "beside a tuple"],
)
@pytest.mark.parametrize(
    "key",
    [
        lambda n: msgspec.msgpack.encode([n]),
        lambda n: msgspec.msgpack.encode(ext(2, msgspec.msgpack.encode([n]))),
        lambda n: msgspec.msgpack.encode(ext(23, n.to_bytes(16, "big"))),
    ],
    ids=["list", "tuple", "uuid"],
)
def test_keys_that_no_encoder_writes_are_refused(key, wrap, before):
    keys = [key(number) for number in range(MANY)]
    with pytest.raises(DecodeError, match="keys"):
        decode(wrap(map_of([before, *keys] if before else keys)))


def test_large_maps_keep_every_kind_of_key():
    texts = {"x" * length: length for length in (1, 31, 32, 255, 256, 70_000)}
    octets = {b"x" * length: length for length in (0, 255, 256, 60_000)}
    numbers = {number: -number for number in (0, 127, 128, -32, -33, 2**16, -(2**31), 2**64 - 1)}
    mixed = {**texts, **octets, **numbers, None: 1, 1.5: 2, **dict.fromkeys(range(1000, 3000))}
    for value in (mixed, [mixed, (mixed,)], {"in": [mixed, {1}]}):
        assert there_and_back(value) == value
        assert there_and_back([value] * 2, known=()) == [value] * 2


def test_arguments_may_be_nested_as_deep_as_values():
    deep: object = [b"", {str(number): number / 7 for number in range(500)}]
    for _ in range(98):
        deep = [deep]
    args, _ = decode_arguments(encode_arguments((deep,), {}))
    assert args == [deep]


def alike(count):
    """Integers, all of one hash."""
    return [(2**61 - 1) * number for number in range(count)]


@pytest.mark.parametrize("make", [set, frozenset, dict.fromkeys], ids=["set", "frozenset", "map"])
def test_members_of_one_hash_may_be_some_but_not_many(make):
    assert there_and_back(make(alike(60))) == make(alike(60))
    with pytest.raises(DecodeError, match="same hash"):
        decode(encode(make([*alike(2000)])))


def test_members_that_honestly_share_hashes_come_back():
    grid = {(x, y, z) for x in range(-9, 9) for y in range(-9, 9) for z in range(-9, 9)}
    powers = {2.0**power for power in range(-1074, 1024)}
    assert there_and_back([grid, powers]) == [grid, powers]


def test_what_was_found_is_shown_in_short():
    huge = [0] * 100_000
    for wrong, words in [
        (ext(24, msgspec.msgpack.encode(["posix", huge])), "a list of 100000 items: 0, 0, 0, …"),
        (ext(24, msgspec.msgpack.encode(["posix", b"x" * 9999])), r"\(9999 long\)"),
        (ext(24, msgspec.msgpack.encode(["posix", ext(1, b"\x7f" * 9999)])), "an int of 79991 bits"),
        (ext(24, msgspec.msgpack.encode(["posix", ext(9, b"\x92\x01\x02")])), "a dict of 1 items"),
        (ext(24, msgspec.msgpack.encode(["posix", ext(24, b"\x92\xa5posix\xa1x")])), "a PosixPath"),
    ]:
        with pytest.raises(DecodeError, match=words) as caught:
            decode(msgspec.msgpack.encode(wrong))
        assert len(str(caught.value)) < 300


@settings(max_examples=400)
@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_decode_error(body):
    for data in (body, b"\xc1" + body):
        try:
            decode(data)
            decode_arguments(data)
        except DecodeError:
            pass


payloads = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text() | st.integers(-5, 5), inner, max_size=3)
        | st.builds(
            lambda code, payload: ext(code, msgspec.msgpack.encode(payload)), st.integers(1, 75), inner
        )
    ),
    max_leaves=20,
)


@settings(max_examples=400)
@given(payloads)
def test_well_formed_nonsense_raises_nothing_but_decode_error(payload):
    with contextlib.suppress(DecodeError):
        decode(msgspec.msgpack.encode(payload))


@pytest.mark.parametrize("value", [None, {"x": 1}, [[1], {"x": 1}, 3], [[1], {2: 1}], [(1,), {}]])
def test_a_value_that_is_no_arguments_is_refused(value):
    with pytest.raises(DecodeError):
        decode_arguments(encode(value))
