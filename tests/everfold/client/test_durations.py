"""Durations: one way to write them, which can be read again."""

from __future__ import annotations

import pytest

from everfold.durations import duration_s, duration_text

WRITTEN = {
    -3: "0 s",
    0: "0 s",
    0.0001: "0 s",
    0.25: "250 ms",
    1: "1 s",
    1.26: "1.3 s",
    9.96: "10 s",
    45.4: "45 s",
    59.6: "1 min",
    310: "5 min 10 s",
    3_599.7: "1 h",
    7_500: "2 h 5 min",
    86_400: "1 d",
    97_200: "1 d 3 h",
    3_650 * 86_400: "3,650 d",
}


@pytest.mark.parametrize("seconds", WRITTEN)
def test_a_duration_has_the_unit_that_fits_and_the_next_one(seconds: float) -> None:
    assert duration_text(seconds) == WRITTEN[seconds]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), (" 15m ", 900), ("15min", 900), ("1.5h", 5_400), ("7d", 604_800)],
)
def test_a_duration_is_read_as_people_write_it(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "h", "-1s", "1w", "10 weeks", "1h30", "1e3", "nan", "inf", "\u0661s"]
)
def test_what_is_no_duration_is_none(text: str) -> None:
    assert duration_s(text) is None
