"""Grants: who may call which functions, until when, how often.

A grant is a Biscuit token signed by a device that has something to give: a node for its own functions, an
operator for the network's. Whoever holds it may narrow it, offline, as often as wanted, and hand it on; no
block can widen it. Nodes check it, and the node that serves a call counts it.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime
from typing import Annotated, Any

import msgspec

from easyremote.errors import GrantError, TrustError
from easyremote.trust.identity import Identity, device_text
from easyremote.trust.tokens import build, failed_checks, moment, narrow, open_token, query, sources, token_id
from easyremote.wire.limits import TOKEN_BYTES_MAX

PREFIX = "easyremote-grant:"
BUDGET_ID_BYTES = 8
HOLDERS_MAX = 32

_BUDGET = re.compile(r'used\("([0-9a-f]{16})", \$n\), \$n < (\d{1,18})')
_HEX, _TEXT = r"hex:[0-9a-f]{2,128}", r'"[^"\n]{0,128}"'
_HOLDER = rf"(?:caller_device\({_HEX}\)|caller_account\({_TEXT}\))"
_CHECKS = (
    r'check if function\(\$f\), \$f\.matches\("\^\(\?:(?:\w|\||\\[.-]|\.\*){1,512}\)\$"\)'
    rf"|check if {_HOLDER}(?: or {_HOLDER}){{0,31}}"
    r"|check if time\(\$t\), \$t < \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    r'|check if used\("[0-9a-f]{16}", \$n\), \$n < \d{1,18}'
)
_CHECK, _FIRST = re.compile(_CHECKS), re.compile(rf"{_CHECKS}|grant\({_HEX}\)")
_END = re.compile(r"time\(\$t\), \$t < (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")
_PATTERN = re.compile(r"[\w.*-]{1,128}")


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a grant, or one narrowing of it, allows; None and empty mean: not limited here.

    Attributes:
        functions: Patterns such as ``vision.*`` or ``resize``; a call matches as ``function`` or ``node.function``.
        devices: Who may use it, by device id.
        accounts: Or whose devices may.
        expires: Seconds since 1970.
        max_calls: How many calls it pays for, at each node that is asked.
    """

    functions: tuple[str, ...] = ()
    devices: tuple[bytes, ...] = ()
    accounts: tuple[str, ...] = ()
    expires: float | None = None
    max_calls: int | None = None


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    version: int
    granter: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    credential: Annotated[bytes, msgspec.Meta(max_length=TOKEN_BYTES_MAX)]
    token: Annotated[bytes, msgspec.Meta(max_length=TOKEN_BYTES_MAX)]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Envelope)


def granter_of(data: bytes) -> tuple[bytes, bytes]:
    """Who says that it gave this grant, and what it showed of its standing; nothing of it is checked.

    Raises:
        GrantError: It is malformed.
    """
    try:
        envelope = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise GrantError("this is not a grant") from None
    return envelope.granter, envelope.credential


class Grant:
    """A grant whose signatures fit; what it allows is asked call by call.

    Attributes:
        granter: The device that signed its first block.
        credential: What the granter showed of its own standing; empty for a node's own functions.
        id: Names the grant and everything narrowed from it.
        budgets: Names of the budgets in it, each with its limit.
        expires: Its end in seconds since 1970 as far as can be told; 0 if it says more of time than that.
    """

    def __init__(self, data: bytes) -> None:
        """Open a grant.

        Raises:
            GrantError: It is malformed or altered.
        """
        self.data = data
        try:
            envelope = _decoder.decode(data)
            self._token: Any = open_token(envelope.token, envelope.granter, _FIRST, _CHECK)
            if not query(self._token, "grant"):
                raise GrantError("this token is not a grant")
            self.id = token_id(self._token)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise GrantError("this is not a grant") from None
        except TrustError as error:
            raise GrantError(f"this grant cannot be used: {error}") from None
        if envelope.version != 1:
            raise GrantError(f"a grant of version {envelope.version}; this program reads version 1")
        self.granter, self.credential = envelope.granter, envelope.credential
        self.budgets: list[tuple[str, int]] = [
            (found[1], int(found[2])) for block in self.blocks() for found in _BUDGET.finditer(block)
        ]
        self.expires = _end_of(self.blocks())

    def __repr__(self) -> str:
        """Which grant; not the grant itself, which is worth something."""
        return f"<Grant {self.id.hex()[:8]} of {device_text(self.granter)[:8]}>"

    def blocks(self) -> list[str]:
        """Its blocks as text, for people."""
        return sources(self._token)

    def refusals(
        self, *, function: str, node: str, device: bytes, account: str, now: float, used: dict[str, int]
    ) -> list[str]:
        """Why it does not allow this call, each reason in words; empty if it does.

        Args:
            function: The function's name at the node.
            node: The node's name.
            device: The caller's device.
            account: The caller's account.
            now: Seconds since 1970.
            used: How many calls each budget has paid for so far.
        """
        code = "function({function}); function({qualified}); caller_device({device}); caller_account({account}); time({time});"
        values: dict[str, Any] = {
            "function": function,
            "qualified": f"{node}.{function}",
            "device": device,
            "account": account,
            "time": moment(now),
        }
        for number, (budget, _) in enumerate(self.budgets):
            code += f" used({{budget{number}}}, {{used{number}}});"
            values[f"budget{number}"], values[f"used{number}"] = budget, used.get(budget, 0)
        return [_in_words(check, f"{node}.{function}") for check in failed_checks(self._token, code, values)]

    def narrowed(self, terms: Terms, entropy: bytes) -> bytes:
        """The grant under further terms; needs no key and no network.

        Raises:
            GrantError: The terms make no sense, or it was narrowed too often.
        """
        code, values = _checks(terms, entropy)
        if not code:
            raise GrantError(
                "say how to narrow it: functions, a device or account, an expiry or a number of calls"
            )
        try:
            token = narrow(self._token, code, values)
        except TrustError as error:
            raise GrantError(str(error)) from None
        return _encoder.encode(_Envelope(1, self.granter, self.credential, token))


def _end_of(blocks: list[str]) -> float:
    """When the first of its times is up; 0 where a block asks for the time in a way of its own."""
    ends: list[float] = []
    for block in blocks:
        found = _END.findall(block)
        if len(found) != block.count("time("):
            return 0.0
        ends += [datetime.fromisoformat(one).timestamp() for one in found]
    return min(ends, default=float("inf"))


def issue_grant(granter: Identity, credential: bytes, terms: Terms, entropy: bytes) -> bytes:
    """A fresh grant, signed by this device.

    Args:
        granter: The device that gives.
        credential: Its membership, which shows nodes that it may.
        terms: What is given; at least functions and an expiry.
        entropy: 16 random bytes: the grant's name and its budget's.

    Raises:
        GrantError: The terms make no sense.
    """
    if not terms.functions or terms.expires is None:
        raise GrantError("a grant says which functions it is for, and until when")
    code, values = _checks(terms, entropy[BUDGET_ID_BYTES:])
    values["id"] = entropy[:BUDGET_ID_BYTES]
    token = build(granter.seed(), "grant({id}); " + code, values)
    return _encoder.encode(_Envelope(1, granter.device, credential, token))


def write_grant(data: bytes) -> str:
    """The grant as one line."""
    return PREFIX + base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def read_grant(line: str) -> bytes:
    """The grant in a line; ``Grant`` opens it.

    Raises:
        GrantError: The line is not a grant.
    """
    text = "".join(line.split())
    if not text.startswith(PREFIX) or len(text) > 4 * TOKEN_BYTES_MAX:
        raise GrantError(f"a grant begins with {PREFIX!r}, this line with {text[:18]!r}")
    text = text.removeprefix(PREFIX)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise GrantError("this grant was cut or altered on its way: copy the whole line again") from None


def _checks(terms: Terms, entropy: bytes) -> tuple[str, dict[str, Any]]:
    """The terms as Datalog checks, and the values in them."""
    code, values = "", dict[str, Any]()
    if terms.functions:
        code += "check if function($f), $f.matches({functions}); "
        values["functions"] = _regular(terms.functions)
    if terms.devices or terms.accounts:
        if len(terms.devices) + len(terms.accounts) > HOLDERS_MAX:
            raise GrantError(f"a grant is for at most {HOLDERS_MAX} devices and accounts: give several")
        if any(
            '"' in account or len(account) > 128 or not account.isprintable() for account in terms.accounts
        ):
            raise GrantError(
                f"an account's name has no quotes and at most 128 characters, not {terms.accounts!r}"
            )
        options = []
        for kind, several in (("device", terms.devices), ("account", terms.accounts)):
            for number, one in enumerate(several):
                options.append(f"caller_{kind}({{{kind}{number}}})")
                values[f"{kind}{number}"] = one
        code += f"check if {' or '.join(options)}; "
    if terms.expires is not None:
        code += "check if time($t), $t < {expires}; "
        values["expires"] = moment(terms.expires)
    if terms.max_calls is not None:
        if not 0 < terms.max_calls < 2**53:
            raise GrantError(f"a number of calls is above 0, not {terms.max_calls}")
        code += "check if used({budget}, $n), $n < {calls}; "
        values["budget"], values["calls"] = entropy[:BUDGET_ID_BYTES].hex(), terms.max_calls
    return code, values


def _regular(patterns: tuple[str, ...]) -> str:
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            raise GrantError(
                f"a function's pattern has letters, digits, '.', '_', '-' and '*' in it, as in 'vision.*', not {pattern!r}"
            )
    options = (pattern.replace(".", r"\.").replace("-", r"\-").replace("*", ".*") for pattern in patterns)
    return f"^(?:{'|'.join(options)})$"


def _in_words(check: str, function: str) -> str:
    """A failed check as a person reads it."""
    if check.startswith("function("):
        pattern = check.split('"')[1] if '"' in check else check
        for plain, marked in ((".", r"\."), ("-", r"\-"), ("*", ".*")):
            pattern = pattern.replace(marked, plain)
        return f"it is for {pattern.removeprefix('^(?:').removesuffix(')$').replace('|', ', ')}, not for {function}"
    if check.startswith("time("):
        return f"it expired at {check.rpartition('< ')[2]}"
    if check.startswith("caller_"):
        return "it was given to another device or account"
    if budget := _BUDGET.match(check):
        return f"its budget of {budget[2]} calls is spent"
    return f"its check was not met: {check[:200]}"
