"""The frozen bytes of tests/vectors: read, made again where nothing is drawn, refused where they must be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from unit.trust import peer

from easyremote.errors import HandshakeError, SealError
from easyremote.trust.handshake import CLASSIC, Keys, Prekeys
from easyremote.trust.identity import Identity
from easyremote.trust.session import Session

VECTORS = Path(__file__).parents[2] / "vectors"
HANDSHAKES: dict[str, Any] = json.loads((VECTORS / "handshake.json").read_text(encoding="utf-8"))
SESSIONS: list[dict[str, Any]] = json.loads((VECTORS / "session.json").read_text(encoding="utf-8"))[
    "sessions"
]
CALLER, NODE = bytes.fromhex(HANDSHAKES["caller"]), bytes.fromhex(HANDSHAKES["node"])

by_combination = pytest.mark.parametrize(
    "case", HANDSHAKES["accepted"], ids=lambda case: f"{case['suite']} {case['aead']}"
)
by_cipher = pytest.mark.parametrize("case", SESSIONS, ids=lambda case: case["aead"])


def prekeys_of(seed: str, suite: str, aead: str) -> Prekeys:
    prekeys = Prekeys(suite=suite, aead=aead)
    prekeys.rotate(lambda length: bytes.fromhex(seed))
    return prekeys


def keys_of(case: dict[str, Any]) -> Keys:
    return Keys(
        session_id=int(case["session_id"], 16),
        aead=case["aead"],
        caller_key=bytes.fromhex(case["caller_key"]),
        node_key=bytes.fromhex(case["node_key"]),
        caller_iv=bytes.fromhex(case["caller_iv"]),
        node_iv=bytes.fromhex(case["node_iv"]),
    )


def test_the_endpoints_are_those_of_their_seeds() -> None:
    for side, endpoint in (("caller", CALLER), ("node", NODE)):
        assert len(endpoint) == 40
        assert Identity.from_seed(bytes.fromhex(HANDSHAKES[f"{side}_seed"])).device == endpoint[:32]


@by_combination
def test_a_node_takes_the_frozen_handshake_and_derives_its_keys(case: dict[str, Any]) -> None:
    prekeys = prekeys_of(case["prekey_seed"], case["suite"], case["aead"])
    assert prekeys.current.id.hex() == case["prekey_id"]
    assert prekeys.current.key.hex() == case["prekey_key"]
    found = prekeys.respond(bytes.fromhex(case["handshake"]), caller=CALLER, node=NODE)
    assert found == keys_of(case)


@by_combination
def test_every_step_to_the_frozen_keys_is_as_the_document_says(case: dict[str, Any]) -> None:
    prekey = peer.Prekey(bytes.fromhex(case["prekey_seed"]), case["suite"], case["aead"])
    secret, sealed = bytes.fromhex(case["secret"]), bytes.fromhex(case["sealed"])
    assert peer.open_secret(prekey, bytes.fromhex(case["info"]), sealed) == secret
    seed = bytes.fromhex(HANDSHAKES["caller_seed"])
    made = peer.agree(seed, CALLER, NODE, prekey, secret=secret, sealed=sealed)
    for name in ("info", "transcript", "signature", "handshake", "salt"):
        assert getattr(made, name).hex() == case[name], name


@pytest.mark.parametrize("case", HANDSHAKES["refused"], ids=lambda case: case["comment"])
def test_a_frozen_wrong_handshake_is_refused(case: dict[str, Any]) -> None:
    prekeys = prekeys_of(HANDSHAKES["refused_prekey_seed"], CLASSIC, "aes256gcm")
    with pytest.raises(HandshakeError):
        prekeys.respond(bytes.fromhex(case["handshake"]), caller=CALLER, node=NODE)


@by_cipher
def test_the_frozen_frames_open(case: dict[str, Any]) -> None:
    keys = keys_of(case)
    ends = (Session(keys, initiator=False), Session(keys, initiator=True))
    for frame in case["frames"]:
        end, counter = ends[frame["direction"]], frame["counter"]
        opened = end.open(frame["space"], counter, bytes.fromhex(frame["sealed"]))
        assert opened.hex() == frame["plain"]
        if "bulk" in frame:
            into = bytearray(len(frame["bulk"]) // 2)
            end.open_bulk(counter, bytes.fromhex(frame["sealed_bulk"]), memoryview(into))
            assert into.hex() == frame["bulk"]


@by_cipher
def test_the_frozen_frames_are_sealed_again_to_the_byte(case: dict[str, Any]) -> None:
    keys = keys_of(case)
    for frame in case["frames"]:
        sender = Session(keys, initiator=frame["direction"] == 0)
        sender._counters[frame["space"]] = frame["counter"]
        bulk = bytes.fromhex(frame["bulk"]) if "bulk" in frame else None
        counter, sealed, sealed_bulk = sender.seal(frame["space"], bytes.fromhex(frame["plain"]), bulk)
        assert (counter, sealed.hex()) == (frame["counter"], frame["sealed"])
        assert (sealed_bulk.hex() if sealed_bulk is not None else None) == frame.get("sealed_bulk")


@by_cipher
def test_nonces_and_associated_data_are_as_the_document_says(case: dict[str, Any]) -> None:
    session = int(case["session_id"], 16)
    for frame in case["frames"]:
        side = ("caller", "node")[frame["direction"]]
        key, iv = bytes.fromhex(case[f"{side}_key"]), bytes.fromhex(case[f"{side}_iv"])
        parts = [("", frame["space"], "plain", "sealed")]
        if "bulk" in frame:
            parts.append(("bulk_", 2, "bulk", "sealed_bulk"))
        for prefix, space, plain, sealed in parts:
            made = peer.seal_frame(
                case["aead"],
                key,
                iv,
                session,
                frame["direction"],
                space,
                frame["counter"],
                bytes.fromhex(frame[plain]),
            )
            assert made.nonce.hex() == frame[f"{prefix}nonce"]
            assert made.associated.hex() == frame[f"{prefix}associated"]
            assert made.sealed.hex() == frame[sealed]


@by_cipher
def test_no_frozen_frame_opens_in_the_place_of_another(case: dict[str, Any]) -> None:
    keys = keys_of(case)
    places = [(one["direction"], one["space"], one["counter"]) for one in case["frames"]]
    for frame in case["frames"]:
        home = (frame["direction"], frame["space"], frame["counter"])
        for direction, space, counter in places:
            if (direction, space, counter) != home:
                with pytest.raises(SealError):
                    Session(keys, initiator=direction == 1).open(
                        space, counter, bytes.fromhex(frame["sealed"])
                    )
