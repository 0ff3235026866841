"""Biscuit tokens (biscuit-auth), opened with care: the one door to ``biscuit_auth``.

A token is a signed list of blocks of Datalog. Its first block is made by whoever holds the root key of the
token; whoever holds the token may append blocks, which can only add checks. What is read here is bounded in
size, in blocks and in the time its checks may take: a stranger's token must not keep a device busy.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from re import Pattern
from typing import Any

import biscuit_auth as biscuit

from easyremote.errors import TrustError
from easyremote.wire.limits import TOKEN_BLOCKS_MAX, TOKEN_BYTES_MAX

CHECK_SECONDS = 0.1
"""The time a token's checks may take. The library's default of 1 ms refuses at random on a busy machine."""
FACTS_MAX, ITERATIONS_MAX = 500, 50
STATEMENTS_MAX = 80


def private_key(seed: bytes) -> Any:
    """The private key of a 32-byte Ed25519 seed, as the library wants it."""
    return biscuit.PrivateKey.from_bytes(seed, biscuit.Algorithm.Ed25519)


def build(seed: bytes, code: str, values: dict[str, Any]) -> bytes:
    """A fresh token signed with this Ed25519 seed; ``{name}`` in the code stands for a value."""
    return bytes(biscuit.BiscuitBuilder(code, values).build(private_key(seed)).to_bytes())


def narrow(opened: Any, code: str, values: dict[str, Any]) -> bytes:
    """The token with one more block of checks; no private key is needed for that.

    Raises:
        TrustError: It has as many blocks as one may.
    """
    if opened.block_count() >= TOKEN_BLOCKS_MAX:
        raise TrustError(
            f"this token has been narrowed {TOKEN_BLOCKS_MAX - 1} times already, which is the most"
        )
    return bytes(opened.append(biscuit.BlockBuilder(code, values)).to_bytes())


def open_token(token: bytes, signer: bytes, first: Pattern[str], later: Pattern[str] | None = None) -> Any:
    """The token, if this device or issuer signed its first block and nobody altered the others.

    The library bounds how often rules are applied, and not how long one application takes: a few hundred facts
    and one rule over them keep it busy for minutes. So a block is taken only if every statement in it has a
    form that is known here; none of those costs more than a comparison.

    Args:
        token: As it came.
        signer: The public key behind its first block.
        first: One statement of the first block, as the library words it.
        later: One statement of the others; None if there may be none.

    Raises:
        TrustError: It is not.
    """
    if len(token) > TOKEN_BYTES_MAX:
        raise TrustError(f"a token of {len(token):,} bytes; at most {TOKEN_BYTES_MAX:,} are read")
    try:
        key = biscuit.PublicKey.from_bytes(signer, biscuit.Algorithm.Ed25519)
        opened = biscuit.Biscuit.from_bytes(bytes(token), key)
    except (biscuit.BiscuitValidationError, biscuit.BiscuitSerializationError, ValueError):
        raise TrustError("a token is not signed by the key it should be, or was altered") from None
    if opened.block_count() > TOKEN_BLOCKS_MAX:
        raise TrustError(f"a token of {opened.block_count()} blocks; at most {TOKEN_BLOCKS_MAX} are read")
    for number, block in enumerate(sources(opened)):
        form = first if number == 0 else later
        statements = block.split(";\n")
        if form is None or len(statements) > STATEMENTS_MAX + 1 or statements.pop() != "":
            raise TrustError("a token with more in it than its kind has")
        if not all(form.fullmatch(statement) for statement in statements):
            raise TrustError("a token with a statement in it that its kind does not have")
    return opened


def query(opened: Any, fact: str, arity: int = 1) -> list[list[Any]]:
    """The terms of the facts of this name in the token's first block."""
    names = ", ".join(f"$x{number}" for number in range(arity))
    authorizer = _limited(biscuit.AuthorizerBuilder("")).build(opened)
    try:
        found = authorizer.query(biscuit.Rule(f"found({names}) <- {fact}({names})"))
    except (biscuit.AuthorizationError, biscuit.DataLogError) as error:
        raise TrustError(f"a token could not be read: {error}") from None
    return [list(one.terms) for one in found]


def failed_checks(opened: Any, code: str, values: dict[str, Any]) -> list[str]:
    """The checks in the token that these facts do not meet, as the token words them; empty if all are met."""
    try:
        _limited(biscuit.AuthorizerBuilder(f"{code} allow if true", values)).build(opened).authorize()
    except biscuit.AuthorizationError as error:
        text = str(error)
        found = text.split("check if ")[1:]
        return [part.split(", Check n°")[0] for part in found] or [text]
    except biscuit.DataLogError as error:
        return [str(error)]
    return []


def sources(opened: Any) -> list[str]:
    """Every block as Datalog text, for people and for finding budgets; nothing is to be believed of it."""
    return [opened.block_source(number) for number in range(opened.block_count())]


def token_id(opened: Any) -> bytes:
    """Names the token's first block; all that is narrowed from it shares it."""
    return bytes.fromhex(opened.revocation_ids[0])[:16]


def moment(seconds: float) -> datetime:
    """Seconds since 1970 as a date for a token."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(seconds))


def _limited(builder: Any) -> Any:
    limits = builder.limits()
    limits.max_time = timedelta(seconds=CHECK_SECONDS)
    limits.max_facts, limits.max_iterations = FACTS_MAX, ITERATIONS_MAX
    builder.set_limits(limits)
    return builder
