"""What the fuzzers feed the readers of charters, memberships, grants, invites and lists of revocations."""

from __future__ import annotations

from collections.abc import Iterator

from easyremote.gateway.authority import Delegation, read_delegation, write_delegation
from easyremote.testing.realm import EPOCH, Realm
from easyremote.trust.charter import read_charter
from easyremote.trust.grant import Grant, Terms, issue_grant, read_grant, write_grant
from easyremote.trust.identity import Identity
from easyremote.trust.invite import Invite, read_invite, write_invite
from easyremote.trust.membership import read_membership
from easyremote.trust.revocation import read_revocations
from easyremote.wire import messages, operations

REALM = Realm(lambda count: bytes(range(count)))
DEVICE = Identity.from_seed(bytes(range(1, 33)))
KEY = bytes(range(32))


def read_any_membership(data: bytes) -> object:
    return read_membership(data, DEVICE.device, REALM.root.device, EPOCH)


def membership_seeds() -> Iterator[bytes]:
    yield REALM.credential(DEVICE.device, "lab")
    yield REALM.credential(DEVICE.device, "x", roles=("operator",), functions=("vision.*", "a"), account="b")


def read_any_charter(data: bytes) -> object:
    return read_charter(data)


def charter_seeds() -> Iterator[bytes]:
    yield REALM.charter


def use_grant(data: bytes) -> object:
    """A grant that opens is asked about a call as well."""
    grant = Grant(data)
    return grant.refusals(
        function="resize", node="lab", device=DEVICE.device, account="bob", now=EPOCH, used={}
    )


def grant_seeds() -> Iterator[bytes]:
    wide = issue_grant(
        DEVICE,
        REALM.credential(DEVICE.device, "lab"),
        Terms(functions=("vision.*", "resize"), accounts=("bob",), expires=EPOCH + 60, max_calls=3),
        bytes(16),
    )
    yield wide
    yield Grant(wide).narrowed(Terms(functions=("resize",), devices=(DEVICE.device,)), bytes(8))


def read_grant_line(data: bytes) -> object:
    return read_grant(data.decode("utf-8", "surrogateescape"))


def grant_line_seeds() -> Iterator[bytes]:
    yield from (write_grant(seed).encode() for seed in grant_seeds())


def read_invite_line(data: bytes) -> object:
    return read_invite(data.decode("utf-8", "surrogateescape"))


def invite_seeds() -> Iterator[bytes]:
    for addresses, seed in ((["127.0.0.1:8080"], KEY), (["a:1", "[::1]:2"], b"")):
        invite = Invite(
            version=1, root=KEY, fingerprint=KEY, gateway=KEY, addresses=addresses, seed=seed, name="lab"
        )
        yield write_invite(invite).encode()


def read_charter_line(data: bytes) -> object:
    return read_delegation(data.decode("utf-8", "surrogateescape"))


def charter_line_seeds() -> Iterator[bytes]:
    yield write_delegation(Delegation(REALM.charter, KEY)).encode()


def read_list(data: bytes) -> object:
    return read_revocations(data, REALM.root.device, EPOCH)


def list_seeds() -> Iterator[bytes]:
    yield REALM.revocations()
    yield REALM.revocations(DEVICE.device, bytes(32), grants=(bytes(16),))


def read_operation(data: bytes) -> object:
    return operations.decode_operation(data)


def operation_seeds() -> Iterator[bytes]:
    for record in (
        operations.MakeInvite(key=KEY, role="node", uses=1, expires=EPOCH, functions=["a*"]),
        operations.ListDevices(),
        operations.ApproveDevice(KEY, b"credential"),
        operations.RenameDevice(KEY, "new", "old"),
        operations.RevokeGrant(bytes(16)),
        operations.RotateIssuer(b"charter", KEY),
    ):
        yield operations.encode_operation(record)


def read_answers(data: bytes) -> object:
    """What an operator's program is told by its gateway."""
    try:
        return operations.decode_devices(data)
    except Exception:
        return operations.decode_network(data)


def answer_seeds() -> Iterator[bytes]:
    device = operations.DeviceRecord(KEY, "lab", ["node"], "bob", ["*"], "active", EPOCH, ["lab"])
    yield operations.encode_operation([device, device])
    yield operations.encode_operation(
        operations.NetworkRecord(KEY, "home", False, ["node"], EPOCH, True, KEY, KEY, 3, ["a:1"])
    )


def read_enrollment(data: bytes) -> object:
    return messages.decode_enroll_request(data), messages.decode_enroll_reply(data)


def enrollment_seeds() -> Iterator[bytes]:
    yield messages.encode_enrollment(messages.EnrollRequest(KEY, "lab", "node", KEY, bytes(64), bytes(64)))
    yield messages.encode_enrollment(messages.EnrollReply("later", "message", b"membership", KEY, KEY, "lab"))
