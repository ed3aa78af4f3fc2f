"""Timelines of many jobs: few lanes, bounded pictures, and what they say in words."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

import pytest
from msgspec.structs import replace

from everfold.streams.border.quantity import quantity
from everfold.timeline.groups import MOST_LANES, OTHERS, GroupBy, grouping_of, lanes
from everfold.timeline.summary import percentile, summary
from everfold.timeline.svg_lanes import svg_lanes
from everfold.timeline.terminal import terminal
from everfold.timeline.terminal_lanes import terminal_lanes
from everfold.timeline.tracks import RUNNING, WAITING, Track, track
from tests.everfold.timeline.stories import DONE, START_MS, begun, crowd, told

QUEUES = ("default", "upscale", "video")


def tracks(jobs: int) -> list[Track]:
    found = [track(events, START_MS + jobs * 700 + 5_000) for events in crowd(jobs)]
    return [
        replace(one, queue=QUEUES[place % 3], user=f"user-{place}")
        for place, one in enumerate(found)
    ]


MANY = tracks(500)


def test_a_lane_tells_how_many_jobs_ran_and_waited_at_once() -> None:
    pair = [track(told([*begun(), (1_300, DONE)], name), 0) for name in "ab"]
    [lane] = lanes(pair, "kind", 13)
    assert (lane.jobs, lane.statuses, lane.failures) == (2, "2 succeeded", [0] * 13)
    assert lane.bins[WAITING] == [2, 2, 2, *[0] * 10]
    assert lane.bins[RUNNING] == [0, 0, 0, *[2] * 10]


def test_each_job_is_in_one_lane_and_all_its_time_is_counted() -> None:
    found = lanes(MANY, "queue", 100)
    assert [lane.name for lane in found] == list(QUEUES)
    assert sum(lane.jobs for lane in found) == 500
    ran_ms = sum(s.end_ms - s.start_ms for t in MANY for s in t.segments if s.kind == RUNNING)
    extent_ms = max(t.end_ms for t in MANY) - min(t.start_ms for t in MANY)
    counted_ms = sum(sum(lane.bins[RUNNING]) for lane in found) * extent_ms / 100
    assert counted_ms == pytest.approx(ran_ms)
    failed = sum(sum(lane.failures) for lane in found)
    assert failed == sum(one.status in ("failed", "expired") for one in MANY)


def test_a_lane_of_a_backend_has_what_happened_there_and_no_more() -> None:
    names = {lane.name: lane for lane in lanes(MANY, "backend", 50)}
    here = [s for t in MANY for s in t.segments if s.backend == "http://gpu-1:8188"]
    ran_ms = sum(s.end_ms - s.start_ms for s in here if s.kind == RUNNING)
    extent_ms = max(t.end_ms for t in MANY) - min(t.start_ms for t in MANY)
    counted_ms = sum(names["http://gpu-1:8188"].bins[RUNNING]) * extent_ms / 50
    assert counted_ms == pytest.approx(ran_ms)


def test_groups_beyond_the_limit_share_a_lane() -> None:
    found = lanes(MANY, "user", 10)
    assert len(found) == MOST_LANES + 1
    assert found[-1].name == f"{OTHERS} {500 - MOST_LANES} more"
    assert sum(lane.jobs for lane in found) == 500


def test_the_grouping_is_the_first_that_makes_a_few_lanes() -> None:
    assert grouping_of(MANY) == "queue"
    one_queue = [replace(one, queue="default") for one in MANY]
    assert grouping_of(one_queue) == "backend", "each job has a user of its own"
    assert grouping_of([]) == "queue"


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("by", ["queue", "user", "backend"])
def test_lanes_fit_a_terminal_however_many_jobs_there_are(width: int, by: GroupBy) -> None:
    lines = list(terminal_lanes(MANY, width, by))
    assert max(line.cell_len for line in lines) <= width
    shown = " ".join(line.plain.strip() for line in lines)
    for lane in lanes(MANY, by, 9):
        assert f"{by} {lane.name}: {quantity(lane.jobs, 'job')}, {lane.statuses}" in shown
    assert shown.endswith("failed or expired")
    assert len(lines) <= 2 + 5 * (MOST_LANES + 1)
    assert any("running" in line.plain and "█" in line.plain for line in lines)


@pytest.mark.parametrize("name", ["画像生成の待ち行列" * 7, "x" * 200])
def test_a_long_or_wide_name_is_folded_and_not_cut(name: str) -> None:
    lines = list(terminal_lanes([replace(one, kind=name) for one in tracks(3)], 40, "kind"))
    assert max(line.cell_len for line in lines) <= 40
    assert name in "".join(line.plain.strip() for line in lines)


def test_ten_thousand_jobs_make_a_picture_no_larger_than_five_hundred() -> None:
    many, more = svg_lanes(MANY, "queue", "x"), svg_lanes(tracks(10_000), "queue", "x")
    assert len(more) < 2 * len(many) < 600_000
    picture = Xml.fromstring(more)
    assert float(picture.attrib["height"]) < 600
    words = [text.text or "" for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {*QUEUES} <= set(words)
    assert any("wait p50" in one and "run p50" in one for one in words)


def test_a_name_in_a_lane_is_escaped() -> None:
    evil = "<script>\x1b[2J"
    found = [replace(one, queue=evil) for one in tracks(3)]
    assert "<script" not in svg_lanes(found, "queue", evil)
    assert all("\x1b" not in line.plain for line in terminal_lanes(found, 80, "queue"))


def test_the_summary_counts_statuses_and_tells_waits_and_runs() -> None:
    found = [track(told([*begun(), (1_300, DONE)], f"job-{i}"), 0) for i in range(3)]
    assert list(summary(found)) == [
        "3 jobs: 3 succeeded",
        "wait p50 300 ms, p99 300 ms; run p50 1 s, p99 1 s",
    ]
    assert list(summary([track(told(begun()[:1]), 9_000)]))[1] == "none has run"


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [([1], 0.5, 1), ([1, 2], 0.5, 1), ([1, 2, 3], 0.5, 2), (range(100), 0.99, 98), ([1, 2], 1, 2)],
)
def test_a_percentile_is_one_of_the_values(values: list[int], share: float, found: int) -> None:
    assert percentile(values, share) == found


def test_runners_are_told_apart_without_colors() -> None:
    few = [track(events, START_MS + 60_000) for events in crowd(4)]
    lines = [line.plain for line in terminal(few, 80, {})]
    assert [next(c for c in line[9:] if c.isupper()) for line in lines[1:5]] == ["A", "B", "C", "E"]
    assert "B█ runner-1" in "".join(lines[5:])
