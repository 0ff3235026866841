"""``@remote``: a function whose call goes to the network, in every form and from everywhere."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from acceptance.network import Network
from acceptance.processes import PROGRAMS, free_port, run

from easyremote import Client, remote
from easyremote.errors import ArgumentError, CallTimeoutError, EasyRemoteError, RemoteError, UsageError


@pytest.fixture(autouse=True)
def gateway_of_the_environment(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EASYREMOTE_GATEWAY", network.address)


@remote
def add(a: int, b: int) -> object:
    """Add two numbers."""
    return f"here {a} {b}"


@remote
async def add_async(a: int, b: int) -> object:
    return f"here {a} {b}"


@remote
def countdown(n: int) -> Iterator[object]:
    yield f"here {n}"


@remote
async def countdown_async(n: int) -> AsyncIterator[object]:
    yield f"here {n}"


@remote
def percent(value: int) -> int:
    raise AssertionError("runs on the node only")


def test_calling_it_calls_the_network() -> None:
    assert add(2, 3) == 5
    assert add(2, b=4) == 6


def test_local_runs_the_body_here() -> None:
    assert add.local(2, 3) == "here 2 3"
    assert asyncio.run(add_async.local(2, 3)) == "here 2 3"
    assert list(countdown.local(2)) == ["here 2"]


def test_it_keeps_the_name_and_description_of_its_function() -> None:
    assert (add.__name__, add.__doc__) == ("add", "Add two numbers.")
    assert add.__module__ == __name__
    assert list(inspect.signature(add).parameters) == ["a", "b"]


def test_an_async_function_is_awaited() -> None:
    async def call() -> object:
        one, two = await asyncio.gather(add_async(1, 2), add_async(3, 4))
        return one, two

    assert asyncio.run(call()) == (3, 7)
    assert asyncio.run(call()) == (3, 7), "also in a second loop"


def test_a_generator_streams() -> None:
    items = countdown(3)
    assert next(items) == 3
    assert list(items) == [2, 1]


def test_an_async_generator_streams() -> None:
    async def take() -> list[object]:
        return [item async for item in countdown_async(3)]

    assert asyncio.run(take()) == [3, 2, 1]


def test_submit_and_map() -> None:
    call = add.submit(2, 3)
    assert isinstance(call, concurrent.futures.Future)
    assert call.result(5) == 5
    assert list(percent.map([1, 2, 3])) == [1, 2, 3]
    outcomes = list(percent.map([1, 300], return_exceptions=True))
    assert outcomes[0] == 1
    assert isinstance(outcomes[1], EasyRemoteError)


def test_submit_and_map_of_an_async_function() -> None:
    async def calls() -> None:
        assert await asyncio.wrap_future(add_async.submit(1, 2)) == 3

    asyncio.run(calls())


def test_options_name_function_node_and_timeout(network: Network) -> None:
    @remote(function_name="resize", node_id="workshop", gateway_address=network.address)
    def bigger(width: int) -> list[int]:
        raise AssertionError("runs on the node only")

    @remote(function_name="nap", timeout=0.3)
    def short_nap(seconds: float) -> str:
        raise AssertionError("runs on the node only")

    assert bigger(7) == [7, 100, 3]
    with pytest.raises(CallTimeoutError):
        short_nap(1.0)


def test_options_of_the_second_release(network: Network) -> None:
    @remote(function_name="countdown", stream=True, load_balancing=True)
    def counted(n: int):
        raise AssertionError("runs on the node only")

    @remote(function_name="add", async_func=True, load_balancing="round_robin")
    def later(a: int, b: int):
        raise AssertionError("runs on the node only")

    @remote(function_name="add", load_balancing={"strategy": "least_loaded", "requirements": {}})
    def balanced(a: int, b: int):
        raise AssertionError("runs on the node only")

    async def call() -> object:
        return await later(1, 2)

    assert list(counted(2)) == [2, 1]
    assert asyncio.run(call()) == 3
    assert balanced(1, 2) == 3


def test_it_works_inside_a_running_loop() -> None:
    async def inside() -> list[object]:
        return [add(1, 2), list(countdown(2)), list(percent.map([1])), await asyncio.to_thread(add, 3, 4)]

    assert asyncio.run(inside()) == [3, [2, 1], [1], 7]


def test_it_works_in_threads() -> None:
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(add, range(64), range(64))) == [2 * n for n in range(64)]


def test_it_works_in_several_processes(network: Network) -> None:
    given = {**network.environment, "EASYREMOTE_GATEWAY": network.address}
    ended = run([str(PROGRAMS / "many_processes.py")], environment=given)
    assert ended.wait() == 0, ended
    assert ended.output == ["[0, 2, 4, 6]", "own process as well: 3"], ended


def test_a_child_forked_before_the_first_call_calls_as_usual(network: Network) -> None:
    ended = run([str(PROGRAMS / "forked.py"), network.address, "fresh"], environment=network.environment)
    assert ended.wait() == 0, ended
    assert ended.output == ["child: 7", "parent: 3"], ended


def test_a_child_forked_after_a_call_works_or_says_why_not(network: Network) -> None:
    """The thread of the loop does not survive a fork; what must not happen is that the child waits forever."""
    ended = run([str(PROGRAMS / "forked.py"), network.address, "connected"], environment=network.environment)
    assert ended.wait() == 0, ended
    assert ended.output[0] == "child: 7" or "fork" in ended.output[0], ended
    assert ended.output[-1] == "parent: 3"


@pytest.fixture(scope="module")
def nested(network: Network) -> Iterator[Client]:
    network.spawn_node("nested", name="nested")
    yield network.client
    network.dismiss("nested")


@pytest.mark.parametrize(
    "function", ["from_a_function", "from_a_client", "from_a_coroutine", "from_an_async_client"]
)
def test_functions_of_a_node_call_other_functions(nested: Client, function: str) -> None:
    assert list(nested.map(function, range(20), max_in_flight=10)) == list(range(1, 21))


def test_a_coroutine_of_a_node_that_would_block_the_loop_is_told_what_to_use(nested: Client) -> None:
    with pytest.raises(RemoteError, match="AsyncClient"):
        nested.execute("blocking_the_loop", 1, timeout=5)
    assert nested.execute("from_an_async_client", 1, timeout=5) == 2


@pytest.mark.parametrize("how", ["EASYREMOTE_GATEWAY", "EASYREMOTE_GATEWAY_ADDRESS", "set_default_gateway"])
def test_the_default_gateway_can_be_set_in_each_way(network: Network, tmp_path: Path, how: str) -> None:
    program = tmp_path / "caller.py"
    program.write_text(
        "import sys\n"
        "from easyremote import Client, remote, set_default_gateway\n"
        "if sys.argv[1] == 'set_default_gateway':\n"
        "    set_default_gateway(sys.argv[2])\n"
        "@remote\n"
        "def add(a, b): ...\n"
        "print(add(20, 3), Client().execute('add', 1, 2))\n"
    )
    given = {**network.environment, **({} if how == "set_default_gateway" else {how: network.address})}
    ended = run([str(program), how, network.address], environment=given)
    assert ended.wait() == 0, ended
    assert ended.output == ["23 3"]


def test_the_argument_goes_before_the_environment(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EASYREMOTE_GATEWAY", f"127.0.0.1:{free_port()}")

    @remote(function_name="add", gateway_address=network.address)
    def added(a: int, b: int) -> int:
        raise AssertionError("runs on the node only")

    assert added(1, 1) == 2


def test_remote_errors_arrive_through_it() -> None:
    @remote(function_name="fail")
    def failing(kind: str, message: str) -> None:
        raise AssertionError("runs on the node only")

    with pytest.raises(ValueError, match="bad 5") as caught:
        failing("ValueError", "bad 5")
    assert isinstance(caught.value, RemoteError)
    with pytest.raises(ArgumentError):
        add(1)


def test_decorating_and_local_calls_need_no_gateway() -> None:
    @remote(gateway_address=f"127.0.0.1:{free_port()}")
    def quiet() -> str:
        return "here"

    assert quiet.local() == "here"


def test_an_address_that_cannot_be_one_is_refused_when_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EASYREMOTE_GATEWAY", "not an address")
    with pytest.raises(UsageError, match="not an address"):
        add(1, 2)
