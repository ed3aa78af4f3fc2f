"""Tracks as lines of a terminal: a short id, a bar over the common time, the status.

Every cell shows the most telling thing within its time; without colors the letters still tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace
from rich.text import Text

from everfold.streams.border.text import for_terminal
from everfold.timeline.axis import Axis, after
from everfold.timeline.rows import (
    Row,
    extent_ms,
    marks_of,
    owner_letters,
    owners_of,
    rows_of,
)
from everfold.timeline.tracks import KINDS, MARKS, RECOVERING, RUNNING, WAITING, Track

CELLS = {WAITING: "░", RUNNING: "█", RECOVERING: "▒"}
CELL_STYLES = {WAITING: "bright_black", RECOVERING: "yellow"}
MARK_CELLS = {
    "recovered": ("▲", "bold yellow"),
    "retried": ("↻", "bold blue"),
    "lost": ("✕", "bold red"),
    "cancel": ("■", "bold magenta"),
    "stopping": ("◆", "bold red"),
    "released": ("▼", "bold"),
    "rewound": ("◀", "bold red"),
    "unreadable": ("?", "bold red"),
}
OWNER_STYLES = ("cyan", "green", "blue", "bright_cyan", "bright_green", "bright_blue")
MOST_OWNERS = 6
LEAST_BAR, LEAST_LABEL, MOST_LABEL, STATUS = 10, 8, 28, 9
TICK_CELLS = 12
"""Room for a tick's words."""


def terminal(
    tracks: Sequence[Track], width: int, styles: dict[str, str], by: str = "job"
) -> Iterator[Text]:
    """Yield the lines, none wider than `width`; `styles` are those of statuses."""
    rows = [_printable(row) for row in rows_of(tracks, by)]
    label = max([LEAST_LABEL, *(min(len(row.label), MOST_LABEL) for row in rows)])
    bar = max(LEAST_BAR, width - label - STATUS - 2)
    axis = Axis(*extent_ms(rows), 0, bar)
    colors = {owner: OWNER_STYLES[i % len(OWNER_STYLES)] for i, owner in enumerate(owners_of(rows))}
    letters = owner_letters(list(colors))
    yield Text(" " * (label + 1)).append(tick_line(axis, bar), "dim")
    for row in rows:
        line = Text(f"{row.label[-label:]:<{label}} ")
        line.append_text(_bar(row, axis, bar, colors, letters))
        yield line.append(f" {row.status}".rstrip(), styles.get(row.status, ""))
    yield from _legend(rows, colors, letters, width)


def _printable(row: Row) -> Row:
    segments = tuple(replace(one, owner=for_terminal(one.owner)) for one in row.segments)
    return replace(row, label=for_terminal(row.label), segments=segments)


def tick_line(axis: Axis, bar: int) -> str:
    """Return the labels of the ticks over a bar."""
    line = ""
    for x, words in axis.ticks(max(1, bar // TICK_CELLS)):
        place = int(x)
        if place >= len(line) and place + len(words) <= bar:
            line = line.ljust(place) + words + " "
    return line.rstrip()


def _bar(row: Row, axis: Axis, bar: int, colors: dict[str, str], letters: dict[str, str]) -> Text:
    cells = [(" ", "")] * bar
    # The most telling last: it stays where several meet in a cell.
    for kind in KINDS:
        for segment in (segment for segment in row.segments if segment.kind == kind):
            style = CELL_STYLES.get(kind) or colors.get(segment.owner, "white")
            first = min(bar - 1, int(axis.at(segment.start_ms)))
            beyond = max(first + 1, round(axis.at(segment.end_ms)))
            cells[first:beyond] = [(CELLS[kind], style)] * (beyond - first)
            if kind == RUNNING and segment.owner in letters:
                cells[first] = (letters[segment.owner], f"reverse {style}")
    for mark in row.marks:
        cells[min(bar - 1, int(axis.at(mark.at_ms)))] = MARK_CELLS[mark.kind]
    return Text.assemble(*cells)


def _legend(
    rows: Sequence[Row], colors: dict[str, str], letters: dict[str, str], width: int
) -> Iterator[Text]:
    line = Text()
    for entry in _entries(rows, colors, letters, width):
        if line and line.cell_len + 2 + entry.cell_len > width:
            yield line
            line = Text()
        line.append("  " if line else "").append_text(entry)
    yield line


def _entries(
    rows: Sequence[Row], colors: dict[str, str], letters: dict[str, str], width: int
) -> Iterator[Text]:
    start_ms, end_ms = extent_ms(rows)
    yield Text(f"{after(max(100, (end_ms - start_ms) // 100 * 100))} in all", "dim")
    for kind in (WAITING, RECOVERING, RUNNING):
        yield Text(CELLS[kind], CELL_STYLES.get(kind, "")).append(f" {kind}", "default")
    for owner, color in list(colors.items())[:MOST_OWNERS]:
        sign = letters.get(owner, "") + CELLS[RUNNING]
        yield Text(sign, color).append(f" {owner[: width - 5]}", "default")
    if len(colors) > MOST_OWNERS:
        yield Text(f"and {len(colors) - MOST_OWNERS} more runners")
    found = marks_of(rows)
    for mark in (mark for mark in MARKS if mark in found):
        cell, style = MARK_CELLS[mark]
        yield Text(cell, style).append(f" {mark}", "default")
