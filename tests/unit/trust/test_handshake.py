"""Handshakes: both ends get the same keys, and nothing but the caller's own, once, is taken."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.trust import peer

from easyremote.errors import HandshakeError, ReplayError, SealError
from easyremote.trust import handshake as room
from easyremote.trust.handshake import (
    AES,
    CHACHA,
    CLASSIC,
    HYBRID,
    Keys,
    Prekey,
    Prekeys,
    PublicPrekey,
    initiate,
)
from easyremote.trust.identity import Identity

CALLER_SEED = b"\1" * 32
ME, NODE_ID, STRANGER = (Identity.from_seed(bytes([number]) * 32) for number in (1, 2, 3))
CALLER, NODE = ME.device + b"caller-1", NODE_ID.device + b"node-one"
SECRET = b"s" * 32
COMBINATIONS = [(suite, aead) for suite in (HYBRID, CLASSIC) for aead in (AES, CHACHA)]


def drawn(label: str, length: int = 104) -> bytes:
    return hashlib.shake_256(label.encode()).digest(length)


def node_prekeys(suite: str = CLASSIC, aead: str = AES, label: str = "first") -> Prekeys:
    prekeys = Prekeys(suite=suite, aead=aead)
    prekeys.rotate(lambda length: drawn(label, length))
    return prekeys


def open_session(prekeys: Prekeys, secret: bytes = SECRET) -> tuple[bytes, Keys]:
    return initiate(ME, caller=CALLER, node=NODE, prekey=prekeys.current, secret=secret)


def respond(prekeys: Prekeys, handshake: bytes) -> Keys:
    return prekeys.respond(handshake, caller=CALLER, node=NODE)


# ---- both ends agree


@pytest.mark.parametrize(("suite", "aead"), COMBINATIONS)
def test_both_ends_derive_the_same_keys(suite: str, aead: str) -> None:
    prekeys = node_prekeys(suite, aead)
    handshake, keys = open_session(prekeys)
    assert respond(prekeys, handshake) == keys
    assert keys.aead == aead
    assert len({keys.caller_key, keys.node_key, keys.caller_iv, keys.node_iv}) == 4


@pytest.mark.parametrize(("suite", "aead"), COMBINATIONS)
def test_a_peer_written_from_the_document_agrees_in_both_roles(suite: str, aead: str) -> None:
    prekeys, theirs = node_prekeys(suite, aead), peer.Prekey(drawn("first"), suite, aead)
    assert theirs.public == prekeys.current.key
    info = peer.info_of(CALLER, NODE, theirs)
    sealed = peer.seal_secret(theirs, info, SECRET, drawn("ephemeral", 32))
    made = peer.agree(CALLER_SEED, CALLER, NODE, theirs, secret=SECRET, sealed=sealed)
    keys = respond(prekeys, made.handshake)
    assert (keys.caller_key + keys.node_key + keys.caller_iv + keys.node_iv) == made.okm[:88]
    assert keys.session_id == made.session

    handshake, keys = open_session(prekeys)
    sealed = msgspec.msgpack.decode(handshake)[4]
    assert peer.open_secret(theirs, info, sealed) == SECRET
    made = peer.agree(CALLER_SEED, CALLER, NODE, theirs, secret=SECRET, sealed=sealed)
    assert made.handshake == handshake
    assert made.session == keys.session_id


def test_the_same_secret_twice_gives_two_sessions() -> None:
    prekeys = node_prekeys()
    (first, first_keys), (second, second_keys) = open_session(prekeys), open_session(prekeys)
    assert first != second
    assert first_keys.caller_key != second_keys.caller_key
    assert first_keys.session_id != second_keys.session_id


def test_the_secret_is_not_in_the_handshake() -> None:
    assert SECRET[:8] not in open_session(node_prekeys(HYBRID))[0]


# ---- nothing else is taken


@pytest.mark.parametrize(("suite", "bits"), [(CLASSIC, range(8)), (HYBRID, [0])])
def test_every_altered_byte_is_refused(suite: str, bits: list[int]) -> None:
    prekeys = node_prekeys(suite)
    handshake, keys = open_session(prekeys)
    for place in range(len(handshake)):
        for bit in bits:
            altered = bytearray(handshake)
            altered[place] ^= 1 << bit
            with pytest.raises(HandshakeError):
                respond(prekeys, bytes(altered))
    assert respond(prekeys, handshake) == keys, "the true one is not spoiled by those"


def test_every_shorter_one_is_refused() -> None:
    prekeys = node_prekeys()
    handshake, _ = open_session(prekeys)
    for length in range(len(handshake)):
        with pytest.raises(HandshakeError):
            respond(prekeys, handshake[:length])


@given(
    st.binary(max_size=400)
    | st.lists(st.binary() | st.integers(0, 2**63) | st.text()).map(msgspec.msgpack.encode)
)
def test_whatever_the_bytes_it_is_a_handshake_error(data: bytes) -> None:
    with pytest.raises(HandshakeError):
        respond(PREKEYS, data)


PREKEYS = node_prekeys()


def test_deeply_nested_and_very_long_ones_are_refused() -> None:
    for data in (b"\x91" * 100_000, b"\x91" * 1000, bytes(5_000_000), b"\xdd\xff\xff\xff\xff"):
        with pytest.raises(HandshakeError):
            respond(PREKEYS, data)


@pytest.mark.parametrize("suite", [HYBRID, CLASSIC])
def test_another_caller_or_node_is_refused(suite: str) -> None:
    prekeys = node_prekeys(suite)
    handshake, _ = open_session(prekeys)
    stranger = STRANGER.device + b"caller-1"
    sibling = ME.device + b"caller-2"  # another process of the same device
    for caller, node in (
        (stranger, NODE),
        (sibling, NODE),
        (CALLER, STRANGER.device + b"node-one"),
        (CALLER, NODE_ID.device + b"node-two"),
        (NODE, CALLER),
        (CALLER[:39], NODE),
        (CALLER, NODE + b"\0"),
    ):
        with pytest.raises(HandshakeError):
            prekeys.respond(handshake, caller=caller, node=node)


def test_a_sealed_secret_signed_by_somebody_else_is_refused() -> None:
    """Whoever sees a handshake cannot make it theirs."""
    prekeys, theirs = node_prekeys(), peer.Prekey(drawn("first"), CLASSIC, AES)
    sealed = msgspec.msgpack.decode(open_session(prekeys)[0])[4]
    stranger = STRANGER.device + b"caller-1"
    stolen = peer.agree(b"\3" * 32, stranger, NODE, theirs, secret=SECRET, sealed=sealed).handshake
    with pytest.raises(HandshakeError):
        prekeys.respond(stolen, caller=stranger, node=NODE)
    with pytest.raises(HandshakeError):
        prekeys.respond(stolen, caller=CALLER, node=NODE)


@pytest.mark.parametrize(("suite", "aead"), [(HYBRID, CHACHA), (CLASSIC, AES), (CLASSIC, CHACHA)])
def test_no_other_suite_or_cipher_than_the_prekeys_is_taken(suite: str, aead: str) -> None:
    """A prekey for the hybrid suite is not usable as a classic one, though it holds an X25519 key."""
    prekeys, weaker = node_prekeys(HYBRID, AES), peer.Prekey(drawn("first"), suite, aead)
    info = peer.info_of(CALLER, NODE, weaker)
    sealed = peer.seal_secret(weaker, info, SECRET, drawn("ephemeral", 32))
    handshake = peer.agree(CALLER_SEED, CALLER, NODE, weaker, secret=SECRET, sealed=sealed).handshake
    with pytest.raises(HandshakeError, match="the prekey is for 'hybrid' with 'aes256gcm'"):
        respond(prekeys, handshake)


def test_a_relabelled_handshake_is_refused() -> None:
    prekeys = node_prekeys(HYBRID, AES)
    prekeys.rotate(lambda length: drawn("second", length))
    fields = msgspec.msgpack.decode(open_session(prekeys)[0])
    fields[3] = drawn("first")[:8]  # the other prekey the node has
    with pytest.raises(HandshakeError):
        respond(prekeys, msgspec.msgpack.encode(fields))


# ---- shares and keys of the wrong kind


LOW_ORDER_SHARES = [
    bytes(32),
    (1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    *((2**255 - 19 + step).to_bytes(32, "little") for step in (-1, 0, 1)),
]


@pytest.mark.parametrize("share", LOW_ORDER_SHARES, ids=lambda share: share[:4].hex())
@pytest.mark.parametrize("suite", [HYBRID, CLASSIC])
def test_a_share_of_small_order_is_refused_on_either_side(suite: str, share: bytes) -> None:
    """With such a share the X25519 agreement is all zero, whatever the other side's key."""
    prekeys, theirs = node_prekeys(suite), peer.Prekey(drawn("first"), suite, AES)
    good = prekeys.current
    with pytest.raises(HandshakeError, match="cannot be used"):
        initiate(
            ME,
            caller=CALLER,
            node=NODE,
            prekey=PublicPrekey(good.id, suite, AES, good.key[:-32] + share),
            secret=SECRET,
        )
    if suite == HYBRID:
        mlkem_secret, mlkem_enc = peer.MLKEM768PublicKey.from_public_bytes(theirs.public[:1184]).encapsulate()
        shared = peer.hybrid_shared(mlkem_secret, bytes(32), share, theirs.public[1184:])
    else:
        mlkem_enc, shared = b"", peer.classic_shared(bytes(32), share, theirs.public)
    key, nonce = peer.hpke_cipher(suite, AES, shared, peer.info_of(CALLER, NODE, theirs))
    sealed = mlkem_enc + share + peer.AESGCM(key).encrypt(nonce, SECRET, b"")
    handshake = peer.agree(CALLER_SEED, CALLER, NODE, theirs, secret=SECRET, sealed=sealed).handshake
    with pytest.raises(HandshakeError):
        respond(prekeys, handshake)


@pytest.mark.parametrize("suite", [HYBRID, CLASSIC])
@pytest.mark.parametrize("change", [-32, -1, 1, 32])
def test_a_prekey_of_another_length_is_refused(suite: str, change: int) -> None:
    good = node_prekeys(suite).current
    key = (good.key + bytes(64))[: len(good.key) + change]
    with pytest.raises(HandshakeError, match=f"found {len(key)}"):
        initiate(ME, caller=CALLER, node=NODE, prekey=PublicPrekey(good.id, suite, AES, key), secret=SECRET)


def test_an_ml_kem_key_with_coefficients_out_of_range_is_refused() -> None:
    """The modulus check of FIPS 203, 7.2."""
    good = node_prekeys(HYBRID).current
    key = b"\xff" * 1152 + good.key[1152:]
    with pytest.raises(HandshakeError, match="cannot be used"):
        initiate(ME, caller=CALLER, node=NODE, prekey=PublicPrekey(good.id, HYBRID, AES, key), secret=SECRET)


@pytest.mark.parametrize(("suite", "aead"), [("none", AES), (HYBRID, "none"), ("", ""), ("HYBRID", AES)])
def test_a_suite_or_cipher_not_known_here_is_refused(suite: str, aead: str) -> None:
    good = node_prekeys().current
    with pytest.raises(HandshakeError, match="not known here"):
        initiate(
            ME, caller=CALLER, node=NODE, prekey=PublicPrekey(good.id, suite, aead, good.key), secret=SECRET
        )
    with pytest.raises(HandshakeError, match="there is no suite"):
        Prekey(drawn("any"), suite=suite, aead=aead)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_secret_of_another_length_is_refused_on_either_side(length: int) -> None:
    prekeys, theirs = node_prekeys(), peer.Prekey(drawn("first"), CLASSIC, AES)
    with pytest.raises(HandshakeError, match=f"32 bytes, found {length}"):
        open_session(prekeys, secret=bytes(length))
    info = peer.info_of(CALLER, NODE, theirs)
    sealed = peer.seal_secret(theirs, info, bytes(length), drawn("ephemeral", 32))
    handshake = peer.agree(CALLER_SEED, CALLER, NODE, theirs, secret=bytes(length), sealed=sealed).handshake
    with pytest.raises(HandshakeError, match=f"32 bytes, found {length}"):
        respond(prekeys, handshake)


def test_a_device_opens_sessions_from_its_own_endpoints_only() -> None:
    with pytest.raises(HandshakeError, match="own endpoints"):
        initiate(STRANGER, caller=CALLER, node=NODE, prekey=node_prekeys().current, secret=SECRET)


# ---- once, and while the prekey lives


@pytest.mark.parametrize("suite", [HYBRID, CLASSIC])
def test_a_handshake_is_taken_once(suite: str) -> None:
    prekeys = node_prekeys(suite)
    handshake, _ = open_session(prekeys)
    respond(prekeys, handshake)
    prekeys.remember(handshake)
    with pytest.raises(ReplayError):
        respond(prekeys, handshake)
    prekeys.rotate(lambda length: drawn("second", length))
    with pytest.raises(ReplayError):
        respond(prekeys, handshake)
    respond(prekeys, open_session(prekeys)[0])  # others are


def test_a_handshake_written_down_another_way_is_not_a_new_one() -> None:
    """Else whoever carries it could have it taken again: same keys, same nonces, other texts."""
    prekeys = node_prekeys()
    handshake, _ = open_session(prekeys)
    fields = msgspec.msgpack.decode(handshake)
    respond(prekeys, handshake)
    prekeys.remember(handshake)
    others = [
        msgspec.msgpack.encode([*fields, None]),
        b"\xdc\x00\x06" + handshake[1:],
        b"\xdd\x00\x00\x00\x06" + handshake[1:],
        handshake[:1] + b"\xcc\x01" + handshake[2:],
        handshake[:2] + b"\xd9\x07" + handshake[3:],
        handshake[:-66] + b"\xc5\x00\x40" + handshake[-64:],
        handshake + b"\xc0",
    ]
    for other in others:
        with pytest.raises(SealError):
            respond(prekeys, other)


def test_the_callers_own_second_signature_does_not_make_it_new() -> None:
    """Ed25519 lets the holder of a key sign one text in many ways; the sealed secret is what counts."""
    prekeys = node_prekeys()
    handshake, _ = open_session(prekeys)
    prekeys.remember(handshake)
    fields = msgspec.msgpack.decode(handshake)
    fields[5] = bytes(64)
    with pytest.raises(ReplayError):
        respond(prekeys, msgspec.msgpack.encode(fields))


def test_asking_does_not_use_a_handshake_up() -> None:
    """Its first frame may have been altered on the way; then the true one still counts."""
    prekeys = node_prekeys()
    handshake, keys = open_session(prekeys)
    assert respond(prekeys, handshake) == respond(prekeys, handshake) == keys


def test_after_two_rotations_a_prekey_is_gone_and_nothing_sealed_to_it_opens() -> None:
    prekeys = node_prekeys(HYBRID)
    handshake, keys = open_session(prekeys)
    prekeys.rotate(lambda length: drawn("second", length))
    assert respond(prekeys, handshake) == keys
    prekeys.rotate(lambda length: drawn("third", length))
    with pytest.raises(HandshakeError, match="does not have"):
        respond(prekeys, handshake)


def test_what_is_remembered_is_bounded_and_says_when_a_rotation_is_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "SEEN_MAX", 4)
    prekeys = node_prekeys()
    for taken in range(4):
        assert prekeys.worn == (taken >= 2)
        handshake, _ = open_session(prekeys)
        respond(prekeys, handshake)
        prekeys.remember(handshake)
    with pytest.raises(HandshakeError, match="the next is due"):
        respond(prekeys, open_session(prekeys)[0])
    prekeys.rotate(lambda length: drawn("second", length))
    assert not prekeys.worn
    respond(prekeys, open_session(prekeys)[0])


def test_private_halves_and_keys_are_not_shown() -> None:
    seed = drawn("first")
    prekeys = node_prekeys()
    _, keys = open_session(prekeys)
    shown = repr(Prekey(seed)) + repr(prekeys) + repr(keys) + str(keys)
    for hidden in (seed[8:40], seed[40:], keys.caller_key, keys.node_key, keys.caller_iv, SECRET):
        assert hidden.hex() not in shown
        assert repr(hidden) not in shown
    assert f"{keys.session_id:016x}" in shown


@pytest.mark.parametrize("length", [0, 32, 103, 105])
def test_a_prekeys_seed_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(HandshakeError, match=f"104 bytes, found {length}"):
        Prekey(bytes(length))
