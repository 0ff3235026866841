"""Fixtures of the acceptance tests: a network that all may share, and ones of a test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from acceptance.members import Club
from acceptance.network import Network
from acceptance.processes import Program

from easyremote import Client


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tests' own ``EASYREMOTE_HOME``, empty at first; the user's is never touched."""
    path = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EASYREMOTE_HOME", str(path))
        patch.setenv("EASYREMOTE_HOST", "127.0.0.1")  # tests listen on this machine alone
        patch.setenv("EASYREMOTE_DIRECT", "off")  # most are about the way through the gateway
        patch.delenv("EASYREMOTE_INVITE", raising=False)
        patch.delenv("EASYREMOTE_GATEWAY", raising=False)
        patch.delenv("EASYREMOTE_GATEWAY_ADDRESS", raising=False)
        yield path


@pytest.fixture(scope="session")
def network(home: Path) -> Iterator[Network]:
    """A gateway and the node ``workshop``, shared: a test may add nodes, but breaks nothing of it."""
    shared = Network(home)
    try:
        shared.spawn_node("workshop", name="workshop")
        yield shared
    finally:
        shared.close()


@pytest.fixture(scope="session")
def client(network: Network) -> Client:
    return network.client


@pytest.fixture
def own_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Network]]:
    """Makes networks for one test, in a home directory of their own: ``own_network(**server_options)``."""
    place = tmp_path / "home"
    monkeypatch.setenv("EASYREMOTE_HOME", str(place))
    made: list[Network] = []

    def make(**options: object) -> Network:
        made.append(Network(place, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def clubs(own_network: Callable[..., Network], tmp_path: Path) -> Iterator[Callable[..., Club]]:
    """Makes networks whose members have homes of their own: ``clubs(**server_options)``."""
    made: list[Club] = []

    def make(**options: object) -> Club:
        made.append(Club(own_network(talk=True, **options), tmp_path))
        return made[-1]

    yield make
    for club in made:
        club.close()


@pytest.fixture
def spawn_node(network: Network) -> Iterator[Callable[..., Program]]:
    """Adds nodes to the shared network for one test: ``spawn_node(program, name=…)``."""
    names: list[str] = []

    def spawn(program: str | Path, *, name: str, **more: str) -> Program:
        names.append(name)
        return network.spawn_node(program, name=name, **more)

    yield spawn
    for name in names:
        if name in network.nodes:
            network.dismiss(name)


@pytest.fixture
def start(network: Network) -> Iterator[Callable[..., Program]]:
    """Starts programs that end with the test: ``start(command, environment=…)``."""
    started: list[Program] = []

    def begin(command: list[str], **options: object) -> Program:
        given = {**network.environment, **(options.pop("environment", None) or {})}  # type: ignore[dict-item]
        started.append(Program(command, environment=given, **options))  # type: ignore[arg-type]
        return started[-1]

    yield begin
    for program in started:
        program.kill()
