"""Who can, and why each other cannot."""

from __future__ import annotations

from collections.abc import Sequence

from easyremote.schedule.candidates import Candidate
from easyremote.schedule.requirements import Requirement


def obstacle(requirement: Requirement, candidate: Candidate) -> str | None:
    """Why this node cannot take the call, in words that follow its name; None if it can."""
    if requirement.node is not None and candidate.name != requirement.node:
        return f"is not {requirement.node!r}"
    if candidate.draining:
        return "is draining"
    if candidate.endpoint in requirement.exclude:
        return "was tried already"
    missing = requirement.capabilities - candidate.capabilities
    if missing:
        return "has no capability " + ", ".join(map(repr, sorted(missing)))
    for label, wanted in requirement.labels.items():
        found = candidate.labels.get(label)
        if found != wanted:
            return f"has label {label}={found!r}" if found is not None else f"has no label {label!r}"
    return None


def eligible(requirement: Requirement, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that can take the call, in their order."""
    if requirement.open:
        return [candidate for candidate in candidates if not candidate.draining]
    return [candidate for candidate in candidates if obstacle(requirement, candidate) is None]
