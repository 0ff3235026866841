"""Pickled values: there and back with consent, unread without."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.msgpack import Ext

from easyremote.errors import DecodeError, EncodeError, UsageError
from easyremote.wire import codes, pickled, values
from easyremote.wire.segments import Segments, build

CONSENT = pickled.Consent("bench", "pickle_with= of this test")


class Odd:
    """A class that has no form on the wire but a pickle."""

    def __init__(self, inside: object) -> None:
        self.inside = inside


class Trap:
    """Loading its pickle makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def body(encoded):
    return bytearray(encoded.join()) if isinstance(encoded, Segments) else encoded


def by_hand(code: int, stream: bytes, buffers: object = ()) -> bytes:
    return msgspec.msgpack.encode(Ext(code, msgspec.msgpack.encode((stream, buffers))))


def test_a_value_without_a_form_on_the_wire_arrives():
    with pytest.raises(EncodeError):
        values.encode(Odd(1))
    data = pickled.encode(Odd(re.compile("a+")))
    assert pickled.is_pickled(data)
    assert pickled.decode(data, CONSENT).inside.pattern == "a+"


@pytest.mark.parametrize("size", [0, 1, 2, 4, 8, 16, 255, 256, 65_535, 65_536, 1 << 20])
def test_values_of_every_size_arrive(size):
    data = body(pickled.encode(b"x" * size))
    assert pickled.is_pickled(data)
    assert pickled.decode(data, CONSENT) == b"x" * size


@pytest.mark.parametrize("items", [3, 100_000])
def test_arrays_inside_arrive_without_a_copy_and_can_be_written_to(items):
    sent = Odd(np.arange(items))
    encoded = pickled.encode([sent, np.arange(3)])
    assert isinstance(encoded, Segments) == (items == 100_000)
    data = body(encoded)
    found, small = pickled.decode(data, CONSENT)
    assert (found.inside == sent.inside).all()
    assert small.tolist() == [0, 1, 2]
    found.inside[0] = small[0] = 7
    if items == 100_000:
        assert np.shares_memory(found.inside, np.frombuffer(data, np.uint8))


def test_arguments_arrive_as_arguments():
    data = pickled.encode_arguments((Odd(1), 2), {"three": Odd(3)})
    (one, two), kwargs = pickled.decode_arguments(data, CONSENT)
    assert (one.inside, two, kwargs["three"].inside) == (1, 2, 3)


@pytest.mark.parametrize("wrong", [1, ([], {}), ((), {1: 2}), ((), {}, ())])
def test_a_pickle_that_is_no_arguments_is_refused(wrong):
    with pytest.raises(DecodeError, match="not the arguments"):
        pickled.decode_arguments(pickled.encode(wrong), CONSENT)


@pytest.mark.parametrize("size", [0, 100_000])
def test_ordinary_decoding_loads_no_pickle_and_says_what_would(tmp_path, size):
    trap = tmp_path / "sprung"
    data = body(pickled.encode([Trap(trap), b"x" * size]))
    for decode in (values.decode, values.decode_arguments):
        with pytest.raises(DecodeError, match=r"pickled value.*pickle_from=.*pickle_with=.*codec='pickle'"):
            decode(data)
    assert not trap.exists()
    pickled.decode(data, CONSENT)
    assert trap.exists()


def test_a_pickle_inside_a_value_is_refused_with_consent_and_without(tmp_path):
    trap = tmp_path / "sprung"
    hidden = Ext(codes.PICKLED, msgspec.msgpack.encode((pickle.dumps(Trap(trap)), ())))
    pack = msgspec.msgpack.encode
    for data in (
        pack([hidden]),
        pack({"a": hidden}),
        pack([[hidden], {}]),
        pack([[1], {"x": hidden}]),
        pack(Ext(codes.TUPLE, pack([hidden]))),
        pack(Ext(codes.PICKLED, pack((b"\x80\x05N.", [hidden])))),
        pack(Ext(codes.PICKLED, pack(hidden))),
        bytes(build([hidden, Ext(codes.LARGE_BYTES, pack(0))], [memoryview(b"x" * 70_000)]).join()),
    ):
        for decode in (values.decode, values.decode_arguments, lambda data: pickled.decode(data, CONSENT)):
            with pytest.raises(DecodeError):
                decode(data)
    assert not trap.exists()


def test_no_consent_is_no_loading(tmp_path):
    trap = tmp_path / "sprung"
    for consent in (None, True, "bench"):
        with pytest.raises(TypeError):
            pickled.decode(pickled.encode(Trap(trap)), consent)
    assert not trap.exists()


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda tail: b"\xc7\x05\x30" + tail))
def test_nonsense_is_a_decode_error(data):
    """What is in a pickle may do anything; what is around it is checked as everything is."""
    pickled.is_pickled(data)
    if not pickled.is_pickled(data):
        with pytest.raises(DecodeError):
            pickled.decode(data, CONSENT)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xc7",
        b"\xd4",
        by_hand(codes.PICKLED, b""),
        by_hand(codes.PICKLED, b"nonsense"),
        by_hand(codes.PICKLED, 0),
        by_hand(codes.PICKLED, b"\x80\x05N.", 3),
        by_hand(codes.PICKLED, b"\x80\x05N.", [1]),
        by_hand(codes.TUPLE, b"\x80\x05N."),
        by_hand(codes.PICKLED, pickle.dumps(Odd)[:-3]),
        by_hand(codes.PICKLED, b"\x80\x05cno_such_module\nthing\n."),
    ],
)
def test_what_does_not_load_is_a_decode_error(data):
    with pytest.raises(DecodeError):
        pickled.decode(data, CONSENT)


def test_a_missing_class_is_told_with_the_reason():
    with pytest.raises(DecodeError, match=r"'bench' pickled.*no_such_module.*modules"):
        pickled.decode(by_hand(codes.PICKLED, b"\x80\x05cno_such_module\nthing\n."), CONSENT)


def test_what_cannot_be_pickled_is_an_encode_error():
    with pytest.raises(EncodeError, match="cannot be pickled"):
        pickled.encode(lambda: 1)
    with pytest.raises(EncodeError, match="an argument cannot be pickled"):
        pickled.encode_arguments((iter(lambda: 1, 2), lambda: 1), {})


@pytest.mark.parametrize("value", [None, 1, "text", [1, 2], {"a": 1}, (1,), b"x" * 70_000, np.arange(20_000)])
def test_plain_values_are_no_pickles(value):
    assert not pickled.is_pickled(body(values.encode(value)))
    with pytest.raises(DecodeError):
        pickled.decode(body(values.encode(value)), CONSENT)


@pytest.mark.parametrize("names", [None, "bench", b"bench", 5, [1], [""], ["bench", None]])
def test_a_list_of_names_is_wanted(names):
    with pytest.raises(UsageError, match="pickle_with= is a list of names"):
        pickled.peers("pickle_with", names, "names")


def test_names_may_come_from_any_iterable():
    assert pickled.peers("pickle_with", (name for name in ("a", "b")), "names") == {"a", "b"}
