"""Draws tracks as SVG: time from left to right, one row for each job or backend.

Rule: pure. Rows get thinner the more there are, and lose their words when those no longer fit;
a picture is never higher than MOST_HEIGHT, and shows the newest MOST_ROWS rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from everfold.timeline.axis import Axis
from everfold.timeline.legend import (
    MARK_COLORS,
    MARK_SHAPES,
    OWNER_COLORS,
    RECOVERING_COLOR,
    STATUS_COLORS,
    UNOWNED_COLOR,
    WAITING_COLOR,
    legend,
)
from everfold.timeline.rows import End, Row, extent_ms, owner_letters, owners_of, rows_of
from everfold.timeline.shapes import rect, text, tip
from everfold.timeline.summary import summary
from everfold.timeline.tracks import RECOVERING, RUNNING, WAITING, Mark, Segment, Track

WIDTH = 1400
MOST_HEIGHT = 4000
MOST_ROWS = 3000
MARGIN = 16
HEAD, FOOT = 84, 34
"""Above the legend's last line and the rows; below the rows."""
LEGEND_LINE = 18
STATUS_STRIP, STATUS_WORDS = 8, 74
COMFORTABLE, READABLE = 26.0, 10.0
"""Height of a row when there is room, and the least that carries words."""
LETTER = 6.7
"""Width of a letter of the labels."""
TICKS = 12

STYLE = """
text{font:11px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#374151}
.title{font-size:15px;font-weight:bold;fill:#111827}
.tick{font-size:10px;fill:#6b7280}.grid{stroke:#e5e7eb;stroke-width:1}
.letter{fill:#fff;font-weight:bold;pointer-events:none}
.mark{stroke:#fff;stroke-width:.16}.waiting{shape-rendering:crispEdges}
"""
HATCH = (
    '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
    f'patternTransform="rotate(45)"><rect width="6" height="6" fill="{RECOVERING_COLOR}"/>'
    '<rect width="2" height="6" fill="#fff" fill-opacity=".55"/></pattern>'
)


def svg(tracks: Sequence[Track], by: str = "job", title: str = "") -> str:
    """Return the picture as an SVG document; `by` is job or backend."""
    rows = rows_of(tracks, by)
    shown = rows[-MOST_ROWS:]
    if len(shown) < len(rows):
        title += f" (the newest {len(shown):,} of {len(rows):,} rows)"
    return "\n".join(_Picture(shown, title, " · ".join(summary(tracks))).lines()) + "\n"


class _Picture:
    """Computes the positions of rows, axis and legend, and draws them."""

    def __init__(self, rows: Sequence[Row], title: str, summary: str) -> None:
        self.rows, self.title, self.summary = rows, title, summary
        self.legend = list(legend(rows, WIDTH - 2 * MARGIN))
        self.top = HEAD + LEGEND_LINE * len(self.legend)
        self.pitch = row_height(len(rows), MOST_HEIGHT - self.top - FOOT)
        self.bottom = self.top + self.pitch * len(rows)
        self.colors = owner_colors(rows)
        self.letters = owner_letters(owners_of(rows))
        longest = max((len(row.label) for row in rows), default=0) if self.has_words else 0
        left = MARGIN + min(longest, 40) * LETTER + 8
        right = WIDTH - MARGIN - STATUS_STRIP - 6 - (STATUS_WORDS if self.has_words else 0)
        self.axis = Axis(*extent_ms(rows), left, right - left)
        self.strip = right + 6

    @property
    def has_words(self) -> bool:
        return self.pitch >= READABLE

    def lines(self) -> Iterator[str]:
        height = min(MOST_HEIGHT, round(self.bottom + FOOT))
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}">'
        )
        yield f"<style>{STYLE}</style><defs>{HATCH}</defs>"
        yield rect(0, 0, WIDTH, height, "#ffffff")
        yield text(MARGIN, 26, self.title, "title")
        yield text(MARGIN, 46, self.summary)
        for place, line in enumerate(self.legend):
            yield f'<g transform="translate({MARGIN} {58 + LEGEND_LINE * place})">{line}</g>'
        yield from self._ticks()
        for place, row in enumerate(self.rows):
            yield from self._row(row, self.top + self.pitch * place)
        yield "</svg>"

    def _ticks(self) -> Iterator[str]:
        top, bottom = self.top - 4, self.bottom + 4
        for x, words in self.axis.ticks(TICKS):
            yield f'<path class="grid" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>'
            yield text(x, top - 5, words, "tick", anchor="middle")
            yield text(x, bottom + 13, words, "tick", anchor="middle")

    def _row(self, row: Row, y: float) -> Iterator[str]:
        yield '<g class="track">' + tip(f"{row.name} {row.status}".strip())
        yield rect(self.axis.left, y, self.axis.width, self.pitch, "#f3f4f6", "row", opacity=0.45)
        if self.has_words:
            size = min(11.0, self.pitch - 1)
            base = y + self.pitch / 2 + size * 0.36
            yield text(MARGIN, base, _fitting(row.label), size=size)
            color = STATUS_COLORS.get(row.status, "")
            yield text(self.strip + 14, base, row.status, size=size, color=color)
        if row.status:
            yield self._status_square(row, y)
        yield from (self._segment(segment, y) for segment in row.segments)
        yield from (self._end(end, y) for end in row.ends)
        yield from (self._mark(mark, y) for mark in row.marks)
        yield "</g>"

    @property
    def gap(self) -> float:
        """Free space above and below a bar."""
        return min(3.0, self.pitch * 0.12)

    def _status_square(self, row: Row, y: float) -> str:
        color = STATUS_COLORS.get(row.status, UNOWNED_COLOR)
        return rect(self.strip, y + self.gap, STATUS_STRIP, self.pitch - 2 * self.gap, color)

    def _segment(self, segment: Segment, y: float) -> str:
        inset = self.gap + (self.pitch * 0.2 if segment.kind == WAITING else 0)
        left, right = self.axis.at(segment.start_ms), self.axis.at(segment.end_ms)
        bar = rect(
            left,
            y + inset,
            max(right - left, 0.6),
            self.pitch - 2 * inset,
            self._color(segment),
            segment.kind,
            told=_told(segment),
        )
        return bar + self._letter(segment, left, right, y)

    def _letter(self, segment: Segment, left: float, right: float, y: float) -> str:
        """Return the letter of a segment's runner at its bar's beginning, if there is room."""
        letter = self.letters.get(segment.owner, "") if segment.kind == RUNNING else ""
        if not letter or not self.has_words or right - left < 2 * LETTER:
            return ""
        return text(left + 2, y + self.pitch / 2 + 4, letter, "letter")

    def _color(self, segment: Segment) -> str:
        if segment.kind == RUNNING:
            return self.colors.get(segment.owner, UNOWNED_COLOR)
        return "url(#hatch)" if segment.kind == RECOVERING else WAITING_COLOR

    def _end(self, end: End, y: float) -> str:
        color = STATUS_COLORS.get(end.status, UNOWNED_COLOR)
        x, told = self.axis.at(end.at_ms), f"{end.job_id} {end.status}"
        return rect(x - 1.5, y + 0.5, 3, self.pitch - 1, color, "end", told=told)

    def _mark(self, mark: Mark, y: float) -> str:
        x, middle = self.axis.at(mark.at_ms), y + self.pitch / 2
        scale = min(5.5, max(2.2, self.pitch * 0.42))
        return (
            f'<path class="mark" d="{MARK_SHAPES[mark.kind]}" fill="{MARK_COLORS[mark.kind]}" '
            f'transform="translate({x:.1f} {middle:.2f}) scale({scale:.2f})">'
            f"{tip(f'{mark.job_id} {mark.kind}: {mark.why}'.rstrip(': '))}</path>"
        )


def row_height(rows: int, room: float) -> float:
    """Return the height of one of so many rows: an overview where there are many."""
    rows = max(1, rows)
    return min(COMFORTABLE, max(1600 / rows, 5.0), room / rows)


def owner_colors(rows: Sequence[Row]) -> dict[str, str]:
    """Return runner -> color; colors repeat when there are more runners."""
    owners = owners_of(rows)
    return {name: OWNER_COLORS[i % len(OWNER_COLORS)] for i, name in enumerate(owners)}


def _fitting(label: str) -> str:
    return label if len(label) <= 40 else f"{label[:39]}…"


def _told(segment: Segment) -> str:
    seconds = (segment.end_ms - segment.start_ms) / 1000
    parts = (segment.job_id, f"{segment.kind} {seconds:.1f} s", segment.owner, segment.backend)
    return " · ".join(part for part in parts if part)
