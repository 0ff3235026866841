"""Sealed frames open once, at the other end, in their own place, unaltered; nothing else opens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.trust import peer

from easyremote.errors import ReplayError, SealError
from easyremote.trust.handshake import AES, CHACHA, Keys
from easyremote.trust.session import COUNTER_MAX, LOOSE, ORDERED, WINDOW, Session


def drawn(label: str, length: int) -> bytes:
    return hashlib.shake_256(label.encode()).digest(length)


def keys_of(label: str = "one", aead: str = AES) -> Keys:
    return Keys(
        session_id=int.from_bytes(drawn(label, 8), "little"),
        aead=aead,
        caller_key=drawn(label + "caller key", 32),
        node_key=drawn(label + "node key", 32),
        caller_iv=drawn(label + "caller iv", 12),
        node_iv=drawn(label + "node iv", 12),
    )


def pair(label: str = "one", aead: str = AES) -> tuple[Session, Session]:
    keys = keys_of(label, aead)
    return Session(keys, initiator=True), Session(keys, initiator=False)


def frame_of(keys: Keys, counter: int, plain: bytes, *, space: int = ORDERED, direction: int = 0) -> bytes:
    """A frame the session's other end could have sealed, at any counter."""
    key, iv = (keys.node_key, keys.node_iv) if direction else (keys.caller_key, keys.caller_iv)
    return peer.seal_frame(keys.aead, key, iv, keys.session_id, direction, space, counter, plain).sealed


def place(length: int) -> tuple[bytearray, memoryview]:
    buffer = bytearray(length)
    return buffer, memoryview(buffer)


# ---- what was sealed opens


@pytest.mark.parametrize("aead", [AES, CHACHA])
def test_both_directions_and_spaces_open_at_the_other_end(aead: str) -> None:
    caller, node = pair(aead=aead)
    assert caller.id == node.id
    for sender, receiver in ((caller, node), (node, caller)):
        for space in (ORDERED, LOOSE):
            for number in range(3):
                counter, sealed, bulk = sender.seal(space, b"bundle %d" % number)
                assert (counter, bulk) == (number, None)
                assert receiver.open(space, counter, memoryview(sealed)) == b"bundle %d" % number


@pytest.mark.parametrize("aead", [AES, CHACHA])
def test_bulk_opens_into_its_place(aead: str) -> None:
    caller, node = pair(aead=aead)
    data = drawn("bulk", 100_000)
    counter, sealed, bulk = caller.seal(ORDERED, b"bundle", memoryview(data))
    assert bulk is not None
    buffer, view = place(len(data) + 20)
    assert node.open(ORDERED, counter, sealed) == b"bundle"
    node.open_bulk(counter, memoryview(bulk), view[10:-10])
    assert bytes(buffer) == bytes(10) + data + bytes(10)


@given(st.lists(st.binary(max_size=64), max_size=20), st.randoms())
def test_frames_open_in_any_order(bundles: list[bytes], dice: object) -> None:
    caller, node = pair()
    frames = [(caller.seal(ORDERED, bundle), bundle) for bundle in bundles]
    dice.shuffle(frames)  # type: ignore[attr-defined]
    for (counter, sealed, _), bundle in frames:
        assert node.open(ORDERED, counter, sealed) == bundle


def test_equal_texts_never_look_alike() -> None:
    """No nonce is used twice: not in two spaces, nor as bulk, nor in two directions or sessions."""
    seen: list[bytes] = []
    for session in (*pair("one"), *pair("two")):
        for _ in range(8):
            _, bundle, bulk = session.seal(ORDERED, bytes(32), bytes(32))
            assert bulk is not None
            seen += [bundle, bulk, session.seal(LOOSE, bytes(32))[1]]
    assert len({sealed[:32] for sealed in seen}) == len(seen)


# ---- what was altered, or moved, does not


@pytest.mark.parametrize("aead", [AES, CHACHA])
@pytest.mark.parametrize("space", [ORDERED, LOOSE])
def test_every_altered_bit_is_refused_and_the_true_frame_still_opens(aead: str, space: int) -> None:
    caller, node = pair(aead=aead)
    counter, sealed, _ = caller.seal(space, b"a bundle")
    for bit in range(len(sealed) * 8):
        altered = bytearray(sealed)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealError):
            node.open(space, counter, bytes(altered))
    for length in range(len(sealed)):
        with pytest.raises(SealError):
            node.open(space, counter, sealed[:length])
    with pytest.raises(SealError):
        node.open(space, counter, sealed + b"\0")
    assert node.open(space, counter, sealed) == b"a bundle"


@pytest.mark.parametrize("aead", [AES, CHACHA])
def test_every_altered_byte_of_bulk_is_refused_and_leaves_nothing_behind(aead: str) -> None:
    """The place holds zeros, not what an unverified decryption gave."""
    caller, node = pair(aead=aead)
    counter, sealed, bulk = caller.seal(ORDERED, b"bundle", b"words to be read by nobody")
    assert bulk is not None
    node.open(ORDERED, counter, sealed)
    for byte in range(len(bulk)):
        altered = bytearray(bulk)
        altered[byte] ^= 0x80
        buffer, view = place(len(bulk) - 16)
        with pytest.raises(SealError):
            node.open_bulk(counter, bytes(altered), view)
        assert not any(buffer)
    buffer, view = place(len(bulk) - 16)
    node.open_bulk(counter, bulk, view)
    assert bytes(buffer) == b"words to be read by nobody"


def test_a_relabelled_counter_is_refused() -> None:
    caller, node = pair()
    counter, sealed, _ = caller.seal(ORDERED, b"bundle")
    for other in (counter + 1, counter + 2**8, counter + 2**32, COUNTER_MAX - 1):
        with pytest.raises(SealError):
            node.open(ORDERED, other, sealed)
    assert node.open(ORDERED, counter, sealed) == b"bundle", "a refused counter moves no window"


def test_a_frame_moved_to_the_other_space_is_refused() -> None:
    caller, node = pair()
    ordered, loose = caller.seal(ORDERED, b"ordered")[1], caller.seal(LOOSE, b"loose")[1]
    with pytest.raises(SealError):
        node.open(LOOSE, 0, ordered)
    with pytest.raises(SealError):
        node.open(ORDERED, 0, loose)


@pytest.mark.parametrize(
    ("space", "counter"), [(2, 0), (3, 0), (-1, 0), (0, -1), (1, COUNTER_MAX), (0, 2**64)]
)
def test_spaces_and_counters_that_do_not_exist_are_refused(space: int, counter: int) -> None:
    caller, node = pair()
    _, sealed, _ = caller.seal(ORDERED, b"bundle")
    with pytest.raises(SealError):
        node.open(space, counter, sealed)


def test_a_frame_sent_back_to_its_sender_is_refused() -> None:
    caller, node = pair()
    for sender in (caller, node):
        counter, sealed, bulk = sender.seal(ORDERED, b"bundle", b"bulk")
        assert bulk is not None
        with pytest.raises(SealError):
            sender.open(ORDERED, counter, sealed)
        with pytest.raises(SealError):
            sender.open_bulk(counter, bulk, place(4)[1])


def test_a_frame_of_another_session_is_refused() -> None:
    (caller, _), (_, node) = pair("one"), pair("two")
    counter, sealed, _ = caller.seal(ORDERED, b"bundle")
    with pytest.raises(SealError):
        node.open(ORDERED, counter, sealed)


@pytest.mark.parametrize(
    ("part", "other"),
    [("session_id", 1), ("caller_key", bytes(32)), ("caller_iv", bytes(12)), ("aead", CHACHA)],
)
def test_each_part_of_the_keys_matters(part: str, other: object) -> None:
    keys = keys_of()
    node = Session(msgspec.structs.replace(keys, **{part: other}), initiator=False)
    counter, sealed, _ = Session(keys, initiator=True).seal(ORDERED, b"bundle")
    with pytest.raises(SealError):
        node.open(ORDERED, counter, sealed)


def test_bulk_and_bundle_do_not_stand_for_each_other() -> None:
    caller, node = pair()
    _, first, first_bulk = caller.seal(ORDERED, b"bundle 0", b"bulk of 0")
    _, second, second_bulk = caller.seal(ORDERED, b"bundle 1", b"bulk of 1")
    assert first_bulk is not None
    assert second_bulk is not None
    with pytest.raises(SealError):
        node.open(ORDERED, 0, first_bulk)
    node.open(ORDERED, 0, first)
    node.open(ORDERED, 1, second)
    _, view = place(9)
    for wrong in (second_bulk, caller.seal(LOOSE, b"bulk of 0")[1], first + bytes(1)):
        with pytest.raises(SealError):
            node.open_bulk(0, wrong, view)
    node.open_bulk(0, first_bulk, view)


def test_bulk_without_its_frame_or_its_size_is_refused() -> None:
    caller, node = pair()
    counter, sealed, bulk = caller.seal(ORDERED, b"bundle", b"bulk")
    assert bulk is not None
    with pytest.raises(SealError, match="without the frame"):
        node.open_bulk(counter, bulk, place(4)[1])
    node.open(ORDERED, counter, sealed)
    for length in (0, 3, 5, 100):
        with pytest.raises(SealError, match="does not fit"):
            node.open_bulk(counter, bulk, place(length)[1])
    for short in (b"", bulk[:15]):
        with pytest.raises(SealError):
            node.open_bulk(counter, short, place(0)[1])
    for unheard in (-1, 1, 500):
        with pytest.raises(SealError):
            node.open_bulk(unheard, bulk, place(4)[1])


# ---- once


@pytest.mark.parametrize("space", [ORDERED, LOOSE])
def test_a_frame_opens_once(space: int) -> None:
    caller, node = pair()
    frames = [caller.seal(space, b"bundle") for _ in range(3)]
    for again in (False, True):
        for counter, sealed, _ in frames:
            if again:
                with pytest.raises(ReplayError):
                    node.open(space, counter, sealed)
            else:
                node.open(space, counter, sealed)


def test_bulk_opens_once_and_never_after_a_later_one() -> None:
    caller, node = pair()
    bulks = []
    for _ in range(2):
        counter, sealed, bulk = caller.seal(ORDERED, b"bundle", b"bulk")
        node.open(ORDERED, counter, sealed)
        assert bulk is not None
        bulks.append(bulk)
    node.open_bulk(1, bulks[1], place(4)[1])
    for counter in (0, 1):
        with pytest.raises(ReplayError):
            node.open_bulk(counter, bulks[counter], place(4)[1])


def test_what_lies_behind_the_window_is_refused_though_it_never_came() -> None:
    keys = keys_of()
    node = Session(keys, initiator=False)
    newest = 5000
    node.open(ORDERED, newest, frame_of(keys, newest, b"newest"))
    for counter in (0, newest - WINDOW - 1, newest - WINDOW):
        with pytest.raises(ReplayError, match="too old"):
            node.open(ORDERED, counter, frame_of(keys, counter, b"late"))
    last = newest - WINDOW + 1
    assert node.open(ORDERED, last, frame_of(keys, last, b"just in time")) == b"just in time"


def test_a_forged_counter_does_not_move_the_window() -> None:
    keys = keys_of()
    node = Session(keys, initiator=False)
    for counter in (10_000, COUNTER_MAX - 1):
        with pytest.raises(SealError):
            node.open(ORDERED, counter, frame_of(keys, 3, b"bundle"))
    assert node.open(ORDERED, 3, frame_of(keys, 3, b"bundle")) == b"bundle"


steps = st.lists(st.integers(0, 3000) | st.integers(0, 40) | st.integers(COUNTER_MAX - 50, COUNTER_MAX - 1))


@given(steps)
def test_each_counter_opens_at_most_once_and_near_the_newest_exactly_once(counters: list[int]) -> None:
    keys = keys_of()
    node, opened = Session(keys, initiator=False), set[int]()
    for counter in counters:
        newest = max(opened, default=-1)
        expected = counter not in opened and counter > newest - WINDOW
        try:
            node.open(LOOSE, counter, frame_of(keys, counter, b"", space=LOOSE))
            assert expected
            opened.add(counter)
        except ReplayError:
            assert not expected


def test_spaces_and_directions_have_windows_of_their_own() -> None:
    caller, node = pair()
    sent: list[tuple[Callable[..., bytes], int, bytes]] = []
    for sender, receiver in ((caller, node), (node, caller)):
        for space in (ORDERED, LOOSE):
            sent.append((receiver.open, space, sender.seal(space, b"zero")[1]))
    for open_it, space, sealed in sent:
        assert open_it(space, 0, sealed) == b"zero"


# ---- an end


def test_a_session_seals_no_more_than_its_counters_allow() -> None:
    caller, node = pair()
    caller._counters[ORDERED] = COUNTER_MAX - 1
    counter, sealed, _ = caller.seal(ORDERED, b"the last")
    assert node.open(ORDERED, counter, sealed) == b"the last"
    for _ in range(2):
        with pytest.raises(SealError, match="a new one is due"):
            caller.seal(ORDERED, b"one too many")
    assert caller.seal(LOOSE, b"another space")[0] == 0


def test_a_cipher_not_known_here_is_never_another_one() -> None:
    with pytest.raises(KeyError):
        Session(keys_of(aead="none"), initiator=True)


def test_a_session_does_not_show_its_keys() -> None:
    keys = keys_of()
    assert keys.caller_key.hex() not in repr(Session(keys, initiator=True)) + repr(keys)
