"""The gateway: who may attach, under which name, and where a frame goes."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from msgspec import structs
from unit.protocol.talk import REALM, FakeNode

from easyremote.protocol.attachment import hello_transcript
from easyremote.protocol.directory import card_transcript
from easyremote.protocol.gateway_effects import (
    Admit,
    Close,
    Operation,
    Pause,
    Renew,
    Report,
    RouterEffect,
    Send,
)
from easyremote.protocol.gateway_events import (
    DeviceAdmitted,
    DeviceRefused,
    DeviceRenamed,
    GatewayLinkClosed,
    GatewayLinkOpened,
    GatewayPacketReceived,
    GatewayWoken,
    MembershipRenewed,
    OperationFinished,
    RevocationsIssued,
    RouterEvent,
)
from easyremote.protocol.limits import DEFAULT_LIMITS, Limits
from easyremote.protocol.router import Router
from easyremote.testing.realm import BOTH, Realm
from easyremote.wire.cards import FunctionCard
from easyremote.wire.frame import Carry, Control, join, walk
from easyremote.wire.limits import MAX_PACKET_BYTES, MAX_SEALED_BYTES
from easyremote.wire.messages import (
    Advertise,
    Change,
    Departed,
    Goodbye,
    Hello,
    LoadReport,
    NodeLoad,
    Operate,
    Operated,
    PacketLimit,
    Ping,
    Pong,
    Presence,
    Rejected,
    Renewed,
    Revoked,
    Snapshot,
    Undeliverable,
    Watch,
    Welcome,
    decode,
    encode,
)
from easyremote.wire.messages import Control as Record

GATEWAY = REALM.gateway.device


class Switchboard:
    """A router, and what it sent to whom."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.router = Router(GATEWAY, lease_seconds=10.0, limits=limits)
        self.realm = Realm(random.Random("realm").randbytes)
        self.terms: dict[str, object] = {}
        self.links = 0
        self.now = 0.0

    def opens(self, address: str = "") -> tuple[int, bytes]:
        """A device connects; the link's number and the nonce it was challenged with."""
        link, nonce, _ = self.tries(address)
        return link, nonce

    def tries(self, address: str) -> tuple[int, bytes, list[RouterEffect]]:
        """A device connects, which may be more than there is room for."""
        self.links += 1
        nonce = random.Random(self.links).randbytes(32)
        return self.links, nonce, self.does(GatewayLinkOpened(self.links, nonce, address))

    def says(self, link: int, *said: Record | Carry, size: int = 0) -> list[RouterEffect]:
        frames = [one if isinstance(one, Carry) else Control(encode(one)) for one in said]
        return self.does(GatewayPacketReceived(link, list(frames), size))

    def does(self, event: RouterEvent) -> list[RouterEffect]:
        """The effects of an event, and of what the gateway's office answers."""
        effects: list[RouterEffect] = []
        for effect in self.router.handle(event, self.now):
            if not isinstance(effect, Admit):
                effects.append(effect)
                continue
            answer = self.realm.admit(effect)
            if isinstance(answer, DeviceAdmitted):
                answer = structs.replace(answer, **self.terms)
            effects += self.does(answer)
        return effects

    def joins(
        self, node: FakeNode, *, role: str = "node", name: str | None = None, **terms: object
    ) -> tuple[int, list[RouterEffect]]:
        """A device connects and says hello; ``terms`` are those that the office admits it under."""
        link, nonce = self.opens()
        self.terms = terms
        effects = self.says(link, hello(node, nonce, role, node.name if name is None else name))
        self.terms = {}
        return link, effects

    def passes(self, until: float) -> list[RouterEffect]:
        """Time passes; the router is woken whenever it wants to be."""
        effects: list[RouterEffect] = []
        while self.router.wake_at <= until:
            effects += self.wakes()
        self.now = until
        return effects

    def wakes(self) -> list[RouterEffect]:
        """Time passes until the router has something to do."""
        self.now = self.router.wake_at
        return self.does(GatewayWoken())

    def shows(self, link: int, node: FakeNode) -> list[RouterEffect]:
        presence = node.presence()
        return self.says(link, Advertise(presence.card, presence.signature))

    def watcher(self) -> int:
        link, _ = self.joins(FakeNode("watcher"), role="client", name="")
        self.says(link, Watch())
        return link


def hello(node: FakeNode, nonce: bytes, role: str, name: str) -> Hello:
    transcript = hello_transcript(nonce, GATEWAY, node.endpoint, name, role)
    signature = node.identity.sign(transcript)
    return Hello(endpoint=node.endpoint, signature=signature, version="1", name=name, role=role)


def not_a_card(node: FakeNode) -> Presence:
    return Presence(card=b"\xc1", signature=node.identity.sign(card_transcript(b"\xc1")))


def sent(effects: Sequence[RouterEffect], link: int) -> list[Record | Carry | None]:
    frames = [
        frame for e in effects if isinstance(e, Send) and e.link == link for frame in walk(join([e.frame]))
    ]
    return [frame if isinstance(frame, Carry) else decode(frame.data) for frame in frames]


def closed(effects: Sequence[RouterEffect]) -> list[int]:
    return [effect.link for effect in effects if isinstance(effect, Close)]


def test_a_device_of_another_version_is_turned_away_by_name() -> None:
    board, node = Switchboard(), FakeNode("lab")
    link, nonce = board.opens()
    effects = board.says(
        link, structs.replace(hello(node, nonce, "node", "lab"), version="2", features=["x"])
    )
    (rejected,) = sent(effects, link)
    assert isinstance(rejected, Rejected)
    assert rejected.code == "version"
    assert "version 2" in rejected.message
    assert closed(effects) == [link]


def test_who_proves_who_it_is_is_welcomed() -> None:
    board = Switchboard()
    link, effects = board.joins(FakeNode("lab"))
    (welcome,) = sent(effects, link)
    assert isinstance(welcome, Welcome)
    assert (welcome.name, welcome.lease_seconds, welcome.gateway) == ("lab", 10.0, GATEWAY)


def test_who_does_not_is_turned_away() -> None:
    board, node = Switchboard(), FakeNode("lab")
    link, nonce = board.opens()
    effects = board.says(link, hello(FakeNode("lab", seed=1), nonce, "node", "lab"))
    assert isinstance(sent(effects, link)[0], Welcome), "its own endpoint, its own signature"
    link, _ = board.opens()
    effects = board.says(link, hello(node, bytes(32), "node", "other"))  # signed for another link
    (rejected,) = sent(effects, link)
    assert isinstance(rejected, Rejected)
    assert rejected.code == "signature"
    assert closed(effects) == [link]
    assert board.says(link, Ping(1)) == []


def test_nothing_is_heard_before_a_welcome() -> None:
    for early in (Ping(1), Watch(), Carry(bytes(40), b"x"), Operate(1, b"")):
        board = Switchboard()
        link, nonce = board.opens()
        effects = board.says(link, hello(FakeNode("lab"), nonce, "node", "lab"), early)
        assert [one.code for one in sent(effects, link) if isinstance(one, Rejected)] == ["protocol"]
        assert closed(effects) == [link]
        assert not any(isinstance(one, (Welcome, Pong, Snapshot)) for one in sent(effects, link))


def test_a_hello_is_said_once() -> None:
    node = FakeNode("lab")
    for waits in (True, False):  # for its welcome
        board = Switchboard()
        link, nonce = board.opens()
        said = hello(node, nonce, "node", "lab")
        effects = board.says(link, said, said) if waits else board.says(link, said) + board.says(link, said)
        assert [one.code for one in sent(effects, link) if isinstance(one, Rejected)] == ["protocol"]
        assert closed(effects) == [link]


def test_a_device_is_a_node_or_a_client() -> None:
    board = Switchboard()
    link, effects = board.joins(FakeNode("lab"), role="operator")
    (rejected,) = sent(effects, link)
    assert isinstance(rejected, Rejected)
    assert rejected.code == "role"
    assert closed(effects) == [link]


def test_who_is_no_member_is_turned_away_and_reported_with_its_address() -> None:
    board, node = Switchboard(), FakeNode("lab")
    link, nonce = board.opens("10.0.0.7")
    (admit,) = board.router.handle(
        GatewayPacketReceived(link, [Control(encode(hello(node, nonce, "node", "lab")))]), 0.0
    )
    assert isinstance(admit, Admit)
    effects = board.does(DeviceRefused(link, "membership", "ask for an invite"))
    assert sent(effects, link) == [Rejected("membership", "ask for an invite")]
    assert closed(effects) == [link]
    (report,) = [e for e in effects if isinstance(e, Report)]
    assert (report.event, report.detail, report.address) == ("turned away", "ask for an invite", "10.0.0.7")


def test_who_hung_up_before_it_was_admitted_is_not_there() -> None:
    board, node = Switchboard(), FakeNode("lab")
    link, nonce = board.opens()
    (admit,) = board.router.handle(
        GatewayPacketReceived(link, [Control(encode(hello(node, nonce, "node", "lab")))]), 0.0
    )
    assert isinstance(admit, Admit)
    board.does(GatewayLinkClosed(link))
    assert board.does(board.realm.admit(admit)) == []
    assert board.does(DeviceRefused(link, "membership", "no")) == []
    assert not board.router.table.by_endpoint


def test_nothing_is_heard_before_a_hello() -> None:
    for early in (Ping(1), Watch(), Carry(bytes(40), b"x"), LoadReport()):
        board = Switchboard()
        link, _ = board.opens()
        effects = board.says(link, early)
        assert [one.code for one in sent(effects, link) if isinstance(one, Rejected)] == ["protocol"]
        assert closed(effects) == [link]


def test_a_frame_goes_where_it_says_and_says_where_it_came_from() -> None:
    board, one, other = Switchboard(), FakeNode("one"), FakeNode("other")
    from_link, _ = board.joins(one)
    to_link, _ = board.joins(other)
    effects = board.says(from_link, Carry(other.endpoint, b"sealed"))
    assert sent(effects, to_link) == [Carry(one.endpoint, b"sealed")]
    assert board.router.routed == 1


def test_a_sealed_frame_that_no_device_would_send_is_not_carried() -> None:
    board, one, other = Switchboard(), FakeNode("one"), FakeNode("other")
    link, _ = board.joins(one)
    to_link, _ = board.joins(other)
    effects = board.says(link, Carry(other.endpoint, bytes(MAX_SEALED_BYTES)))
    assert len(sent(effects, to_link)) == 1
    effects = board.says(link, Carry(other.endpoint, bytes(MAX_SEALED_BYTES + 1)))
    assert sent(effects, to_link) == []
    assert closed(effects) == [link]


def test_a_frame_for_nobody_comes_back_by_its_first_bytes() -> None:
    board, one = Switchboard(), FakeNode("one")
    link, _ = board.joins(one)
    nobody = bytes([9]) * 40
    effects = board.says(link, Carry(nobody, bytes(range(100))))
    assert sent(effects, link) == [Undeliverable(peer=nobody, head=bytes(range(48)), reason="not connected")]


def test_watchers_are_told_who_comes_changes_and_goes() -> None:
    board, node = Switchboard(), FakeNode("lab")
    watcher = board.watcher()
    link, effects = board.joins(node)
    assert sent(effects, watcher) == [], "not before it has shown its card"
    assert sent(board.shows(link, node), watcher) == [Change(node.presence())]
    load = LoadReport(running=2)
    assert sent(board.says(link, load), watcher) == [Change(NodeLoad(endpoint=node.endpoint, load=load))]
    effects = board.says(link, Goodbye(code="left"))
    assert sent(effects, watcher) == [Change(Departed(endpoint=node.endpoint, reason="left"))]
    assert closed(effects) == [link]


def test_a_snapshot_shows_the_nodes_there_are() -> None:
    board, node = Switchboard(), FakeNode("lab")
    link, _ = board.joins(node)
    board.shows(link, node)
    client, _ = board.joins(FakeNode("client"), role="client", name="")
    (snapshot,) = sent(board.says(client, Watch()), client)
    assert isinstance(snapshot, Snapshot)
    assert [presence.name for presence in snapshot.nodes] == ["lab"]


def test_a_directory_larger_than_a_packet_is_shown_in_parts() -> None:
    board = Switchboard()
    nodes = [
        FakeNode(f"lab-{number}", FunctionCard(name="f", description="x" * 16_000)) for number in range(99)
    ]
    for node in nodes:
        link, _ = board.joins(node)
        board.shows(link, node)
    client, _ = board.joins(FakeNode("client"), role="client", name="")
    effects = board.says(client, Watch())
    assert all(sum(map(len, e.frame)) < 1.1 * MAX_PACKET_BYTES for e in effects if isinstance(e, Send))
    parts = sent(effects, client)
    assert [isinstance(part, Snapshot) and part.more for part in parts] == [True] * (len(parts) - 1) + [False]
    assert len(parts) > 1
    shown = [presence.name for part in parts if isinstance(part, Snapshot) for presence in part.nodes]
    assert shown == [node.name for node in nodes]


def test_only_a_node_has_a_card() -> None:
    board, node = Switchboard(), FakeNode("lab")
    link, _ = board.joins(node, role="client", name="")
    assert closed(board.shows(link, node)) == [link]


def test_who_is_not_a_node_of_the_network_cannot_show_a_card_whatever_it_says_it_is() -> None:
    board, node = Switchboard(), FakeNode("lab")
    watcher = board.watcher()
    link, effects = board.joins(node, roles=("client", "operator"))
    assert isinstance(sent(effects, link)[0], Welcome)
    effects = board.shows(link, node)
    (rejected,) = sent(effects, link)
    assert isinstance(rejected, Rejected)
    assert rejected.message == "only a node has a card"
    assert closed(effects) == [link]
    assert sent(effects, watcher) == []


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("another's signature", "does not hold"),
        ("another's card", "does not hold"),
        ("another endpoint", "not its own"),
        ("another name", "not its own"),
        ("no card", "does not hold"),
    ],
)
def test_a_card_that_its_readers_would_refuse_is_shown_to_nobody(card: str, said: str) -> None:
    board, node, other = Switchboard(), FakeNode("lab"), FakeNode("other")
    watcher = board.watcher()
    link, _ = board.joins(node)
    shown = {
        "another's signature": structs.replace(node.presence(), signature=other.presence().signature),
        "another's card": other.presence(),
        "another endpoint": node.presence(endpoint=node.identity.device + b"12345678"),
        "another name": node.presence(name="other"),
        "no card": not_a_card(node),
    }
    effects = board.says(link, Advertise(shown[card].card, shown[card].signature))
    assert [one.code for one in sent(effects, link) if isinstance(one, Rejected)] == ["protocol"]
    assert said in next(one.message for one in sent(effects, link) if isinstance(one, Rejected))
    assert closed(effects) == [link]
    assert sent(effects, watcher) == []


def test_a_ping_is_answered_and_keeps_the_lease() -> None:
    board, node = Switchboard(), FakeNode("lab")
    link, _ = board.joins(node)
    board.now = 9.0
    assert sent(board.says(link, Ping(5)), link) == [Pong(5)]
    board.now = 18.0
    assert board.router.handle(GatewayWoken(), board.now) == []


def test_a_silent_device_with_nothing_at_stake_is_gone_after_two_leases() -> None:
    board, node = Switchboard(), FakeNode("lab")
    link, _ = board.joins(node)
    board.shows(link, node)
    assert closed(board.passes(19.9)) == []
    assert closed(board.passes(20.0)) == [link]


@pytest.mark.parametrize("stake", ["a call runs there", "it was spoken to"])
def test_a_silent_device_is_gone_after_a_lease(stake: str) -> None:
    board, node, caller = Switchboard(), FakeNode("lab"), FakeNode("caller")
    link, _ = board.joins(node)
    board.shows(link, node)
    other, _ = board.joins(caller)
    if stake == "a call runs there":
        board.says(link, LoadReport(running=1))
    else:
        board.says(other, Carry(node.endpoint, b"sealed"))
    board.passes(9.0)
    watcher = board.watcher()
    board.says(other, Ping(1))
    effects = board.passes(10.0)
    assert closed(effects) == [link]
    assert sent(effects, watcher) == [Change(Departed(endpoint=node.endpoint, reason="silent"))]
    assert board.router.handle(GatewayLinkClosed(link), board.now) == [], "told once"


@pytest.mark.parametrize("last_words", [False, True])
def test_a_link_that_breaks_when_a_word_was_overdue_is_told_as_broken_and_not_closed(
    last_words: bool,
) -> None:
    board, node = Switchboard(), FakeNode("lab")
    link, _ = board.joins(node)
    board.shows(link, node)
    board.says(link, LoadReport(running=1))
    watcher = board.watcher()
    board.passes(5.1)
    if last_words:  # held up by the network that broke, they come right before the end of the link
        board.says(link, Ping(1))
    effects = board.does(GatewayLinkClosed(link))
    assert sent(effects, watcher) == [Change(Departed(endpoint=node.endpoint, reason="broken"))]


def test_a_link_that_breaks_when_no_word_was_due_is_told_as_closed() -> None:
    board, node = Switchboard(), FakeNode("lab")
    link, _ = board.joins(node)
    board.shows(link, node)
    watcher = board.watcher()
    board.passes(9.0)
    effects = board.does(GatewayLinkClosed(link))
    assert sent(effects, watcher) == [Change(Departed(endpoint=node.endpoint, reason="closed"))]


def test_a_gateway_that_was_asleep_takes_nobody_for_gone() -> None:
    board, one, two = Switchboard(), FakeNode("one"), FakeNode("two")
    links = [board.joins(node)[0] for node in (one, two)]
    for link, node in zip(links, (one, two), strict=True):
        board.shows(link, node)
        board.says(link, LoadReport(running=1))
    watcher = board.watcher()
    board.passes(5.0)
    board.now = 40.0
    assert closed(board.router.handle(GatewayWoken(), board.now)) == []
    effects = board.does(GatewayLinkClosed(links[0]))  # it gave up this link meanwhile
    assert sent(effects, watcher) == [Change(Departed(endpoint=one.endpoint, reason="broken"))]
    assert closed(board.passes(49.0)) == []
    assert links[1] in closed(board.passes(51.0)), "who is still silent after a lease is gone"


# ---- names


def test_a_name_belongs_to_one_device() -> None:
    board = Switchboard()
    board.joins(FakeNode("lab"))
    link, effects = board.joins(FakeNode("lab", seed=1))
    (rejected,) = sent(effects, link)
    assert isinstance(rejected, Rejected)
    assert rejected.code == "name_taken"
    assert "'lab'" in rejected.message


def test_a_newer_process_of_the_device_takes_the_name_over() -> None:
    board, old, new = Switchboard(), FakeNode("lab"), FakeNode("lab")
    new.endpoint = new.identity.device + b"12345678"
    first, _ = board.joins(old)
    board.shows(first, old)
    watcher = board.watcher()
    second, effects = board.joins(new)
    (goodbye,) = sent(effects, first)
    assert isinstance(goodbye, Goodbye)
    assert goodbye.code == "replaced"
    assert closed(effects) == [first]
    assert sent(effects, watcher) == [Change(Departed(endpoint=old.endpoint, reason="replaced"))]
    assert isinstance(sent(effects, second)[0], Welcome)


def test_a_device_that_connects_again_is_not_told_as_gone_nor_forgotten() -> None:
    board, node = Switchboard(), FakeNode("lab")
    first, _ = board.joins(node)
    board.shows(first, node)
    watcher = board.watcher()
    second, effects = board.joins(node)
    assert closed(effects) == [first]
    assert sent(effects, watcher) == []
    assert board.router.handle(GatewayLinkClosed(first), 1.0) == []
    # It goes before it has shown its card again: who knew it by the last one must hear of that.
    effects = board.router.handle(GatewayLinkClosed(second), 2.0)
    assert sent(effects, watcher) == [Change(Departed(endpoint=node.endpoint, reason="closed"))]


def test_reports_name_the_device_and_never_more() -> None:
    board, node = Switchboard(), FakeNode("lab")
    _, effects = board.joins(node)
    assert [e for e in effects if isinstance(e, Report)] == [
        Report("lab", node.endpoint[:32], "node", "joined")
    ]


# ---- limits


def turned_away(effects: Sequence[RouterEffect], link: int) -> str:
    """The words with which a link was turned away."""
    (rejected,) = [one for one in sent(effects, link) if isinstance(one, Rejected)]
    assert closed(effects) == [link]
    return rejected.message


def test_an_address_has_so_many_connections() -> None:
    board = Switchboard(Limits(connections_per_address=2))
    first, _ = board.opens("10.0.0.7")
    board.opens("10.0.0.7")
    link, _, effects = board.tries("10.0.0.7")
    assert "takes 2 connections from one address (connections_per_address)" in turned_away(effects, link)
    other, _, effects = board.tries("10.0.0.8")
    assert closed(effects) == []
    assert other in board.router.table.by_link
    board.does(GatewayLinkClosed(first))
    _, _, effects = board.tries("10.0.0.7")
    assert closed(effects) == [], "those turned away are not counted, nor those that went"


def test_a_device_has_so_many_connections_and_one_that_connects_again_is_not_counted_twice() -> None:
    board = Switchboard(Limits(connections_per_device=2))
    processes = [FakeNode("client") for _ in range(3)]
    for number, process in enumerate(processes):
        process.endpoint = process.identity.device + number.to_bytes(8, "big")
    first, _ = board.joins(processes[0], role="client", name="")
    board.joins(processes[1], role="client", name="")
    link, effects = board.joins(processes[2], role="client", name="")
    assert "takes 2 connections of one device (connections_per_device)" in turned_away(effects, link)
    again, effects = board.joins(processes[0], role="client", name="")
    assert closed(effects) == [first]
    assert isinstance(sent(effects, again)[0], Welcome)
    _, effects = board.joins(FakeNode("other"), role="client", name="")
    assert closed(effects) == []
    board.does(GatewayLinkClosed(again))
    _, effects = board.joins(processes[2], role="client", name="")
    assert closed(effects) == []


def test_a_device_is_told_of_changes_on_so_many_connections() -> None:
    board = Switchboard(Limits(watches_per_device=1))
    processes = [FakeNode("client") for _ in range(2)]
    processes[1].endpoint = processes[1].identity.device + b"12345678"
    first, _ = board.joins(processes[0], role="client", name="")
    second, _ = board.joins(processes[1], role="client", name="")
    board.says(first, Watch())
    assert closed(board.says(first, Watch())) == [], "the same one may ask again"
    message = turned_away(board.says(second, Watch()), second)
    assert "on 1 connections (watches_per_device)" in message
    other, _ = board.joins(FakeNode("other"), role="client", name="")
    assert closed(board.says(other, Watch())) == []


def test_a_card_has_so_many_functions() -> None:
    board = Switchboard(Limits(functions_per_card=2))
    functions = [FunctionCard(name=name) for name in ("one", "two", "three")]
    small, large = FakeNode("small", *functions[:2]), FakeNode("large", *functions)
    link, _ = board.joins(small)
    assert closed(board.shows(link, small)) == []
    link, _ = board.joins(large)
    message = turned_away(board.shows(link, large), link)
    assert "a card with 3 functions; this gateway takes 2 (functions_per_card)" in message


def test_who_does_not_say_who_it_is_is_turned_away_in_time() -> None:
    board = Switchboard(Limits(hello_seconds=3.0))
    link, _ = board.opens()
    while not (effects := board.wakes()):
        assert board.now < 10.0
    message = turned_away(effects, link)
    assert 3.0 <= board.now <= 3.0 + 10.0 / 4
    assert "hello" in message
    assert "hello_seconds" in message, "each limit is named where it is met"


def test_who_is_welcome_may_take_its_time() -> None:
    board = Switchboard(Limits(hello_seconds=3.0))
    link, _ = board.joins(FakeNode("lab"))
    while board.now < 20.0:
        assert board.wakes() == []
        board.says(link, Ping(1))


def test_who_sends_faster_than_it_may_is_read_more_slowly_and_nothing_is_lost() -> None:
    limits = Limits(
        packets_per_second=10.0, frames_per_second=1000.0, bytes_per_second=10_000.0, burst_seconds=1.0
    )
    board = Switchboard(limits)
    link, _ = board.joins(FakeNode("lab"))
    board.now = 10.0
    effects = [board.says(link, Ping(number)) for number in range(12)]
    assert [sent(one, link) for one in effects] == [[Pong(number)] for number in range(12)]
    pauses = [[e for e in one if isinstance(e, Pause)] for one in effects]
    assert pauses[:10] == [[]] * 10
    (first,), (second,) = pauses[10:]
    assert (first.link, first.seconds) == (link, pytest.approx(0.1))
    assert second.seconds == pytest.approx(0.2)
    board.now = 20.0
    (large,) = [e for e in board.says(link, Ping(1), size=50_000) if isinstance(e, Pause)]
    assert large.seconds == pytest.approx(4.0), "bytes count as well as packets"


def test_each_connection_has_a_pace_of_its_own() -> None:
    board = Switchboard(Limits(packets_per_second=1.0, burst_seconds=1.0))
    fast, _ = board.joins(FakeNode("fast"))
    slow, _ = board.joins(FakeNode("slow"))
    for _ in range(5):
        effects = board.says(fast, Ping(1))
    assert any(isinstance(e, Pause) for e in effects)
    board.now = 1.0
    assert not any(isinstance(e, Pause) for e in board.says(slow, Ping(1)))


# ---- memberships


def test_a_member_is_given_the_next_membership_when_it_is_due() -> None:
    board, node = Switchboard(), FakeNode("lab")
    link, effects = board.joins(node, renew_seconds=4.0, membership=b"first")
    (welcome,) = sent(effects, link)
    assert isinstance(welcome, Welcome)
    assert welcome.membership == b"first"
    while not (effects := board.wakes()):
        pass
    assert effects == [Renew(link, node.endpoint[:32], "lab", "node")]
    assert 4.0 <= board.now <= 4.0 + 10.0 / 4
    assert sent(board.does(MembershipRenewed(link, b"second", 3600.0)), link) == [Renewed(b"second")]
    board.says(link, Ping(1))
    assert board.wakes() == [], "not due again so soon"


def test_a_renewal_that_brings_nothing_new_says_nothing() -> None:
    board = Switchboard()
    link, _ = board.joins(FakeNode("lab"))
    assert board.does(MembershipRenewed(link, b"", 3600.0)) == []
    assert board.does(MembershipRenewed(link + 1, b"late", 3600.0)) == [], "it hung up meanwhile"


def test_a_revocation_is_told_to_all_and_the_device_is_out() -> None:
    board, node, client = Switchboard(), FakeNode("lab"), FakeNode("client")
    link, _ = board.joins(node)
    board.shows(link, node)
    watcher = board.watcher()
    other, _ = board.joins(client, role="client", name="")
    waiting, _ = board.opens()
    effects = board.does(RevocationsIssued(b"list", frozenset({node.identity.device})))
    assert sent(effects, other) == [Revoked(b"list")]
    told = sent(effects, watcher)
    assert len(told) == 2
    assert Revoked(b"list") in told
    assert Change(Departed(endpoint=node.endpoint, reason="left")) in told
    revoked, goodbye = sent(effects, link)
    assert revoked == Revoked(b"list")
    assert isinstance(goodbye, Goodbye)
    assert goodbye.code == "revoked"
    assert closed(effects) == [link]
    assert sent(effects, waiting) == [], "who has not said who it is is told nothing"
    (undeliverable,) = sent(board.says(other, Carry(node.endpoint, b"x")), other)
    assert isinstance(undeliverable, Undeliverable)


def test_all_processes_of_a_revoked_device_are_out() -> None:
    board, one, two = Switchboard(), FakeNode("lab"), FakeNode("lab")
    two.endpoint = two.identity.device + b"12345678"
    links = [board.joins(process, role="client", name="")[0] for process in (one, two)]
    effects = board.does(RevocationsIssued(b"list", frozenset({one.identity.device})))
    assert closed(effects) == links
    assert not board.router.table.by_endpoint


def test_who_comes_later_is_told_what_was_revoked_before() -> None:
    board = Switchboard()
    board.does(RevocationsIssued(b"list", frozenset()))
    link, effects = board.joins(FakeNode("lab"))
    revoked, welcome = sent(effects, link)
    assert isinstance(welcome, Welcome)
    assert revoked == Revoked(b"list")


def test_a_device_that_is_renamed_must_come_again() -> None:
    board, node = Switchboard(), FakeNode("lab")
    link, _ = board.joins(node)
    board.shows(link, node)
    watcher = board.watcher()
    effects = board.does(DeviceRenamed(node.identity.device))
    (goodbye,) = sent(effects, link)
    assert isinstance(goodbye, Goodbye)
    assert goodbye.code == "renamed"
    assert closed(effects) == [link]
    assert sent(effects, watcher) == [Change(Departed(endpoint=node.endpoint, reason="closed"))]
    again, effects = board.joins(node)
    assert isinstance(sent(effects, again)[0], Welcome)


# ---- operations


def test_only_an_operator_may_ask_something_of_the_gateway() -> None:
    board = Switchboard()
    link, _ = board.joins(FakeNode("client"), role="client", name="", roles=BOTH)
    effects = board.says(link, Operate(7, b"request"))
    (operated,) = sent(effects, link)
    assert isinstance(operated, Operated)
    assert (operated.number, operated.reply) == (7, b"")
    assert "only an operator" in operated.error
    assert not any(isinstance(e, Operation) for e in effects)
    assert closed(effects) == [], "it may stay"


def test_what_an_operator_asks_is_passed_on_and_what_came_of_it_comes_back() -> None:
    board, boss = Switchboard(), FakeNode("boss")
    link, _ = board.joins(boss, role="client", name="", roles=("client", "operator"))
    assert board.says(link, Operate(7, b"request")) == [Operation(link, 7, boss.identity.device, b"request")]
    effects = board.does(OperationFinished(link, 7, b"reply"))
    assert sent(effects, link) == [Operated(7, b"reply", "")]
    effects = board.does(OperationFinished(link, 8, error="no such device"))
    assert sent(effects, link) == [Operated(8, b"", "no such device")]
    board.does(GatewayLinkClosed(link))
    assert board.does(OperationFinished(link, 9, b"late")) == []


def test_who_sends_large_packets_is_told_when_others_send_as_well_and_when_they_no_longer_do() -> None:
    board = Switchboard(Limits(shared_packet_bytes=1000))
    bulk, _ = board.joins(FakeNode("bulk"), role="client", name="")
    other, _ = board.joins(FakeNode("other"), role="client", name="")
    board.now = 10.0
    assert sent(board.says(bulk, Ping(1), size=2000), bulk) == [Pong(1)], "nobody else is there"
    board.says(other, Ping(1))
    assert sent(board.says(bulk, Ping(2), size=2000), bulk) == [PacketLimit(1000), Pong(2)]
    assert sent(board.says(bulk, Ping(3), size=2000), bulk) == [Pong(3)], "once"
    board.now = 20.0
    assert sent(board.says(bulk, Ping(4), size=10), bulk) == [PacketLimit(0), Pong(4)]
