"""Many calls in flight while something breaks: each must be answered, and its body must have begun once."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from acceptance.processes import Program

PROGRAMS = Path(__file__).resolve().parent / "programs"
COUNTER = PROGRAMS / "counter.py"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What a crowd asks for.

    Attributes:
        address: The gateway.
        calls: How many calls are in flight at once: of ten, seven of a coroutine, two of a plain function, one a stream.
        seed: Draws how long each takes.
        longest_seconds: The longest a call takes.
        lost_after: The client's option.
        function: What the seven call.
    """

    address: str
    calls: int
    seed: int
    longest_seconds: float
    lost_after: float = 60.0
    function: str = "nap"


class Crowd:
    """The program that asks, and the ledger of the nodes that run what it asks for."""

    def __init__(
        self, plan: Plan, ledger: Path, environment: Mapping[str, str | None], *, within: tuple[str, ...] = ()
    ) -> None:
        self.plan = plan
        self._ledger = ledger
        words = [str(PROGRAMS / "crowd.py"), json.dumps(dataclasses.asdict(plan))]
        self.program = Program([*within, *words], environment=environment)
        self.program.wait_for("in flight", within_seconds=30)

    @property
    def begun(self) -> Counter[str]:
        """How often the body of each call has begun, as the nodes' disk has it."""
        return Counter(self._ledger.read_text().split()) if self._ledger.exists() else Counter()

    def ends(self, *, within_seconds: float) -> dict[str, int]:
        """What became of the calls that were not answered as they should be."""
        assert self.program.wait(within_seconds=within_seconds) == 0, self.program
        report = json.loads(self.program.output[-1])
        assert report["answered"] + sum(report["failures"].values()) == self.plan.calls
        failures: dict[str, int] = report["failures"]
        return failures

    def all_answered(self, *, within_seconds: float) -> None:
        """Every call came to its own answer, and ran once."""
        failures = self.ends(within_seconds=within_seconds)
        self.program.kill()
        assert failures == {}, self.program.said
        begun = self.begun
        assert len(begun) == self.plan.calls
        assert [key for key, times in begun.items() if times != 1] == []
