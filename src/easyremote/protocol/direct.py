"""Direct links: two devices that reach each other without the gateway, and how each knows the other.

The caller dials an address that the node's signed card names, and takes no other certificate than the card
does. The node speaks first: a challenge, which the caller signs and answers with its membership; so nobody who
is not a member of the network says anything else here, and nobody speaks as a device whose key they do not hold.
The node's welcome is signed as well. From then on the link carries sealed frames, as the gateway's does; and the node
shows callers that want them its new cards there as well, because a gateway may be away for longer than prekeys live.
"""

from __future__ import annotations

from collections.abc import Iterable

from easyremote.errors import MembershipError, RemoteProtocolError, SignatureError
from easyremote.protocol.attachment import VERSION, hello_transcript, welcome_transcript
from easyremote.protocol.effects import CloseLink, Effect, Notice
from easyremote.protocol.events import DirectOpened
from easyremote.protocol.machine import NEVER
from easyremote.protocol.standing import Standing
from easyremote.trust.identity import Identity, device_text, verify
from easyremote.wire.frame import Pieces, control
from easyremote.wire.messages import Advertise, Challenge, Control, Goodbye, Hello, Rejected, Welcome, encode

CARDS = "cards"
"""The feature of a caller that takes cards over a direct link."""
ROLE = "direct"
"""What a device is on a direct link; it makes the signature one that no gateway can use."""
GREETING_SECONDS = 5.0
"""How long the two may take to know each other."""
GREETINGS_MAX = 64
"""Links from devices that have not yet said who they are; further ones are closed."""
DIRECT_MAX = 1024
"""Links from other devices in all."""


class Direct:
    """One direct link, from its opening on."""

    __slots__ = (
        "dialled",
        "greet_by",
        "link",
        "nonce",
        "outgoing",
        "peer",
        "transcript",
        "up",
        "wants_cards",
    )

    def __init__(self, opened: DirectOpened, now: float) -> None:
        self.link, self.peer, self.nonce = opened.link, opened.peer, opened.nonce
        self.dialled = bool(opened.peer)
        self.transcript = b""
        self.up = False
        self.wants_cards = False
        self.greet_by = now + GREETING_SECONDS
        self.outgoing: list[Pieces] = []

    def say(self, record: Control) -> None:
        """Queue a control frame for the other end."""
        self.outgoing.append(control(encode(record)))


class DirectLinks:
    """All direct links of one device, while they are greeted and after.

    Args:
        identity: The device.
        endpoint: Which process of it.
        standing: What it shows, and believes.
        serves: Whether others may dial here.
    """

    def __init__(self, identity: Identity, endpoint: bytes, standing: Standing, *, serves: bool) -> None:
        self._identity, self._endpoint, self._standing = identity, endpoint, standing
        self._serves = serves
        self._links: dict[int, Direct] = {}
        self._by_peer: dict[bytes, Direct] = {}
        self._greeting: dict[int, Direct] = {}  # those that have something to say, or soon will
        self._card: Advertise | None = None
        self.wake_at = NEVER

    def __contains__(self, peer: bytes) -> bool:
        return peer in self._by_peer

    def opened(self, event: DirectOpened, now: float) -> list[Effect]:
        """A link stands, and nothing has been said over it."""
        direct = Direct(event, now)
        if not direct.dialled:
            greeting = sum(1 for one in self._links.values() if not one.up and not one.dialled)
            if not self._serves or greeting >= GREETINGS_MAX or len(self._links) >= DIRECT_MAX:
                return [CloseLink("too many direct links", event.link)]
            direct.say(Challenge(nonce=event.nonce, version=VERSION, gateway=self._identity.device))
        elif event.peer in self._by_peer:
            return [CloseLink("there is a direct link already", event.link)]
        self._links[event.link] = self._greeting[event.link] = direct
        self.wake_at = min(self.wake_at, direct.greet_by)
        return []

    def show(self, card: Advertise) -> None:
        """This device's card is new: callers with a direct link see it."""
        self._card = card
        for direct in self._links.values():
            if direct.up and direct.wants_cards:
                direct.say(card)
                self._greeting[direct.link] = direct

    def dialled(self, link: int) -> bytes:
        """The node that was reached over this link; empty if it is not a link to one."""
        direct = self._links.get(link)
        return direct.peer if direct is not None and direct.up and direct.dialled else b""

    def closed(self, link: int) -> Direct | None:
        """A link is gone; the link as it was."""
        direct = self._links.pop(link, None)
        self._greeting.pop(link, None)
        if direct is not None and self._by_peer.get(direct.peer) is direct:
            del self._by_peer[direct.peer]
        return direct

    def speaker(self, link: int) -> bytes:
        """The endpoint at the other end.

        Raises:
            RemoteProtocolError: It has not said who it is.
        """
        direct = self._links.get(link)
        if direct is None or not direct.up:
            raise RemoteProtocolError("a device must say hello before it sends anything else")
        return direct.peer

    def take(self, link: int, record: Control) -> tuple[Direct | None, list[Effect]]:
        """Take a control frame; the link, if that brought it up, and what must be done about it.

        Raises:
            RemoteProtocolError: It is not what comes next.
        """
        direct = self._links.get(link)
        if direct is None:
            return None, []
        match record:
            case Challenge() if direct.dialled and not direct.transcript:
                return None, self._answer(direct, record)
            case Hello() if not direct.dialled and not direct.up:
                return self._welcome(direct, record)
            case Welcome() if direct.dialled and direct.transcript and not direct.up:
                return self._welcomed(direct, record)
            case Rejected(message=message) | Goodbye(message=message):
                return None, [CloseLink(message, link)]
        raise RemoteProtocolError(f"{type(record).__name__} has no place on a direct link now")

    def _answer(self, direct: Direct, challenge: Challenge) -> list[Effect]:
        if challenge.version != VERSION or challenge.gateway != direct.peer[:32]:
            return [CloseLink("it is not the node that was dialled", direct.link)]
        direct.transcript = hello_transcript(challenge.nonce, challenge.gateway, self._endpoint, "", ROLE)
        direct.say(
            Hello(
                endpoint=self._endpoint,
                signature=self._identity.sign(direct.transcript),
                version=VERSION,
                membership=self._standing.credential,
                role=ROLE,
                features=[CARDS],
            )
        )
        return []

    def _welcome(self, direct: Direct, hello: Hello) -> tuple[Direct | None, list[Effect]]:
        transcript = hello_transcript(direct.nonce, self._identity.device, hello.endpoint, "", ROLE)
        try:
            verify(hello.endpoint[:32], hello.signature, transcript)
            member = self._standing.check(hello.membership, hello.endpoint[:32])
        except (SignatureError, MembershipError) as error:
            direct.say(Rejected("membership", str(error)))
            return None, [CloseLink(str(error), direct.link)]
        before = self._by_peer.get(hello.endpoint)
        direct.peer, direct.up = hello.endpoint, True
        direct.wants_cards = CARDS in hello.features
        self._by_peer[hello.endpoint] = direct
        signature = self._identity.sign(welcome_transcript(transcript, ""))
        direct.say(Welcome(version=VERSION, gateway=self._identity.device, signature=signature))
        if self._card is not None and direct.wants_cards:
            direct.say(self._card)
        effects: list[Effect] = [Notice("direct link up", detail=f"from {member.name}")]
        if before is not None:
            effects.append(CloseLink("the device dialled again", before.link))
        return direct, effects

    def _welcomed(self, direct: Direct, welcome: Welcome) -> tuple[Direct | None, list[Effect]]:
        try:
            verify(direct.peer[:32], welcome.signature, welcome_transcript(direct.transcript, ""))
        except SignatureError:
            return None, [CloseLink("it is not the node that was dialled", direct.link)]
        direct.up = True
        self._by_peer[direct.peer] = direct
        return direct, [Notice("direct link up", detail=f"to {device_text(direct.peer[:32])[:8]}")]

    def cast_out(self) -> list[Effect]:
        """Revocations have changed: links of devices that no longer count are closed."""
        return [
            CloseLink("revoked", direct.link)
            for direct in self._links.values()
            if direct.peer and self._standing.revoked(direct.peer[:32])
        ]

    # ---- what goes over them

    def due(self) -> Iterable[int]:
        """The links that something of their own waits for."""
        return [one.link for one in self._greeting.values() if one.outgoing] if self._greeting else ()

    def pull(self, link: int) -> list[Pieces] | None:
        """The control frames for that link; None if it is not there."""
        direct = self._links.get(link)
        if direct is None:
            return None
        frames, direct.outgoing = direct.outgoing, []
        if frames and direct.up:  # the last that there was to say
            self._greeting.pop(link, None)
        return frames

    def wake(self, now: float) -> list[Effect]:
        """Close the links whose greeting takes too long."""
        greeting = [direct for direct in self._links.values() if not direct.up]
        self.wake_at = min((one.greet_by for one in greeting if one.greet_by > now), default=NEVER)
        return [CloseLink("nobody said who they are", one.link) for one in greeting if one.greet_by <= now]
