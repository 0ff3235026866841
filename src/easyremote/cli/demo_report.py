"""How the demo shows what it found: a line a step, and what belongs below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.style import Style
from rich.text import Text

__all__ = ["DemoReport", "DigitArt"]

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
        self.console.print("One gateway, two nodes and one caller: four processes on this machine.\n")

    def passing(self, name: str, found: str, seconds: float, details: Sequence[RenderableType]) -> None:
        """A step whose claims were all checked."""
        self.passed += 1
        self._line("✓", "green", name, found, seconds)
        for detail in details:
            self.console.print(Padding(detail, (0, 0, 0, 4), expand=False))

    def failing(self, name: str, why: str, seconds: float) -> None:
        """A step that did not do what it claims."""
        self.failed += 1
        first, *others = why.splitlines() or [""]
        self._line("✗", "red", name, first, seconds)
        for line in others:
            self.console.print(Padding(Text(line), (0, 0, 0, 4), expand=False))

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


class DigitArt:
    """A test image of some digits, the answer below each; a wrong answer is shown among them.

    Args:
        images: The images, rows of pixels from 0 to 16.
        answers: What the network said of each.
        labels: What each is.
    """

    def __init__(self, images: Sequence[Any], answers: Sequence[int], labels: Sequence[int]) -> None:
        wrong = [at for at in range(len(answers)) if answers[at] != labels[at]][:1]
        of_each = {labels[at]: at for at in reversed(range(len(labels))) if answers[at] == labels[at]}
        right = [at for _, at in sorted(of_each.items())]
        self._shown = [
            (images[at], answers[at], labels[at]) for at in right[: DIGITS_SHOWN - len(wrong)] + wrong
        ]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Two rows of pixels a line: greys where there are colours, blocks where there are none."""
        paint = _blocks if console.color_system is None else _greys
        art = Text(no_wrap=True)
        for row in range(0, 8, 2):
            for image, _, _ in self._shown:
                paint(art, image[row], image[row + 1])
                art.append("  ")
            art.append("\n")
        for _, answer, label in self._shown:
            told = f"{answer}" if answer == label else f"{answer}, is {label}"
            art.append(f"{told:^8}  ", "bold green" if answer == label else "bold red")
        yield art


def _blocks(art: Text, above: Any, below: Any) -> None:
    pairs = zip(above, below, strict=True)
    art.append("".join(" ▄▀█"[2 * (upper >= 8) + (lower >= 8)] for upper, lower in pairs))


def _greys(art: Text, above: Any, below: Any) -> None:
    for upper, lower in zip(above, below, strict=True):
        art.append("▀", Style(color=_grey(upper), bgcolor=_grey(lower)))


def _grey(pixel: float) -> Color:
    level = min(255, int(pixel * 16))
    return Color.from_rgb(level, level, level)
