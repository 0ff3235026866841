"""A call at its caller: asked of one node, settled once, moved only where it surely has not run."""

from __future__ import annotations

import pytest
from msgspec import Raw
from unit.protocol.talk import VALUE, Asker, FakeNode

from easyremote.errors import (
    BusyError,
    CallTimeoutError,
    EasyRemoteError,
    NodeLostError,
    RefusedError,
    RemoteError,
    RemoteProtocolError,
    UnknownFunctionError,
    UnknownNodeError,
    ValueTooLargeError,
)
from easyremote.protocol.caller import PROBE_SECONDS
from easyremote.protocol.company import GROUP_CALLS
from easyremote.protocol.effects import Answered, Delivered, Faulted, Finished, Notice
from easyremote.protocol.events import CallRequested
from easyremote.schedule.requirements import Requirement
from easyremote.wire.bundle import (
    EMPTY,
    Again,
    Cancel,
    End,
    Fault,
    Invoke,
    Item,
    Present,
    Refuse,
    Result,
    Window,
)
from easyremote.wire.cards import FunctionCard
from easyremote.wire.limits import STREAM_WINDOW_BYTES
from easyremote.wire.messages import Change, Departed, Snapshot

RESIZE = FunctionCard(name="resize")
SAFE = FunctionCard(name="safe", idempotent=True)


def ask(number: int = 1, function: str = "resize", **options: object) -> CallRequested:
    return CallRequested(number, function, VALUE, **options)  # type: ignore[arg-type]


def settled(effects: list[object]) -> list[object]:
    return [effect for effect in effects if not isinstance(effect, Notice)]


def error(effects: list[object]) -> EasyRemoteError:
    (fault,) = settled(effects)
    assert isinstance(fault, Faulted)
    return fault.error


def in_flight(asker: Asker) -> list[int]:
    return [view.candidate.in_flight for view in asker.directory.nodes.values()]


def test_a_call_is_asked_and_answered() -> None:
    node = FakeNode("lab", RESIZE)
    asker = Asker(node)
    assert asker.caller.request(ask(), 0.0) == []
    (invoke,) = node.hears(asker, 0.0)
    assert invoke == Invoke(1, "resize", Raw(VALUE))
    assert in_flight(asker) == [1]
    answer = Result(1, Raw(b"\x01"))
    assert asker.caller.take(asker.channel(node), answer, 0.1) == [Answered(1, Raw(b"\x01"))]
    assert in_flight(asker) == [0]


def test_a_caller_says_who_it_is_before_it_asks_and_once_a_session() -> None:
    node = FakeNode("lab", RESIZE)
    asker = Asker(node)
    asker.caller.request(ask(1), 0.0)
    present, invoke = node.hears_all(asker, 0.0)
    assert present == Present([asker.standing.credential])
    assert invoke == Invoke(1, "resize", Raw(VALUE))
    asker.caller.request(ask(2), 0.1)
    assert node.hears_all(asker, 0.1) == [Invoke(2, "resize", Raw(VALUE))]


def test_a_caller_shows_its_grants_after_its_membership_and_anew_when_they_change() -> None:
    node = FakeNode("lab", RESIZE)
    asker = Asker(node)
    asker.caller.request(ask(1), 0.0)
    node.hears_all(asker, 0.0)
    asker.sessions.present_again([asker.standing.credential, b"a grant"])
    assert node.hears_all(asker, 0.1) == [Present([asker.standing.credential, b"a grant"])]


def known_quick(asker: Asker, *nodes: FakeNode, function: str = "resize", seconds: float = 0.00003) -> None:
    """The asker has measured each of these nodes, and they are quick."""
    for node in nodes:
        candidate = asker.directory.nodes[node.endpoint].candidate
        for _ in range(20):
            candidate.answered(function, seconds, load=candidate.sent(), now=0.0)


def groups(asker: Asker, nodes: list[FakeNode], many: int, first: int = 1, **options: object) -> list[int]:
    """How many of so many calls, asked at one moment, each node gets."""
    for number in range(first, first + many):
        asker.caller.request(ask(number, **options), 0.0)
    return [len(node.hears(asker, 0.0)) for node in nodes]


def one_by_one(asker: Asker, nodes: list[FakeNode], first: int, many: int) -> set[str]:
    """The names of the nodes that so many calls go to, each answered before the next."""
    told = set()
    for number in range(first, first + many):
        asker.caller.request(ask(number), 0.0)
        (hearing,) = [node for node in nodes if node.hears(asker, 0.0)]
        asker.caller.take(asker.channel(hearing), Result(number, Raw(b"\x01")), 0.00003)
        told.add(hearing.name)
    return told


def test_quick_calls_of_one_moment_go_together() -> None:
    nodes = [FakeNode(name, RESIZE) for name in ("a", "b", "c", "d")]
    asker = Asker(*nodes)
    known_quick(asker, *nodes)
    found = sorted(groups(asker, nodes, 4 * GROUP_CALLS))
    assert found[-1] == 2 * GROUP_CALLS, "one that was awake has two groups"
    assert found[0] < GROUP_CALLS // 2


def test_a_few_calls_make_a_few_groups() -> None:
    nodes = [FakeNode(name, RESIZE) for name in ("a", "b", "c", "d", "e", "f", "g", "h")]
    asker = Asker(*nodes)
    known_quick(asker, *nodes)
    assert max(groups(asker, nodes, 16)) <= 8, "groups of four at most, and a node may be drawn twice"


def test_calls_one_after_another_are_spread_however_quick() -> None:
    nodes = [FakeNode("a", RESIZE), FakeNode("b", RESIZE)]
    asker = Asker(*nodes)
    known_quick(asker, *nodes)
    assert len(one_by_one(asker, nodes, 1, 40)) == 2


def test_the_quickest_calls_stay_with_the_nodes_that_are_awake() -> None:
    nodes = [FakeNode(name, RESIZE) for name in ("a", "b", "c", "d")]
    asker = Asker(*nodes)
    known_quick(asker, *nodes)
    groups(asker, nodes, GROUP_CALLS + 1)  # so many are open all the time
    assert len(one_by_one(asker, nodes, 1000, 40)) == 1


@pytest.mark.parametrize("how", ["it left", "its network was left"])
def test_a_node_that_is_gone_is_not_followed(how: str) -> None:
    nodes = [FakeNode("a", RESIZE), FakeNode("b", RESIZE), FakeNode("c", RESIZE)]
    asker = Asker(*nodes)
    known_quick(asker, *nodes)
    groups(asker, nodes, GROUP_CALLS + 1)
    view = next(view for view in asker.directory.nodes.values() if view.candidate.in_flight)
    (gone,) = [node for node in nodes if node.endpoint == view.card.endpoint]
    if how == "it left":
        asker.loses(gone, 0.0)
    else:
        del asker.directory.nodes[gone.endpoint]
        asker.directory._by_function.clear()
    effects = [effect for n in range(1000, 1400) for effect in asker.caller.request(ask(n), 0.0)]
    assert not [effect for effect in effects if isinstance(effect, Faulted)]
    assert sum(in_flight(asker)) >= 400, "all of them went to the others"


def test_a_node_that_no_longer_offers_the_function_is_left() -> None:
    nodes = [FakeNode("a", RESIZE), FakeNode("b", RESIZE), FakeNode("c", RESIZE)]
    asker = Asker(*nodes)
    known_quick(asker, *nodes)
    asker.caller.request(ask(1), 0.0)
    (first,) = [node for node in nodes if node.hears(asker, 0.0)]
    first.number += 1
    first.functions = [SAFE]
    asker.directory.take_change(Change(first.presence()), 0.0)
    assert groups(asker, [first], 20, first=2) == [0]


def test_a_group_is_as_large_as_a_node_is_quick() -> None:
    nodes = [FakeNode(name, RESIZE) for name in ("a", "b", "c", "d", "e", "f", "g", "h")]
    asker = Asker(*nodes)
    known_quick(asker, *nodes, seconds=0.001)
    found = groups(asker, nodes, 8 * 3)
    assert max(found) <= 8, "groups of four, and a node may be drawn twice"
    assert sum(one > 1 for one in found) >= 3


def test_calls_that_are_not_known_to_be_quick_are_spread() -> None:
    nodes = [FakeNode(name, RESIZE) for name in ("a", "b", "c", "d")]
    assert max(groups(Asker(*nodes), nodes, 64)) < 30
    asker = Asker(*nodes)
    known_quick(asker, *nodes, seconds=0.05)
    assert max(groups(asker, nodes, 64)) < 30


def test_calls_with_a_policy_or_a_requirement_of_their_own_are_spread_by_it() -> None:
    nodes = [FakeNode(name, RESIZE) for name in ("a", "b", "c", "d")]
    for options in ({"policy": "round_robin"}, {"policy": "random"}, {"requirement": Requirement()}):
        asker = Asker(*nodes)
        known_quick(asker, *nodes)
        assert max(groups(asker, nodes, 64, **options)) < 30, options


def test_no_group_goes_to_a_node_that_is_full_or_leaving() -> None:
    nodes = [FakeNode("a", RESIZE), FakeNode("b", RESIZE)]
    asker = Asker(*nodes)
    known_quick(asker, *nodes)
    for change in ({"capacity": 3}, {"draining": True}):
        for node in nodes:
            node.hears(asker, 0.0)
        asker.caller.request(ask(1), 0.0)
        (first,) = [view.candidate for view in asker.directory.nodes.values() if view.candidate.in_flight]
        for name, value in change.items():
            setattr(first, name, value)
        for number in range(2, 20):
            asker.caller.request(ask(number), 0.0)
        assert first.in_flight <= 3
        for number in range(1, 20):
            asker.caller.cancel(number)
        first.capacity, first.draining = 0, False


def test_what_comes_after_the_answer_is_dropped_and_counted() -> None:
    node = FakeNode("lab", RESIZE)
    asker = Asker(node)
    asker.caller.request(ask(), 0.0)
    channel = asker.channel(node)
    asker.caller.take(channel, Result(1, Raw(b"\x01")), 0.1)
    for late in (Result(1, Raw(b"\x02")), Fault(1, "error", "ValueError", "no"), End(1)):
        assert asker.caller.take(channel, late, 0.2) == []
    assert asker.caller.late == 3


def test_what_raises_there_raises_here_as_what_it_was() -> None:
    node = FakeNode("lab", RESIZE)
    asker = Asker(node)
    asker.caller.request(ask(), 0.0)
    fault = Fault(1, "error", "TooSmall", "3 is too small", "Traceback …", "ValueError")
    found = error(asker.caller.take(asker.channel(node), fault, 0.1))
    assert isinstance(found, RemoteError)
    assert isinstance(found, ValueError)
    assert "3 is too small" in str(found)


def test_calls_for_the_same_node_share_a_session_and_a_bundle() -> None:
    node = FakeNode("lab", RESIZE)
    asker = Asker(node)
    for number in range(5):
        asker.caller.request(ask(number), 0.0)
    assert len(asker.sessions.pull(0.0, 0, 1 << 20)) == 1
    assert len(list(asker.sessions)) == 1


# ---- nobody there


def test_a_name_nobody_offers_fails_at_once() -> None:
    asker = Asker(FakeNode("lab", RESIZE))
    found = error(asker.caller.request(ask(function="resise"), 0.0))
    assert isinstance(found, UnknownFunctionError)
    assert "did you mean 'resize'" in str(found)


def test_a_node_nobody_knows_fails_at_once() -> None:
    asker = Asker(FakeNode("lab", RESIZE))
    assert isinstance(error(asker.caller.request(ask(node="lap"), 0.0)), UnknownNodeError)
    assert isinstance(error(asker.caller.request(ask(2, "lap.resize"), 0.0)), UnknownNodeError)


def test_before_the_directory_is_there_a_call_waits() -> None:
    node, asker = FakeNode("lab", RESIZE), Asker()
    assert asker.caller.request(ask(), 0.0) == []
    asker.directory.take_snapshot(Snapshot(nodes=[node.presence()]), 1.0, 10.0)
    assert asker.caller.retry_waiting(1.0) == []
    assert [message.call for message in node.hears(asker, 1.0)] == [1]


def test_a_call_waits_for_a_node_whose_link_just_dropped() -> None:
    node = FakeNode("lab", RESIZE)
    asker = Asker(node)
    asker.directory.take_change(Change(Departed(endpoint=node.endpoint, reason="closed")), 0.0)
    assert asker.caller.request(ask(), 0.1) == []
    assert node.hears(asker, 0.1) == []
    asker.directory.take_change(Change(node.presence()), 0.5)
    assert asker.caller.retry_waiting(0.5) == []
    assert [message.call for message in node.hears(asker, 0.5)] == [1]


def test_a_node_that_does_not_come_back_is_not_waited_for_longer() -> None:
    node = FakeNode("lab", RESIZE)
    asker = Asker(node)
    asker.directory.take_change(Change(Departed(endpoint=node.endpoint, reason="closed")), 0.0)
    asker.caller.request(ask(), 0.1)
    effects = [e for view in asker.directory.expire(2.0) for e in asker.caller.node_lost(view, 2.0)]
    assert isinstance(error(effects), UnknownFunctionError)


# ---- refusals


def test_a_full_node_is_passed_over_for_another() -> None:
    nodes = [FakeNode("one", RESIZE), FakeNode("two", RESIZE)]
    asker = Asker(*nodes)
    asker.caller.request(ask(), 0.0)
    first = next(node for node in nodes if node.hears(asker, 0.0))
    other = next(node for node in nodes if node is not first)
    assert settled(asker.caller.take(asker.channel(first), Refuse(1, "busy"), 0.1)) == []
    assert [message.call for message in other.hears(asker, 0.1)] == [1]
    assert sorted(in_flight(asker)) == [0, 1]


def test_when_all_are_full_the_call_waits_and_asks_again_until_patience_ends() -> None:
    node = FakeNode("one", RESIZE)
    asker = Asker(node)
    asker.caller.request(ask(patience=1.0), 0.0)
    now, asked = 0.0, 0
    while True:
        asked += len(node.hears(asker, now))
        effects = asker.caller.take(asker.channel(node), Refuse(1, "busy"), now)
        if settled(effects):
            break
        now = asker.caller.wake_at
        assert asker.caller.wake(now) == []
    assert isinstance(error(effects), BusyError)
    assert asked > 4
    assert 1.0 <= now < 3.0
    assert in_flight(asker) == [0]


def test_a_node_that_leaves_sends_callers_elsewhere() -> None:
    nodes = [FakeNode("one", RESIZE), FakeNode("two", RESIZE)]
    asker = Asker(*nodes)
    asker.caller.request(ask(), 0.0)
    first = next(node for node in nodes if node.hears(asker, 0.0))
    assert settled(asker.caller.take(asker.channel(first), Refuse(1, "draining"), 0.1)) == []
    other = next(node for node in nodes if node is not first)
    assert len(other.hears(asker, 0.1)) == 1


def test_a_named_node_that_leaves_is_an_error() -> None:
    node = FakeNode("one", RESIZE)
    asker = Asker(node, FakeNode("two", RESIZE))
    asker.caller.request(ask(node="one"), 0.0)
    found = error(
        asker.caller.take(asker.channel(node), Refuse(1, "draining", "the node is shutting down"), 0.1)
    )
    assert isinstance(found, RefusedError)


# ---- time


def test_a_call_whose_time_is_up_fails_here_and_is_stopped_there() -> None:
    node = FakeNode("lab", RESIZE)
    asker = Asker(node)
    asker.caller.request(ask(timeout=2.0), 0.0)
    node.hears(asker, 0.0)
    assert asker.caller.wake_at == 2.0
    assert isinstance(error(asker.caller.wake(2.0)), CallTimeoutError)
    assert node.hears(asker, 2.0) == [Cancel(1)]
    assert in_flight(asker) == [0]


def test_a_call_nobody_waits_for_is_stopped_there() -> None:
    node = FakeNode("lab", RESIZE)
    asker = Asker(node)
    asker.caller.request(ask(), 0.0)
    assert asker.caller.cancel(1) == []
    assert node.hears(asker, 0.0)[-1] == Cancel(1)
    assert not asker.caller
    assert in_flight(asker) == [0]


def test_a_node_that_is_silent_is_asked_whether_it_still_knows_us() -> None:
    node = FakeNode("lab", RESIZE)
    asker = Asker(node)
    asker.caller.request(ask(), 0.0)
    node.hears(asker, 0.0)
    channel = asker.channel(node)
    channel._acknowledge(1, 0.1)
    assert asker.caller.wake(PROBE_SECONDS) == []
    assert channel.quiet, "not yet silent for longer than that"
    asker.caller.wake(PROBE_SECONDS * 1.5)
    assert not channel.quiet


# ---- nodes that go


def test_a_call_that_never_left_is_moved() -> None:
    nodes = [FakeNode("one", RESIZE), FakeNode("two", RESIZE)]
    asker = Asker(*nodes)
    asker.caller.request(ask(), 0.0)
    peer = next(iter(asker.sessions)).peer
    first = next(node for node in nodes if node.endpoint == peer)
    other = next(node for node in nodes if node is not first)
    assert settled(asker.loses(first, 0.1)) == []
    assert [message.call for message in other.hears(asker, 0.1)] == [1]


def test_a_gateway_that_says_a_call_never_came_cannot_have_it_run_twice() -> None:
    nodes = [FakeNode("one", RESIZE), FakeNode("two", RESIZE)]
    asker = Asker(*nodes)
    asker.caller.request(ask(), 0.0)
    first = next(node for node in nodes if node.hears(asker, 0.0))
    other = next(node for node in nodes if node is not first)
    asker.channel(first).undelivered(0.1)
    found = error(asker.loses(first, 0.2))
    assert isinstance(found, NodeLostError)
    assert "may or may not have started" in str(found)
    assert other.hears(asker, 0.2) == []


def test_a_call_that_came_back_undelivered_is_moved_if_it_does_no_harm_twice() -> None:
    nodes = [FakeNode("one", SAFE), FakeNode("two", SAFE)]
    asker = Asker(*nodes)
    asker.caller.request(ask(function="safe"), 0.0)
    first = next(node for node in nodes if node.hears(asker, 0.0))
    other = next(node for node in nodes if node is not first)
    asker.channel(first).undelivered(0.1)
    assert settled(asker.loses(first, 0.2)) == []
    assert [message.call for message in other.hears(asker, 0.2) if isinstance(message, Invoke)] == [1]


@pytest.mark.parametrize(("acknowledged", "text"), [(True, "had accepted"), (False, "had not confirmed")])
def test_a_call_that_may_have_run_is_not_run_elsewhere(acknowledged: bool, text: str) -> None:
    nodes = [FakeNode("one", RESIZE), FakeNode("two", RESIZE)]
    asker = Asker(*nodes)
    asker.caller.request(ask(), 0.0)
    first = next(node for node in nodes if node.hears(asker, 0.0))
    if acknowledged:
        asker.channel(first)._acknowledge(1, 0.1)
    found = error(asker.loses(first, 0.2))
    assert isinstance(found, NodeLostError)
    assert text in str(found)
    assert found.ran == ("accepted" if acknowledged else "unconfirmed")


def silent(asker: Asker, node: FakeNode, now: float) -> list[object]:
    """The gateway says that the node has fallen silent."""
    asker.directory.take_change(Change(Departed(endpoint=node.endpoint, reason="silent")), now)
    return [e for view in asker.directory.suspects(now) for e in asker.caller.node_missing(view, now)]


def test_a_call_stays_with_a_silent_node_until_it_is_back() -> None:
    nodes = [FakeNode("one", RESIZE), FakeNode("two", RESIZE)]
    asker = Asker(*nodes)
    asker.caller.request(ask(), 0.0)
    first = next(node for node in nodes if node.hears(asker, 0.0))
    other = next(node for node in nodes if node is not first)
    assert settled(silent(asker, first, 0.2)) == []
    assert other.hears(asker, 0.2) == []
    asker.directory.take_change(Change(first.presence()), 30.0)
    effects = asker.caller.take(asker.channel(first), Result(1, Raw(b"\x01")), 31.0)
    assert settled(effects) == [Answered(1, Raw(b"\x01"))]


def test_a_call_to_a_silent_node_is_lost_after_a_minute_and_says_what_is_known() -> None:
    nodes = [FakeNode("one", RESIZE), FakeNode("two", RESIZE)]
    asker = Asker(*nodes)
    asker.caller.request(ask(), 0.0)
    first = next(node for node in nodes if node.hears(asker, 0.0))
    silent(asker, first, 0.2)
    (view,) = asker.directory.expire(60.2)
    found = error(asker.caller.node_lost(view, 60.2))
    assert isinstance(found, NodeLostError)
    assert found.ran == "unconfirmed"
    assert "fell silent" in str(found)


def test_a_question_that_has_not_left_is_taken_back_from_a_silent_node() -> None:
    nodes = [FakeNode("one", RESIZE), FakeNode("two", RESIZE)]
    asker = Asker(*nodes)
    asker.caller.request(ask(), 0.0)
    peer = next(iter(asker.sessions)).peer
    first = next(node for node in nodes if node.endpoint == peer)
    other = next(node for node in nodes if node is not first)
    assert settled(silent(asker, first, 0.1)) == []
    assert [message.call for message in other.hears(asker, 0.1)] == [1]
    asker.directory.take_change(Change(first.presence()), 5.0)
    assert first.hears(asker, 5.0) == [], "should it come back, it does not run there as well"


def test_what_does_no_harm_twice_leaves_a_silent_node_and_is_cancelled_there() -> None:
    nodes = [FakeNode("one", SAFE), FakeNode("two", SAFE)]
    asker = Asker(*nodes)
    asker.caller.request(ask(function="safe"), 0.0)
    first = next(node for node in nodes if node.hears(asker, 0.0))
    other = next(node for node in nodes if node is not first)
    assert settled(silent(asker, first, 0.2)) == []
    again, moved = other.hears(asker, 0.2)
    assert again == Again(1), "it may have been there before"
    assert isinstance(moved, Invoke)
    assert first.hears(asker, 30.0) == [Cancel(1)]


def test_a_node_of_an_earlier_version_is_not_told_what_it_does_not_know() -> None:
    nodes = [FakeNode("one", SAFE), FakeNode("two", SAFE)]
    asker = Asker(*nodes)
    asker.caller.request(ask(function="safe"), 0.0)
    first = next(node for node in nodes if node.hears(asker, 0.0))
    other = next(node for node in nodes if node is not first)
    asker.directory.take_change(Change(other.presence(number=2, features=[])), 0.1)
    assert settled(silent(asker, first, 0.2)) == []
    (moved,) = other.hears(asker, 0.2)
    assert isinstance(moved, Invoke)


def test_who_answers_one_call_twice_breaks_the_protocol() -> None:
    node = FakeNode("lab", RESIZE)
    asker = Asker(node)
    asker.caller.request(ask(), 0.0)
    node.hears(asker, 0.0)
    channel = asker.channel(node)
    assert asker.caller.take(channel, Result(1, EMPTY, 4, 100_000), 0.1) == []
    with pytest.raises(RemoteProtocolError, match="twice"):
        asker.caller.take(channel, Result(1, EMPTY, 5, 100_000), 0.2)


@pytest.mark.parametrize("why", ["it moved", "its session broke"])
def test_a_large_answer_that_was_cut_short_may_come_from_elsewhere(why: str) -> None:
    nodes = [FakeNode("one", SAFE), FakeNode("two", SAFE)]
    asker = Asker(*nodes)
    asker.caller.request(ask(function="safe"), 0.0)
    first = next(node for node in nodes if node.hears(asker, 0.0))
    other = next(node for node in nodes if node is not first)
    channel = asker.channel(first)
    assert asker.caller.take(channel, Result(1, EMPTY, 4, 100_000), 0.1) == []
    if why == "it moved":
        silent(asker, first, 0.2)
        there = asker.channel(other)
    else:
        asker.caller.session_reset(channel, 0.2)
        there = asker.channel(first)
    assert asker.caller.take(there, Result(1, EMPTY, 1, 5), 0.3) == []
    assert settled(asker.caller.take_body(there, 1, memoryview(b"large"), 0.4)) == [
        Answered(1, memoryview(b"large"))
    ]
    assert not asker.caller._bodies


def test_a_call_beside_another_that_finds_no_other_node_ends() -> None:
    nodes = [FakeNode("one", SAFE), FakeNode("two", SAFE)]
    asker = Asker(*nodes)
    asker.caller.request(ask(1, "safe"), 0.0)
    first = next(node for node in nodes if node.hears(asker, 0.0))
    other = next(node for node in nodes if node is not first)
    assert asker.caller.may_hedge(1)
    assert settled(asker.caller.request(ask(2, "safe", beside=1), 0.1)) == []
    assert [message.call for message in other.hears(asker, 0.1)] == [2]
    assert isinstance(error(asker.loses(other, 0.2)), BusyError), "it is not made where the first one is"
    assert not asker.caller.may_hedge(1)


def test_what_a_lost_call_may_do_again_is_what_its_own_node_said() -> None:
    for function, may in ((RESIZE, False), (SAFE, True)):
        node = FakeNode("one", function)
        asker = Asker(node)
        asker.caller.request(ask(function=function.name), 0.0)
        node.hears(asker, 0.0)
        pretender = FakeNode("two", FunctionCard(name=function.name, idempotent=not may))
        asker.directory.take_change(Change(pretender.presence()), 0.1)
        asker.directory.take_change(Change(Departed(endpoint=pretender.endpoint, reason="left")), 0.1)
        asker.directory.expire(0.1)
        assert error(asker.loses(node, 0.2)).may_repeat is may


def test_what_was_not_sent_to_a_node_before_has_not_run_there() -> None:
    node = FakeNode("lab", RESIZE)
    asker = Asker(node)
    asker.caller.request(ask(), 0.0)
    node.hears(asker, 0.0)
    found = error(asker.caller.take(asker.channel(node), Refuse(1, "repeated"), 0.1))
    assert isinstance(found, RefusedError)
    assert "has not run" in str(found)


def test_what_leaves_a_silent_node_takes_its_arguments_along() -> None:
    nodes = [FakeNode("one", SAFE), FakeNode("two", SAFE)]
    asker = Asker(*nodes, max_value_bytes=1 << 30)
    large = bytes(30 << 20)
    asker.caller.request(CallRequested(1, "safe", large), 0.0)
    first = next(node for node in nodes if node.hears(asker, 0.0))
    channel = asker.channel(first)
    assert channel._bodies
    silent(asker, first, 0.2)
    assert not channel._bodies, "what is left of them is not sent should it come back"


def test_nothing_new_waits_for_a_silent_node() -> None:
    node = FakeNode("lab", RESIZE)
    asker = Asker(node)
    silent(asker, node, 0.1)
    found = error(asker.caller.request(ask(), 0.2))
    assert isinstance(found, UnknownFunctionError)
    assert "'lab', which does, fell silent" in str(found)
    found = error(asker.caller.request(ask(2, node="lab"), 0.2))
    assert isinstance(found, UnknownNodeError)
    assert "it fell silent" in str(found)


def test_a_call_that_does_no_harm_twice_is_run_elsewhere() -> None:
    nodes = [FakeNode("one", SAFE), FakeNode("two", SAFE)]
    asker = Asker(*nodes)
    asker.caller.request(ask(function="safe"), 0.0)
    first = next(node for node in nodes if node.hears(asker, 0.0))
    other = next(node for node in nodes if node is not first)
    assert settled(asker.loses(first, 0.2)) == []
    assert [message.call for message in other.hears(asker, 0.2) if isinstance(message, Invoke)] == [1]


def test_a_call_moved_though_it_was_refused_often_before() -> None:
    nodes = [FakeNode("one", RESIZE), FakeNode("two", RESIZE)]
    asker = Asker(*nodes)
    asker.caller.request(ask(), 0.0)
    now = 0.0
    for _ in range(10):
        here = next(node for node in nodes if node.hears(asker, now))
        asker.caller.take(asker.channel(here), Refuse(1, "busy"), now)
        if asker.caller.wake_at < now + 5.0:
            now = max(now, asker.caller.wake_at)
            asker.caller.wake(now)
    peers = {channel.peer for channel in asker.sessions if not channel.quiet and channel.unsent()}
    here = next(node for node in nodes if node.endpoint in peers)
    assert settled(asker.loses(here, now)) == [], "to be refused is not to have run"


def test_a_session_the_node_does_not_know_is_made_anew_under_the_same_number() -> None:
    node = FakeNode("lab", RESIZE)
    asker = Asker(node)
    asker.caller.request(ask(7), 0.0)
    asker.sessions.pull(0.0, 0, 1 << 20)  # lost
    before = asker.channel(node)
    assert settled(asker.caller.session_reset(before, 1.0)) == []
    assert asker.channel(node) is not before
    assert [message.call for message in node.hears(asker, 1.0)] == [7]


def test_a_session_the_node_forgot_after_it_took_the_call_is_a_lost_call() -> None:
    node = FakeNode("lab", RESIZE)
    asker = Asker(node)
    asker.caller.request(ask(), 0.0)
    asker.sessions.pull(0.0, 0, 1 << 20)
    channel = asker.channel(node)
    channel._acknowledge(1, 0.1)
    assert isinstance(error(asker.caller.session_reset(channel, 1.0)), NodeLostError)
    assert list(asker.sessions) == []


# ---- streams and large values


def test_items_come_in_order_even_when_a_large_one_is_on_its_way() -> None:
    node = FakeNode("lab", RESIZE)
    asker = Asker(node)
    asker.caller.request(ask(stream=True), 0.0)
    channel = asker.channel(node)
    large = bytearray(100_000)
    assert asker.caller.take(channel, Item(1, Raw(b"\x01")), 0.1) == [Delivered(1, Raw(b"\x01"), 65)]
    assert asker.caller.take(channel, Item(1, EMPTY, body=4, size=len(large)), 0.2) == []
    assert asker.caller.take(channel, Item(1, Raw(b"\x02")), 0.3) == []
    assert asker.caller.take(channel, End(1), 0.4) == []
    assert asker.caller.take_body(channel, 4, large, 0.5) == [
        Delivered(1, large, 100_064),
        Delivered(1, Raw(b"\x02"), 65),
        Finished(1),
    ]
    assert in_flight(asker) == [0]


def test_an_error_after_a_large_item_comes_after_it() -> None:
    node = FakeNode("lab", RESIZE)
    asker = Asker(node)
    asker.caller.request(ask(stream=True), 0.0)
    channel = asker.channel(node)
    asker.caller.take(channel, Item(1, EMPTY, body=4, size=100_000), 0.2)
    assert asker.caller.take(channel, Fault(1, "error", "ValueError", "no"), 0.3) == []
    first, last = asker.caller.take_body(channel, 4, bytearray(100_000), 0.5)
    assert isinstance(first, Delivered)
    assert isinstance(last, Faulted)


def test_consumption_is_told_in_steps() -> None:
    node = FakeNode("lab", RESIZE)
    asker = Asker(node)
    asker.caller.request(ask(stream=True), 0.0)
    node.hears(asker, 0.0)
    for _ in range(STREAM_WINDOW_BYTES // 1000):
        asker.caller.taken(1, 1000)
    windows = node.hears(asker, 0.1)
    assert windows
    assert all(isinstance(message, Window) for message in windows)
    assert sum(message.size for message in windows) > STREAM_WINDOW_BYTES // 2


def test_a_value_larger_than_is_taken_is_refused_and_stopped() -> None:
    node = FakeNode("lab", RESIZE)
    asker = Asker(node, max_value_bytes=200_000)
    asker.caller.request(ask(), 0.0)
    node.hears(asker, 0.0)
    large = Result(1, EMPTY, body=1, size=200_001)
    found = error(asker.caller.take(asker.channel(node), large, 0.1))
    assert isinstance(found, ValueTooLargeError)
    assert "200,001" in str(found)
    assert "200,000" in str(found)
    assert node.hears(asker, 0.1) == [Cancel(1)]


def test_a_large_result_nobody_waits_for_takes_no_memory() -> None:
    node = FakeNode("lab", RESIZE)
    asker = Asker(node)
    asker.caller.request(ask(), 0.0)
    channel = asker.channel(node)
    asker.caller.take(channel, Result(1, EMPTY, body=1, size=900_000), 0.1)
    asker.caller.cancel(1)
    assert not channel._sinks
    assert asker.caller.take_body(channel, 1, bytearray(900_000), 0.2) == []
