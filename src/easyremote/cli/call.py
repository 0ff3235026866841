"""``easynet call``: words into arguments, one call, its result or its items as they come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from easyremote.cli.output import Output
from easyremote.cli.settings import Settings
from easyremote.errors import UsageError

if TYPE_CHECKING:
    from easyremote.client.blocking import Client

__all__ = ["call_function", "parse_word", "parse_words", "refuse_options"]


def parse_words(words: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments that these words say.

    ``name=value`` is a keyword argument, anything else a positional one.

    Raises:
        UsageError: A keyword is given twice.
    """
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not (equals and name.isidentifier()):
            positional.append(parse_word(word))
        elif name in keywords:
            raise UsageError(f"argument {name!r} is given twice: {name}={keywords[name]!r} and {word!r}")
        else:
            keywords[name] = parse_word(text)
    return positional, keywords


def parse_word(word: str) -> Any:
    """The word as JSON if it is JSON, else the word itself."""
    try:
        return json.loads(word, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return word


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def refuse_options(words: Sequence[str], after_dashes: int) -> None:
    """Refuse a mistyped option rather than hand it to the function.

    Args:
        words: What would become arguments.
        after_dashes: How many of them stood after ``--``, where everything is an argument.

    Raises:
        UsageError: A word looks like an option and is not a number.
    """
    for word in words[: len(words) - after_dashes]:
        if word.startswith("-") and len(word) > 1 and isinstance(parse_word(word), str):
            raise UsageError(
                f"call has no option {word!r}\nFor an argument of that text put it after --: easynet call FN -- {word}"
            )


def call_function(
    function: str,
    words: Sequence[str],
    settings: Settings,
    out: Output,
    *,
    node: str | None,
    durable: bool = False,
) -> None:
    """Call once and show what comes; of a durable call, its job's id.

    Raises:
        EasyRemoteError: Whatever the call ended with.
    """
    from easyremote.client.blocking import Client

    positional, keywords = parse_words(words)
    with Client(settings.gateway, connect_timeout=settings.connect_timeout) as client:
        given = {"timeout": settings.timeout, "node": node}
        bound = client.options(**{name: value for name, value in given.items() if value is not None})
        if durable:
            out.line(bound.options(durable=True).submit(function, *positional, **keywords).id)
            return
        if _streams(client, function):
            for item in bound.stream(function, *positional, **keywords):
                out.value(item)
            return
        value = bound.execute(function, *positional, **keywords)
        if value is not None or out.as_json:
            out.value(value)


def _streams(client: Client, function: str) -> bool:
    """Whether the function yields items; one nobody lists is taken for a plain one."""
    bare = function.rpartition(".")[2]
    return any(record.stream for record in client.functions() if record.name == bare)
