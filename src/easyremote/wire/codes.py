"""The extension codes of the value format, each named once.

A value is msgpack; what msgpack has no word for is an extension: one of these codes and a payload that
is msgpack again, unless said otherwise. A code never changes its meaning; a peer that meets one it does
not know refuses the value. Codes 0-63 are the language's own types, 64-127 are libraries'.
"""

from __future__ import annotations

BIG_INT = 1  # raw: two's complement, big endian
TUPLE = 2  # [item...]
SET = 3  # [item...]
FROZENSET = 4  # [item...]
BYTEARRAY = 5  # buffer
LOOSE_TEXT = 6  # raw: UTF-8 with lone surrogates
COMPLEX = 7  # raw: two little-endian doubles
LARGE_BYTES = 8  # buffer
MAP = 9  # [key, value, key, value...] for keys msgpack maps cannot hold
COLLECTION = 10  # [kind, items, extra]
RANGE = 11  # [start, stop, step]
SLICE = 12  # [start, stop, step]
DATETIME = 16  # [ISO text without zone, fold, zone]
DATE = 17  # raw: ISO text
TIME = 18  # [ISO text without zone, fold, zone]
TIMEDELTA = 19  # [days, seconds, microseconds]
ZONE = 20  # zone
DECIMAL = 21  # raw: text
FRACTION = 22  # [numerator, denominator]
UUID = 23  # raw: 16 bytes
PATH = 24  # [flavour, text]
OBJECT = 32  # [kind, module, qualified name, fields]
PICKLED = 48  # [buffer: pickle protocol 5, [buffer...]]; at the top only, and only with consent: pickled.py

NUMPY_ARRAY = 64  # [dtype, shape, order, buffer]
NUMPY_SCALAR = 65  # [dtype, buffer]
NUMPY_TEXT = 66  # [str or bytes]
TORCH_TENSOR = 68  # [dtype, shape, buffer]
ARROW = 70  # [kind, buffer: an uncompressed Arrow IPC stream, extra]
PANDAS_SCALAR = 71  # [kind, number, unit, zone]
IMAGE = 72  # [mode, [width, height], buffer, [palette mode, bytes] or nil, transparency]

NEVER_MSGPACK = 0xC1  # the one byte msgpack never uses opens a body with segments
