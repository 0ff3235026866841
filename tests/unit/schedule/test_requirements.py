from __future__ import annotations

import pytest

from easyremote.errors import UsageError
from easyremote.schedule.requirements import Requirement, read_requirements


def test_says_what_is_wanted() -> None:
    wanted = Requirement(
        function="resize", node="lab-3", capabilities=frozenset({"gpu"}), labels={"zone": "eu"}
    )
    assert str(wanted) == "'resize' on node 'lab-3' with capability 'gpu', label zone='eu'"
    assert str(Requirement()) == "the call"


def test_open_when_nothing_is_asked() -> None:
    assert Requirement(function="f").open
    assert not Requirement(exclude=frozenset({bytes(40)})).open
    assert not Requirement(node="").open


def test_reads_what_old_programs_wrote() -> None:
    requirement, unknown = read_requirements(
        {"gpu_required": True, "capabilities": ["ocr"], "labels": {"zone": "eu"}, "min_memory_gb": 8},
        function="f",
    )
    assert requirement == Requirement(
        function="f", capabilities=frozenset({"gpu", "ocr"}), labels={"zone": "eu"}
    )
    assert unknown == ["min_memory_gb"]
    assert read_requirements({"capabilities": "gpu", "node_id": "lab"})[0].capabilities == {"gpu"}
    assert read_requirements({"gpu_required": False})[0].open


@pytest.mark.parametrize(
    "options", [{"node": 3}, {"labels": "eu"}, {"capabilities": 1}, {"gpu_required": "yes"}]
)
def test_a_bad_requirement_is_a_clear_error(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="wanted node='lab-3'"):
        read_requirements(options)
