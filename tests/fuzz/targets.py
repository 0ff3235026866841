"""What the fuzzers feed: every decoder that takes bytes from the network, in one table.

A target is a function of bytes, the errors it may raise, and valid examples made by the real encoders.
To add one, write the function and its seeds, and put one line in ``TARGETS``; the corpus, the mutations
and the command then know it. ``fuzz.py NAME --write-seeds`` starts its corpus.

``check`` holds every target to the same law: only the errors it documents, in bounded time, with memory
in proportion to the bytes that came.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import datetime as dt
import enum
import functools
import gc
import hashlib
import importlib
import sys
import time
import tracemalloc
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from fuzz import tokens
from msgspec.msgpack import Ext

from easyremote.errors import (
    DecodeError,
    EasyRemoteError,
    GrantError,
    HandshakeError,
    IdentityError,
    InviteError,
    MembershipError,
    RemoteProtocolError,
    ReplayError,
    RevocationError,
    SealError,
    SignatureError,
)
from easyremote.trust.handshake import CHACHA, CLASSIC, HYBRID, LABEL, VERSION, Keys, Prekeys, initiate
from easyremote.trust.identity import (
    DEVICE_BYTES,
    SIGNATURE_BYTES,
    Identity,
    device_text,
    parse_device,
    verify,
)
from easyremote.trust.session import ORDERED, Session
from easyremote.wire import bundle as bundles
from easyremote.wire import codes, frame, messages
from easyremote.wire.cards import FunctionCard, NodeCard, PrekeyCard, decode_card, encode_card
from easyremote.wire.segments import Segments
from easyremote.wire.values import decode, decode_arguments, encode, encode_arguments

SECONDS_MAX = 0.5
"""CPU time one input may take."""
MEMORY_FACTOR, MEMORY_FREE_BYTES = 128, 4 << 20
"""An input may cost so many times its size, and so much besides: see ``values.decode`` for the densest."""
CORPUS = Path(__file__).parent / "corpus"
CORPUS_FILES_MAX = 30
CORPUS_FILE_BYTES_MAX = 20_000


@dataclasses.dataclass(frozen=True)
class Target:
    """A decoder, as the fuzzers see it.

    Attributes:
        name: What it is called on the command line and in the corpus.
        run: Takes the bytes.
        allowed: The errors it documents.
        seeds: Makes valid examples.
        libraries: What its seeds need, and what decoding would import: imported before anything is measured.
    """

    name: str
    run: Callable[[bytes], object]
    allowed: tuple[type[EasyRemoteError], ...]
    seeds: Callable[[], Iterable[bytes]]
    libraries: tuple[str, ...] = ()


class Violation(AssertionError):
    """An input made a decoder break its law.

    Attributes:
        signature: What is alike in all inputs that show the same fault.
    """

    def __init__(self, signature: str, message: str) -> None:
        super().__init__(message)
        self.signature = signature


# ---- the law


def check(target: Target, data: bytes, *, twice: bool = True) -> None:
    """Feed a target; raise ``Violation`` if it raises what it must not, or takes too long or too much.

    Memory is measured twice over, because neither measure sees everything: Python's own allocations are
    traced, and what libraries allocate shows in the process. ``twice=False`` only traces, in one run.
    What the process held before is kept from the garbage collector: going through it takes no target's time.
    """
    name = f"{target.name} on {len(data)} bytes {data[:40].hex()}"
    prepare(target)
    gc.freeze()
    try:
        _hold_to_the_law(target, data, name, twice=twice)
    finally:
        gc.unfreeze()


def _hold_to_the_law(target: Target, data: bytes, name: str, *, twice: bool) -> None:
    allowance = MEMORY_FACTOR * len(data) + MEMORY_FREE_BYTES
    if twice:
        resident = _Resident()
        started = time.process_time()
        _feed(target, data, name)
        taken = time.process_time() - started
        grown = resident.peak_bytes()
        if taken > SECONDS_MAX:  # once more: what shares the machine's caches may have slowed it
            started = time.process_time()
            _feed(target, data, name)
            taken = min(taken, time.process_time() - started)
        if taken > SECONDS_MAX:
            raise Violation("slow", f"{name} took {taken:.2f} s; at most {SECONDS_MAX} s are fine")
        if grown > allowance:
            raise Violation("memory", f"{name} grew the process by {grown:,} bytes; {allowance:,} are fine")
    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start(1)
    try:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        started = time.process_time()
        _feed(target, data, name)
        taken = time.process_time() - started
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        if not tracing:
            tracemalloc.stop()
    if not twice and taken > 4 * SECONDS_MAX:  # tracing, and a fuzzer's instruments, cost time too
        raise Violation("slow", f"{name} took {taken:.2f} s, traced; at most {4 * SECONDS_MAX} s are fine")
    if peak > allowance:
        raise Violation("memory", f"{name} allocated {peak:,} bytes; at most {allowance:,} are fine")


def _feed(target: Target, data: bytes, name: str) -> object:
    try:
        return target.run(data)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in Rust is no Exception
        if isinstance(error, target.allowed):
            return None
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        code = "?" if place is None else f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}"
        signature = f"{type(error).__name__} at {code}"
        raise Violation(signature, f"{name} raised {signature}: {error!s:.300}") from error


class _Resident:
    """How far the process grows from here on; nothing where the system does not tell (it is Linux's).

    What was freed before goes back to the system first, or growth would hide in it.
    """

    def __init__(self) -> None:
        self._start = 0
        if "pyarrow" in sys.modules:
            sys.modules["pyarrow"].default_memory_pool().release_unused()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts over
            self._start = self._read("VmRSS:")

    def peak_bytes(self) -> int:
        return self._read("VmHWM:") - self._start if self._start else 0

    @staticmethod
    def _read(field: str) -> int:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) << 10
        return 0


_prepared: set[str] = set()


def prepare(target: Target) -> None:
    """Import a target's libraries and run its seeds once, so that imports and caches are not measured."""
    if target.name not in _prepared:
        _prepared.add(target.name)
        for library in target.libraries:
            importlib.import_module(library)
        for seed in [*target.seeds(), *corpus(target.name).values()]:
            with contextlib.suppress(target.allowed):
                target.run(seed)


def corpus(name: str) -> dict[str, bytes]:
    """The kept inputs of a target, by file name."""
    folder = CORPUS / name
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*"))} if folder.is_dir() else {}


def keep(name: str, data: bytes) -> Path | None:
    """Put an input in a target's corpus, if it is small enough; its name is its hash."""
    if len(data) > CORPUS_FILE_BYTES_MAX:
        return None
    path = CORPUS / name / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# ---- who speaks: always the same, so that a corpus stays valid

ME, NODE = Identity.from_seed(b"\1" * 32), Identity.from_seed(b"\2" * 32)
CALLER_ENDPOINT, NODE_ENDPOINT = ME.device + b"caller-1", NODE.device + b"node-one"
SECRET = b"s" * 32


def drawn(label: str, length: int) -> bytes:
    return hashlib.shake_256(label.encode()).digest(length)


@functools.cache
def prekeys(suite: str) -> Prekeys:
    made = Prekeys(suite=suite, aead=CHACHA if suite == CLASSIC else "aes256gcm")
    made.rotate(lambda length: drawn(f"prekey {suite}", length))
    return made


KEYS = Keys(
    session_id=0x1122334455667788,
    aead="aes256gcm",
    caller_key=drawn("caller key", 32),
    node_key=drawn("node key", 32),
    caller_iv=drawn("caller iv", 12),
    node_iv=drawn("node iv", 12),
)


# ---- packets and frames

LOAD = messages.LoadReport(running=1, waiting=300, capacity=64, cpu=0.5)
RECORDS: list[messages.Control] = [
    messages.Challenge(nonce=b"n" * 32, version="3.0", features=["a", "b"], gateway=b"g" * 32),
    messages.Hello(CALLER_ENDPOINT, b"s" * 64, "3.0", ["x"], b"member", "studio-mac*", "node"),
    messages.Welcome("3.0", ["x"], 10.0, "studio-mac", b"g" * 32),
    messages.Rejected("name", "another node holds it"),
    messages.Advertise(b"card", b"s" * 64),
    LOAD,
    messages.Watch(),
    messages.Snapshot([messages.Presence(NODE_ENDPOINT, "lab-3", b"card", b"s" * 64, LOAD)] * 2),
    messages.Change(messages.Presence(NODE_ENDPOINT, "lab-3", b"card", b"s" * 64, LOAD)),
    messages.Change(messages.Departed(NODE_ENDPOINT, "silent")),
    messages.Change(messages.NodeLoad(NODE_ENDPOINT, LOAD)),
    messages.Undeliverable(NODE_ENDPOINT, b"\x09" + b"s" * 8 + b"\x10\x05", "gone"),
    messages.Ping(2**64 - 1),
    messages.Pong(0),
    messages.Goodbye("closing", "see you"),
]


def packet_seeds() -> Iterator[bytes]:
    bodies = [*sealed_seeds(), b"".join(bundles.write_sealed(1, 2, bundles.ORDERED, b"b" * frame.COPY_BYTES))]
    carried = frame.carry(NODE_ENDPOINT, bodies[0])
    controls = [frame.control(messages.encode(record)) for record in RECORDS]
    yield frame.join([carried])
    yield frame.join([frame.carry(NODE_ENDPOINT, bodies[-1])])
    yield frame.join([carried, controls[0], frame.carry(NODE_ENDPOINT, bodies[2]), *controls[5:8]])
    yield b"\xfa\x01\x03new" + frame.join([carried])


def read_packet(data: bytes) -> object:
    """Walk a packet, as a gateway and a device do, to the control frames and sealed heads in it."""
    return [
        bundles.read_sealed(each.body) if isinstance(each, frame.Carry) else messages.decode(each.data)
        for each in frame.walk(data)
    ]


def sealed_seeds() -> Iterator[bytes]:
    for arguments in (
        (1, 2, bundles.ORDERED, b"bundle"),
        (2**64 - 1, 300, bundles.LOOSE, b"bundle", b"bulk" * 9),
        (7, 0, bundles.ORDERED, b"bundle", None, b"handshake"),
        (7, 2**48, bundles.RESET, b""),
    ):
        yield b"".join(bundles.write_sealed(*arguments))


def bundle_seeds() -> Iterator[bytes]:
    value = msgspec.Raw(encode([1, {"x": 2}]))
    everything: list[bundles.Message] = [
        bundles.Invoke(1, "resize", value, timeout=2.5, window=1 << 18),
        bundles.Invoke(2, "resize", bundles.EMPTY, body=1, size=1 << 20),
        bundles.Result(1, value),
        bundles.Fault(1, "error", "ValueError", "no", "Traceback…", "ValueError"),
        bundles.Item(2, value),
        bundles.End(2),
        bundles.Refuse(3, "busy", "later", 1.5, 10),
        bundles.Cancel(1),
        bundles.Again(1),
        bundles.Window(2, 4096),
        bundles.Part(1, 0, 512 << 10),
    ]
    yield bundles.encode_bundle(0, 0, [])
    yield bundles.encode_bundle(2**40, 3, everything)
    yield from (bundles.encode_bundle(5, 1, [message]) for message in everything)
    yield msgspec.msgpack.encode([1, 2, [[99, {"later": [1]}], [5, 7, "added"]], "added"])


# ---- values


class Colour(enum.Enum):
    RED, GREEN = 1, 2


class Access(enum.Flag):
    READ, WRITE = 1, 2


class Pair(NamedTuple):
    left: object
    right: object


class Record(msgspec.Struct):
    name: str
    inner: object = None


@dataclasses.dataclass
class Point:
    x: float
    y: object = None
    tags: list[str] = dataclasses.field(default_factory=list)


@functools.cache
def known() -> tuple[type, ...]:
    """Classes of every kind that values are rebuilt as."""
    attrs, pydantic = importlib.import_module("attrs"), importlib.import_module("pydantic")

    @attrs.define
    class Line:
        start: object
        end: object = 0

    class Model(pydantic.BaseModel):
        name: str
        count: int = 0
        inner: list[int] | None = None

    class Many(pydantic.RootModel[list[int]]):
        pass

    for made in (Line, Model, Many):
        made.__qualname__ = made.__name__
    return (Colour, Access, Pair, Record, Point, Line, Model, Many)


LIBRARIES = ("numpy", "pandas", "polars", "pyarrow", "PIL.Image", "attrs", "pydantic")


def flat(body: bytes | Segments) -> bytes:
    return body.join() if isinstance(body, Segments) else body


def value_seeds() -> Iterator[bytes]:
    numpy, image = importlib.import_module("numpy"), importlib.import_module("PIL.Image")
    pandas = importlib.import_module("pandas")
    palette = image.new("P", (2, 2))
    palette.putpalette([1, 2, 3] * 4)
    for value in (
        None,
        [1, -1, 2**64 - 1, 1.5, True, "text", b"bytes", [[], {}], {"a": {"b": [1]}, 1: 2}],
        [2**70, -(2**70), 10**40, (1, (2, ())), {1, 2}, frozenset({"a"}), bytearray(b"xy"), 1 + 2j],
        {(1, 2): 3, frozenset(): 4, 2**80: 5},
        [OrderedDict(a=1), Counter("abba"), defaultdict(list, a=[1]), deque([1, 2], 3), range(1, 9, 2)],
        [dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")), dt.date(2024, 1, 1)],
        [dt.time(1, 2, 3, tzinfo=dt.UTC), dt.timedelta(1, 2, 3), dt.timezone(dt.timedelta(hours=2), "mine")],
        [Decimal("-1.5E+7"), Fraction(-7, 3), uuid.UUID(int=5), PurePosixPath("/a/b"), slice(1, None, 2)],
        "\ud800 lone",
        [
            numpy.arange(6, dtype="<i4").reshape(2, 3),
            numpy.asfortranarray(numpy.ones((2, 2))),
            numpy.float32(1),
        ],
        numpy.zeros(2, dtype=[("a", "<i2"), ("b", "<U3", (2,))]),
        [
            numpy.array([True, False]),
            numpy.array(["a", "bc"]),
            numpy.str_("x"),
            numpy.datetime64("2024-01-01"),
        ],
        [image.new("RGB", (2, 3), (1, 2, 3)), image.new("1", (9, 2)), palette],
        [
            pandas.Timestamp("2024-01-01", tz="UTC"),
            pandas.Timedelta(5),
            pandas.NaT,
            pandas.RangeIndex(0, 9, 2),
        ],
    ):
        yield flat(encode(value))
    yield segments_by_hand(
        [b"b" * 70, b"c" * 3], [Ext(codes.LARGE_BYTES, b"\x00"), Ext(codes.BYTEARRAY, b"\x01")]
    )


def segments_by_hand(buffers: list[bytes], value: object) -> bytes:
    """A body with segments, smaller than ``encode`` would make one."""
    from easyremote.wire.segments import build

    return build(value, [memoryview(buffer) for buffer in buffers]).join()


def object_seeds() -> Iterator[bytes]:
    line, model, many = known()[5:]
    for value in (
        [Colour.RED, Access.READ | Access.WRITE, Access(0), Pair(1, [2])],
        [Record("n", Pair(1, Point(1.0))), Point(1.0, (2,), ["x"])],
        {"line": line(1, 2), "model": model(name="x", inner=[1]), "many": many([1, 2])},
    ):
        yield flat(encode(value))


def argument_seeds() -> Iterator[bytes]:
    yield flat(encode_arguments((), {}))
    yield flat(encode_arguments((1, "a", [2.5]), {"x": None, "y": {"z": b"1"}}))
    yield flat(encode_arguments(((1, 2), {3}), {"when": dt.date(2024, 1, 1)}))


TABLE_KINDS = (
    "arrow table", "arrow batch", "arrow chunked", "arrow array", "pandas frame", "pandas series",
    "pandas index", "pandas range", "polars frame", "polars series",
)  # fmt: skip


def read_table(data: bytes) -> object:
    """Read a table: the first byte tells its kind, the rest is the Arrow stream."""
    kind = TABLE_KINDS[data[0] % len(TABLE_KINDS)] if data else "arrow table"
    return decode(
        table_value(kind, data[1:], {"pandas index": [None], "pandas range": [0, 9, 2, None]}.get(kind))
    )


def table_value(kind: str, stream: bytes, extra: object = None) -> bytes:
    return msgspec.msgpack.encode(Ext(codes.ARROW, msgspec.msgpack.encode((kind, stream, extra))))


def table_seeds() -> Iterator[bytes]:
    pyarrow, pandas = importlib.import_module("pyarrow"), importlib.import_module("pandas")

    def stream(table: Any) -> bytes:
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write(table)
        return sink.getvalue().to_pybytes()

    plain = pyarrow.table({"a": [1, 2, None], "b": ["x", "yy", None], "c": [[1], [], None]})
    rich = pyarrow.table(
        {
            "d": pyarrow.array(["x", "y", "x"]).dictionary_encode(),
            "e": pyarrow.array([True, None, False]),
            "f": pyarrow.nulls(3),
            "g": pyarrow.array([{"x": 1, "y": "a"}, None, {"x": 2, "y": "b"}]),
        }
    )
    more = pyarrow.table(
        {
            "h": pyarrow.array([dt.datetime(2024, 1, 1), None], pyarrow.timestamp("us", "UTC")),
            "i": pyarrow.array([Decimal("1.5"), None]),
            "j": pyarrow.array(["a", "a long text in a view"], pyarrow.string_view()),
            "k": pyarrow.array([[("a", 1)], []], pyarrow.map_(pyarrow.string(), pyarrow.int8())),
            "l": pyarrow.array([[1, 2], [3, 4]], pyarrow.list_(pyarrow.int16(), 2)),
        }
    )
    index = pandas.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["n", None])
    frame = pandas.DataFrame({"x": [1, 2], "y": pandas.Categorical(["u", "v"])}, index=index)
    for kind in range(0, len(TABLE_KINDS), 2):
        yield bytes([kind]) + stream(plain.select(["a"]) if TABLE_KINDS[kind] == "pandas index" else plain)
    yield b"\x00" + stream(rich)
    yield b"\x00" + stream(more)
    yield b"\x08" + stream(rich.select(["e", "f"]))
    yield b"\x04" + stream(pyarrow.Table.from_pandas(frame))
    yield b"\x05" + stream(pyarrow.table({"": [1.5, None]}))
    yield b"\x03" + stream(pyarrow.table({"": ["a", None]}))


def read_extension(data: bytes) -> object:
    """Read one extension: the first byte tells its code, the rest is its payload."""
    code = sorted(_extension_codes())[data[0] % len(_extension_codes())] if data else 0
    return decode(msgspec.msgpack.encode(Ext(code, data[1:])))


@functools.cache
def _extension_codes() -> list[int]:
    return [code for name, code in vars(codes).items() if name.isupper() and name != "NEVER_MSGPACK"]


def extension_seeds() -> Iterator[bytes]:
    """Each extension that the seeds of values hold, taken out."""
    numbers = {code: index for index, code in enumerate(sorted(_extension_codes()))}
    found: dict[int, bytes] = {}

    def look(code: int, data: memoryview) -> object:
        found[code] = bytes(data)
        with contextlib.suppress(msgspec.DecodeError):
            msgspec.msgpack.decode(found[code], ext_hook=look)
        return None if code in (codes.MAP, codes.SET, codes.FROZENSET) else (code, len(found))

    for seed in value_seeds():
        if seed[0] != codes.NEVER_MSGPACK:
            msgspec.msgpack.decode(seed, ext_hook=look)
    for code, data in sorted(found.items()):
        yield bytes([numbers[code]]) + data


# ---- cards


def card_seeds() -> Iterator[bytes]:
    prekey = PrekeyCard(id=b"12345678", suite="classic", aead="aes256gcm", key=b"k" * 32)
    yield encode_card(NodeCard(endpoint=NODE_ENDPOINT, name="lab-3", number=1, prekey=prekey))
    yield encode_card(
        NodeCard(
            endpoint=NODE_ENDPOINT,
            name="studio-mac",
            number=7,
            prekey=prekey,
            functions=[
                FunctionCard(
                    name="resize",
                    description="Make it smaller.",
                    parameters={"type": "object", "properties": {"width": {"type": "integer"}}},
                    signature="(width: int) -> bytes",
                    tags=["image"],
                    timeout_seconds=2.5,
                    resources={"gpu": 1},
                    accepts=["width"],
                ),
                FunctionCard(name="watch", stream=True, var_keyword=True, max_concurrent=2),
            ],
            facts={"cpus": 8, "gpu": "none", "load": 0.5, "battery": False},
            labels={"room": "attic"},
            capabilities=["gpu"],
            max_value_bytes=2**30,
            capacity=64,
            expires_seconds=1.9e9,
        )
    )


# ---- trust


def answer_handshake(data: bytes) -> object:
    """The bytes are the whole handshake, for a node of each suite."""
    for suite in (HYBRID, CLASSIC):
        try:
            made = prekeys(suite).respond(data, caller=CALLER_ENDPOINT, node=NODE_ENDPOINT)
        except HandshakeError as error:
            last = error
        else:
            return made
    raise last


def handshake_seeds() -> Iterator[bytes]:
    for suite in (HYBRID, CLASSIC):
        yield initiate(
            ME, caller=CALLER_ENDPOINT, node=NODE_ENDPOINT, prekey=prekeys(suite).current, secret=SECRET
        )[0]


def answer_signed(data: bytes) -> object:
    """The bytes are the sealed secret, in a handshake that its caller signed; the first tells the suite."""
    suite = CLASSIC if data[:1] < b"\x80" else HYBRID
    prekey, sealed = prekeys(suite).current, data[1:]
    parts = (
        LABEL,
        CALLER_ENDPOINT,
        NODE_ENDPOINT,
        suite.encode(),
        prekey.aead.encode(),
        prekey.id,
        prekey.key,
    )
    context = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    digest = hashlib.sha256(context + len(sealed).to_bytes(4, "big") + sealed).digest()
    handshake = msgspec.msgpack.encode(
        [VERSION, suite, prekey.aead, prekey.id, sealed, ME.sign(LABEL + digest)]
    )
    return prekeys(suite).respond(handshake, caller=CALLER_ENDPOINT, node=NODE_ENDPOINT)


def signed_seeds() -> Iterator[bytes]:
    for first, handshake in zip((b"\xff", b"\x00"), handshake_seeds(), strict=True):
        yield first + msgspec.msgpack.decode(handshake)[4]


def open_frame(data: bytes) -> object:
    """A space, a counter in 8 bytes, and what is sealed."""
    session = Session(KEYS, initiator=False)
    opened = session.open(data[0] if data else 9, int.from_bytes(data[1:9], "big", signed=True), data[9:])
    with contextlib.suppress(ReplayError):
        session.open(data[0], int.from_bytes(data[1:9], "big"), data[9:])
        raise AssertionError("a frame opened twice")
    return opened


def frame_seeds() -> Iterator[bytes]:
    session = Session(KEYS, initiator=True)
    for space, body in ((0, b""), (0, b"bundle"), (1, b"loose"), (0, b"b" * 300)):
        counter, sealed, _ = session.seal(space, body)
        yield bytes([space]) + counter.to_bytes(8, "big") + sealed


def open_bulk(data: bytes) -> object:
    """A place's length in 2 bytes, a counter in 8, and a sealed bulk segment; its frame was opened before."""
    session = Session(KEYS, initiator=False)
    counter, sealed, _ = Session(KEYS, initiator=True).seal(ORDERED, b"bundle")
    session.open(ORDERED, counter, sealed)
    place = bytearray(b"x" * int.from_bytes(data[:2], "big"))
    try:
        session.open_bulk(int.from_bytes(data[2:10], "big", signed=True), data[10:], memoryview(place))
    except SealError:
        assert set(place) <= {0} or set(place) == {ord("x")}, "bytes that nobody vouches for"
        raise
    return place


def bulk_seeds() -> Iterator[bytes]:
    for bulk in (b"", b"bulk" * 20):
        _, _, sealed = Session(KEYS, initiator=True).seal(ORDERED, b"bundle", bulk)
        assert sealed is not None
        yield len(bulk).to_bytes(2, "big") + bytes(8) + sealed


def check_signature(data: bytes) -> object:
    """A device id, a signature, and what is signed."""
    end = DEVICE_BYTES + SIGNATURE_BYTES
    return verify(data[:DEVICE_BYTES], data[DEVICE_BYTES:end], data[end:])


def signature_seeds() -> Iterator[bytes]:
    for signed in (b"", b"signed"):
        yield ME.device + ME.sign(signed) + signed


def read_device(data: bytes) -> object:
    """Any text at all, lone surrogates too."""
    return parse_device(data.decode("utf-8", "surrogateescape"))


def device_seeds() -> Iterator[bytes]:
    yield device_text(ME.device).encode()
    yield f" {device_text(NODE.device).upper()}\n".encode()


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("packet", read_packet, (RemoteProtocolError,), packet_seeds),
        Target("control", messages.decode, (RemoteProtocolError,), lambda: map(messages.encode, RECORDS)),
        Target("sealed", bundles.read_sealed, (RemoteProtocolError,), sealed_seeds),
        Target("head", bundles.read_head, (), lambda: (seed[:24] for seed in sealed_seeds())),
        Target("bundle", bundles.decode_bundle, (RemoteProtocolError,), bundle_seeds),
        Target("value", decode, (DecodeError,), value_seeds, LIBRARIES),
        Target("extension", read_extension, (DecodeError,), extension_seeds, LIBRARIES),
        Target("object", lambda data: decode(data, known=known()), (DecodeError,), object_seeds, LIBRARIES),
        Target("arguments", decode_arguments, (DecodeError,), argument_seeds, LIBRARIES),
        Target("table", read_table, (DecodeError,), table_seeds, LIBRARIES),
        Target("card", decode_card, (DecodeError,), card_seeds),
        Target("handshake", answer_handshake, (HandshakeError, ReplayError), handshake_seeds),
        Target("secret", answer_signed, (HandshakeError, ReplayError), signed_seeds),
        Target("frame", open_frame, (SealError,), frame_seeds),
        Target("bulk", open_bulk, (SealError,), bulk_seeds),
        Target("signature", check_signature, (SignatureError,), signature_seeds),
        Target("device", read_device, (IdentityError,), device_seeds),
        Target("charter", tokens.read_any_charter, (MembershipError,), tokens.charter_seeds),
        Target("membership", tokens.read_any_membership, (MembershipError,), tokens.membership_seeds),
        Target("grant", tokens.use_grant, (GrantError,), tokens.grant_seeds),
        Target("grant-line", tokens.read_grant_line, (GrantError,), tokens.grant_line_seeds),
        Target("invite", tokens.read_invite_line, (InviteError,), tokens.invite_seeds),
        Target("charter-line", tokens.read_charter_line, (MembershipError,), tokens.charter_line_seeds),
        Target("revocations", tokens.read_list, (RevocationError,), tokens.list_seeds),
        Target("operation", tokens.read_operation, (RemoteProtocolError,), tokens.operation_seeds),
        Target("answer", tokens.read_answers, (RemoteProtocolError,), tokens.answer_seeds),
        Target("enrollment", tokens.read_enrollment, (RemoteProtocolError,), tokens.enrollment_seeds),
    )
}
