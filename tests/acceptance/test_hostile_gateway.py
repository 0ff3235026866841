"""The gateway is not trusted: whatever it sends, it achieves failure and nothing else."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from acceptance.hostile import HostileGateway, change_card
from acceptance.processes import until

from easyremote import Client, ComputeNode
from easyremote.errors import (
    ArgumentError,
    CallError,
    CertificateError,
    NotAllowedError,
    ScheduleError,
)
from easyremote.protocol.standing import LEEWAY_SECONDS
from easyremote.testing.realm import Realm
from easyremote.trust.handshake import HYBRID, Prekeys
from easyremote.trust.identity import Identity
from easyremote.trust.keyring import Keyring
from easyremote.trust.wallet import Wallet
from easyremote.wire.bundle import RESET, read_sealed, write_sealed
from easyremote.wire.cards import FunctionCard, PrekeyCard, decode_card
from easyremote.wire.frame import Carry
from easyremote.wire.messages import (
    Challenge,
    Change,
    Departed,
    Presence,
    Renewed,
    Revoked,
    Snapshot,
    Undeliverable,
    Welcome,
)
from easyremote.wire.messages import Control as Record


class Scene:
    """A hostile gateway, the node ``lab`` and its caller ``carol``."""

    def __init__(self, folder: Path) -> None:
        self.gateway = HostileGateway(folder)
        self.gateway.start_background()
        self.ran: list[str] = []
        self.gate = threading.Event()
        self.node = self.gateway.node("lab")

        def run(mark: str) -> str:
            self.ran.append(mark)
            return f"done {mark}"

        def wait(mark: str) -> str:
            self.ran.append(mark)
            self.gate.wait(20)
            return f"done {mark}"

        self.node.register(run, name="run")
        self.node.register(wait, name="wait")
        self.node.serve(blocking=False)
        assert self.node.wait_for_connection(10)
        self.lab = self._device("lab")
        self.open: list[Client | ComputeNode] = [self.node]
        self.carol = self.client("carol")

    def _device(self, name: str) -> Identity:
        found = Keyring(self.gateway.folder / name).key("device.key")
        assert found is not None
        return found

    def client(self, name: str, **options: object) -> Client:
        made = self.gateway.client(name, **options)
        self.open.append(made)
        return made

    def device(self, name: str) -> bytes:
        return self._device(name).device

    def sees_lab(self, client: Client) -> None:
        until(lambda: client.list_nodes(), what="the node")

    def close(self) -> None:
        self.gate.set()
        for one in self.open:
            if isinstance(one, Client):
                one.close()
            else:
                one.stop(0.0)
        self.gateway.stop()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


def test_without_mischief_everything_works(scene: Scene) -> None:
    """Or the tests below would show nothing."""
    scene.sees_lab(scene.carol)
    assert scene.carol.execute("lab.run", "a") == "done a"


# ---- tokens


def test_another_devices_token_is_worth_nothing(scene: Scene) -> None:
    (kept,) = Wallet(Keyring(scene.gateway.folder / "lab")).networks()
    thief = scene.client("thief", credential=kept.credential)
    scene.sees_lab(thief)
    with pytest.raises(NotAllowedError, match="shown by device"):
        thief.execute("lab.run", "stolen")
    assert scene.ran == []


def test_a_token_of_another_network_or_of_the_gateways_own_making_is_worth_nothing(scene: Scene) -> None:
    elsewhere = Realm(os.urandom, time.time)
    identity = Keyring(scene.gateway.folder / "eve").identity(os.urandom(32))
    for credential in (elsewhere.credential(identity.device, "carol"), b"", b"\x93\x01\xc4\x00\xc4\x00"):
        eve = scene.client("eve", credential=credential)
        scene.sees_lab(eve)
        with pytest.raises(NotAllowedError):
            eve.execute("lab.run", "forged")
        eve.close()
    assert scene.ran == []


# ---- cards


def attackers_prekey() -> PrekeyCard:
    prekeys = Prekeys(suite=HYBRID)
    public = prekeys.rotate(os.urandom)
    return PrekeyCard(id=public.id, suite=public.suite, aead=public.aead, key=public.key)


@pytest.mark.parametrize("resigned", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {"prekey": attackers_prekey()},
        {"functions": [FunctionCard(name="run", idempotent=True), FunctionCard(name="extra")]},
        {"max_value_bytes": 1},
        {"expires_seconds": None},
        {"number": 99},
        {"name": "other"},
        {"membership": b""},
        {"endpoint": bytes(40)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_an_edited_card_is_not_believed(scene: Scene, changes: dict[str, object], resigned: bool) -> None:
    mallory = Identity.from_seed(os.urandom(32))
    scene.gateway.rewrites_presences(
        lambda shown: change_card(shown, mallory if resigned else None, **changes)
    )
    victim = scene.client("victim")
    assert victim.list_nodes() == []
    with pytest.raises(ScheduleError):
        victim.execute("lab.run", "lured")
    assert scene.ran == []


def test_an_old_card_does_not_take_the_place_of_a_newer(scene: Scene) -> None:
    shown: list[Presence] = []
    scene.gateway.rewrites_presences(lambda presence: (shown.append(presence), presence)[1])
    client = scene.client("dave")
    scene.sees_lab(client)
    scene.node.register(lambda: 1, name="newer")
    until(lambda: "newer" in {one.name for one in client.functions()}, what="the newer card")
    old, link = shown[0], scene.gateway.link_of(scene.device("dave"))
    scene.gateway.says(link, Change(event=old), Snapshot(nodes=[old]))
    assert client.execute("lab.newer") == 1
    assert "newer" in {one.name for one in client.functions()}


def test_an_expired_card_is_not_believed(scene: Scene) -> None:
    """A card from a backup of the gateway's: well signed, and long over."""
    past = time.time() - LEEWAY_SECONDS - 1.0
    scene.gateway.rewrites_presences(lambda shown: change_card(shown, scene.lab, expires_seconds=past))
    assert scene.client("victim").list_nodes() == []


# ---- impostors


def test_an_impostor_with_the_same_name_is_not_called(scene: Scene) -> None:
    """Another member, in league with the gateway, which lets it in as ``lab``."""
    took: list[str] = []
    impostor = scene.gateway.node("lab", "impostor")
    scene.open.append(impostor)
    impostor.register(lambda mark: took.append(mark), name="run")
    scene.gateway.rewrites_presences(
        lambda shown: shown if shown.endpoint[:32] == scene.device("impostor") else None
    )
    impostor.serve(blocking=False)
    assert impostor.wait_for_connection(10)
    assert impostor.name == "lab"
    victim = scene.client("victim")
    assert victim.list_nodes() == []
    for function in ("lab.run", "run"):
        with pytest.raises(ScheduleError):
            victim.execute(function, "lured")
    assert took == []


def test_frames_that_are_led_to_an_impostor_open_for_nobody(scene: Scene) -> None:
    took: list[str] = []
    impostor = scene.gateway.node("impostor")
    scene.open.append(impostor)
    impostor.register(lambda mark: took.append(mark), name="run")
    impostor.serve(blocking=False)
    assert impostor.wait_for_connection(10)
    scene.sees_lab(scene.carol)
    table = scene.gateway.router.table
    lab, other = (scene.gateway.endpoint_of(scene.device(name)) for name in ("lab", "impostor"))
    table.by_endpoint[lab] = table.by_endpoint[other]  # what is for lab goes to the impostor
    with pytest.raises(CallError):
        scene.carol.execute("lab.run", "misled", timeout=2)
    assert took == []
    assert scene.ran == []


# ---- frames


def test_injected_and_repeated_frames_run_nothing(scene: Scene) -> None:
    """Everything a caller sent comes again, in another order, altered, and under other names."""
    scene.sees_lab(scene.carol)
    assert scene.carol.execute("lab.run", "once") == "done once"
    gateway, chance = scene.gateway, random.Random(5)
    lab, carol = gateway.link_of(scene.device("lab")), gateway.endpoint_of(scene.device("carol"))
    sent = [frame for event in list(gateway.heard) for frame in event.frames if isinstance(frame, Carry)]
    bodies = [bytes(frame.body) for frame in sent]
    assert bodies
    forged: list[Carry] = []
    for body in bodies * 3:
        forged.append(Carry(carol, body))
        forged.append(Carry(os.urandom(40), body))
        place = chance.randrange(len(body))
        forged.append(Carry(carol, body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]))
        forged.append(Carry(carol, os.urandom(len(body))))
    chance.shuffle(forged)
    gateway.says(lab, *forged)
    assert scene.carol.execute("lab.run", "twice") == "done twice"
    assert scene.ran == ["once", "twice"]


def test_resets_and_false_news_run_nothing_twice(scene: Scene) -> None:
    """The gateway tells the caller that its node is gone, its frames came back, and its session is unknown."""
    twin = scene.gateway.node("twin")
    scene.open.append(twin)
    twin.register(lambda mark: scene.ran.append(mark), name="wait")
    twin.serve(blocking=False)
    assert twin.wait_for_connection(10)
    until(lambda: len(scene.carol.list_nodes()) == 2, what="both nodes")
    gateway = scene.gateway
    link = gateway.link_of(scene.device("carol"))
    for number in range(6):
        mark = f"call {number}"
        running = scene.carol.submit("wait", mark) if number % 2 else scene.carol.submit("lab.wait", mark)
        until(lambda mark=mark: mark in scene.ran, what="the call to run")
        sent = [
            f for e in list(gateway.heard) for f in e.frames if isinstance(f, Carry) and len(f.body) > 100
        ]
        (head, peer) = bytes(sent[-1].body[:48]), sent[-1].peer
        lies: list[Record | Carry] = [
            Undeliverable(peer=peer, head=head, reason="not connected"),
            Change(event=Departed(endpoint=peer, reason="left")),
        ]
        if number >= 3:
            session = read_sealed(sent[-1].body).session
            lies.insert(0, Carry(peer, b"".join(write_sealed(session, 0, RESET, b""))))
        gateway.says(link, *lies)
        scene.gate.set()
        with contextlib.suppress(CallError):
            running.result(10)
        scene.gate.clear()
        gateway.says(link, *_presences(scene))
        until(lambda: len(scene.carol.list_nodes()) == 2, what="both nodes again")
    assert sorted(scene.ran) == sorted(set(scene.ran)), "each ran once"
    assert len(scene.ran) == 6


def _presences(scene: Scene) -> list[Record]:
    return [Change(event=one) for one in scene.gateway.router.table.nodes()]


def test_answers_cannot_be_forged_or_swapped(scene: Scene) -> None:
    scene.sees_lab(scene.carol)
    held: list[Carry] = []
    caller = scene.gateway.link_of(scene.device("carol"))

    def swap(link: int, frame: Record | Carry) -> Sequence[Record | Carry]:
        """Each answer is held until the next has come, and then goes second; and once more, altered."""
        if link != caller or not isinstance(frame, Carry):
            return [frame]
        held.append(frame)
        if len(held) % 2:
            return []
        broken = bytearray(held[-1].body)
        broken[-1] ^= 1
        return [held[-1], Carry(frame.peer, bytes(broken)), held[-2], held[-2]]

    scene.gateway.rewrites(swap)
    marks = [f"m{number}" for number in range(20)]
    answers = {mark: scene.carol.submit("lab.run", mark) for mark in marks}
    for mark, answer in answers.items():
        assert answer.result(20) == f"done {mark}"
    assert sorted(scene.ran) == sorted(marks)


# ---- what the gateway says of itself and of memberships


def test_a_gateway_that_is_another_than_the_pinned_one_is_left(scene: Scene) -> None:
    """The right certificate, and a key of its own."""
    other = Identity.from_seed(os.urandom(32))

    def rewrite(link: int, frame: Record | Carry) -> Sequence[Record | Carry]:
        if isinstance(frame, Challenge):
            return [msgspec.structs.replace(frame, gateway=other.device)]
        return [frame]

    scene.gateway.rewrites(rewrite)
    with pytest.raises(CertificateError):
        scene.client("victim").list_nodes()

    def forge(link: int, frame: Record | Carry) -> Sequence[Record | Carry]:
        if isinstance(frame, Welcome):
            return [msgspec.structs.replace(frame, signature=other.sign(b"welcome"))]
        return [frame]

    scene.gateway.rewrites(forge)
    with pytest.raises(CertificateError):
        scene.client("victim-2").list_nodes()


def test_forged_and_old_revocations_put_nobody_out(scene: Scene) -> None:
    scene.sees_lab(scene.carol)
    realm, elsewhere = scene.gateway.realm, Realm(os.urandom, time.time)
    lab, carol = scene.gateway.link_of(scene.device("lab")), scene.device("carol")
    for link in (lab, scene.gateway.link_of(carol)):
        for forged in (elsewhere.revocations(carol, scene.device("lab")), b"", os.urandom(200)):
            scene.gateway.says(link, Revoked(forged))
    assert scene.carol.execute("lab.run", "a") == "done a"
    out, nobody = realm.revocations(carol), realm.revocations()
    assert scene.node._running is not None
    standing = scene.node._running._device.standing
    scene.gateway.says(lab, Revoked(nobody), Revoked(out))  # the older one comes second
    assert scene.carol.execute("lab.run", "b") == "done b"
    assert not standing.revoked(carol)
    scene.gateway.says(lab, Revoked(realm.revocations(carol)))
    until(lambda: standing.revoked(carol), what="the newest list")
    scene.gateway.says(lab, Revoked(nobody))
    with pytest.raises((CallError, ScheduleError)):
        scene.carol.execute("lab.run", "c", timeout=3)
    assert standing.revoked(carol), "a list that was true once brings nobody back"
    assert "c" not in scene.ran


def test_a_membership_the_gateway_makes_up_is_not_taken(scene: Scene) -> None:
    scene.sees_lab(scene.carol)
    elsewhere = Realm(os.urandom, time.time)
    carol = scene.device("carol")
    link = scene.gateway.link_of(carol)
    scene.gateway.says(
        link,
        Renewed(elsewhere.credential(carol, "carol")),
        Renewed(scene.gateway.realm.credential(os.urandom(32), "carol")),
        Renewed(os.urandom(300)),
    )
    assert scene.carol.execute("lab.run", "still") == "done still"


def test_the_gateway_reads_nothing(scene: Scene) -> None:
    """Every frame it carried, searched for what was said."""
    scene.sees_lab(scene.carol)
    assert scene.carol.execute("lab.run", "a-very-secret-argument") == "done a-very-secret-argument"
    with pytest.raises(ArgumentError):
        scene.carol.execute("lab.run", "another", "secret")
    carried = b"".join(
        bytes(frame.body)
        for event in scene.gateway.heard
        for frame in event.frames
        if isinstance(frame, Carry)
    )
    assert len(carried) > 500
    for secret in (b"very-secret", b"done ", b"run", b"carol"):
        assert secret not in carried


def test_cards_say_what_the_gateway_may_know(scene: Scene) -> None:
    """Names of listed functions, and nothing of calls."""
    (presence,) = scene.gateway.router.table.nodes()
    assert {function.name for function in decode_card(presence.card).functions} == {"run", "wait"}
