"""What a function raises on its node is raised where it was called, and is an answer like any other."""

from __future__ import annotations

import asyncio
import time

import pytest

from easyremote import AsyncClient, Client
from easyremote.errors import RemoteError


def test_a_remote_value_error_is_caught_as_a_value_error(client: Client) -> None:
    with pytest.raises(ValueError, match="bad 5"):
        client.execute("fail", "ValueError", "bad 5")


def test_a_remote_error_says_what_happened_and_where(client: Client) -> None:
    with pytest.raises(RemoteError, match="bad 5") as caught:
        client.execute("fail", "ValueError", "bad 5")
    error = caught.value
    assert isinstance(error, ValueError)
    assert (error.type_name, error.remote_message) == ("ValueError", "bad 5")
    assert (error.node, error.function) == ("workshop", "fail")
    assert isinstance(error.call_id, str)
    assert error.call_id
    assert "Traceback" in error.remote_traceback
    assert "workshop.py" in error.remote_traceback
    assert "raise getattr(builtins, kind)(message)" in error.remote_traceback
    assert "bad 5" in error.remote_traceback
    for told in ("bad 5", "workshop.py", "'fail'", "'workshop'", error.call_id):
        assert told in str(error)


def test_the_remote_traceback_shows_only_the_users_lines(client: Client) -> None:
    with pytest.raises(RemoteError) as caught:
        client.execute("fail", "ValueError", "bad 5")
    assert "easyremote/node" not in caught.value.remote_traceback
    assert "asyncio" not in caught.value.remote_traceback


def test_each_call_id_is_its_own(client: Client) -> None:
    ids = set()
    for _ in range(3):
        with pytest.raises(RemoteError) as caught:
            client.execute("fail", "ValueError", "bad")
        ids.add(caught.value.call_id)
    assert len(ids) == 3


@pytest.mark.parametrize(
    "kind",
    [ZeroDivisionError, KeyError, TypeError, PermissionError, TimeoutError, MemoryError],
)
def test_other_builtin_errors_are_caught_by_their_own_class(client: Client, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        client.execute("fail", kind.__name__, "what happened")
    assert isinstance(caught.value, RemoteError)
    assert "what happened" in caught.value.remote_message


def test_a_remote_stop_iteration_is_a_runtime_error_and_ends_no_loop_here(client: Client) -> None:
    with pytest.raises(RuntimeError, match="what happened") as caught:
        list(client.stream("fail", "StopIteration", "what happened"))
    assert isinstance(caught.value, RemoteError)
    assert caught.value.type_name == "StopIteration"
    assert not isinstance(caught.value, StopIteration)


def test_an_error_class_of_the_users_own_is_a_remote_error_with_its_name(client: Client) -> None:
    with pytest.raises(RemoteError, match="tray 2") as caught:
        client.execute("fail_custom", "tray 2")
    assert caught.value.type_name.endswith("OutOfPaperError")


def test_an_error_class_derived_from_a_builtin_is_caught_as_that(client: Client) -> None:
    with pytest.raises(ValueError, match="tray 3") as caught:
        client.execute("fail_derived", "tray 3")
    assert isinstance(caught.value, RemoteError)
    assert caught.value.type_name.endswith("WrongTrayError")


def test_an_error_that_cannot_describe_itself_still_arrives(client: Client) -> None:
    with pytest.raises(RemoteError) as caught:
        client.execute("fail_unspeakably")
    assert caught.value.type_name.endswith("UnspeakableError")


def test_an_endless_recursion_arrives_with_a_bounded_traceback(client: Client) -> None:
    with pytest.raises(RecursionError) as caught:
        client.execute("fail_deep", 0)
    assert len(str(caught.value)) < 64 * 1024


def test_a_huge_message_arrives(client: Client) -> None:
    with pytest.raises(ValueError, match="xxxx"):
        client.execute("fail", "ValueError", "x" * 3_000_000)


def test_five_errors_in_a_row_change_nothing_for_the_sixth_call(client: Client) -> None:
    for _ in range(5):
        with pytest.raises(ValueError, match="bad 5"):
            client.execute("fail", "ValueError", "bad 5")
    started = time.perf_counter()
    assert client.execute("echo", "fine") == "fine"
    assert time.perf_counter() - started < 0.5
    with pytest.raises(ValueError, match="bad 6"):
        client.execute("fail", "ValueError", "bad 6")


def test_async_functions_and_async_callers_see_the_same_error(client: Client, network) -> None:
    with pytest.raises(ValueError, match="bad 7") as caught:
        client.execute("fail_async", "bad 7")
    assert "fail_async" in caught.value.remote_traceback

    async def call() -> None:
        async with AsyncClient(network.address) as own:
            await own.execute("fail_async", "bad 8")

    with pytest.raises(ValueError, match="bad 8"):
        asyncio.run(call())
