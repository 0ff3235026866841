"""Arrays, tensors and images there and back, without a copy, and what strangers may claim of them."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from easyremote.errors import DecodeError, EncodeError
from easyremote.wire.segments import Segments
from easyremote.wire.values import decode, encode

np = pytest.importorskip("numpy")


def received(value):
    body = encode(value)
    return bytearray(body.join() if isinstance(body, Segments) else body)


def there_and_back(value):
    return decode(received(value))


def same_array(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def untitled(dtype):
    return all(len(field) == 2 for field in dtype.fields.values())


plain_dtypes = (
    hnp.boolean_dtypes() | hnp.integer_dtypes(endianness="?") | hnp.unsigned_integer_dtypes(endianness="?")
    | hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)) | hnp.complex_number_dtypes(sizes=(64, 128))
    | hnp.datetime64_dtypes() | hnp.timedelta64_dtypes() | hnp.byte_string_dtypes() | hnp.unicode_string_dtypes()
)  # fmt: skip
dtypes = plain_dtypes | hnp.array_dtypes(plain_dtypes, max_size=3).filter(untitled)


@settings(max_examples=200)
@given(hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, min_side=0, max_side=4)), st.booleans())
def test_an_array_comes_back(array, turned):
    array = array.T if turned else array
    found = there_and_back(array)
    assert same_array(found, array)
    assert found.flags.writeable


@pytest.mark.parametrize(
    "array",
    [
        np.array(3.5),
        np.zeros((0, 3)),
        np.zeros((2, 0), "U0"),
        np.zeros(3, [("a", "U0")])["a"],
        np.arange(24).reshape(2, 3, 4)[:, ::2, ::-1],
        np.asfortranarray(np.arange(40_000.0).reshape(200, 200)),
        np.arange(100_000, dtype=">i4"),
        np.array(["é", "日本"]),
        np.zeros(3, np.dtype([("a", "i1"), ("b", "f8", (2,)), ("c", [("d", "U2")])], align=True)),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}"[:30],
)
def test_corner_cases_come_back(array):
    found = there_and_back(array)
    assert same_array(found, array)
    assert found.flags.writeable


def test_fortran_order_is_kept():
    assert there_and_back(np.asfortranarray(np.ones((3, 4)))).flags.f_contiguous


def test_a_large_array_is_a_writable_view_of_what_arrived():
    array = np.arange(1 << 18, dtype=np.float32)
    body = encode({"x": array})
    assert isinstance(body, Segments)
    assert np.shares_memory(
        np.frombuffer(body.slice(body.size - array.nbytes, array.nbytes), np.uint8), array
    )
    data = bytearray(body.join())
    found = decode(data)["x"]
    found[-1] = 7
    assert data[-4:] == np.float32(7).tobytes()
    assert found.ctypes.data % 4 == 0
    frozen = decode(bytes(data))["x"]
    assert frozen.flags.writeable
    assert same_array(frozen, found)


@pytest.mark.parametrize(
    "scalar",
    [
        np.float64(1.5), np.float16(2), np.int8(-3), np.uint64(2**64 - 1), np.bool_(True), np.complex64(1j),
        np.str_("x\0"), np.str_(""), np.bytes_(b"a\0"), np.datetime64("2020-01-01T00", "h"), np.timedelta64(5, "D"),
    ],
    ids=lambda scalar: type(scalar).__name__,
)  # fmt: skip
def test_a_scalar_keeps_its_type(scalar):
    found = there_and_back([scalar])[0]
    assert type(found) is type(scalar)
    assert found == scalar
    assert found.dtype == scalar.dtype


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([object()]), "Python objects"),
        (np.zeros(2, [("a", "O")]), "Python objects"),
        (np.zeros(2, "V3"), "dtype"),
        (np.ma.zeros(3), "masked"),
        (np.rec.array([(1,)]), "numpy.asarray"),
    ],
)
def test_arrays_that_cannot_travel_are_refused(array, words):
    with pytest.raises(EncodeError, match=words):
        encode({"a": array})


def claim(code, *payload):
    return msgspec.msgpack.encode(msgspec.msgpack.Ext(code, msgspec.msgpack.encode(payload)))


BAD = ["O", "|O", "|O8", "<f16", "|V8", "f4,O", "<M8[generic]", "object", "U3,i4", ["<i4", [2**40]], 7]


@pytest.mark.parametrize(
    "dtype", [*BAD, *([["a"], [bad], [0], 8] for bad in BAD), [["a"], ["<i8"], [-8], 8]], ids=repr
)
def test_no_other_dtype_is_taken(dtype):
    with pytest.raises(DecodeError):
        decode(claim(64, dtype, [1], "C", bytes(8)))
    with pytest.raises(DecodeError):
        decode(claim(65, dtype, bytes(8)))


@pytest.mark.parametrize(
    "body",
    [
        claim(64, "<f4", [2], "C", bytes(4)),
        claim(64, "<f4", [-1], "C", bytes(4)),
        claim(64, "<f4", [2**40, 2**40, 0], "C", b""),
        claim(64, "<f4", [1] * 65, "C", bytes(4)),
        claim(64, "<f4", [2**62], "C", b""),
        claim(64, "|S999999999", [0], "C", b""),
        claim(64, "<f4", "1", "C", bytes(4)),
        claim(64, "<f4", [1], "C", 0),
        claim(64, "<f4", [1], "C", None),
        claim(64, "|S0", [2**60], "C", b""),
        claim(64, "|b1", [2], "C", b"\x01\x02"),
        claim(64, [["a"], ["|b1"], [0], 1], [2], "C", b"\x01\x02"),
        claim(64, "<U1", [1], "C", b"\xff\xff\xff\xff"),
        claim(64, [["a"], ["<U1"], [4], 8], [1], "C", b"\xff\xff\xff\xff" * 2),
        claim(64, [["a"], ["<i4"], [6], 8], [1], "C", bytes(8)),
        claim(64, [["a", "a"], ["<i4", "<i4"], [0, 4], 8], [1], "C", bytes(8)),
        claim(66, 3),
        claim(68, "float32", [2**40], b""),
        claim(68, "load", [1], bytes(4)),
        claim(72, "RGB", [1 << 20, 1 << 20], b"", None, None),
        claim(72, "RGB", [2, 2], bytes(11), None, None),
        claim(72, "XYZ", [1, 1], bytes(3), None, None),
        claim(72, "P", [1, 1], bytes(1), ["RGB", bytes(10_000)], None),
        claim(72, "L", [-1, -1], bytes(1), None, None),
    ],
)
def test_what_does_not_add_up_is_a_decode_error(body):
    with pytest.raises(DecodeError):
        decode(body)


@settings(max_examples=300)
@given(st.data())
def test_a_changed_array_raises_nothing_but_decode_error(data):
    body = received([np.arange(3), np.array(["a"]), np.ones(2, [("a", "?")]), np.float16(1)])
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DecodeError):
        repr(decode(body))


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"]
)
@pytest.mark.parametrize("size", [(5, 7), (0, 3), (300, 300)])
def test_an_image_comes_back(mode, size):
    image_module = pytest.importorskip("PIL.Image")
    image = image_module.new("L", size, 77).convert(mode)
    if mode == "P":
        image.info["transparency"] = 3
    found = there_and_back(image)
    assert (found.mode, found.size, found.info) == (image.mode, image.size, image.info)
    assert found.tobytes() == image.tobytes()
    assert found.getpalette() == image.getpalette()


@pytest.mark.parametrize("shape", [(), (2, 3), (0, 3), (300, 400)])
@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int64", "float16", "bfloat16", "float32", "complex64", "float8_e4m3fn"]
)
def test_a_tensor_comes_back(dtype, shape):
    torch = pytest.importorskip("torch")
    tensor = torch.ones(shape).to(getattr(torch, dtype))
    found = there_and_back(tensor)
    assert found.dtype == tensor.dtype
    assert torch.equal(found.to(torch.complex64), tensor.to(torch.complex64))


def test_a_tensor_leaves_its_gradient_and_its_strides_behind():
    torch = pytest.importorskip("torch")
    tensor = torch.rand(3, 4, requires_grad=True)
    found = there_and_back(tensor.T)
    assert torch.equal(found, tensor.T)
    assert not found.requires_grad
    with pytest.raises(EncodeError, match="to_dense"):
        encode(torch.eye(2).to_sparse())
