"""Mistakes of callers: each has its own error, raised at once, that says what to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.network import Network
from acceptance.processes import settled
from acceptance.programs.files import marks

from easyremote import Client
from easyremote.errors import (
    ArgumentError,
    CallError,
    EasyRemoteError,
    EncodeError,
    RemoteError,
    UnknownFunctionError,
    UnknownNodeError,
)


def raised(call: Callable[[], object]) -> EasyRemoteError:
    """The error of a call that must fail, after seeing that it fails within 50 ms (best of several)."""
    quickest, error = float("inf"), None
    for _ in range(6):
        began = time.perf_counter()
        try:
            call()
        except EasyRemoteError as caught:
            error = caught
        else:
            raise AssertionError("the call did not fail")
        quickest = min(quickest, time.perf_counter() - began)
    assert error is not None
    assert quickest < 0.05, f"{type(error).__name__} took {quickest * 1000:.0f} ms"
    return error


# ---- values


def test_an_argument_that_cannot_be_encoded(client: Client) -> None:
    error = raised(lambda: client.execute("echo", threading.Lock()))
    assert type(error) is EncodeError
    assert "lock" in str(error)
    assert "argument 1" in str(error)


def test_the_error_says_where_inside_a_value_the_trouble_is(client: Client) -> None:
    error = raised(lambda: client.execute("echo", value={"rows": [1, 2, threading.Lock()]}))
    assert type(error) is EncodeError
    for told in ("'value'", "'rows'", "2"):
        assert told in str(error)


def test_a_value_that_contains_itself_cannot_be_encoded(client: Client) -> None:
    loop: list[object] = []
    loop.append(loop)
    assert type(raised(lambda: client.execute("echo", loop))) is EncodeError


def test_an_argument_that_cannot_be_encoded_is_found_before_anything_is_sent(
    client: Client, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    raised(lambda: client.execute("resize", 1, mode=threading.Lock(), ran=str(ran)))
    assert settled(lambda: marks(ran), quiet_seconds=0.1) == 0


@pytest.mark.parametrize("kind", ["lock", "function", "deep"])
def test_a_result_that_cannot_be_encoded(client: Client, kind: str) -> None:
    error = raised(lambda: client.execute("unsendable", kind))
    assert isinstance(error, EncodeError)
    assert not isinstance(error, RemoteError)
    assert "unsendable" in str(error)
    assert {"lock": "lock", "function": "function", "deep": "object"}[kind] in str(error)
    assert client.execute("echo", "fine") == "fine"


def test_an_item_that_cannot_be_encoded_ends_its_stream_after_the_items_before(client: Client) -> None:
    items = client.stream("unsendable_items")
    assert next(items) == 1
    with pytest.raises(EncodeError):
        next(items)


# ---- arguments


def argument_error(client: Client, ran: Path, *args: object, **kwargs: object) -> str:
    """The message of an ArgumentError of ``resize``, after seeing that it did not run."""
    error = raised(lambda: client.execute("resize", *args, ran=str(ran), **kwargs))
    assert type(error) is ArgumentError
    assert isinstance(error, TypeError)
    assert isinstance(error, CallError)
    assert error.function == "resize"
    assert marks(ran) == 0
    return str(error)


def test_a_wrong_type_against_the_hints(client: Client, tmp_path: Path) -> None:
    message = argument_error(client, tmp_path / "ran", "abc")
    for told in ("resize", "width", "int", "str", "'abc'"):
        assert told in message


def test_a_wrong_keyword_value_against_the_hints(client: Client, tmp_path: Path) -> None:
    message = argument_error(client, tmp_path / "ran", 1, mode="stretch")
    for told in ("mode", "stretch", "fit", "fill"):
        assert told in message


def test_a_value_outside_its_declared_range(client: Client) -> None:
    assert client.execute("percent", 100) == 100
    error = raised(lambda: client.execute("percent", 101))
    assert type(error) is ArgumentError
    assert "100" in str(error)


def test_a_missing_argument(client: Client, tmp_path: Path) -> None:
    message = argument_error(client, tmp_path / "ran")
    assert "width" in message
    assert "miss" in message


def test_an_extra_argument(client: Client, tmp_path: Path) -> None:
    message = argument_error(client, tmp_path / "ran", 1, 2, 3)
    assert "resize" in message
    assert "3" in message


def test_an_unknown_keyword_with_the_nearest_real_one(client: Client, tmp_path: Path) -> None:
    message = argument_error(client, tmp_path / "ran", 1, heigth=2)
    assert "'heigth'" in message
    assert "'height'" in message


def test_an_argument_given_twice(client: Client, tmp_path: Path) -> None:
    assert "width" in argument_error(client, tmp_path / "ran", 1, width=2)


def test_a_generator_is_checked_before_it_starts(client: Client) -> None:
    error = raised(lambda: list(client.stream("countdown", "abc")))
    assert type(error) is ArgumentError


# ---- names


@pytest.mark.parametrize("verb", ["execute", "stream", "submit"])
def test_an_unknown_function_with_the_nearest_real_one(client: Client, verb: str) -> None:
    def call() -> object:
        made = getattr(client, verb)("resise", 1)
        return list(made) if verb == "stream" else made.result(5) if verb == "submit" else made

    error = raised(call)
    assert type(error) is UnknownFunctionError
    assert isinstance(error, LookupError)
    assert "'resise'" in str(error)
    assert "'resize'" in str(error)


def test_a_name_like_no_other_says_where_to_look(client: Client) -> None:
    error = raised(lambda: client.execute("zzzzqqqq", 1))
    assert type(error) is UnknownFunctionError
    assert "easynet functions" in str(error)


def test_an_unknown_node_with_the_nearest_real_one(client: Client) -> None:
    error = raised(lambda: client.execute("workshp.echo", 1))
    assert type(error) is UnknownNodeError
    assert "'workshp'" in str(error)
    assert "'workshop'" in str(error)


def test_an_unknown_function_on_a_known_node(client: Client) -> None:
    error = raised(lambda: client.execute("workshop.ecoh", 1))
    assert type(error) is UnknownFunctionError
    for told in ("'ecoh'", "'workshop'", "'echo'"):
        assert told in str(error)


def test_no_node_at_all_is_said(own_network: Callable[..., Network]) -> None:
    own = own_network()
    error = raised(lambda: own.client.execute("echo", 1))
    assert type(error) is UnknownFunctionError
    assert "no node" in str(error)


def test_mistakes_leave_the_client_working(client: Client) -> None:
    for _ in range(20):
        with pytest.raises(EasyRemoteError):
            client.execute("resize", "abc")
    assert client.execute("resize", 2, 3) == [2, 3, 3]
