"""What people write for a moment."""

from __future__ import annotations

import pytest

from everfold.streams.errors import Misconfigured
from everfold.timeline.moments import Span, span

NOW_MS = 1_700_000_000_000


@pytest.mark.parametrize(
    ("text", "moment_ms"),
    [
        ("90s", NOW_MS - 90_000),
        ("10m", NOW_MS - 600_000),
        ("10min", NOW_MS - 600_000),
        (" 2h ", NOW_MS - 7_200_000),
        ("3d", NOW_MS - 259_200_000),
        ("2023-11-14T22:00:00Z", 1_699_999_200_000),
        ("2023-11-14T23:00:00.5+01:00", 1_699_999_200_500),
    ],
)
def test_an_age_or_a_time_is_a_moment(text: str, moment_ms: int) -> None:
    assert span(text, None, NOW_MS) == Span(moment_ms, None)
    assert span(None, text, NOW_MS) == Span(None, moment_ms)


@pytest.mark.parametrize("text", ["nonsense", "", "10", "10 weeks", "-5m", "0001-01-01", "٣m"])
def test_what_is_no_time_is_refused_in_a_sentence_that_names_the_option(text: str) -> None:
    with pytest.raises(Misconfigured, match=r"--until .* is not a time: write an age such as 90s"):
        span(None, text, NOW_MS)


def test_a_span_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(Misconfigured, match="--since 1m is later than --until 2h"):
        span("1m", "2h", NOW_MS)


def test_a_span_holds_its_ends_and_what_is_between() -> None:
    found = Span(10, 20)
    assert [moment for moment in (9, 10, 15, 20, 21) if found.has(moment)] == [10, 15, 20]
    assert Span().has(0)
