"""PIL images as values: mode, size, pixels and palette, never a file format that a decoder would parse.

Not kept: that an image came from a file, its other frames, and what is in ``info`` but the transparency.
"""

from __future__ import annotations

from typing import Any

from easyremote.errors import DecodeError
from easyremote.wire import codes
from easyremote.wire.arrays import library
from easyremote.wire.codec import FINDERS, RAISE, Lower, Reader, Refused, Writer

_MODE_BYTES = {
    "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "LA": 2, "La": 2, "PA": 2, "RGB": 3, "YCbCr": 3,
    "LAB": 3, "HSV": 3, "RGBA": 4, "RGBa": 4, "RGBX": 4, "CMYK": 4, "I": 4, "F": 4,
}  # fmt: skip
_PALETTE_BYTES = {"RGB": 3 * 256, "RGBA": 4 * 256}
_MAX_SIDE = 1 << 24
_MAX_EMPTY_SIDE = 256
"""Of an image without pixels: memory is taken for each of its rows, and nobody sent any for them."""


def _lower_image(writer: Writer, value: Any, depth: int) -> object:
    if value.mode not in _MODE_BYTES and value.mode != "1":
        raise Refused(
            f"is an image of mode {value.mode!r}, which has no form on the wire. Use value.convert('RGB')"
        )
    pixels = writer.store(memoryview(value.tobytes()))
    palette = None
    if value.mode in ("P", "PA") and value.palette is not None:
        # Not palette.mode: that of an image just opened may name a raw form.
        mode = "RGBA" if "A" in value.palette.mode else "RGB"
        palette = mode, bytes(value.getpalette(mode) or b"")
    transparency = value.info.get("transparency")
    if type(transparency) not in (int, bytes, tuple):
        transparency = None
    lowered = writer.lower(transparency, depth)
    return writer.ext(codes.IMAGE, (value.mode, list(value.size), pixels, palette, lowered))


def _raise_image(reader: Reader, data: memoryview) -> object:
    mode, size, stored, palette, transparency = reader.items(data, 5)
    if (
        type(size) is not list
        or len(size) != 2
        or any(type(n) is not int or not 0 <= n <= _MAX_SIDE for n in size)
    ):
        raise DecodeError(f"{size!r:.80} is no image's size")
    width, height = size
    if mode == "1":
        wanted = (width + 7) // 8 * height
    elif type(mode) is str and mode in _MODE_BYTES:
        wanted = width * height * _MODE_BYTES[mode]
    else:
        raise DecodeError(f"{mode!r:.80} is no mode that an image may have")
    memory = reader.fetch(stored)
    if len(memory) != wanted:
        raise DecodeError(
            f"an image of mode {mode} and {width}x{height} wants {wanted} bytes, found {len(memory)}"
        )
    if not wanted and max(size) > _MAX_EMPTY_SIDE:
        raise DecodeError(
            f"an image without pixels has sides of {_MAX_EMPTY_SIDE} at most, found {width}x{height}"
        )
    pil = library("pillow")
    image = pil.frombytes(mode, (width, height), memory) if wanted else pil.new(mode, (width, height))
    if palette is not None:
        _put_palette(image, palette)
    if type(transparency) in (int, bytes, tuple):
        image.info["transparency"] = transparency
    return image


def _put_palette(image: Any, palette: object) -> None:
    if type(palette) is not list or len(palette) != 2 or image.mode not in ("P", "PA"):
        raise DecodeError("an image's palette is malformed")
    mode, colours = palette
    if type(colours) is not bytes or len(colours) > _PALETTE_BYTES.get(mode, 0):
        raise DecodeError("an image's palette is malformed")
    image.putpalette(colours, mode)


def find(kind: type) -> Lower | None:
    """How images are lowered."""
    for base in kind.__mro__:
        if base.__name__ == "Image" and base.__module__ == "PIL.Image":
            return _lower_image
    return None


FINDERS.append(find)
RAISE[codes.IMAGE] = _raise_image
