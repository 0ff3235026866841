"""Who is there and what they offer: a device's own copy, pushed by the gateway.

The gateway says who is connected, and may lie by leaving out; what a node says of itself is in its
card, which the node signs, and in it its membership, which the network's issuer signed: so the gateway
cannot edit a card, pass an old one off as new, invent a node, or give one node's name to another.

A node that vanishes is not forgotten at once: a dropped connection is often back within a second,
and after a gateway's restart everyone is. Until its grace is over a node is *missing*: it gets no new
calls, and calls in flight wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from easyremote.errors import DecodeError, MembershipError, RemoteProtocolError, SignatureError
from easyremote.protocol.machine import NEVER
from easyremote.protocol.standing import Standing
from easyremote.schedule.candidates import Candidate
from easyremote.trust.identity import verify
from easyremote.trust.membership import Membership
from easyremote.wire.cards import FunctionCard, NodeCard, decode_card
from easyremote.wire.limits import LOST_AFTER_SECONDS
from easyremote.wire.messages import Advertise, Change, Departed, LoadReport, NodeLoad, Presence, Snapshot

CLOSED_GRACE_SECONDS = 1.0
"""How long calls wait for a node whose connection dropped: its process has most likely ended."""
REDIAL_SECONDS_MAX = 300.0
CARD_LABEL = b"easyremote/v1 card"


def card_transcript(card: bytes) -> bytes:
    """What a node signs to vouch for its card."""
    return CARD_LABEL + card


def letter_card_transcript(card: bytes) -> bytes:
    """What a node signs to vouch for the card that letters to it go by."""
    return b"easyremote/v1 mailbox card" + card


class NodeView:
    """A node as this device sees it."""

    __slots__ = (
        "addresses",
        "candidate",
        "card",
        "dial_at",
        "dial_failures",
        "functions",
        "load",
        "membership",
        "missing_until",
        "patience_seconds",
        "suspect_at",
        "why_missing",
    )

    def __init__(self, card: NodeCard, load: LoadReport, membership: Membership) -> None:
        self.candidate = Candidate(endpoint=card.endpoint, name=card.name)
        self.missing_until = NEVER
        """When calls that it has are lost, unless it is back by then."""
        self.suspect_at = NEVER
        """From when on nothing new waits for it, and what may run elsewhere does."""
        self.why_missing = ""
        self.patience_seconds = 0.0
        self.addresses: list[str] = []
        self.dial_at = NEVER
        """From when on a call may have the node dialled directly."""
        self.dial_failures = 0
        self.update(card, load, membership)

    def update(self, card: NodeCard, load: LoadReport, membership: Membership) -> None:
        """Take a newer card."""
        self.card = card
        self.membership = membership
        self.load = load
        self.functions: dict[str, FunctionCard] = {function.name: function for function in card.functions}
        candidate = self.candidate
        candidate.capacity = card.capacity
        candidate.labels = card.labels
        candidate.capabilities = frozenset(card.capabilities)
        candidate.draining = card.draining
        if card.addresses != self.addresses:
            self.addresses, self.dial_failures = card.addresses, 0
            self.dial_at = 0.0 if card.addresses else NEVER

    def dial_later(self, now: float) -> None:
        """It could not be reached directly, or no longer is: try again, each time a little later."""
        self.dial_failures += 1
        self.dial_at = now + min(2.0**self.dial_failures, REDIAL_SECONDS_MAX) if self.addresses else NEVER

    @property
    def present(self) -> bool:
        """Whether the gateway says that the node is connected."""
        return self.missing_until == NEVER

    @property
    def expected(self) -> bool:
        """Whether it is away, and most likely back in a moment."""
        return not self.present and self.suspect_at < NEVER


class Directory:
    """The live copy.

    Args:
        standing: What this device believes.
        dials: Whether nodes are to be reached directly where they can be.
        lost_after: After how many seconds of silence a node is given up, with the calls that it has.
    """

    def __init__(
        self, standing: Standing, *, dials: bool = True, lost_after: float = LOST_AFTER_SECONDS
    ) -> None:
        self._standing = standing
        self._dials = dials
        self._lost_after = lost_after
        self.nodes: dict[bytes, NodeView] = {}
        self.synced = False
        self.rejected = 0
        """Cards that were not believed, since the start."""
        self.why_rejected = ""
        self._by_name: dict[str, NodeView] = {}
        self._by_function: dict[str, list[Candidate]] = {}
        self.wake_at = NEVER

    def __iter__(self) -> Iterator[NodeView]:
        # A copy: programs look from their own threads while the loop changes it.
        return iter([view for view in list(self.nodes.values()) if view.present])

    def named(self, name: str) -> NodeView | None:
        """The node of this name, present or missing."""
        return self._by_name.get(name)

    def offering(self, function: str) -> list[Candidate]:
        """The nodes present that offer this function."""
        found = self._by_function.get(function)
        if found is None:
            found = [view.candidate for view in self if function in view.functions]
            if found:
                self._by_function[function] = found
        return found

    def missing_offers(self, function: str) -> bool:
        """Whether a node that is most likely back in a moment offers this function."""
        return any(view.expected and function in view.functions for view in list(self.nodes.values()))

    def away(self, function: str, name: str | None) -> NodeView | None:
        """A node that offers this function, or has this name, and is known but not present."""
        for view in self.nodes.values():
            if not view.present and (function in view.functions if name is None else view.card.name == name):
                return view
        return None

    def function_names(self) -> set[str]:
        """Every function some present node lists."""
        return {name for view in self for name in view.functions}

    # ---- what the gateway pushes

    def take_snapshot(self, snapshot: Snapshot, now: float, grace_seconds: float) -> list[bytes]:
        """The whole directory at this moment; returns the endpoints that are (again) present.

        Nodes it does not name are missing, not gone: after a gateway's restart they are on their way.
        """
        named = {presence.endpoint for presence in snapshot.nodes}
        for endpoint, view in self.nodes.items():
            if endpoint not in named and view.present:
                patience = max(grace_seconds, self._lost_after)
                self._miss(view, now + grace_seconds, now + patience, "did not come back to the gateway")
        for presence in snapshot.nodes:
            self._take_presence(presence, now)
        self.synced = True
        self._reckon()
        return [presence.endpoint for presence in snapshot.nodes if presence.endpoint in self.nodes]

    def take_change(self, change: Change, now: float) -> bytes | None:
        """One thing changed; returns the endpoint that is (again) present, if that is what changed."""
        match change.event:
            case Presence(endpoint=endpoint) as presence:
                self._take_presence(presence, now)
                self._reckon()
                return endpoint if endpoint in self.nodes else None
            case Departed(endpoint=endpoint, reason=reason):
                view = self.nodes.get(endpoint)
                if view is not None and view.present:
                    if reason == "closed":
                        grace_at = now + CLOSED_GRACE_SECONDS
                        self._miss(view, grace_at, grace_at, "lost its connection")
                    elif reason == "broken":
                        grace_at = now + CLOSED_GRACE_SECONDS
                        patience = max(CLOSED_GRACE_SECONDS, self._lost_after)
                        self._miss(view, grace_at, now + patience, "lost its connection")
                    elif reason == "silent":
                        self._miss(view, now, now + self._lost_after, "fell silent")
                    else:
                        self._miss(view, now, now, "left")
                    self._reckon()
            case NodeLoad(endpoint=endpoint, load=load):
                view = self.nodes.get(endpoint)
                if view is not None:
                    view.load = load
                    view.candidate.running, view.candidate.waiting = load.running, load.waiting
        return None

    def take_card(self, endpoint: bytes, shown: Advertise) -> None:
        """A node that is known shows its card itself, over a direct link; who is there only the gateway says."""
        view = self.nodes.get(endpoint)
        if view is None:
            return
        try:
            verify(endpoint[:32], shown.signature, card_transcript(shown.card))
            card = decode_card(shown.card)
            if card.endpoint != endpoint or card.name != view.card.name or card.number < view.card.number:
                return
            membership = self._check_membership(card)
        except (SignatureError, MembershipError, DecodeError) as error:
            self.rejected += 1
            self.why_rejected = str(error)
            return
        view.update(card, view.load, membership)
        if not self._dials:
            view.dial_at = NEVER
        self._by_function.clear()

    def _take_presence(self, presence: Presence, now: float) -> None:
        view = self.nodes.get(presence.endpoint)
        try:
            verify(presence.endpoint[:32], presence.signature, card_transcript(presence.card))
            card = decode_card(presence.card)
            if card.endpoint != presence.endpoint or card.name != presence.name:
                raise RemoteProtocolError("a card was shown for another node than its own")
            if view is not None and card.number < view.card.number:
                raise RemoteProtocolError("an old card was shown in place of a newer one")
            membership = self._check_membership(card)
        except (SignatureError, MembershipError, DecodeError, RemoteProtocolError) as error:
            self.rejected += 1
            self.why_rejected = str(error)
            return
        if view is None:
            view = self.nodes[card.endpoint] = NodeView(card, presence.load, membership)
        else:
            if self._by_name.get(view.card.name) is view:
                del self._by_name[view.card.name]  # it may have come back under another
            view.update(card, presence.load, membership)
        view.missing_until = view.suspect_at = NEVER
        if not self._dials:
            view.dial_at = NEVER
        before = self._by_name.get(card.name)
        if before is not None and before is not view and not before.present:  # its process has ended
            before.missing_until, before.why_missing = now, "was started anew"
        self._by_name[card.name] = view
        self._by_function.clear()

    def _check_membership(self, card: NodeCard) -> Membership:
        """A node belongs to the network, under the name it shows; nobody else may have that name."""
        membership = self._standing.check(card.membership, card.endpoint[:32])
        if "node" not in membership.roles:
            raise MembershipError(f"{membership.name!r} is not a node of this network")
        if membership.name != card.name:
            raise MembershipError(f"{membership.name!r} showed a card as {card.name!r}")
        if card.expires_seconds is not None and card.expires_seconds <= self._standing.earliest():
            raise MembershipError(f"the card of {card.name!r} has expired")
        return membership

    def cast_out(self) -> list[NodeView]:
        """Revocations have changed: forget the nodes that no longer count."""
        out = []
        for view in list(self.nodes.values()):
            try:
                self._check_membership(view.card)
            except MembershipError:
                out.append(view)
        self._forget(out)
        return out

    def clear(self) -> None:
        """This is another network: nothing known of the one before holds."""
        self._forget(list(self.nodes.values()))
        self.synced = False

    def _miss(self, view: NodeView, suspect_at: float, until: float, why: str) -> None:
        view.suspect_at, view.missing_until, view.why_missing = suspect_at, until, why
        view.patience_seconds = until - suspect_at
        self._by_function.clear()

    # ---- time

    def suspects(self, now: float, speaks: Callable[[bytes], bool] = lambda _: False) -> list[NodeView]:
        """Nodes that are no longer expected back in a moment, each told once; their calls may be theirs still."""
        found = []
        for view in self.nodes.values():
            if view.suspect_at <= now < view.missing_until:
                if speaks(view.card.endpoint):
                    view.suspect_at = now + CLOSED_GRACE_SECONDS
                else:
                    view.suspect_at = NEVER
                    found.append(view)
        self._reckon()
        return found

    def expire(self, now: float, speaks: Callable[[bytes], bool] = lambda _: False) -> list[NodeView]:
        """Forget the nodes whose grace is over; they are lost, unless they still speak to us some other way."""
        lost = []
        for view in self.nodes.values():
            if view.missing_until <= now:
                if speaks(view.card.endpoint):
                    view.suspect_at = now + CLOSED_GRACE_SECONDS
                    view.missing_until = now + max(view.patience_seconds, CLOSED_GRACE_SECONDS)
                else:
                    lost.append(view)
        self._forget(lost)
        self._reckon()
        return lost

    def _forget(self, lost: list[NodeView]) -> None:
        for view in lost:
            del self.nodes[view.card.endpoint]
            if self._by_name.get(view.card.name) is view:
                del self._by_name[view.card.name]
        if lost:
            self._by_function.clear()
            self._reckon()

    def hold(self) -> None:
        """Our own link is down: nobody's grace runs out meanwhile."""
        for view in self.nodes.values():
            if not view.present:
                view.missing_until = view.suspect_at = NEVER
        self._by_function.clear()
        self._reckon()

    def _reckon(self) -> None:
        views = self.nodes.values()
        self.wake_at = min((min(view.missing_until, view.suspect_at) for view in views), default=NEVER)
