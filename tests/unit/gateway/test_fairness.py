"""Each source in its turn: who sends much does not hold up who sends little."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from easyremote.gateway.fairness import SHARED_PACKET_BYTES, FairQueue
from easyremote.wire.limits import MAX_PACKET_BYTES


def put(queue: FairQueue, source: int, mark: int, size: int = 10) -> None:
    queue.put([bytes([source, mark % 256]), b"x" * (size - 2)], size, source)


def marks(frames: list[list[bytes | memoryview]]) -> list[tuple[int, int]]:
    return [(frame[0][0], frame[0][1]) for frame in frames]


def test_one_source_alone_gets_whole_packets_in_order() -> None:
    queue = FairQueue()
    for mark in range(20):
        put(queue, 1, mark, MAX_PACKET_BYTES // 8)
    first = queue.take()
    assert marks(first) == [(1, mark) for mark in range(8)]
    assert queue.bytes == 12 * (MAX_PACKET_BYTES // 8)
    assert marks(queue.take()) == [(1, mark) for mark in range(8, 16)]
    assert marks(queue.take()) == [(1, mark) for mark in range(16, 20)]
    assert not queue
    assert queue.bytes == 0
    assert queue.bytes_of == {}


def test_a_late_frame_of_another_source_is_in_the_next_packet() -> None:
    queue = FairQueue()
    for mark in range(100):
        put(queue, 1, mark, 500_000)
    put(queue, 2, 7)
    frames = marks(queue.take()) + marks(queue.take())
    assert (2, 7) in frames
    assert len(frames) <= 3, "before all but one or two of the hundred"


def test_sources_take_turns_and_share_small_packets() -> None:
    queue = FairQueue()
    for mark in range(200):
        put(queue, 1, mark, 10_000)
        put(queue, 2, mark, 10_000)
    frames = queue.take()
    assert sum(sum(map(len, frame)) for frame in frames) <= SHARED_PACKET_BYTES + 10_000
    assert [source for source, _ in marks(frames)][:6] in ([1, 2, 1, 2, 1, 2], [2, 1, 2, 1, 2, 1])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(2, 400_000)), max_size=60), st.data())
def test_nothing_is_lost_or_reordered_within_a_source(
    arrivals: list[tuple[int, int]], data: st.DataObject
) -> None:
    queue, sent, came = FairQueue(), {}, {}
    for number, (source, size) in enumerate(arrivals):
        put(queue, source, number, size)
        sent.setdefault(source, []).append(number % 256)
        if data.draw(st.booleans()):
            for source_, mark in marks(queue.take()):
                came.setdefault(source_, []).append(mark)
    while queue:
        frames = queue.take()
        assert frames
        for source_, mark in marks(frames):
            came.setdefault(source_, []).append(mark)
    assert came == sent
    assert queue.bytes == 0
    assert queue.take() == []
    assert queue.clear() == 0
