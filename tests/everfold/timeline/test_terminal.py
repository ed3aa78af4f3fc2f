"""The timeline in a terminal: it fits, and tells without colors."""

from __future__ import annotations

import pytest

from everfold.timeline.axis import Axis, after
from everfold.timeline.terminal import terminal
from everfold.timeline.tracks import track
from tests.everfold.timeline.stories import DONE, START_MS, begun, crowd, recovered, strange, told

LANES = [track(events, START_MS + 60_000) for events in crowd(30)]


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("by", ["job", "backend"])
def test_no_line_is_wider_than_the_terminal(width: int, by: str) -> None:
    assert max(line.cell_len for line in terminal(LANES, width, {}, by)) <= width


def test_a_line_has_the_short_id_the_bar_and_the_status() -> None:
    found = [track(told([*begun(), (1_200, DONE)], "the-job-of-eva"), 0)]
    ticks, line, legend = [line.plain for line in terminal(found, 80, {})]
    assert ticks.split()[0] == "0"
    assert line == "b-of-eva" + " " + "░" * 15 + "█" * 46 + " succeeded"
    assert legend.startswith("1.2 s in all  ░ waiting  ▒ recovering  █ running  █ r1")


def test_a_gap_and_the_recovery_in_it_are_told_apart_and_explained() -> None:
    records = told([*begun(), (2_000, recovered()), (3_000, DONE)])
    found = [line.plain for line in terminal([track([*records, strange(2_500, 8)], 0)], 80, {})]
    assert "▒▲▒" in found[1]
    assert "▒?▒" in found[1]
    assert "▲ recovered" in "".join(found[2:])


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (0, "0"),
        (250, "250 ms"),
        (1_500, "1.5 s"),
        (45_000, "45 s"),
        (125_000, "2 min 5 s"),
        (3_600_000, "1 h"),
        (273_600_000, "3 d 4 h"),
    ],
)
def test_times_are_told_in_the_unit_that_fits(ms: int, words: str) -> None:
    assert after(ms) == words


@pytest.mark.parametrize("span_ms", [1, 7, 999, 61_000, 10**8, 10**12, 10**15])
def test_ticks_are_few_and_within_the_axis(span_ms: int) -> None:
    places = [x for x, _ in Axis(5, 5 + span_ms, 10.0, 100.0).ticks(10)]
    assert 1 <= len(places) <= 11
    assert places[0] == 10.0
    assert max(places) <= 110.0
    assert len(set(places)) == len(places)
