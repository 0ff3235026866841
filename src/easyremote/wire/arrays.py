"""NumPy arrays and scalars and PyTorch tensors, without a copy where memory allows.

A received array's shape and dtype must account for exactly the bytes that came; dtypes are built from an
allow-list, never from an object, so nothing in an array can be code. Received arrays are always writable.
NumPy and PyTorch are imported only when the value at hand is of them.

Not kept: a tensor's device (it arrives on the CPU) and ``requires_grad``; the memory order of an array
that is neither C- nor Fortran-contiguous (it arrives in C order); the titles of its fields; that it was a ``memmap``.
"""

from __future__ import annotations

import math
import re
from typing import Any, Literal

from easyremote.errors import DecodeError
from easyremote.wire import codes
from easyremote.wire.codec import FINDERS, RAISE, Lower, Reader, Refused, Writer, brief

_DTYPE = re.compile(
    r"\|b1|[|<>][iu]1|[<>][iu][248]|[<>]f[248]|[<>]c(?:8|16)"
    r"|[<>][mM]8(?:\[\d{0,9}(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"
    r"|\|S\d{1,9}|[<>]U\d{1,9}"
)
_MAX_FIELDS = 1024
_MAX_NESTING = 8
_MAX_ITEM_BYTES_OF_EMPTY = 1 << 20
_MAX_ITEMS_OF_EMPTY = 1 << 16

_TORCH_DTYPES = [
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "float8_e4m3fn",
    "float8_e5m2",
]


Library = Literal["numpy", "torch", "pandas", "polars", "pyarrow", "pillow"]
"""All that a value from the wire can have imported, and each only by a statement of this file."""


def library(name: Library) -> Any:
    """Import a library that a received value needs.

    Raises:
        DecodeError: It is not installed.
    """
    try:
        match name:
            case "numpy":
                import numpy

                return numpy
            case "torch":
                import torch

                return torch
            case "pandas":
                import pandas

                return pandas
            case "polars":
                import polars

                return polars
            case "pyarrow":
                import pyarrow

                return pyarrow
            case "pillow":
                import PIL.Image

                return PIL.Image
    except ImportError as error:
        raise DecodeError(
            f"a value needs {name}, which is not installed here. Run `pip install {name}`"
        ) from error


# dtypes


def _lower_dtype(dtype: Any) -> object:
    """A dtype as text, or as ``[names, formats, offsets, itemsize]``, or as ``[base, shape]``."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return _lower_dtype(base), list(shape)
    if dtype.names is not None:
        fields = [dtype.fields[name] for name in dtype.names]
        return (
            list(dtype.names),
            [_lower_dtype(field[0]) for field in fields],
            [int(field[1]) for field in fields],
            dtype.itemsize,
        )
    text: str = dtype.str
    if dtype.hasobject or not _DTYPE.fullmatch(text):
        if dtype.kind == "O":
            raise Refused(
                "is an array of Python objects (dtype=object). Pass value.tolist(), or give it a dtype"
            )
        raise Refused(
            f"is an array of dtype {dtype}, which has no form on the wire. "
            "Use astype with a bool, integer, float, complex, datetime64, timedelta64 or fixed-width text dtype"
        )
    return text


def _raise_dtype(numpy: Any, found: object, nesting: int = 0) -> Any:
    if nesting > _MAX_NESTING:
        raise DecodeError("an array's dtype is nested too deeply")
    if type(found) is str and _DTYPE.fullmatch(found):
        return numpy.dtype(found)
    if type(found) is list and len(found) == 2:
        return numpy.dtype((_raise_dtype(numpy, found[0], nesting + 1), _raise_shape(found[1])))
    if type(found) is list and len(found) == 4:
        names, formats, offsets, itemsize = found
        if not (type(names) is type(formats) is type(offsets) is list and type(itemsize) is int):
            raise DecodeError("an array's structured dtype is malformed")
        if not len(names) == len(formats) == len(offsets) <= _MAX_FIELDS:
            raise DecodeError(
                f"an array's structured dtype wants at most {_MAX_FIELDS} fields, each with all parts"
            )
        if any(type(name) is not str for name in names) or any(type(o) is not int or o < 0 for o in offsets):
            raise DecodeError("an array's structured dtype is malformed")
        return numpy.dtype(
            {
                "names": names,
                "formats": [_raise_dtype(numpy, each, nesting + 1) for each in formats],
                "offsets": offsets,
                "itemsize": itemsize,
            }
        )
    raise DecodeError(f"{brief(found)} is no dtype that an array may have")


def _raise_shape(found: object) -> tuple[int, ...]:
    if (
        type(found) is not list
        or len(found) > 64
        or any(type(n) is not int or not 0 <= n < 1 << 63 for n in found)
    ):
        raise DecodeError(f"{brief(found)} is no array's shape")
    return tuple(found)


def _check_contents(numpy: Any, array: Any) -> None:
    """Refuse bytes that no value of the dtype has: NumPy trusts them."""
    dtype = array.dtype
    if dtype.names is not None:
        for name in dtype.names:
            _check_contents(numpy, array[name])
    elif dtype.kind == "b" and array.size and array.view(numpy.uint8).max() > 1:
        raise DecodeError("an array of bool holds something else")
    elif dtype.kind == "U" and array.size and dtype.itemsize:
        flat = numpy.ascontiguousarray(array).reshape(-1)
        if flat.view(numpy.dtype(numpy.uint32).newbyteorder(dtype.byteorder)).max() > 0x10FFFF:
            raise DecodeError("an array of text holds something that is no character")


# NumPy


def flat_bytes(numpy: Any, array: Any) -> memoryview:
    """The memory of a C-contiguous array as a flat view of bytes."""
    if not array.nbytes:
        return memoryview(b"")
    return memoryview(array.reshape(-1).view(numpy.uint8))


def _lower_array(writer: Writer, value: Any, depth: int) -> object:
    import numpy

    dtype = _lower_dtype(value.dtype)
    array = numpy.asarray(value)
    order = "C"
    if not array.flags.c_contiguous:
        if array.flags.f_contiguous:
            order, array = "F", array.T
        else:
            array = numpy.ascontiguousarray(array)
    data = writer.store(flat_bytes(numpy, array))
    return writer.ext(codes.NUMPY_ARRAY, (dtype, list(value.shape), order, data))


def _raise_array(reader: Reader, data: memoryview) -> object:
    dtype, shape, order, stored = reader.items(data, 4)
    numpy = library("numpy")
    shape = _raise_shape(shape)
    array = _from_memory(
        numpy, _raise_dtype(numpy, dtype), shape[::-1] if order == "F" else shape, reader, stored
    )
    return array.T if order == "F" else array


def _from_memory(numpy: Any, dtype: Any, shape: tuple[int, ...], reader: Reader, stored: object) -> Any:
    memory = reader.fetch(stored)
    count = math.prod(shape)
    if count * dtype.itemsize != len(memory):
        raise DecodeError(
            f"an array of shape {list(shape)} and dtype {dtype} wants {count * dtype.itemsize} bytes, "
            f"found {len(memory)}"
        )
    if not memory:
        if dtype.itemsize > _MAX_ITEM_BYTES_OF_EMPTY or count > _MAX_ITEMS_OF_EMPTY:
            raise DecodeError(
                f"an array of no bytes claims {count} items of {dtype.itemsize} bytes, at most "
                f"{_MAX_ITEMS_OF_EMPTY} items of {_MAX_ITEM_BYTES_OF_EMPTY} bytes are taken"
            )
        # Not numpy.zeros: it makes <U0 into <U1, and allocates an item even for an array of none.
        return numpy.ndarray(shape, dtype, bytearray())
    array = numpy.frombuffer(memory, dtype).reshape(shape)
    if dtype.kind in "bUV":
        _check_contents(numpy, array)
    return array


def _lower_numpy_scalar(writer: Writer, value: Any, depth: int) -> object:
    if isinstance(value, str):
        return writer.ext(codes.NUMPY_TEXT, [writer.lower(str.__str__(value), depth)])
    if isinstance(value, bytes):
        return writer.ext(codes.NUMPY_TEXT, [bytes.__getitem__(value, slice(None))])
    import numpy

    array = numpy.asarray(value)
    return writer.ext(codes.NUMPY_SCALAR, (_lower_dtype(array.dtype), writer.store(flat_bytes(numpy, array))))


def _raise_numpy_scalar(reader: Reader, data: memoryview) -> object:
    dtype, stored = reader.items(data, 2)
    numpy = library("numpy")
    return _from_memory(numpy, _raise_dtype(numpy, dtype), (), reader, stored)[()]


def _raise_numpy_text(reader: Reader, data: memoryview) -> object:
    (text,) = reader.items(data, 1)
    numpy = library("numpy")
    if type(text) is str:
        return numpy.str_(text)
    if type(text) is bytes:
        return numpy.bytes_(text)
    raise DecodeError(f"a NumPy text wants str or bytes, found {brief(text)}")


# PyTorch


def _lower_tensor(writer: Writer, value: Any, depth: int) -> object:
    import torch

    if value.layout is not torch.strided or value.is_quantized or value.device.type == "meta":
        raise Refused(f"is a tensor of layout {value.layout} on {value.device}. Pass value.to_dense()")
    name = str(value.dtype).removeprefix("torch.")
    if name not in _TORCH_DTYPES:
        raise Refused(f"is a tensor of dtype {name}, which has no form on the wire. Convert it first")
    tensor = value.detach().resolve_conj().resolve_neg().cpu().contiguous()
    if tensor.numel():
        try:
            memory = memoryview(tensor.view(-1).view(torch.uint8).numpy())
        except RuntimeError as error:
            raise Refused(
                "is a tensor, and PyTorch needs NumPy to show its memory. Run `pip install numpy`"
            ) from error
    else:
        memory = memoryview(b"")
    return writer.ext(codes.TORCH_TENSOR, (name, list(value.shape), writer.store(memory)))


def _raise_tensor(reader: Reader, data: memoryview) -> object:
    name, shape, stored = reader.items(data, 3)
    torch = library("torch")
    shape = _raise_shape(shape)
    dtype = getattr(torch, name, None) if name in _TORCH_DTYPES else None
    if dtype is None:
        raise DecodeError(f"{brief(name)} is no dtype that a tensor may have here")
    memory = reader.fetch(stored)
    wanted = math.prod(shape) * dtype.itemsize
    if wanted != len(memory):
        raise DecodeError(
            f"a tensor of shape {list(shape)} and dtype {name} wants {wanted} bytes, found {len(memory)}"
        )
    if not memory:
        return torch.empty(shape, dtype=dtype)
    if name == "bool" and torch.frombuffer(memory, dtype=torch.uint8).max() > 1:
        raise DecodeError("a tensor of bool holds something else")
    if name.startswith("float8"):
        return torch.frombuffer(memory, dtype=torch.uint8).view(dtype).reshape(shape)
    return torch.frombuffer(memory, dtype=dtype).reshape(shape)


def find(kind: type) -> Lower | None:
    """How arrays, NumPy scalars and tensors are lowered."""
    for base in kind.__mro__:
        name = (base.__module__, base.__name__)
        if name == ("numpy", "ndarray"):
            return _find_array(kind)
        if name == ("numpy", "generic"):
            return _lower_numpy_scalar
        if name in (("torch", "Tensor"), ("torch._tensor", "Tensor")):
            return _lower_tensor
    return None


def _find_array(kind: type) -> Lower:
    if kind.__name__ in ("ndarray", "memmap") and kind.__module__.partition(".")[0] == "numpy":
        return _lower_array
    if kind.__name__ == "MaskedArray":
        raise Refused("is a masked array. Pass value.data and value.mask, or value.filled()")
    raise Refused(f"is a {kind.__qualname__}, a kind of array of its own. Pass numpy.asarray(value)")


FINDERS.append(find)
RAISE.update(
    {
        codes.NUMPY_ARRAY: _raise_array,
        codes.NUMPY_SCALAR: _raise_numpy_scalar,
        codes.NUMPY_TEXT: _raise_numpy_text,
        codes.TORCH_TENSOR: _raise_tensor,
    }
)
