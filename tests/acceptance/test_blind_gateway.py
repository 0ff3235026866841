"""The gateway never holds an argument, a result, an error or the name of a called function in the clear.

Everything that passes its port is recorded, and its memory is read from outside, for words drawn by the
test that only caller and node know.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.memory import memory_holds, needs_proc
from acceptance.network import Network
from acceptance.tap import Tap

from easyremote import Client


def forms(word: str) -> list[bytes]:
    """How a word can lie in memory: as text of each width, and as base64 at each offset."""
    plain = word.encode()
    shifted = [base64.b64encode(bytes(offset) + plain)[4:-4] for offset in range(3)]
    return [plain, word.encode("utf-16-le"), word.encode("utf-32-le"), plain.hex().encode(), *shifted]


@needs_proc
def test_neither_its_memory_nor_its_port_shows_a_call_in_the_clear(
    own_network: Callable[..., Network], tmp_path: Path
) -> None:
    words = {
        kind: kind[:3] + secrets.token_hex(16)
        for kind in ("function", "argument", "keyword", "answer", "complaint")
    }
    own = own_network()
    with Tap(own.address) as tap:
        own.spawn_node(
            "vault",
            name="strongroom",
            address=tap.address,
            SECRET_NAME=words["function"],
            ANSWER=words["answer"],
            COMPLAINT=words["complaint"],
        )
        with Client(tap.address) as client:
            called = "strongroom." + words["function"]
            for size in (1, 20, 20_000):  # a few bytes, a bundle, and cut into parts
                value = [words["argument"]] * size
                assert client.execute(called, value) == [words["answer"], size]
                assert client.execute(called, value={words["keyword"]: size}) == [words["answer"], 1]
            items = client.stream(called + "_items", [words["argument"]])
            assert next(items) == words["answer"]
            with pytest.raises(ValueError, match=words["complaint"]):
                next(items)
            needles = [form for word in words.values() for form in forms(word)]
            assert memory_holds(own.gateway.pid, [b"strongroom", *needles]) == {b"strongroom"}
        passed = tap.copy()
    assert len(passed) > 20_000 * len(words["argument"]), "the tap saw the calls"
    assert [needle for needle in needles if needle in passed] == []


@needs_proc
def test_the_search_finds_what_a_process_does_hold() -> None:
    import os

    word = secrets.token_hex(16)
    held = [word, word.encode("utf-16-le")]
    assert memory_holds(os.getpid(), [word.encode(), word.encode("utf-16-le")]) == {word.encode(), held[1]}
