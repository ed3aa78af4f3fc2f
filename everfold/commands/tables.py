"""Rows in a terminal: a table where it fits, without empty columns if need be, else records.

Rule: no value is broken in its middle, and none is cut but that of a last column that may be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

GAP = 2
"""Between two columns."""

LEAST_WRAPPED, LEAST_CUT = 16, 20
"""Columns of a terminal below which a column is not wrapped, or not cut."""


class Layout(Struct, frozen=True):
    """How the columns of a table share a terminal."""

    wrapped: Collection[str]
    """Names of those that are wrapped between words."""
    cut: str = ""
    """The name of the one that is cut."""
    least: Mapping[str, int] = {}
    """How narrow each may become."""


def layout(
    cells: Mapping[str, Sequence[Text]], wrap: Collection[str] | None, width: int
) -> Layout | None:
    """Return how the columns fit into a width, None where they do not.

    `wrap` names those that may be wrapped, by default the last one; of none the last one is cut.
    """
    last = [*cells][-1]
    wrapped = [last] if wrap is None else wrap
    cut = "" if wrapped else last
    least = {
        name: _least(name, column, is_wrapped=name in wrapped, is_cut=name == cut)
        for name, column in cells.items()
    }
    if sum(least.values()) + GAP * (len(least) - 1) > width:
        return None
    return Layout(wrapped, cut, least)


def _least(name: str, column: Sequence[Text], *, is_wrapped: bool, is_cut: bool) -> int:
    natural = max(len(name), *(text.cell_len for text in column))
    if is_cut:
        return min(natural, LEAST_CUT)
    if not is_wrapped:
        return natural
    words = (len(word) for text in column for word in text.plain.split())
    return max(len(name), min(natural, LEAST_WRAPPED), *words, 0)


def without_empty(cells: Mapping[str, Sequence[Text]]) -> Mapping[str, Sequence[Text]]:
    """Return the columns in which a row has a value; all of them where none has."""
    full = {name: column for name, column in cells.items() if not all(map(_is_empty, column))}
    return full or cells


def _is_empty(value: Text) -> bool:
    return value.plain.strip() in ("", "-")


def table_of(cells: Mapping[str, Sequence[Text]], styles: Sequence[str], form: Layout) -> Table:
    """Return the table; `styles` are those of its rows."""
    from rich.table import Table

    found = Table(box=None, pad_edge=False, header_style="bold", expand=bool(form.cut))
    for name in cells:
        least = form.least.get(name)
        if name in form.wrapped:
            found.add_column(name, overflow="fold", min_width=least)
        elif name == form.cut:
            found.add_column(name, no_wrap=True, ratio=1, overflow="ellipsis")
        else:
            found.add_column(name, no_wrap=True, min_width=least)
    for row, style in zip(zip(*cells.values(), strict=True), styles, strict=True):
        found.add_row(*row, style=style)
    return found


def records(
    cells: Mapping[str, Sequence[Text]], styles: Sequence[str], width: int
) -> Iterator[Text]:
    """Yield the lines of each row: its values below one another, without those that are empty.

    The value of a column without a name, such as a mark, stands before the next one.
    """
    from rich.text import Text

    names = max(map(len, cells)) + GAP
    for place, (row, style) in enumerate(
        zip(zip(*cells.values(), strict=True), styles, strict=True)
    ):
        if place:
            yield Text()
        mark = Text()
        for name, value in zip(cells, row, strict=True):
            if _is_empty(value):
                continue
            value.stylize(style)
            if name:
                yield from _record(name, mark.append_text(value), names, width)
                mark = Text()
            else:
                mark = Text().append_text(value).append(" ")


def _record(name: str, value: Text, names: int, width: int) -> Iterator[Text]:
    from rich.text import Text

    lines = wrapped(value, width - names)
    if max(line.cell_len for line in lines) > width - names:
        yield Text().append(name, "dim")
        yield from (Text(" " * GAP).append_text(line) for line in wrapped(value, width - GAP))
        return
    for place, line in enumerate(lines):
        shown = "" if place else name
        yield Text().append(shown, "dim").append(" " * (names - len(shown))).append_text(line)


def wrapped(text: Text, width: int) -> list[Text]:
    """Return a text as lines that are broken between words; a longer word stays whole."""
    found, start, fits = list[tuple[int, int]](), 0, 0
    plain = text.plain
    for end in [place for place, letter in enumerate(plain) if letter == " "] + [len(plain)]:
        if end > start and text[start:end].cell_len > width and fits > start:
            found.append((start, fits))
            start = fits + 1
        fits = end
    found.append((start, len(plain)))
    return [text[start:end] if end > start else text[0:0] for start, end in found]
