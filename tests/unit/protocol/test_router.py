"""The gateway: who may attach, under which name, and where a frame goes."""

from __future__ import annotations

import random
from collections.abc import Sequence

from unit.protocol.talk import REALM, FakeNode

from easyremote.protocol.attachment import hello_transcript
from easyremote.protocol.router import (
    Admit,
    Close,
    GatewayLinkClosed,
    GatewayLinkOpened,
    GatewayPacketReceived,
    GatewayWoken,
    Report,
    Router,
    RouterEffect,
    RouterEvent,
    Send,
)
from easyremote.testing.realm import Realm
from easyremote.wire.frame import Carry, Control, join, walk
from easyremote.wire.messages import (
    Advertise,
    Change,
    Departed,
    Goodbye,
    Hello,
    LoadReport,
    NodeLoad,
    Ping,
    Pong,
    Rejected,
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

    def __init__(self) -> None:
        self.router = Router(GATEWAY, lease_seconds=10.0)
        self.realm = Realm(random.Random("realm").randbytes)
        self.links = 0
        self.now = 0.0

    def opens(self) -> tuple[int, bytes]:
        """A device connects; the link's number and the nonce it was challenged with."""
        self.links += 1
        nonce = random.Random(self.links).randbytes(32)
        self.router.handle(GatewayLinkOpened(self.links, nonce), self.now)
        return self.links, nonce

    def says(self, link: int, *said: Record | Carry) -> list[RouterEffect]:
        frames = [one if isinstance(one, Carry) else Control(encode(one)) for one in said]
        return self.does(GatewayPacketReceived(link, list(frames)))

    def does(self, event: RouterEvent) -> list[RouterEffect]:
        """The effects of an event, and of what the gateway's office answers."""
        effects: list[RouterEffect] = []
        for effect in self.router.handle(event, self.now):
            effects += self.does(self.realm.admit(effect)) if isinstance(effect, Admit) else [effect]
        return effects

    def joins(
        self, node: FakeNode, *, role: str = "node", name: str | None = None
    ) -> tuple[int, list[RouterEffect]]:
        """A device connects and says hello."""
        link, nonce = self.opens()
        return link, self.says(link, hello(node, nonce, role, node.name if name is None else name))

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


def sent(effects: Sequence[RouterEffect], link: int) -> list[Record | Carry | None]:
    frames = [
        frame for e in effects if isinstance(e, Send) and e.link == link for frame in walk(join([e.frame]))
    ]
    return [frame if isinstance(frame, Carry) else decode(frame.data) for frame in frames]


def closed(effects: Sequence[RouterEffect]) -> list[int]:
    return [effect.link for effect in effects if isinstance(effect, Close)]


def test_who_proves_who_it_is_is_welcomed() -> None:
    board = Switchboard()
    link, effects = board.joins(FakeNode("lab"))
    (welcome,) = sent(effects, link)
    assert isinstance(welcome, Welcome)
    assert (welcome.name, welcome.lease_seconds, welcome.gateway) == ("lab", 10.0, GATEWAY)


def test_who_does_not_is_turned_away() -> None:
    board, node = Switchboard(), FakeNode("lab")
    link, nonce = board.opens()
    effects = board.says(link, hello(FakeNode("lab", seed=1), nonce, "node", "lab"), Ping(1))
    assert isinstance(sent(effects, link)[0], Welcome), "its own endpoint, its own signature"
    link, _ = board.opens()
    effects = board.says(link, hello(node, bytes(32), "node", "other"))  # signed for another link
    (rejected,) = sent(effects, link)
    assert isinstance(rejected, Rejected)
    assert rejected.code == "signature"
    assert closed(effects) == [link]
    assert board.says(link, Ping(1)) == []


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


def test_only_a_node_has_a_card() -> None:
    board, node = Switchboard(), FakeNode("lab")
    link, _ = board.joins(node, role="client", name="")
    assert closed(board.shows(link, node)) == [link]


def test_a_ping_is_answered_and_keeps_the_lease() -> None:
    board, node = Switchboard(), FakeNode("lab")
    link, _ = board.joins(node)
    board.now = 9.0
    assert sent(board.says(link, Ping(5)), link) == [Pong(5)]
    board.now = 18.0
    assert board.router.handle(GatewayWoken(), board.now) == []


def test_a_silent_device_is_gone_after_a_lease() -> None:
    board, node = Switchboard(), FakeNode("lab")
    link, _ = board.joins(node)
    board.shows(link, node)
    board.now = 9.0
    watcher = board.watcher()
    board.now = 10.0
    effects = board.router.handle(GatewayWoken(), board.now)
    assert closed(effects) == [link]
    assert sent(effects, watcher) == [Change(Departed(endpoint=node.endpoint, reason="silent"))]
    assert board.router.handle(GatewayLinkClosed(link), board.now) == [], "told once"


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
