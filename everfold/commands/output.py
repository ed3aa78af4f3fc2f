"""Everything that commands print: a sentence, an object, a table.

Rule: all that is printed goes through this file, and is data: streams/border says what is shown.
rich is loaded only for a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import msgspec

from everfold.streams.border.addresses import masked_text
from everfold.streams.border.text import for_json, for_terminal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

T = TypeVar("T")

Part = str | tuple[str, str]
"""A text, or a text and its style in a terminal, such as "red"."""

Cell = Part | int | float | None
"""What a table shows of a row; 0 and None are a hyphen."""

COMPLAINT_LINES = 20
INDENT = 4
"""Before the further lines of one that is broken."""


@cache
def console() -> Console:
    """Return the terminal, for what moves or is drawn in it."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def is_terminal() -> bool:
    return sys.stdout.isatty()


def emit(value: object) -> None:
    """Print one JSON object on a line of its own, at once."""
    _write(for_json(msgspec.json.encode(value).decode()))


def say(*parts: Part) -> None:
    """Print a line, at once."""
    if is_terminal() and any(isinstance(part, tuple) for part in parts):
        console().print(styled(*parts))
    else:
        _write("".join(map(_plain, parts)))


def say_wrapped(*parts: Part) -> None:
    """Print a line, which a terminal breaks between words where it is longer than that."""
    if not is_terminal():
        say(*parts)
        return
    from everfold.commands.tables import wrapped

    first, *more = wrapped(styled(*parts), console().width - INDENT)
    console().print(first)
    for line in more:
        console().print(styled(" " * INDENT).append_text(line))


def complain(sentence: str) -> None:
    """Print a sentence to stderr, with secrets masked; further lines of it are indented."""
    warn(f"everfold: {sentence}")


def warn(sentence: str) -> None:
    """Print to stderr as `complain` does, without the name in front."""
    lines = masked_text(sentence).strip().split("\n")[:COMPLAINT_LINES]
    sys.stderr.write("\n  ".join(map(for_terminal, lines)) + "\n")
    sys.stderr.flush()


def show(
    rows: Sequence[T],
    columns: Mapping[str, Callable[[T], Cell]],
    *,
    wrap: Collection[str] | None = None,
    style: Callable[[T], str] = lambda _: "",
) -> None:
    """Print a table; in a terminal in which it does not fit, one record below the other.

    A terminal wraps the columns `wrap` between words, by default the last one; without any it cuts
    the last one. `style` colors a whole row.
    """
    if is_terminal():
        _show_in_terminal(rows, columns, wrap, style)
        return
    cells = [[_cell(column(row)) for column in columns.values()] for row in rows]
    texts = [list(columns), *([_plain(cell) for cell in line] for line in cells)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for line in texts:
        padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        _write("  ".join(padded).rstrip())


def _show_in_terminal(
    rows: Sequence[T],
    columns: Mapping[str, Callable[[T], Cell]],
    wrap: Collection[str] | None,
    style: Callable[[T], str],
) -> None:
    from everfold.commands.tables import layout, records, table_of, without_empty

    cells, styles = _styled_cells(rows, columns), [style(row) for row in rows]
    form = layout(cells, wrap, console().width)
    if form is None:
        cells = without_empty(cells)
        form = layout(cells, wrap, console().width)
    if form is not None:
        console().print(table_of(cells, styles, form))
        return
    for line in records(cells, styles, console().width):
        console().print(line)


def table(
    rows: Sequence[T],
    columns: Mapping[str, Callable[[T], Cell]],
    *,
    wrap: Collection[str] | None = None,
    style: Callable[[T], str] = lambda _: "",
) -> Table:
    """Return a table that is drawn again and again; where nothing may wrap, the last column is
    cut."""
    from everfold.commands.tables import Layout, table_of

    last = [*columns][-1]
    wrapped = [last] if wrap is None else wrap
    form = Layout(wrapped, "" if wrapped else last)
    return table_of(_styled_cells(rows, columns), [style(row) for row in rows], form)


def _styled_cells(
    rows: Sequence[T], columns: Mapping[str, Callable[[T], Cell]]
) -> Mapping[str, Sequence[Text]]:
    return {name: [styled(_cell(column(row))) for row in rows] for name, column in columns.items()}


def _cell(cell: Cell) -> Part:
    if isinstance(cell, tuple | str):
        return cell
    return f"{cell:,}" if cell else "-"


def styled(*parts: Part) -> Text:
    from rich.text import Text

    pairs = ((part, "") if isinstance(part, str) else part for part in parts)
    return Text.assemble(*((for_terminal(text), style) for text, style in pairs))


def _plain(part: Part) -> str:
    return for_terminal(part if isinstance(part, str) else part[0])


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
