"""Bars as SVG: one row a value, drawn from the figures of a benchmark.

Rule: pure. Colours are readable in light and in dark; what is Everfold's own stands out.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from msgspec import Struct

WIDTH, LABEL, ROW, TOP = 820, 360, 26, 46
OURS, THEIRS, TARGET = "#2f81f7", "#8b949e", "#d29922"


class Bar(Struct, frozen=True):
    label: str
    value: float
    told: str
    """The value in words, such as `> 120 s`."""
    ours: bool = False
    target: float | None = None


def bars(title: str, rows: Sequence[Bar]) -> str:
    """Return an SVG of one bar per row, all from zero on one scale."""
    longest = max([*(row.value for row in rows), *(row.target or 0.0 for row in rows), 1e-9])
    height = TOP + ROW * len(rows) + 12
    scale = (WIDTH - LABEL - 130) / longest
    drawn = [_row(row, TOP + ROW * index, scale) for index, row in enumerate(rows)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="13">',
            f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#0d1117"/>',
            f'<text x="16" y="28" fill="#e6edf3" font-weight="600">{escape(title)}</text>',
            *drawn,
            "</svg>\n",
        ]
    )


def _row(row: Bar, top: int, scale: float) -> str:
    length = max(2.0, row.value * scale)
    colour, weight = (OURS, 600) if row.ours else (THEIRS, 400)
    parts = [
        f'<text x="{LABEL - 10}" y="{top + 15}" fill="#c9d1d9" text-anchor="end" '
        f'font-weight="{weight}">{escape(row.label)}</text>',
        f'<rect x="{LABEL}" y="{top + 3}" width="{length:.1f}" height="16" rx="2" '
        f'fill="{colour}"/>',
    ]
    end = length
    if row.target is not None:
        at = LABEL + row.target * scale
        parts.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{top + 22}" stroke="{TARGET}" '
            'stroke-width="2"><title>target</title></line>'
        )
        end = max(end, row.target * scale)
    parts.append(
        f'<text x="{LABEL + end + 8:.1f}" y="{top + 15}" fill="#e6edf3">{escape(row.told)}</text>'
    )
    return "".join(parts)
