"""What the commands show: rich on a terminal, plain lines in a pipe, JSON where asked.

Everything that came over the network passes ``printable`` before it reaches a terminal: a node's
words must not move the cursor or recolour the screen.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from easyremote.cli.exits import Exit, exit_for
from easyremote.cli.jsonable import to_json
from easyremote.errors import EasyRemoteError, RemoteError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Output", "printable", "reporting"]


WIDEST = 10_000
"""Columns of a terminal that shows any table: how wide one would like to be is asked in it."""


def printable(text: str) -> str:
    """The text with control characters shown instead of obeyed; line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


class Output:
    """Where a command's results go.

    Args:
        as_json: One JSON value a line, wherever it goes.
        stream: Standard output unless given.
    """

    def __init__(self, *, as_json: bool = False, stream: TextIO | None = None) -> None:
        self.as_json = as_json
        self.stream = stream or sys.stdout
        self.terminal = self.stream.isatty()
        _accept_any_text(self.stream)

    def value(self, value: object) -> None:
        """Show one result, or one item of a stream, now."""
        if self.as_json:
            self.line(to_json(value))
        elif isinstance(value, str):
            self.line(printable(value) if self.terminal else value)
        elif isinstance(value, bytes | bytearray) and not self.terminal:
            self._raw(value)
        elif self.terminal:
            from rich.pretty import pretty_repr

            width = self.console.width
            self.line(printable(pretty_repr(value, max_width=width)))
        else:
            self.line(repr(value))

    def table(self, rows: Sequence[Mapping[str, object]], *, records: Sequence[object], empty: str) -> None:
        """Show records: a table, tab-separated lines without a heading, or one JSON object a line.

        Args:
            rows: What people are shown of each record; the keys are the columns.
            records: The records themselves, whole, for JSON.
            empty: What a terminal says when there are none.
        """
        if self.as_json:
            for record in records:
                self.line(to_json(record))
        elif not self.terminal:
            for row in rows:
                self.line("\t".join(_cell(value).replace("\t", " ") for value in row.values()))
        elif rows:
            self._rich_table(rows)
        else:
            self.line(empty)

    def line(self, text: str) -> None:
        """One line, written at once."""
        print(text, file=self.stream, flush=True)

    def _rich_table(self, rows: Sequence[Mapping[str, object]]) -> None:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        console = self.console
        table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
        first, *others = rows[0]
        columns = [first, *(one for one in others if any(_cell(row[one]) for row in rows))]
        for column in columns:
            numbers = all(isinstance(row[column], int | float) for row in rows)
            table.add_column(column, justify="right" if numbers else "left", overflow="fold")
        for row in rows:
            texts = [Text(printable(_cell(row[column]))) for column in columns]
            texts[0].stylize("cyan")
            table.add_row(*texts)
        if console.measure(table, options=console.options.update(max_width=WIDEST)).maximum > console.width:
            self._rich_blocks(rows, columns)
        else:
            console.print(table)

    def _rich_blocks(self, rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
        """What is too wide for a table: a block a record, a line a column."""
        from rich.text import Text

        wide = max(map(len, columns))
        for row in rows:
            for column in columns:
                if text := printable(_cell(row[column])):
                    style = "cyan" if column == columns[0] else ""
                    line = Text.assemble((f"{column:<{wide}}  ", "bold"), (text, style))
                    self.console.print(line, soft_wrap=True)
            self.line("")

    @property
    def console(self) -> Console:
        """For what a table or a line is not enough for."""
        from rich.console import Console

        return Console(file=self.stream, highlight=False)

    def _raw(self, value: bytes | bytearray) -> None:
        self.stream.flush()
        buffer = getattr(self.stream, "buffer", None)
        if buffer is None:
            self.line(repr(bytes(value)))
        else:
            buffer.write(value)
            buffer.flush()


def _accept_any_text(stream: TextIO) -> None:
    """A character the stream's encoding lacks is escaped rather than an error."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return " ".join(str(value).splitlines())


@contextmanager
def reporting(*, verbose: bool = False) -> Iterator[None]:
    """Run a command's body; an error is told on standard error and becomes the exit code."""
    try:
        yield
    except EasyRemoteError as error:
        tell(error, verbose=verbose)
        raise SystemExit(exit_for(error)) from None
    except BrokenPipeError:  # the reader of our output had enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(Exit.OK) from None
    except KeyboardInterrupt:
        raise SystemExit(Exit.INTERRUPTED) from None


def tell(error: EasyRemoteError, *, verbose: bool = False) -> None:
    """Say on standard error what went wrong, and with ``verbose`` where."""
    if verbose and not isinstance(error, RemoteError):
        print(printable("".join(traceback.format_exception(error)).rstrip()), file=sys.stderr)
        return
    name = error.type_name if isinstance(error, RemoteError) else type(error).__name__
    text = _remote_text(error, verbose=verbose) if isinstance(error, RemoteError) else str(error)
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.text import Text

        line = Text.assemble((printable(name), "bold red"), ": ", printable(text))
        Console(stderr=True, highlight=False).print(line, soft_wrap=True)
    else:
        _accept_any_text(sys.stderr)
        print(f"{name}: {text}", file=sys.stderr)


def _remote_text(error: RemoteError, *, verbose: bool) -> str:
    where = f"raised by {error.function!r} on node {error.node!r}, call {error.call_id}"
    if verbose and error.remote_traceback:
        return f"{error.remote_message}\n  {where}\n{error.remote_traceback.rstrip()}"
    return f"{error.remote_message}\n  {where}\nRun again with --verbose for the traceback on the node."
