"""Networks of a test's own, through a gateway, in a home directory of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from acceptance.network import Network


@pytest.fixture
def own_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Network]]:
    """Makes networks for one test: ``own_network(**server_options)``."""
    monkeypatch.setenv("EASYREMOTE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EASYREMOTE_HOST", "127.0.0.1")
    monkeypatch.setenv("EASYREMOTE_DIRECT", "off")
    made: list[Network] = []

    def make(**options: object) -> Network:
        made.append(Network(tmp_path / "home", **options))
        return made[-1]

    yield make
    for each in made:
        each.close()
