"""Packets by hand: equal to what generated code makes of them, and deaf to nonsense."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from easyremote.errors import RemoteProtocolError
from easyremote.wire._pb.easyremote.v1 import gateway_pb2 as pb
from easyremote.wire.frame import (
    APART_BYTES,
    COPY_BYTES,
    Carry,
    Control,
    carry,
    control,
    join,
    parts,
    read_varint,
    redirect,
    varint,
    walk,
)
from easyremote.wire.messages import Operated, PacketLimit, Ping, decode, encode

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "frames.json").read_text())
THERE, HERE = bytes(range(40)), bytes(range(40, 80))

endpoints = st.binary(min_size=40, max_size=40)
bodies = st.binary(max_size=200) | st.sampled_from([b"a" * size for size in range(127 - 50, 127 + 2)])
# The lengths at which a length takes one more byte, seen from the body, the Carry and the Frame.
edges = [size for edge in (2**14 - 1, 2**21 - 1) for size in (*range(edge - 50, edge - 38), edge, edge + 1)]
records = st.integers(0, 2**64 - 1).map(Ping)


def generated(frames: list[Carry | Ping]) -> bytes:
    packet = pb.Packet()
    for frame in frames:
        if isinstance(frame, Carry):
            packet.frames.add().carry.MergeFrom(pb.Carry(peer=frame.peer, body=bytes(frame.body)))
        else:
            packet.frames.add().ping.token = frame.token
    return packet.SerializeToString()


def by_hand(frames: list[Carry | Ping]) -> bytes:
    return join(
        [
            carry(frame.peer, frame.body) if isinstance(frame, Carry) else control(encode(frame))
            for frame in frames
        ]
    )


def plain(frames: list[Carry | Control]) -> list[tuple[bytes, bytes] | bytes]:
    return [
        (frame.peer, bytes(frame.body)) if isinstance(frame, Carry) else bytes(frame.data) for frame in frames
    ]


def seen_by_generated_code(packet: bytes) -> list[tuple[bytes, bytes] | bytes]:
    return [
        (frame.carry.peer, frame.carry.body)
        if frame.WhichOneof("kind") == "carry"
        else frame.SerializeToString()
        for frame in pb.Packet.FromString(packet).frames
    ]


# ---- the same bytes as generated code, both ways


@given(st.lists(st.builds(Carry, endpoints, bodies.filter(bool)) | records, max_size=6))
def test_a_packet_by_hand_is_the_packet_generated_code_makes(frames):
    packet = by_hand(frames)
    if all(not isinstance(frame, Ping) or frame.token for frame in frames):
        assert packet == generated(frames)
    assert plain(walk(packet)) == seen_by_generated_code(packet)


@given(st.lists(st.builds(Carry, endpoints, bodies) | records, max_size=6))
def test_a_packet_of_generated_code_is_read_by_hand(frames):
    packet = generated(frames)
    read = [frame if isinstance(frame, Carry) else decode(frame.data) for frame in walk(packet)]
    assert read == [frame if isinstance(frame, Ping) else Carry(frame.peer, frame.body) for frame in frames]


@pytest.mark.parametrize("size", [*edges, COPY_BYTES, COPY_BYTES + 1])
def test_a_large_body_by_hand_is_that_of_generated_code(size):
    frame = Carry(THERE, bytes(size))
    packet = join([carry(THERE, memoryview(frame.body)), control(encode(Ping(1)))])
    assert packet == generated([frame, Ping(1)])
    assert plain(walk(packet))[0] == (THERE, frame.body)


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3))
@example(127, b"")
@example(128, b"")
@example(2**64 - 1, b"")
def test_a_number_reads_back(number, before):
    written = varint(number)
    assert read_varint(before + written, len(before)) == (number, len(before) + len(written))


@pytest.mark.parametrize("vector", VECTORS["packets"], ids=lambda vector: vector["name"])
def test_frozen_packets(vector):
    packet = bytes.fromhex(vector["packet"])
    frames = vector["frames"]
    made = [
        carry(bytes.fromhex(frame["peer"]), bytes.fromhex(frame["body"]))
        if "peer" in frame
        else control(bytes.fromhex(frame["control"]))
        for frame in frames
    ]
    if vector["canonical"]:
        assert join(made) == packet
    assert plain(walk(packet)) == plain(walk(join(made)))


@pytest.mark.parametrize("vector", VECTORS["malformed"], ids=lambda vector: vector["name"])
def test_frozen_nonsense(vector):
    with pytest.raises(RemoteProtocolError, match=vector["error"]):
        walk(bytes.fromhex(vector["packet"]))


# ---- what a gateway does


@given(endpoints, endpoints, bodies)
def test_a_gateway_passes_a_body_on_with_another_peer(to, origin, body):
    up = walk(join([carry(to, body)]))[0]
    assert isinstance(up, Carry)
    assert plain(walk(join([redirect(up, origin)]))) == [(origin, body)]


def test_a_body_in_pieces_is_one_body():
    whole = b"head" + b"\x00" * 100_000 + b"tail"
    pieces = (b"head", memoryview(whole)[4:-4], b"tail")
    assert join([carry(THERE, *pieces)]) == join([carry(THERE, whole)])
    assert plain(walk(join([carry(THERE)]))) == [(THERE, b"")]


def test_a_large_body_is_not_copied_out_of_its_packet():
    packet = join([carry(THERE, b"s" * COPY_BYTES), carry(THERE, b"l" * (COPY_BYTES + 1))])
    small, large = walk(packet)
    assert isinstance(small, Carry)
    assert type(small.body) is bytes
    assert isinstance(large, Carry)
    assert isinstance(large.body, memoryview)
    assert large.body.obj is packet


# ---- fields in any order, repeated, unknown: what they mean to generated code


def field(tag: int, value: bytes) -> bytes:
    return varint(tag) + varint(len(value)) + value


unknown_fields = st.one_of(
    st.builds(field, st.sampled_from([0x142, 0x14A, 0xFFFFFFFA]), st.binary(max_size=5)),
    st.sampled_from([b"\x78\x96\x01", b"\xb9\x06" + bytes(8), b"\xbd\x06" + bytes(4)]),
)
carry_fields = st.one_of(
    st.builds(field, st.just(0x0A), endpoints),
    st.builds(field, st.just(0x12), st.binary(max_size=5)),
    st.sampled_from([b"\x08\x07", b"\x10\x07"]),
    unknown_fields,
)
carries = st.lists(carry_fields, max_size=4).map(lambda fields: b"".join([field(0x0A, HERE), *fields]))
frame_fields = st.one_of(
    st.builds(field, st.just(0x52), carries),
    st.sampled_from([encode(Ping(7)), encode(Operated(7)), encode(PacketLimit(7))]),
    st.sampled_from([b"\x50\x07", b"\x60\x01"]),
    unknown_fields,
)
strange = st.lists(
    st.builds(field, st.just(0x0A), st.lists(frame_fields, max_size=4).map(b"".join)) | unknown_fields,
    max_size=3,
).map(b"".join)


@given(strange)
def test_a_packet_written_strangely_means_what_it_means_to_generated_code(packet):
    read = [frame if isinstance(frame, Carry) else decode(frame.data) for frame in walk(packet)]
    expected: list[Carry | Ping | Operated | PacketLimit | None] = []
    for frame in pb.Packet.FromString(packet).frames:
        kind = frame.WhichOneof("kind")
        if kind == "carry":
            expected.append(Carry(frame.carry.peer, frame.carry.body))
        else:
            known = {
                "ping": Ping(frame.ping.token),
                "operated": Operated(frame.operated.number),
                "packet_limit": PacketLimit(frame.packet_limit.bytes),
            }
            expected.append(known.get(kind or ""))
    assert read == expected


# ---- what later versions may add


def test_fields_of_a_later_version_are_passed_over():
    later = b"\xa2\x06\x03abc" + b"\xa8\x06\x96\x01" + b"\xb1\x06" + b"8" * 8 + b"\xb5\x06" + b"4" * 4
    inner = b"\x0a\x28" + THERE + later + b"\x12\x04body" + later
    frame = b"\x52" + varint(len(inner)) + inner + later
    packet = later + b"\x0a" + varint(len(frame)) + frame + later
    assert plain(walk(packet)) == seen_by_generated_code(packet) == [(THERE, b"body")]


def test_a_frame_of_a_later_kind_is_no_frame_known_here():
    (frame,) = walk(b"\x0a\x05\xa2\x06\x02hi")
    assert isinstance(frame, Control)
    assert decode(frame.data) is None


def test_a_frame_of_two_kinds_is_of_the_last():
    frame = b"\x52\x2a\x0a\x28" + THERE + encode(Ping(7))
    (read,) = walk(join([control(frame)]))
    assert isinstance(read, Control)
    assert decode(read.data) == Ping(7)


# ---- hostile bytes

packets = st.lists(st.builds(Carry, endpoints, st.binary(max_size=40)) | records, max_size=4).map(by_hand)


@given(
    st.binary(max_size=300)
    | packets.flatmap(
        lambda packet: st.builds(
            lambda cut, at, new: packet[: min(at, cut)] + new + packet[at + len(new) : cut],
            st.integers(0, len(packet)),
            st.integers(0, len(packet)),
            st.binary(max_size=3),
        )
    )
)
def test_nonsense_is_a_protocol_error_or_a_packet(packet):
    try:
        frames = walk(packet)
        for frame in frames:
            if isinstance(frame, Carry):
                assert len(frame.peer) == 40
            else:
                decode(frame.data)
    except RemoteProtocolError:
        return
    # Only what generated code takes is taken, and it means the same.
    expected = [one for one in seen_by_generated_code(packet) if isinstance(one, tuple)]
    assert [one for one in plain(frames) if isinstance(one, tuple)] == expected


@given(packets.filter(bool), st.data())
def test_a_packet_cut_short_is_refused_or_holds_fewer_frames(packet, data):
    cut = data.draw(st.integers(0, len(packet) - 1))
    try:
        short = walk(packet[:cut])
    except RemoteProtocolError:
        return
    assert plain(short) == plain(walk(packet))[: len(short)]
    assert len(short) < len(walk(packet))


def test_a_huge_claim_costs_nothing():
    with pytest.raises(RemoteProtocolError, match="claims 1152921504606846975 bytes"):
        walk(b"\x0a" + varint(2**60 - 1) + b"x")


def test_frames_do_without_protobuf():
    code = "import sys, easyremote.wire.frame; sys.exit('google.protobuf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(sizes=st.lists(st.sampled_from([0, 1, 40, APART_BYTES, APART_BYTES + 1, 3 * APART_BYTES]), max_size=8))
def test_the_parts_of_a_packet_are_the_packet(sizes):
    frames = [[bytes([number]) * size, b"x" * number] for number, size in enumerate(sizes)]
    made = parts(frames)
    assert b"".join(made) == join(frames)
    assert len(made) <= 2 * sum(size > APART_BYTES for size in sizes) + 1


def test_a_large_piece_is_a_part_and_not_a_copy():
    large = memoryview(bytes(2 * APART_BYTES))
    assert any(one is large for one in parts([[b"head", large], [b"tail"]]))


def test_a_packet_may_be_a_bytearray():
    packet = bytearray(
        join([carry(THERE, b"small"), carry(THERE, bytes(2 * COPY_BYTES)), control(b"\x08\x01")])
    )
    small, large, other = walk(packet)
    assert (small.peer, small.body, other.data) == (THERE, b"small", b"\x08\x01")
    assert isinstance(large.body, memoryview)
    assert {small.peer: 1}[THERE] == 1
