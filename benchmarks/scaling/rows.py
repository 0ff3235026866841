"""What a part of the benchmark brings: rows for a table, curves for a plot, and remarks."""

from __future__ import annotations

from typing import Any

import msgspec


class Row(msgspec.Struct):
    """One figure; ``bar`` is what it must stay below, or must reach, in the same unit."""

    what: str
    value: float
    unit: str
    bar: float | None = None
    at_least: bool = False

    @property
    def reached(self) -> bool | None:
        """Whether the bar was held; None where there is none."""
        if self.bar is None:
            return None
        return self.value >= self.bar if self.at_least else self.value < self.bar


class Curve(msgspec.Struct):
    """What something costs as something else grows; ``wide`` over so much that both go by powers of ten."""

    name: str
    x: str
    y: str
    points: list[tuple[float, float]]
    wide: bool = False


class Part(msgspec.Struct):
    """One question's answers."""

    title: str
    rows: list[Row] = []
    curves: list[Curve] = []
    remarks: list[str] = []
    machine: dict[str, Any] = {}


def figure(value: float) -> str:
    """A number as people read it."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
