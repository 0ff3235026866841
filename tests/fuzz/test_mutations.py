"""Random bytes, and kept inputs cut, spliced and flipped, at every decoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fuzz.targets import TARGETS, Target, check, corpus
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = 120
bounded = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
INTERESTING = [
    b"\x00", b"\x7f", b"\x80", b"\xff", b"\xff" * 4, b"\xff" * 8, b"\x7f" + b"\xff" * 3, b"\x80" * 10,
    b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff",
    b"\x91", b"\x81", b"\xd4", b"\xcb\x7f\xf8" + bytes(6), b"\xd3\x80" + bytes(7),
]  # fmt: skip


@st.composite
def mutations(draw: Callable[..., Any], bases: list[bytes]) -> bytes:
    """One to four changes to a kept input."""
    data = bytearray(draw(st.sampled_from(bases)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 16)))
        change = draw(st.sampled_from(["flip", "set", "insert", "delete", "splice", "duplicate", "truncate"]))
        if change == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif change == "set":
            new = draw(st.sampled_from(INTERESTING))
            data[at : at + len(new)] = new
        elif change == "insert":
            data[at:at] = draw(st.binary(max_size=8) | st.sampled_from(INTERESTING))
        elif change == "delete":
            del data[at:end]
        elif change == "splice":
            other = draw(st.sampled_from(bases))
            data[at:] = other[draw(st.integers(0, len(other))) :]
        elif change == "duplicate":
            data[at:at] = data[at:end] * draw(st.integers(1, 8))
        elif change == "truncate":
            del data[at:]
    return bytes(data)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_changed_inputs_are_read_or_refused(target: Target) -> None:
    for library in target.libraries:
        pytest.importorskip(library)
    bases = list(corpus(target.name).values()) or list(target.seeds())

    @bounded
    @given(mutations(bases))
    def try_one(data: bytes) -> None:
        check(target, data)

    try_one()


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_random_bytes_are_read_or_refused(target: Target) -> None:
    for library in target.libraries:
        pytest.importorskip(library)

    @bounded
    @given(st.binary(max_size=300))
    def try_one(data: bytes) -> None:
        check(target, data)

    try_one()
