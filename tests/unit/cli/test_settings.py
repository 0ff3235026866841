from pathlib import Path

import pytest

from easyremote.cli.settings import FILE_NAME, Settings, home_of, read_settings
from easyremote.errors import UsageError


def read(
    folder: Path, *, flags: dict[str, object] | None = None, environment: dict[str, str] | None = None
) -> Settings:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return read_settings(flags or {}, {"EASYREMOTE_HOME": str(home), **(environment or {})}, folder)


def test_nothing_said_gives_the_defaults(tmp_path: Path) -> None:
    settings = read(tmp_path)
    assert (settings.gateway, settings.port, settings.name) == ("127.0.0.1:8080", 8080, None)
    assert settings.sources == {}


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('gateway = "file:1"\nport = 1\nname = "file"\n')
    environment = {"EASYREMOTE_GATEWAY": "environment:2", "EASYREMOTE_PORT": "2"}
    settings = read(tmp_path, flags={"gateway": "flag:3", "port": None}, environment=environment)
    assert (settings.gateway, settings.port, settings.name) == ("flag:3", 2, "file")
    assert settings.sources == {
        "gateway": "--gateway",
        "port": "EASYREMOTE_PORT",
        "name": str(tmp_path / FILE_NAME),
    }


def test_the_older_variable_for_the_gateway_is_understood_and_yields_to_the_newer(tmp_path: Path) -> None:
    older = {"EASYREMOTE_GATEWAY_ADDRESS": "older:1"}
    assert read(tmp_path, environment=older).gateway == "older:1"
    assert read(tmp_path, environment={**older, "EASYREMOTE_GATEWAY": "newer:2"}).gateway == "newer:2"


def test_the_file_in_the_home_is_read_where_the_folder_has_none(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / FILE_NAME).write_text('name = "home"\n')
    assert read(tmp_path).name == "home"
    (tmp_path / FILE_NAME).write_text("connect-timeout = 2\n")
    settings = read(tmp_path)
    assert (settings.name, settings.connect_timeout) == (None, 2.0)


@pytest.mark.parametrize(("text", "holds"), [("1", True), ("YES", True), ("off", False), ("0", False)])
def test_yes_and_no_are_read_from_the_environment(tmp_path: Path, text: str, holds: bool) -> None:
    assert read(tmp_path, environment={"EASYREMOTE_VERBOSE": text}).verbose is holds


@pytest.mark.parametrize(
    ("environment", "flags", "words"),
    [
        ({"EASYREMOTE_PORT": "eighty"}, {}, ["EASYREMOTE_PORT", "'eighty'"]),
        ({"EASYREMOTE_PORT": "65536"}, {}, ["EASYREMOTE_PORT", "65535"]),
        ({"EASYREMOTE_VERBOSE": "perhaps"}, {}, ["EASYREMOTE_VERBOSE", "'perhaps'"]),
        ({}, {"timeout": -1.0}, ["--timeout", "-1.0"]),
        ({}, {"connect_timeout": 0.0}, ["--connect-timeout", "0.0"]),
    ],
)
def test_a_value_that_does_not_fit_names_where_it_came_from(
    tmp_path: Path, environment: dict[str, str], flags: dict[str, object], words: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, environment=environment, flags=flags)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_key_nobody_knows_is_an_error_that_suggests_the_near_one(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('gatewy = "host:1"\n')
    with pytest.raises(UsageError, match="did you mean 'gateway'"):
        read(tmp_path)


@pytest.mark.parametrize("text", ["gateway = ", "\udcff"])
def test_a_file_that_cannot_be_read_says_which(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text, errors="surrogateescape")
    with pytest.raises(UsageError, match=FILE_NAME):
        read(tmp_path)


def test_a_number_in_the_file_may_not_be_text(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("name = 5\n")
    with pytest.raises(UsageError, match=r"is 5: expected `str"):
        read(tmp_path)


def test_the_home_is_under_the_persons_own_unless_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home_of({}) == tmp_path / ".easyremote"
    assert home_of({"EASYREMOTE_HOME": "~/elsewhere"}) == tmp_path / "elsewhere"
