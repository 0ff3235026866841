from __future__ import annotations

import pytest

from easyremote.schedule.candidates import Candidate
from easyremote.schedule.filters import eligible, obstacle
from easyremote.schedule.requirements import Requirement

STUDIO = Candidate(
    endpoint=b"s" * 40, name="studio", labels={"zone": "eu"}, capabilities=frozenset({"gpu", "ocr"})
)
LAB = Candidate(endpoint=b"l" * 40, name="lab")
OLD = Candidate(endpoint=b"o" * 40, name="old", draining=True)


@pytest.mark.parametrize(
    ("requirement", "candidate", "reason"),
    [
        (Requirement(), STUDIO, None),
        (Requirement(), OLD, "is draining"),
        (Requirement(node="lab"), LAB, None),
        (Requirement(node="lab"), STUDIO, "is not 'lab'"),
        (Requirement(exclude=frozenset({b"l" * 40})), LAB, "was tried already"),
        (Requirement(capabilities=frozenset({"gpu"})), STUDIO, None),
        (Requirement(capabilities=frozenset({"gpu", "tpu"})), STUDIO, "has no capability 'tpu'"),
        (Requirement(labels={"zone": "eu"}), STUDIO, None),
        (Requirement(labels={"zone": "us"}), STUDIO, "has label zone='eu'"),
        (Requirement(labels={"zone": "us"}), LAB, "has no label 'zone'"),
    ],
)
def test_says_why_not(requirement: Requirement, candidate: Candidate, reason: str | None) -> None:
    assert obstacle(requirement, candidate) == reason
    assert eligible(requirement, [candidate]) == ([] if reason else [candidate])


def test_keeps_the_order() -> None:
    assert eligible(Requirement(), [LAB, OLD, STUDIO]) == [LAB, STUDIO]
