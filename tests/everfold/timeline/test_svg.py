"""The SVG picture: well-formed, one row for each job, readable with few and with many."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree as Xml

import pytest
from msgspec.structs import replace

from everfold.timeline.svg import MOST_HEIGHT, MOST_ROWS, svg
from everfold.timeline.tracks import Track, track
from tests.everfold.timeline.stories import DONE, START_MS, begun, crowd, strange, told

SPACE = "{http://www.w3.org/2000/svg}"


def tracks(jobs: int) -> list[Track]:
    return [track(events, START_MS + jobs * 700 + 5_000) for events in crowd(jobs)]


def drawn(text: str) -> Xml.Element:
    return Xml.fromstring(text)


def rows(picture: Xml.Element) -> list[Xml.Element]:
    return picture.findall(f"{SPACE}g[@class='track']")


def span(rect: Xml.Element | None, place: str = "y", size: str = "height") -> tuple[float, float]:
    assert rect is not None
    start = float(rect.attrib[place])
    return start, start + float(rect.attrib[size])


def words(picture: Xml.Element) -> list[str]:
    return [text.text or "" for text in picture.iter(f"{SPACE}text")]


@pytest.mark.parametrize("jobs", [1, 5, 500, MOST_ROWS])
def test_there_is_a_row_for_each_job_and_no_two_overlap(jobs: int) -> None:
    picture = drawn(svg(tracks(jobs)))
    found = rows(picture)
    assert len(found) == jobs
    places = [span(row.find(f"{SPACE}rect[@class='row']")) for row in found]
    assert all(one[1] <= other[0] + 0.01 for one, other in pairwise(places))
    assert places[-1][1] < float(picture.attrib["height"]) <= MOST_HEIGHT
    for row, (top, bottom) in zip(found, places, strict=True):
        inside = [span(rect) for rect in row.findall(f"{SPACE}rect")]
        assert all(top - 0.01 <= up and down <= bottom + 0.51 for up, down in inside)


def test_everything_is_within_the_picture() -> None:
    picture = drawn(svg(tracks(500)))
    width = float(picture.attrib["width"])
    for rect in picture.iter(f"{SPACE}rect"):
        left, right = span(rect, "x", "width") if "x" in rect.attrib else (0.0, 0.0)
        assert 0 <= left <= right <= width


def test_few_rows_carry_words_and_many_do_not() -> None:
    few, many = drawn(svg(tracks(5))), drawn(svg(tracks(500)))
    assert {"succeeded", "failed", "canceled"} <= set(words(few))
    assert all(row.find(f"{SPACE}text") is not None for row in rows(few))
    assert all(row.find(f"{SPACE}text") is None for row in rows(many))


def test_more_rows_than_fit_are_the_newest_and_the_title_says_so() -> None:
    picture = drawn(svg(tracks(MOST_ROWS + 1), title="all"))
    assert len(rows(picture)) == MOST_ROWS
    assert f"all (the newest {MOST_ROWS:,} of {MOST_ROWS + 1:,} rows)" in words(picture)


def test_a_segment_stands_where_its_time_is() -> None:
    [row] = rows(drawn(svg([track(told([*begun(), (1_200, DONE)]), 0)])))
    left, right = span(row.find(f"{SPACE}rect[@class='row']"), "x", "width")
    running = span(row.find(f"{SPACE}rect[@class='running']"), "x", "width")
    assert running == pytest.approx((left + (right - left) / 4, right), abs=0.05)


def test_a_backends_picture_has_a_row_for_each_backend() -> None:
    story = [*begun(), (1_300, DONE)]
    pair = [track(told([*begun("r", f"http://{name}"), (900, DONE)], name), 9_000) for name in "ab"]
    assert len(rows(drawn(svg(pair, "backend")))) == 2
    assert rows(drawn(svg([track(told(story[:1]), 9_000)], "backend"))) == []


def test_what_people_and_programs_named_is_escaped() -> None:
    evil = "<script>&\"'\x00\x1b]]>"
    story = [*begun(evil, f"http://{evil}"), (900, DONE)]
    found = replace(track(told(story, evil), 9_000), status="succeeded")
    for by in ("job", "backend"):
        text = svg([found], by, evil)
        assert "<script" not in text
        assert any("<script>&\"'\\x00\\x1b]]>" in shown for shown in words(drawn(text)))


def test_an_unreadable_event_is_drawn_as_a_mark_that_says_why() -> None:
    picture = drawn(svg([track([*told(begun()), strange(700, 6)], 9_000)]))
    titles = [title.text for title in picture.iter(f"{SPACE}title")]
    assert "job unreadable: unknown type" in titles
    assert "unreadable" in words(picture)
