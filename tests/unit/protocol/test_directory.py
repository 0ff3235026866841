"""The live copy: what is signed is believed, what is missing is waited for, what is gone is forgotten."""

from __future__ import annotations

from msgspec import structs
from unit.protocol.talk import FakeNode, standing

from easyremote.protocol.directory import CLOSED_GRACE_SECONDS, Directory
from easyremote.protocol.machine import NEVER
from easyremote.wire.cards import FunctionCard
from easyremote.wire.limits import LOST_AFTER_SECONDS
from easyremote.wire.messages import Advertise, Change, Departed, LoadReport, NodeLoad, Presence, Snapshot

RESIZE = FunctionCard(name="resize")


def directory_of(*nodes: FakeNode) -> Directory:
    directory = Directory(standing(bytes(32)))
    directory.take_snapshot(Snapshot(nodes=[node.presence() for node in nodes]), 0.0, 10.0)
    return directory


def departs(directory: Directory, node: FakeNode, reason: str, now: float) -> None:
    directory.take_change(Change(Departed(endpoint=node.endpoint, reason=reason)), now)


def test_a_snapshot_tells_who_is_there() -> None:
    one, two = FakeNode("one", RESIZE), FakeNode("two")
    directory = directory_of(one, two)
    assert directory.synced
    assert [view.card.name for view in directory] == ["one", "two"]
    assert [each.name for each in directory.offering("resize")] == ["one"]
    assert directory.function_names() == {"resize"}
    assert directory.wake_at == NEVER


def test_a_newer_card_takes_the_place_of_the_older() -> None:
    node = FakeNode("one")
    directory = directory_of(node)
    assert directory.offering("resize") == []
    directory.take_change(Change(node.presence(number=2, functions=[RESIZE])), 1.0)
    assert len(directory.offering("resize")) == 1


def test_a_card_that_a_node_shows_itself_counts_but_does_not_make_it_present() -> None:
    node, other = FakeNode("one"), FakeNode("two")
    directory = directory_of(node)
    departs(directory, node, "silent", 5.0)

    def shown(of: FakeNode, number: int) -> Advertise:
        presence = of.presence(number=number, functions=[RESIZE])
        return Advertise(presence.card, presence.signature)

    forged = shown(node, 3)
    directory.take_card(node.endpoint, structs.replace(forged, signature=bytes(64)))
    directory.take_card(node.endpoint, shown(other, 3))  # not its own
    directory.take_card(other.endpoint, shown(other, 3))  # nobody that is known here
    view = directory.nodes[node.endpoint]
    assert view.functions == {}
    directory.take_card(node.endpoint, shown(node, 2))
    assert list(view.functions) == ["resize"]
    directory.take_card(node.endpoint, structs.replace(shown(node, 1)))  # an old one
    assert view.card.number == 2
    assert not view.present
    assert directory.offering("resize") == []


def test_a_link_that_dropped_may_come_back_within_its_grace() -> None:
    node = FakeNode("one", RESIZE)
    directory = directory_of(node)
    departs(directory, node, "closed", 5.0)
    assert directory.offering("resize") == []
    assert directory.missing_offers("resize")
    assert directory.wake_at == 5.0 + CLOSED_GRACE_SECONDS
    assert directory.expire(5.5) == []
    assert directory.take_change(Change(node.presence()), 5.6) == node.endpoint
    assert directory.wake_at == NEVER
    assert len(directory.offering("resize")) == 1


def test_a_node_that_fell_silent_may_come_back_for_a_minute_but_nothing_new_waits_for_it() -> None:
    node = FakeNode("one", RESIZE)
    directory = directory_of(node)
    departs(directory, node, "silent", 5.0)
    assert directory.offering("resize") == []
    assert [view.card.name for view in directory.suspects(5.0)] == ["one"]
    assert directory.suspects(6.0) == [], "told once"
    assert not directory.missing_offers("resize")
    assert directory.wake_at == 5.0 + LOST_AFTER_SECONDS
    assert directory.expire(64.9) == []
    assert directory.take_change(Change(node.presence()), 64.9) == node.endpoint
    assert directory.expire(65.0) == []
    departs(directory, node, "silent", 70.0)
    assert [view.why_missing for view in directory.expire(130.0)] == ["fell silent"]


def test_a_node_whose_network_broke_its_link_is_expected_for_a_moment_and_waited_for_like_a_silent_one() -> (
    None
):
    node = FakeNode("one", RESIZE)
    directory = directory_of(node)
    departs(directory, node, "broken", 5.0)
    assert directory.suspects(5.5) == []
    assert directory.missing_offers("resize")
    assert [view.card.name for view in directory.suspects(6.0)] == ["one"]
    assert not directory.missing_offers("resize")
    assert directory.expire(64.9) == []
    assert [view.card.name for view in directory.expire(65.0)] == ["one"]


def test_a_new_process_of_a_node_shows_that_the_one_before_is_gone() -> None:
    old, new = FakeNode("one", RESIZE), FakeNode("one", RESIZE)
    new.endpoint = new.identity.device + b"12345678"
    directory = directory_of(old)
    departs(directory, old, "silent", 5.0)
    directory.take_change(Change(new.presence()), 6.0)
    assert [view.card.endpoint for view in directory.expire(6.0)] == [old.endpoint]
    assert [view.card.endpoint for view in directory] == [new.endpoint]
    assert directory.named("one") is directory.nodes[new.endpoint]


def test_a_silent_node_that_spoke_directly_has_all_of_its_time_from_then_on() -> None:
    node = FakeNode("one", RESIZE)
    directory = directory_of(node)
    departs(directory, node, "silent", 5.0)
    directory.suspects(5.0)
    assert directory.expire(65.0, lambda endpoint: True) == []
    assert directory.expire(124.0) == []
    assert [view.card.name for view in directory.expire(125.0)] == ["one"]


def test_a_node_that_left_is_gone_at_once() -> None:
    for reason in ("left", "replaced"):
        node = FakeNode("one", RESIZE)
        directory = directory_of(node)
        departs(directory, node, reason, 5.0)
        assert [view.card.name for view in directory.expire(5.0)] == ["one"]
        assert directory.named("one") is None
        assert not directory.missing_offers("resize")


def test_after_a_gateways_restart_nodes_are_expected_back_for_a_lease() -> None:
    one, two = FakeNode("one", RESIZE), FakeNode("two", RESIZE)
    directory = directory_of(one, two)
    assert directory.take_snapshot(Snapshot(nodes=[two.presence()]), 100.0, 10.0) == [two.endpoint]
    assert directory.wake_at == 110.0
    assert directory.suspects(109.0) == []
    assert directory.missing_offers("resize")
    assert [view.card.name for view in directory.suspects(110.0)] == ["one"]
    assert not directory.missing_offers("resize")
    assert directory.expire(159.9) == []
    assert [view.card.name for view in directory.expire(160.0)] == ["one"]


def test_while_our_own_link_is_down_nobody_is_given_up() -> None:
    node = FakeNode("one", RESIZE)
    directory = directory_of(node)
    departs(directory, node, "closed", 5.0)
    directory.hold()
    assert directory.wake_at == NEVER
    assert directory.expire(1_000.0) == []


def test_a_load_is_written_where_decisions_read_it() -> None:
    node = FakeNode("one", RESIZE)
    directory = directory_of(node)
    directory.take_change(
        Change(NodeLoad(endpoint=node.endpoint, load=LoadReport(running=3, waiting=4))), 1.0
    )
    assert directory.offering("resize")[0].load == 7


# ---- what a gateway may not do


def refused(directory: Directory, presence: Presence) -> bool:
    before = directory.rejected
    directory.take_change(Change(presence), 1.0)
    return directory.rejected == before + 1


def test_a_card_the_gateway_edited_is_not_believed() -> None:
    node = FakeNode("one", RESIZE)
    directory = directory_of(node)
    true = node.presence(number=2)
    assert refused(directory, structs.replace(true, card=true.card.replace(b"resize", b"delete")))
    assert refused(directory, structs.replace(true, signature=bytes(64)))
    assert directory.function_names() == {"resize"}


def test_an_old_card_is_not_believed_in_place_of_a_newer() -> None:
    node = FakeNode("one", RESIZE)
    directory = directory_of(node)
    old = node.presence()
    directory.take_change(Change(node.presence(number=2, functions=[])), 1.0)
    assert refused(directory, old)
    assert directory.function_names() == set()


def test_a_card_is_not_believed_of_another_node_or_under_another_name() -> None:
    node, other = FakeNode("one", RESIZE), FakeNode("two", RESIZE)
    directory = directory_of()
    assert refused(directory, structs.replace(node.presence(), endpoint=other.endpoint))
    assert refused(directory, structs.replace(node.presence(), name="two"))
    assert refused(directory, structs.replace(node.presence(), card=b"\xc1"))
    assert list(directory) == []
