"""Colors and marks of an SVG picture, and the legend that explains them.

Rule: pure. Only what a picture has is explained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from everfold.timeline.rows import Row, marks_of, owner_letters, owners_of, statuses_of
from everfold.timeline.shapes import rect, text
from everfold.timeline.tracks import MARKS, RECOVERING, RUNNING, WAITING

# Distinct for people with color blindness, too.
OWNER_COLORS = (
    *("#3b82f6", "#14b8a6", "#8b5cf6", "#a16207", "#ec4899", "#65a30d"),
    *("#0c4a6e", "#d97757", "#0ea5e9", "#c084fc"),
)
UNOWNED_COLOR = "#9ca3af"
WAITING_COLOR = "#cbd5e1"
RECOVERING_COLOR = "#f59e0b"
STATUS_COLORS = {
    "succeeded": "#16a34a",
    "failed": "#dc2626",
    "expired": "#7f1d1d",
    "canceled": "#c026d3",
    "canceling": "#e879f9",
    "running": "#0891b2",
    "queued": "#94a3b8",
}
MARK_COLORS = {
    "recovered": "#b45309",
    "retried": "#1d4ed8",
    "lost": "#dc2626",
    "cancel": "#c026d3",
    "stopping": "#be123c",
    "released": "#475569",
    "rewound": "#4c1d95",
    "unreadable": "#000000",
}
MARK_SHAPES = {
    "recovered": "M0-1 1 .8-1 .8Z",
    "retried": "M-1 0A1 1 0 1 0 1 0A1 1 0 1 0-1 0Z",
    "lost": "M-1-.6-.6-1 0-.4.6-1 1-.6.4 0 1 .6.6 1 0 .4-.6 1-1 .6-.4 0Z",
    "cancel": "M-.8-.8H.8V.8H-.8Z",
    "stopping": "M-.4-1H.4L1-.4V.4L.4 1H-.4L-1 .4V-.4Z",
    "released": "M0 1 1-.8-1-.8Z",
    "rewound": "M-1 0 .8-1V1Z",
    "unreadable": "M0-1 1 0 0 1-1 0Z",
}
"""Outlines between -1 and 1."""
MOST_OWNERS = 12
LETTER = 6.7
MOST_LETTERS = 36


def legend(rows: Sequence[Row], width: float) -> Iterator[str]:
    """Yield the lines of the legend, each starting at 0 and no wider than `width`."""
    line, x = "", 0.0
    for drawn, words in _entries(rows):
        words = words if len(words) <= MOST_LETTERS else f"{words[: MOST_LETTERS - 1]}…"
        step = 20 + LETTER * len(words) + 16
        if line and x + step > width:
            yield line
            line, x = "", 0.0
        line += f'<g transform="translate({x:.1f} 0)">{drawn}{text(20, 10, words)}</g>'
        x += step
    if line:
        yield line


def _entries(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    kinds = {segment.kind for row in rows for segment in row.segments}
    swatches = {WAITING: WAITING_COLOR, RECOVERING: "url(#hatch)"}
    for kind in (kind for kind in swatches if kind in kinds):
        yield _swatch(swatches[kind]), kind
    owners = owners_of(rows)
    letters = owner_letters(owners)
    for place, owner in enumerate(owners[:MOST_OWNERS]):
        yield _swatch(OWNER_COLORS[place % len(OWNER_COLORS)]), _running(owner, letters)
    if len(owners) > MOST_OWNERS:
        yield "", f"and {len(owners) - MOST_OWNERS} more runners"
    if any(s.kind == RUNNING and not s.owner for row in rows for s in row.segments):
        yield _swatch(UNOWNED_COLOR), "running, held by no runner"
    found = marks_of(rows)
    for kind in (mark for mark in MARKS if mark in found):
        shape = f'<path d="{MARK_SHAPES[kind]}" fill="{MARK_COLORS[kind]}" '
        yield shape + 'transform="translate(8 6) scale(5.5)"/>', kind
    for status in statuses_of(rows):
        yield rect(4, 0, 8, 12, STATUS_COLORS.get(status, UNOWNED_COLOR)), status


def _running(owner: str, letters: Mapping[str, str]) -> str:
    return f"{letters.get(owner, '')} running: {owner}".strip()


def _swatch(color: str) -> str:
    return rect(0, 1, 16, 10, color)
