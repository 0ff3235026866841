"""How the demo shows what it found: a line a step, and what belongs below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

__all__ = ["DemoReport", "digit_art"]

DIGITS_SHOWN = 7


class DemoReport:
    """The report, written while the demo runs."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.passed = 0
        self.failed = 0
        self.skipped = 0

    def heading(self, version: str) -> None:
        """What this is."""
        self.console.print(Text.assemble(("EasyRemote ", "bold"), (version, "bold cyan"), " demo"))
        self.console.print("One gateway, two nodes and one caller: four processes on this machine,")
        self.console.print("every call sealed from the caller to its node.\n")

    def passing(self, name: str, found: str, seconds: float, details: Sequence[Text]) -> None:
        """A step whose claims were all checked."""
        self.passed += 1
        self._line("✓", "green", name, found, seconds)
        for detail in details:
            self.console.print(Padding(detail, (0, 0, 0, 4)))

    def failing(self, name: str, why: str, seconds: float) -> None:
        """A step that did not do what it claims."""
        self.failed += 1
        first, *others = why.splitlines() or [""]
        self._line("✗", "red", name, first, seconds)
        for line in others:
            self.console.print(Padding(Text(line), (0, 0, 0, 4)))

    def skipping(self, name: str, why: str) -> None:
        """A step left out, and what would bring it."""
        self.skipped += 1
        self._line("–", "yellow", name, why, None)

    def ending(self, seconds: float) -> None:
        """The sum of it."""
        total = self.passed + self.failed
        colour = "red" if self.failed else "green"
        skipped = f", {self.skipped} left out" if self.skipped else ""
        text = f"{self.passed} of {total} steps checked and passed{skipped}"
        self.console.print(Text.assemble("\n", (text, f"bold {colour}"), f", in {seconds:.1f} s."))

    def _line(self, mark: str, colour: str, name: str, found: str, seconds: float | None) -> None:
        took = "" if seconds is None else f"{seconds:7.2f} s"
        line = Text.assemble((mark, f"bold {colour}"), " ", (f"{name:<12}", "bold"), f"{found:<56}")
        self.console.print(line.append(took, "dim"), soft_wrap=True)


def digit_art(images: Sequence[Any], answers: Sequence[int], labels: Sequence[int]) -> Text:
    """Some test images as blocks, the answer below each; a wrong answer is shown among them."""
    wrong = [at for at in range(len(answers)) if answers[at] != labels[at]][:1]
    shown = [at for at in range(DIGITS_SHOWN) if at not in wrong]
    shown = sorted(shown[: DIGITS_SHOWN - len(wrong)]) + wrong
    art = Text()
    for row in range(0, 8, 2):
        art.append("  ".join(_row(images[at], row) for at in shown) + "\n")
    for at in shown:
        right = answers[at] == labels[at]
        told = f"{answers[at]}" if right else f"{answers[at]}, is {labels[at]}"
        art.append(f"{told:<10}", "bold green" if right else "bold red")
    return art


def _row(image: Any, row: int) -> str:
    """Two rows of pixels as one row of half blocks."""
    pairs = zip(image[row], image[row + 1], strict=True)
    return "".join(" ▄▀█"[2 * (above >= 8) + (below >= 8)] for above, below in pairs)
