import pytest

from easyremote import errors
from easyremote.cli.exits import EXIT_CODES, Exit, exit_for


def test_every_code_is_explained_once() -> None:
    assert sorted(code for code, _ in EXIT_CODES) == sorted(Exit)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.remote_error("ValueError", "bad", "", function="f", node="n", call_id="1"), 1),
        (errors.remote_error("TimeoutError", "bad", "", function="f", node="n", call_id="1"), 1),
        (errors.ArgumentError(), 2),
        (errors.EncodeError(), 2),
        (errors.ValueTooLargeError(), 2),
        (errors.UsageError(), 2),
        (errors.ListenError(), 2),
        (errors.NameTakenError(), 2),
        (errors.LinkError(), 3),
        (errors.UnknownFunctionError(), 4),
        (errors.UnknownNodeError(), 4),
        (errors.NoCandidateError(), 4),
        (errors.BusyError(), 4),
        (errors.CallTimeoutError(), 5),
        (errors.NodeLostError(), 6),
        (errors.IdentityError(), 7),
        (errors.DecodeError(), 7),
        (errors.CallCancelledError(), 130),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_error_ends_with_its_own_code(error: BaseException, code: int) -> None:
    assert exit_for(error) == code
