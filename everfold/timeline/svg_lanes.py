"""Lanes of many jobs as SVG: for each group an area of running jobs above one of waiting jobs.

Rule: pure. Waiting and recovering are hatched, so that no color is needed to tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from everfold.streams.border.quantity import quantity
from everfold.timeline.axis import Axis
from everfold.timeline.groups import GroupBy, Lane, extent_of, lanes
from everfold.timeline.legend import MARK_COLORS, RECOVERING_COLOR, WAITING_COLOR
from everfold.timeline.shapes import rect, text
from everfold.timeline.summary import summary
from everfold.timeline.tracks import RECOVERING, RUNNING, WAITING, Track

WIDTH, MARGIN, LEFT, RIGHT = 1400, 16, 250, 70
HEAD, FOOT = 104, 34
HALF, LANE = 44, 112
"""Height of an area, and of a lane with two of them."""

BINS = 280
TICKS = 12
RUNNING_COLOR = "#0891b2"
MOST_LETTERS = 34
STYLE = """
text{font:11px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#374151}
.title{font-size:15px;font-weight:bold;fill:#111827}.name{font-size:12px;font-weight:bold}
.tick{font-size:10px;fill:#6b7280}.grid{stroke:#e5e7eb;stroke-width:1}
"""
PATTERNS = (
    f'<pattern id="waiting" width="6" height="6" patternUnits="userSpaceOnUse">'
    f'<rect width="6" height="6" fill="{WAITING_COLOR}"/>'
    '<path d="M0 3H6" stroke="#fff" stroke-width="1.5"/></pattern>'
    f'<pattern id="recovering" width="6" height="6" patternUnits="userSpaceOnUse" '
    f'patternTransform="rotate(45)"><rect width="6" height="6" fill="{RECOVERING_COLOR}"/>'
    '<rect width="2" height="6" fill="#fff" fill-opacity=".55"/></pattern>'
)
FILLS = {RUNNING: RUNNING_COLOR, RECOVERING: "url(#recovering)", WAITING: "url(#waiting)"}


def svg_lanes(tracks: Sequence[Track], by: GroupBy, title: str = "") -> str:
    """Return the picture as an SVG document."""
    found = lanes(tracks, by, BINS)
    height = HEAD + LANE * len(found) + FOOT
    return "\n".join(_lines(tracks, found, f"{title}, by {by}", height)) + "\n"


def _lines(
    tracks: Sequence[Track], found: Sequence[Lane], title: str, height: int
) -> Iterator[str]:
    axis = Axis(*extent_of(tracks), LEFT, WIDTH - LEFT - RIGHT)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}">'
    )
    yield f"<style>{STYLE}</style><defs>{PATTERNS}</defs>"
    yield rect(0, 0, WIDTH, height, "#ffffff")
    yield text(MARGIN, 26, title, "title")
    yield text(MARGIN, 46, " · ".join(summary(tracks)))
    yield from _legend()
    bottom = HEAD + LANE * len(found)
    for x, words in axis.ticks(TICKS):
        yield f'<path class="grid" d="M{x:.1f} {HEAD - 6}V{bottom}"/>'
        yield text(x, HEAD - 10, words, "tick", anchor="middle")
        yield text(x, bottom + 14, words, "tick", anchor="middle")
    for place, lane in enumerate(found):
        yield from _lane(lane, HEAD + LANE * place, axis)
    yield "</svg>"


def _legend() -> Iterator[str]:
    x = MARGIN
    for kind, fill in FILLS.items():
        yield rect(x, 58, 18, 11, fill) + text(x + 24, 68, kind)
        x += 120
    yield text(x, 68, "✕ failed or expired", color=MARK_COLORS["lost"])
    yield text(x + 170, 68, "height: jobs at once; the number at the right is the most")


def _lane(lane: Lane, top: float, axis: Axis) -> Iterator[str]:
    yield '<g class="lane">'
    yield text(MARGIN, top + 16, _fitting(lane.name), "name")
    yield text(MARGIN, top + 32, quantity(lane.jobs, "job"))
    for place, part in enumerate(lane.statuses.split(", ")[:4]):
        yield text(MARGIN, top + 47 + 14 * place, part)
    busy = [a + b for a, b in zip(lane.bins[RUNNING], lane.bins[RECOVERING], strict=True)]
    for kinds, most, base in (
        ((RUNNING, RECOVERING), max(busy), top + HALF),
        ((WAITING,), lane.most(WAITING), top + 2 * HALF + 8),
    ):
        yield f'<path class="grid" d="M{axis.left} {base:.1f}H{axis.left + axis.width:.1f}"/>'
        yield from _area(lane, kinds, most, base, axis)
        if most > 0:
            said = f"{most:,.0f}" if most >= 1 else "<1"
            yield text(axis.left + axis.width + 6, base - 4, said)
    for place, number in enumerate(lane.failures):
        if number:
            x = axis.left + axis.width * (place + 0.5) / BINS
            yield text(x, top + HALF + 6, "✕", anchor="middle", color=MARK_COLORS["lost"])
    yield "</g>"


def _area(lane: Lane, kinds: Sequence[str], most: float, base: float, axis: Axis) -> Iterator[str]:
    """Yield a column for each bin, kinds upon each other."""
    width = axis.width / BINS
    for place in range(BINS if most > 0 else 0):
        y = base
        for kind in kinds:
            if (size := (HALF - 4) * lane.bins[kind][place] / most) > 0:
                y -= size
                yield rect(axis.left + width * place, y, width, size, FILLS[kind], kind)


def _fitting(name: str) -> str:
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"
