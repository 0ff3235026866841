"""Identities sign; what is not exactly such a signature, by exactly such a device, is refused."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easyremote.errors import IdentityError, SignatureError
from easyremote.trust.identity import Identity, device_text, parse_device, verify

SEED = bytes(range(32))
ME = Identity.from_seed(SEED)
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
FIELD = 2**255 - 19
D = -121665 * pow(121666, -1, FIELD) % FIELD


def test_the_pair_of_rfc_8032() -> None:
    """The second test of RFC 8032, 7.1."""
    identity = Identity.from_seed(
        bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    )
    assert identity.device.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert identity.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


@given(st.binary(max_size=200))
def test_what_a_device_signs_verifies_for_that_device_and_text_only(data: bytes) -> None:
    signature = ME.sign(data)
    verify(ME.device, signature, data)
    with pytest.raises(SignatureError):
        verify(ME.device, signature, data + b"\0")
    with pytest.raises(SignatureError):
        verify(Identity.from_seed(bytes(32)).device, signature, data)


def test_every_flipped_bit_of_a_signature_is_refused() -> None:
    signature = ME.sign(b"text")
    for bit in range(512):
        altered = bytearray(signature)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SignatureError):
            verify(ME.device, bytes(altered), b"text")


def test_a_signature_has_one_form() -> None:
    signature = ME.sign(b"text")
    s = int.from_bytes(signature[32:], "little")
    for other in (s + GROUP_ORDER, GROUP_ORDER - s, s + 2 * GROUP_ORDER, 2**256 - 1, 0, GROUP_ORDER):
        with pytest.raises(SignatureError):
            verify(ME.device, signature[:32] + other.to_bytes(32, "little"), b"text")


@pytest.mark.parametrize("length", [0, 1, 32, 63, 65, 128])
def test_signatures_of_other_lengths_are_refused(length: int) -> None:
    with pytest.raises(SignatureError):
        verify(ME.device, (ME.sign(b"text") * 2)[:length], b"text")


@pytest.mark.parametrize("length", [0, 1, 31, 33, 40, 64])
def test_devices_of_other_lengths_are_refused(length: int) -> None:
    with pytest.raises(SignatureError):
        verify((ME.device * 2)[:length], ME.sign(b"text"), b"text")


def doubled(x: int, y: int) -> tuple[int, int]:
    """Twice a point of edwards25519, by the addition law of RFC 8032, 5.1."""
    product = D * x * x % FIELD * y % FIELD * y % FIELD
    return (
        2 * x * y * pow(1 + product, -1, FIELD) % FIELD,
        (y * y + x * x) * pow(1 - product, -1, FIELD) % FIELD,
    )


def root(square: int) -> int | None:
    x = pow(square, (FIELD + 3) // 8, FIELD)
    for candidate in (x, x * pow(2, (FIELD - 1) // 4, FIELD) % FIELD):
        if candidate * candidate % FIELD == square % FIELD:
            return candidate
    return None


def small_order_ys() -> set[int]:
    """The y of all points whose order divides 8."""
    found = {1, FIELD - 1, 0}  # of order 1, 2 and 4
    # twice a point of order 8 has y = 0; there x² = -y², and the curve says d·y⁴ + 2y² - 1 = 0
    for sign in (1, -1):
        inner = root((1 + D) % FIELD)
        assert inner is not None
        y = root((-1 + sign * inner) * pow(D, -1, FIELD) % FIELD)
        if y is not None:
            found |= {y, FIELD - y}
    return found


def test_devices_anyone_could_sign_for_are_refused() -> None:
    ys = small_order_ys()
    assert len(ys) == 5
    for y in ys:
        x = root((y * y - 1) * pow(D * y * y + 1, -1, FIELD) % FIELD)
        assert x is not None
        assert doubled(*doubled(*doubled(x, y))) == (0, 1)
        for encoded in {y, y + FIELD} if y < 19 else {y}:
            for sign in (0, 1):
                device = (encoded | sign << 255).to_bytes(32, "little")
                for share in (device, (1).to_bytes(32, "little"), bytes(32)):
                    for number in range(16):  # each fits about one text in its order
                        with pytest.raises(SignatureError):
                            verify(device, share + bytes(32), b"text %d" % number)


def test_a_device_id_has_one_form() -> None:
    for y in range(FIELD, 2**255):
        with pytest.raises(SignatureError, match="not a device's key"):
            verify(y.to_bytes(32, "little"), bytes(64), b"text")


def test_an_identity_never_shows_or_hands_out_its_seed() -> None:
    assert repr(ME) == f"<Identity {device_text(ME.device)}>"
    assert SEED.hex() not in repr(vars(Identity)) + repr(ME)
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="private key"):
            leave(ME)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_seeds_of_other_lengths_are_refused(length: int) -> None:
    with pytest.raises(IdentityError, match=f"32 bytes, found {length}"):
        Identity.from_seed(bytes(length))


@given(st.binary(min_size=32, max_size=32))
def test_a_device_id_survives_being_text(device: bytes) -> None:
    text = device_text(device)
    assert len(text) == 52
    assert text == text.lower()
    assert parse_device(text) == parse_device(f" {text.upper()}\n") == device


@given(st.text(max_size=60))
def test_what_is_no_device_id_is_an_identity_error(text: str) -> None:
    with pytest.raises(IdentityError, match="52 characters of base32"):
        parse_device(text)


def test_a_text_with_unused_bits_set_is_no_device_id() -> None:
    text = device_text(bytes(32))
    with pytest.raises(IdentityError):
        parse_device(text[:-1] + "b")
