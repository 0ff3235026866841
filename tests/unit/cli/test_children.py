import os
from pathlib import Path

import pytest

from easyremote.cli.children import ChildError, EasynetChild


def start(*words: str, home: Path) -> EasynetChild:
    return EasynetChild("child", words, environment={**os.environ, "EASYREMOTE_HOME": str(home)}, folder=home)


def test_a_child_that_ends_too_soon_is_told_with_its_words(tmp_path: Path) -> None:
    child = start("gateway", "--port", "nonsense", home=tmp_path)
    with pytest.raises(ChildError, match=r"the child ended; it said:(.|\n)*nonsense|integer"):
        child.wait_for("never said", timeout_seconds=20)
    assert child.stop() == 2


def test_waiting_for_words_has_an_end(tmp_path: Path) -> None:
    child = start("gateway", "--port", "0", home=tmp_path)
    try:
        with pytest.raises(ChildError, match="not ready within 0 s"):
            child.wait_for("never said", timeout_seconds=0)
        assert child.wait_for(r"ready at (\S+);", timeout_seconds=20)[1].startswith("127.0.0.1:")
        assert child.exit_code is None
    finally:
        child.stop()
    assert child.exit_code is not None
    assert "gateway ready" in child.said()
