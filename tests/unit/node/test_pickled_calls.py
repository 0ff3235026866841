"""Which pickled calls a node loads: those its owner said, of functions he said it for."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from easyremote.errors import UsageError
from easyremote.node import registry as registry_file
from easyremote.node.executor import Executor
from easyremote.node.registry import Registry
from easyremote.protocol.effects import NOBODY, Start
from easyremote.protocol.events import Answer, Done, Failed, Yielded
from easyremote.trust.rules import Caller
from easyremote.wire import pickled, values
from easyremote.wire.segments import Segments

ANNA = Caller("aaaa", "anna", "anna-and-co")
CONSENT = pickled.Consent("the node", "this test")


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def run(
    registry: Registry, arguments: bytes | Segments, caller: Caller, *, stream: bool = False
) -> list[Answer]:
    """What a node answers to such a call."""

    async def main() -> list[Answer]:
        answers: list[Answer] = []
        ended = asyncio.Event()

        def post(new: list[Answer]) -> None:
            answers.extend(new)
            if not isinstance(new[-1], Yielded):
                ended.set()

        executor = Executor(registry, post, loop=asyncio.get_running_loop(), threads=2)
        body = (
            memoryview(bytearray(arguments.join()))
            if isinstance(arguments, Segments)
            else msgspec.Raw(arguments)
        )
        executor.start(Start((b"c" * 40, 1), "f", body, 1 << 20 if stream else 0, caller=caller))
        await ended.wait()
        await executor.close()
        return answers

    return asyncio.run(main())


def serving(function: Any, **options: Any) -> Registry:
    registry = Registry()
    registry.add(function, name="f", **options)
    return registry


async def give_back(value: Any) -> Any:
    return value


FUNCTIONS = [lambda value: value, give_back]


@pytest.mark.parametrize("names", [["anna"], ["anna-and-co"], ["aaaa"], ["bert", "anna"]])
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("size", [0, 300_000])
def test_a_caller_on_the_list_has_its_pickles_loaded_and_gets_pickles(
    function: Any, names: list[str], size: int
) -> None:
    registry = serving(function, codec="pickle", pickle_from=names)
    sent = [len, b"x" * size]  # a function has no form on the wire
    (answer,) = run(registry, pickled.encode_arguments((sent,), {}), ANNA)
    assert isinstance(answer, Done)
    data = bytes(answer.value.join()) if isinstance(answer.value, Segments) else answer.value
    assert pickled.decode(data, CONSENT) == sent


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("size", [0, 300_000])
@pytest.mark.parametrize(
    ("options", "caller", "told"),
    [
        ({}, ANNA, "pickle_from="),
        ({"codec": "msgpack"}, ANNA, "register"),
        ({"codec": "pickle", "pickle_from": ["bert"]}, ANNA, "'anna'.*pickle_from="),
        ({"codec": "pickle", "pickle_from": ["ann", "anna-and", "aaa"]}, ANNA, "pickle_from="),
        ({"codec": "pickle", "pickle_from": ["anna"]}, NOBODY, "pickle_from="),
    ],
)
def test_nobody_elses_pickles_are_loaded(
    function: Any, size: int, options: dict[str, Any], caller: Caller, told: str, tmp_path: Path
) -> None:
    trap = tmp_path / "sprung"
    registry = serving(function, **options)
    (answer,) = run(registry, pickled.encode_arguments(([Trap(trap), b"x" * size],), {}), caller)
    assert isinstance(answer, Failed)
    assert answer.kind == "argument"
    assert re.search(told, answer.message)
    assert not trap.exists()


def test_plain_calls_of_the_same_function_stay_plain() -> None:
    registry = serving(lambda value: value, codec="pickle", pickle_from=["anna"])
    for caller in (ANNA, NOBODY):
        (answer,) = run(registry, values.encode_arguments((1,), {}), caller)
        assert isinstance(answer, Done)
        assert not pickled.is_pickled(bytes(answer.value))  # type: ignore[arg-type]
        assert values.decode(bytes(answer.value)) == 1  # type: ignore[arg-type]
    (answer,) = run(registry, values.encode_arguments((), {}), ANNA)
    assert isinstance(answer, Failed)


def test_the_items_of_a_pickled_stream_are_pickled() -> None:
    def f(value: Any) -> Any:
        yield value
        yield len

    registry = serving(f, codec="pickle", pickle_from=["anna"])
    items = run(registry, pickled.encode_arguments((print,), {}), ANNA, stream=True)[:-1]
    assert [pickled.decode(item.value, CONSENT) for item in items] == [print, len]  # type: ignore[union-attr,arg-type]


def test_pickled_results_are_not_kept_for_others() -> None:
    calls = itertools.count()
    registry = serving(lambda: next(calls), cache_ttl=60, codec="pickle", pickle_from=["anna"])

    async def main() -> list[Answer]:
        answers: list[Answer] = []
        news = asyncio.Event()

        def post(new: list[Answer]) -> None:
            answers.extend(new)
            news.set()

        executor = Executor(registry, post, loop=asyncio.get_running_loop(), threads=2)
        body = pickled.encode_arguments((), {})
        assert isinstance(body, bytes)
        for number, caller in enumerate((ANNA, ANNA, NOBODY)):
            news.clear()
            executor.start(Start((b"c" * 40, number), "f", msgspec.Raw(body), caller=caller))
            await news.wait()
        await executor.close()
        return answers

    first, second, third = asyncio.run(main())
    assert isinstance(first, Done)
    assert isinstance(second, Done)
    found = [pickled.decode(each.value, CONSENT) for each in (first, second)]  # type: ignore[arg-type]
    assert found == [0, 1]
    assert isinstance(third, Failed)


def test_the_first_pickled_call_is_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(registry_file, "_pickles", itertools.count())
    registry = serving(lambda: None, codec="pickle", pickle_from=["anna"])
    with caplog.at_level(logging.WARNING, "easyremote"):
        run(registry, pickled.encode_arguments((), {}), NOBODY)
        assert not caplog.records
        for _ in range(3):
            run(registry, pickled.encode_arguments((), {}), ANNA)
    (record,) = caplog.records
    assert "anna" in record.getMessage()
    assert "any code" in record.getMessage()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"codec": "pickle"}, "pickle_from=.*any code"),
        ({"codec": "pickle", "pickle_from": []}, "pickle_from=.*any code"),
        ({"codec": "pickle", "pickle_from": "anna"}, "a list of names"),
        ({"codec": "pickle", "pickle_from": "network"}, "a list of names"),
        ({"codec": "pickle", "pickle_from": [""]}, "a list of names"),
        ({"codec": "pickle", "pickle_from": lambda caller: True}, "a list of names"),
        ({"pickle_from": ["anna"]}, "without codec='pickle'"),
        ({"codec": "dill"}, "'msgpack' or 'pickle'"),
    ],
)
def test_half_a_consent_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        serving(lambda: None, **options)
