from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Packet(_message.Message):
    __slots__ = ("frames",)
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    frames: _containers.RepeatedCompositeFieldContainer[Frame]
    def __init__(self, frames: _Optional[_Iterable[_Union[Frame, _Mapping]]] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("challenge", "hello", "welcome", "rejected", "advertise", "load_report", "watch", "snapshot", "change", "carry", "undeliverable", "ping", "pong", "goodbye", "renewed", "revoked", "operate", "operated", "packet_limit", "post", "posted", "mail")
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    ADVERTISE_FIELD_NUMBER: _ClassVar[int]
    LOAD_REPORT_FIELD_NUMBER: _ClassVar[int]
    WATCH_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    CARRY_FIELD_NUMBER: _ClassVar[int]
    UNDELIVERABLE_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    PONG_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    RENEWED_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    OPERATE_FIELD_NUMBER: _ClassVar[int]
    OPERATED_FIELD_NUMBER: _ClassVar[int]
    PACKET_LIMIT_FIELD_NUMBER: _ClassVar[int]
    POST_FIELD_NUMBER: _ClassVar[int]
    POSTED_FIELD_NUMBER: _ClassVar[int]
    MAIL_FIELD_NUMBER: _ClassVar[int]
    challenge: Challenge
    hello: Hello
    welcome: Welcome
    rejected: Rejected
    advertise: Advertise
    load_report: LoadReport
    watch: Watch
    snapshot: Snapshot
    change: Change
    carry: Carry
    undeliverable: Undeliverable
    ping: Ping
    pong: Pong
    goodbye: Goodbye
    renewed: Renewed
    revoked: Revoked
    operate: Operate
    operated: Operated
    packet_limit: PacketLimit
    post: Post
    posted: Posted
    mail: Mail
    def __init__(self, challenge: _Optional[_Union[Challenge, _Mapping]] = ..., hello: _Optional[_Union[Hello, _Mapping]] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ..., rejected: _Optional[_Union[Rejected, _Mapping]] = ..., advertise: _Optional[_Union[Advertise, _Mapping]] = ..., load_report: _Optional[_Union[LoadReport, _Mapping]] = ..., watch: _Optional[_Union[Watch, _Mapping]] = ..., snapshot: _Optional[_Union[Snapshot, _Mapping]] = ..., change: _Optional[_Union[Change, _Mapping]] = ..., carry: _Optional[_Union[Carry, _Mapping]] = ..., undeliverable: _Optional[_Union[Undeliverable, _Mapping]] = ..., ping: _Optional[_Union[Ping, _Mapping]] = ..., pong: _Optional[_Union[Pong, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ..., renewed: _Optional[_Union[Renewed, _Mapping]] = ..., revoked: _Optional[_Union[Revoked, _Mapping]] = ..., operate: _Optional[_Union[Operate, _Mapping]] = ..., operated: _Optional[_Union[Operated, _Mapping]] = ..., packet_limit: _Optional[_Union[PacketLimit, _Mapping]] = ..., post: _Optional[_Union[Post, _Mapping]] = ..., posted: _Optional[_Union[Posted, _Mapping]] = ..., mail: _Optional[_Union[Mail, _Mapping]] = ...) -> None: ...

class Challenge(_message.Message):
    __slots__ = ("nonce", "version", "features", "gateway")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    version: str
    features: _containers.RepeatedScalarFieldContainer[str]
    gateway: bytes
    def __init__(self, nonce: _Optional[bytes] = ..., version: _Optional[str] = ..., features: _Optional[_Iterable[str]] = ..., gateway: _Optional[bytes] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("endpoint", "signature", "version", "features", "membership", "name", "role")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    MEMBERSHIP_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    endpoint: bytes
    signature: bytes
    version: str
    features: _containers.RepeatedScalarFieldContainer[str]
    membership: bytes
    name: str
    role: str
    def __init__(self, endpoint: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., version: _Optional[str] = ..., features: _Optional[_Iterable[str]] = ..., membership: _Optional[bytes] = ..., name: _Optional[str] = ..., role: _Optional[str] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("version", "features", "lease_seconds", "name", "gateway", "membership", "signature")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    LEASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    MEMBERSHIP_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    version: str
    features: _containers.RepeatedScalarFieldContainer[str]
    lease_seconds: float
    name: str
    gateway: bytes
    membership: bytes
    signature: bytes
    def __init__(self, version: _Optional[str] = ..., features: _Optional[_Iterable[str]] = ..., lease_seconds: _Optional[float] = ..., name: _Optional[str] = ..., gateway: _Optional[bytes] = ..., membership: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Rejected(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Advertise(_message.Message):
    __slots__ = ("card", "signature")
    CARD_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    card: bytes
    signature: bytes
    def __init__(self, card: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class LoadReport(_message.Message):
    __slots__ = ("running", "waiting", "capacity", "cpu")
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    CPU_FIELD_NUMBER: _ClassVar[int]
    running: int
    waiting: int
    capacity: int
    cpu: float
    def __init__(self, running: _Optional[int] = ..., waiting: _Optional[int] = ..., capacity: _Optional[int] = ..., cpu: _Optional[float] = ...) -> None: ...

class Watch(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Presence(_message.Message):
    __slots__ = ("endpoint", "name", "card", "signature", "load")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CARD_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    endpoint: bytes
    name: str
    card: bytes
    signature: bytes
    load: LoadReport
    def __init__(self, endpoint: _Optional[bytes] = ..., name: _Optional[str] = ..., card: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., load: _Optional[_Union[LoadReport, _Mapping]] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("nodes", "more")
    NODES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[Presence]
    more: bool
    def __init__(self, nodes: _Optional[_Iterable[_Union[Presence, _Mapping]]] = ..., more: bool = ...) -> None: ...

class Departed(_message.Message):
    __slots__ = ("endpoint", "reason")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    endpoint: bytes
    reason: str
    def __init__(self, endpoint: _Optional[bytes] = ..., reason: _Optional[str] = ...) -> None: ...

class NodeLoad(_message.Message):
    __slots__ = ("endpoint", "load")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    endpoint: bytes
    load: LoadReport
    def __init__(self, endpoint: _Optional[bytes] = ..., load: _Optional[_Union[LoadReport, _Mapping]] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("arrived", "departed", "load")
    ARRIVED_FIELD_NUMBER: _ClassVar[int]
    DEPARTED_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    arrived: Presence
    departed: Departed
    load: NodeLoad
    def __init__(self, arrived: _Optional[_Union[Presence, _Mapping]] = ..., departed: _Optional[_Union[Departed, _Mapping]] = ..., load: _Optional[_Union[NodeLoad, _Mapping]] = ...) -> None: ...

class Renewed(_message.Message):
    __slots__ = ("membership",)
    MEMBERSHIP_FIELD_NUMBER: _ClassVar[int]
    membership: bytes
    def __init__(self, membership: _Optional[bytes] = ...) -> None: ...

class Revoked(_message.Message):
    __slots__ = ("revocations",)
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    revocations: bytes
    def __init__(self, revocations: _Optional[bytes] = ...) -> None: ...

class Operate(_message.Message):
    __slots__ = ("number", "request")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    number: int
    request: bytes
    def __init__(self, number: _Optional[int] = ..., request: _Optional[bytes] = ...) -> None: ...

class Operated(_message.Message):
    __slots__ = ("number", "reply", "error")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    number: int
    reply: bytes
    error: str
    def __init__(self, number: _Optional[int] = ..., reply: _Optional[bytes] = ..., error: _Optional[str] = ...) -> None: ...

class Post(_message.Message):
    __slots__ = ("number", "request")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    number: int
    request: bytes
    def __init__(self, number: _Optional[int] = ..., request: _Optional[bytes] = ...) -> None: ...

class Posted(_message.Message):
    __slots__ = ("number", "reply", "error", "code")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    number: int
    reply: bytes
    error: str
    code: str
    def __init__(self, number: _Optional[int] = ..., reply: _Optional[bytes] = ..., error: _Optional[str] = ..., code: _Optional[str] = ...) -> None: ...

class Mail(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PacketLimit(_message.Message):
    __slots__ = ("bytes",)
    BYTES_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    def __init__(self, bytes: _Optional[int] = ...) -> None: ...

class EnrollRequest(_message.Message):
    __slots__ = ("device", "name", "role", "invite", "proof", "signature")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    INVITE_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    device: bytes
    name: str
    role: str
    invite: bytes
    proof: bytes
    signature: bytes
    def __init__(self, device: _Optional[bytes] = ..., name: _Optional[str] = ..., role: _Optional[str] = ..., invite: _Optional[bytes] = ..., proof: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class EnrollReply(_message.Message):
    __slots__ = ("code", "message", "membership", "root", "gateway", "name")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    MEMBERSHIP_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    membership: bytes
    root: bytes
    gateway: bytes
    name: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., membership: _Optional[bytes] = ..., root: _Optional[bytes] = ..., gateway: _Optional[bytes] = ..., name: _Optional[str] = ...) -> None: ...

class Carry(_message.Message):
    __slots__ = ("peer", "body")
    PEER_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    peer: bytes
    body: bytes
    def __init__(self, peer: _Optional[bytes] = ..., body: _Optional[bytes] = ...) -> None: ...

class Sealed(_message.Message):
    __slots__ = ("session", "counter", "space", "bundle", "bulk", "handshake")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    BULK_FIELD_NUMBER: _ClassVar[int]
    HANDSHAKE_FIELD_NUMBER: _ClassVar[int]
    session: int
    counter: int
    space: int
    bundle: bytes
    bulk: bytes
    handshake: bytes
    def __init__(self, session: _Optional[int] = ..., counter: _Optional[int] = ..., space: _Optional[int] = ..., bundle: _Optional[bytes] = ..., bulk: _Optional[bytes] = ..., handshake: _Optional[bytes] = ...) -> None: ...

class Undeliverable(_message.Message):
    __slots__ = ("peer", "head", "reason")
    PEER_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    peer: bytes
    head: bytes
    reason: str
    def __init__(self, peer: _Optional[bytes] = ..., head: _Optional[bytes] = ..., reason: _Optional[str] = ...) -> None: ...

class Ping(_message.Message):
    __slots__ = ("token",)
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    token: int
    def __init__(self, token: _Optional[int] = ...) -> None: ...

class Pong(_message.Message):
    __slots__ = ("token",)
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    token: int
    def __init__(self, token: _Optional[int] = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
