"""Every call runs, unless its function says that results may be kept."""

from __future__ import annotations

from pathlib import Path

from acceptance.processes import until
from acceptance.programs.files import marks

from easyremote import Client


def test_two_calls_with_the_same_arguments_run_twice(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "ran"
    assert [client.execute("mark", str(path)) for _ in range(2)] == [1, 2]
    assert marks(path) == 2


def test_every_item_of_a_map_runs_also_when_items_are_equal(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "ran"
    assert len(list(client.map("mark", [str(path)] * 20))) == 20
    assert marks(path) == 20


def test_cache_ttl_keeps_a_result_for_equal_arguments_only(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "ran"
    assert [client.execute("cached_mark", str(path)) for _ in range(3)] == [1, 1, 1]
    assert client.execute("cached_mark", str(path), flavour="mint") == 2
    assert marks(path) == 2


def test_a_kept_result_expires(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "ran"
    assert client.execute("briefly_cached_mark", str(path)) == 1
    assert until(lambda: client.execute("briefly_cached_mark", str(path)) == 2, within_seconds=5)
    assert marks(path) == 2
