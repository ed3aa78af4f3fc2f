"""Lanes of many jobs as lines of a terminal: for each group how many ran, and how many waited.

The height of a glyph says how many; no color is needed to read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from everfold.streams.border.quantity import quantity
from everfold.streams.border.text import for_terminal
from everfold.timeline.axis import Axis
from everfold.timeline.groups import GroupBy, Lane, extent_of, lanes
from everfold.timeline.terminal import tick_line
from everfold.timeline.tracks import RECOVERING, RUNNING, WAITING, Track

HEIGHTS = "▁▂▃▄▅▆▇█"
LINES = ((RUNNING, "cyan"), (WAITING, "bright_black"), (RECOVERING, "yellow"))
LEAST_BAR, KIND = 10, 11
FAILED = ("✕", "bold red")
LEGEND = "height: jobs at once; at the end the most of them; ✕ failed or expired"


def terminal_lanes(tracks: Sequence[Track], width: int, by: GroupBy) -> Iterator[Text]:
    """Yield the lines, none wider than `width`."""
    bar = max(LEAST_BAR, width - KIND - 8)
    found = lanes(tracks, by, bar)
    yield Text(" " * KIND).append(tick_line(Axis(*extent_of(tracks), 0, bar), bar), "dim")
    for lane in found:
        head = for_terminal(f"{by} {lane.name}: {quantity(lane.jobs, 'job')}, {lane.statuses}")
        yield from _folded(Text(head, "bold"), width)
        yield from _lines(lane)
    yield from _folded(Text(LEGEND, "dim"), width)


def _folded(text: Text, width: int) -> Iterator[Text]:
    """Yield a text's lines, by the cells that its letters take."""
    yield from text.wrap(Console(width=width), width, overflow="fold")


def _lines(lane: Lane) -> Iterator[Text]:
    for kind, style in LINES:
        most = lane.most(kind)
        if most > 0:
            cells = "".join(_glyph(value, most) for value in lane.bins[kind])
            yield (
                Text(f"{kind:<{KIND}}")
                .append(cells, style)
                .append(f" {most:,.0f}" if most >= 1 else " <1")
            )
    if any(lane.failures):
        marks = "".join(FAILED[0] if number else " " for number in lane.failures)
        yield Text(f"{'failed':<{KIND}}").append(marks.rstrip(), FAILED[1])


def _glyph(value: float, most: float) -> str:
    if value <= 0:
        return " "
    return HEIGHTS[min(len(HEIGHTS) - 1, int(value / most * len(HEIGHTS)))]
