"""What was measured, as a table on the terminal, as Markdown and as JSON."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from scaling.rows import Part, Row, figure


def show(name: str, part: Part) -> None:
    """One part, on the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{name}: {part.title}")
    for heading in ("what", "figure", "unit", "bar", ""):
        table.add_column(heading, justify="right" if heading in ("figure", "bar") else "left")
    for row in part.rows:
        table.add_row(row.what, figure(row.value), row.unit, _bar(row), _verdict(row))
    console = Console(width=None if sys.stdout.isatty() else 130)
    console.print(table)
    for remark in part.remarks:
        console.print(remark)


def keep(folder: Path, name: str, part: Part) -> None:
    """Put a part among those measured before, in place of an older one."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = read(folder) | {name: part}
    data = msgspec.json.format(msgspec.json.encode(parts), indent=2)
    (folder / "scale.json").write_bytes(data + b"\n")


def read(folder: Path) -> dict[str, Part]:
    """What was measured before; nothing if that was never."""
    path = folder / "scale.json"
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Part]) if path.exists() else {}


def write(folder: Path) -> None:
    """All that was kept, for people."""
    text = [
        "# How it grows",
        "",
        "Measured by `benchmarks/scale.py`. A bar is what we hold ourselves to.",
        "",
    ]
    if (folder / "scale.svg").exists():
        text += ["![cost curves](scale.svg)", ""]
    for name, part in read(folder).items():
        text += [
            f"## {name}: {part.title}",
            "",
            "| what | figure | unit | bar | |",
            "| --- | ---: | --- | ---: | --- |",
        ]
        text += [
            f"| {row.what} | {figure(row.value)} | {row.unit} | {_bar(row)} | {_verdict(row)} |"
            for row in part.rows
        ]
        text += [""] + [line for remark in part.remarks for line in (remark, "")]
        text += ["On " + ", ".join(f"{key} {value}" for key, value in part.machine.items()) + ".", ""]
    (folder / "scale.md").write_text("\n".join(text))


def _bar(row: Row) -> str:
    if row.bar is None:
        return ""
    return f"{'≥' if row.at_least else '<'} {figure(row.bar)}"


def _verdict(row: Row) -> str:
    return {None: "", True: "reached", False: "missed"}[row.reached]
