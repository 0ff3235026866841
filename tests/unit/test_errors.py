"""The tree of errors, and remote errors as classes of both worlds."""

from __future__ import annotations

import builtins
import pickle

import pytest

from easyremote import errors
from easyremote.errors import EasyRemoteError, RemoteError, remote_error


def made(type_name: str, builtin: str = "") -> RemoteError:
    return remote_error(
        type_name, "bad 5", "Traceback…", function="parse", node="lab", call_id="c1", builtin=builtin
    )


@pytest.mark.parametrize(
    "name", [name for name in dir(builtins) if isinstance(getattr(builtins, name), type(Exception))]
)
def test_every_builtin_exception_has_a_remote_one_that_can_be_raised_and_shown(name: str) -> None:
    error = made(name)
    assert isinstance(error, RemoteError)
    assert "bad 5" in str(error)
    assert "'parse' on node 'lab'" in str(error)
    with pytest.raises(RemoteError):
        raise error


def test_a_subclass_of_a_users_own_is_caught_as_the_builtin_it_derives_from() -> None:
    error = made("BadTable", builtin="ValueError")
    assert isinstance(error, ValueError)
    assert error.type_name == "BadTable"


@pytest.mark.parametrize("name", ["StopIteration", "StopAsyncIteration"])
def test_the_end_of_an_iteration_does_not_end_the_callers_loops(name: str) -> None:
    error = made(name)
    assert isinstance(error, RuntimeError)
    assert not isinstance(error, (StopIteration, StopAsyncIteration))
    assert error.type_name == name


@pytest.mark.parametrize(("name", "builtin"), [("KeyError", ""), ("BadTable", "ValueError"), ("Strange", "")])
def test_a_remote_error_crosses_processes(name: str, builtin: str) -> None:
    error = made(name, builtin)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (copy.node, copy.function, copy.call_id, str(copy)) == ("lab", "parse", "c1", str(error))


def test_the_tree_drawn_at_the_top_names_every_class_at_its_place() -> None:
    drawn = errors.__doc__ or ""
    for name in errors.__all__:
        thing = getattr(errors, name)
        if isinstance(thing, type) and issubclass(thing, EasyRemoteError):
            assert f" {name}" in drawn, name
            assert str(thing()).startswith((thing.__doc__ or "").split("\n")[0]) or thing is RemoteError
