"""Letters and results: what they say to whom they are for, nothing to others, and the frozen bytes of both."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from easyremote.errors import SealError, UsageError
from easyremote.trust.handshake import CLASSIC, HYBRID, Prekeys
from easyremote.trust.identity import Identity
from easyremote.trust.letter import Secret, open_letter, read_job, seal_letter, write_job
from easyremote.wire.limits import MAIL_PART_BYTES

FROZEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "jobs.json").read_text(encoding="utf-8")
)
CALLER, NODE = Identity.from_seed(b"c" * 32), Identity.from_seed(b"n" * 32)
SECRET = Secret(b"s" * 16)
SALT = b"salt" * 4


def frozen(name: str) -> bytes:
    return bytes.fromhex(FROZEN[name])


@pytest.fixture(scope="module")
def prekeys() -> Prekeys:
    made = Prekeys(suite=HYBRID)
    made.rotate(os.urandom)
    return made


def sealed(prekeys: Prekeys, data: bytes) -> list[bytes]:
    return seal_letter(
        CALLER, SECRET.number, node=NODE.device, prekey=prekeys.current, secret=os.urandom(32), data=data
    )


@pytest.mark.parametrize("size", [0, 1, MAIL_PART_BYTES, MAIL_PART_BYTES + 1, 3 * MAIL_PART_BYTES])
def test_a_letter_and_a_result_of_any_size_open_where_they_should(prekeys: Prekeys, size: int) -> None:
    data = os.urandom(size)
    parts = sealed(prekeys, data)
    assert len(parts) == 1 + max(1, -(-size // MAIL_PART_BYTES))
    assert open_letter(prekeys, SECRET.number, node=NODE.device, parts=parts) == (CALLER.device, data)
    assert SECRET.open_result(SECRET.seal_result(data, SALT)) == data


def spoilt(parts: list[bytes]) -> list[list[bytes]]:
    """Parts altered in every way that somebody on the way could think of."""
    made = [
        parts[:-1],  # cut off
        parts[1:],
        [*parts, parts[-1]],  # doubled
        [*parts[:-2], parts[-1], parts[-2]],  # moved
        [*parts[:-1], parts[-2]],
        [],
        [b""],
        [b"", *parts[1:]],
    ]
    for number, part in enumerate(parts):
        for place in {0, len(part) // 2, len(part) - 1}:
            changed = bytearray(part)
            changed[place] ^= 1
            made.append([*parts[:number], bytes(changed), *parts[number + 1 :]])
    return made


def test_what_was_changed_on_the_way_does_not_open(prekeys: Prekeys) -> None:
    data = os.urandom(3 * MAIL_PART_BYTES + 5)
    for parts in spoilt(sealed(prekeys, data)):
        with pytest.raises(SealError):
            open_letter(prekeys, SECRET.number, node=NODE.device, parts=parts)
    for parts in spoilt(SECRET.seal_result(data, SALT)):
        with pytest.raises(SealError):
            SECRET.open_result(parts)


def test_a_letter_opens_for_its_node_its_key_and_its_number_alone(prekeys: Prekeys) -> None:
    parts = sealed(prekeys, b"hello")
    other = Prekeys(suite=HYBRID)
    other.rotate(os.urandom)
    for keys, number, node in (
        (other, SECRET.number, NODE.device),
        (prekeys, b"x" * 16, NODE.device),
        (prekeys, SECRET.number, CALLER.device),
    ):
        with pytest.raises(SealError):
            open_letter(keys, number, node=node, parts=parts)


def test_a_letter_cannot_be_given_out_as_another_devices(prekeys: Prekeys) -> None:
    parts = sealed(prekeys, b"hello")
    forged = parts[0].replace(CALLER.device, NODE.device)
    assert forged != parts[0]
    with pytest.raises(SealError):
        open_letter(prekeys, SECRET.number, node=NODE.device, parts=[forged, *parts[1:]])


def test_results_and_progress_open_with_their_secret_alone() -> None:
    other = Secret(b"t" * 16)
    assert other.number != SECRET.number
    with pytest.raises(SealError):
        other.open_result(SECRET.seal_result(b"hello", SALT))
    told = SECRET.seal_progress(b"n" * 12, b"half")
    assert SECRET.open_progress(told) == b"half"
    for wrong in (told[:-1], b"", told[:12], bytes([told[0] ^ 1]) + told[1:]):
        with pytest.raises(SealError):
            SECRET.open_progress(wrong)
    with pytest.raises(SealError):
        other.open_progress(told)


def test_a_secret_does_not_show_itself() -> None:
    assert SECRET.secret.hex() not in repr(SECRET)
    assert SECRET.secret not in SECRET.number


def test_a_job_reads_back_and_a_slip_is_seen() -> None:
    for secret in (bytes(16), b"\xff" * 16, os.urandom(16)):
        text = write_job(secret)
        assert len(text) == 33
        assert read_job(text) == read_job(f" {text.upper()} ".replace("JOB-", "job-")) == secret
    text = write_job(b"j" * 16)
    seen = 0
    for place in range(4, 33):
        for digit in "abcdefghijklmnopqrstuvwxyz234567":
            slip = text[:place] + digit + text[place + 1 :]
            if slip == text:
                continue
            try:
                read_job(slip)
            except UsageError:
                seen += 1
    assert seen >= 29 * 31 - 1  # a check of 16 bits overlooks one slip in 65,536
    for wrong in ("", "job-", text[:-1], text + "a", "job-" + "1" * 29, "job-" + "é" * 29, None, 5):
        with pytest.raises(UsageError, match="copied whole"):
            read_job(wrong)  # type: ignore[arg-type]


# ---- the frozen bytes, and the document's own words


def test_the_frozen_job_is_ours() -> None:
    secret = Secret(frozen("secret"))
    assert secret.number == frozen("number")
    assert write_job(frozen("secret")) == FROZEN["id"]
    assert read_job(FROZEN["id"]) == frozen("secret")


@pytest.mark.parametrize("case", FROZEN["letters"], ids=[HYBRID, CLASSIC])
def test_a_frozen_letter_opens(case: dict[str, Any]) -> None:
    keys = Prekeys(suite=case["suite"])
    keys.keep([bytes.fromhex(case["prekey_seed"])])
    parts = [bytes.fromhex(part) for part in case["parts"]]
    assert open_letter(keys, frozen("number"), node=frozen("node"), parts=parts) == (
        frozen("caller"),
        frozen("letter"),
    )


def test_frozen_results_and_progress_are_made_again_byte_by_byte() -> None:
    secret = Secret(frozen("secret"))
    for case in FROZEN["results"]:
        assert [
            part.hex()
            for part in secret.seal_result(bytes.fromhex(case["plain"]), bytes.fromhex(case["salt"]))
        ] == case["parts"]
        assert secret.open_result([bytes.fromhex(part) for part in case["parts"]]).hex() == case["plain"]
    told = FROZEN["progress"]
    assert (
        secret.seal_progress(bytes.fromhex(told["nonce"]), bytes.fromhex(told["plain"])).hex()
        == told["sealed"]
    )


def test_a_frozen_result_opens_by_the_documents_words_alone() -> None:
    def draw(what: str, size: int, salt: bytes | None = None) -> bytes:
        label = b"easyremote/v1 job " + what.encode()
        return HKDF(hashes.SHA256(), size, salt, label).derive(frozen("secret"))

    assert draw("number", 16) == frozen("number")
    case = FROZEN["results"][0]
    first = bytes.fromhex(case["parts"][0])
    keys = draw("result", 44, first[:16])
    nonce = int.from_bytes(keys[32:], "big") ^ 1  # part 0, which is the last
    opened = ChaCha20Poly1305(keys[:32]).decrypt(
        nonce.to_bytes(12, "big"), first[16:], b"\x01" + frozen("number")
    )
    assert opened.hex() == case["plain"]


def test_two_seals_of_one_job_do_not_mix_and_share_no_key() -> None:
    one = SECRET.seal_result(b"a" * (MAIL_PART_BYTES + 1), os.urandom(16))
    two = SECRET.seal_result(b"b" * (MAIL_PART_BYTES + 1), os.urandom(16))
    for mixed in ([one[0], two[1]], [two[0], one[1]]):
        with pytest.raises(SealError):
            SECRET.open_result(mixed)
    same = [bytes(x ^ y for x, y in zip(p, q, strict=True)) for p, q in zip(one, two, strict=True)]
    assert same[1][0] != ord("a") ^ ord("b")
