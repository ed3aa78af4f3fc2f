"""What is to be trimmed, as a decision of numbers alone."""

from __future__ import annotations

import pytest

from everfold.retention.keep import (
    Keep,
    Memory,
    Pressure,
    look_after_s,
    pressure,
    read_memory,
    sentence,
)

MB = 2**20


@pytest.mark.parametrize(
    ("keep", "memory", "wanted"),
    [
        (Keep(), Memory(59 * MB, 100 * MB), None),
        (Keep(), Memory(60 * MB, 100 * MB), None),
        (Keep(), Memory(61 * MB, 100 * MB), Pressure(int(60 * MB * 0.95), 2.0)),
        (Keep(), Memory(90 * MB, 100 * MB), Pressure(int(60 * MB * 0.95), 0.0)),
        (Keep(share=0.9), Memory(89 * MB, 100 * MB), None),
        (Keep(share=0.9), Memory(91 * MB, 100 * MB), Pressure(int(90 * MB * 0.95), 0.0)),
        (Keep(), Memory(10**15, 0), None),
        (Keep(share=None), Memory(100 * MB, 100 * MB), None),
        (Keep(), None, None),
    ],
)
def test_memory_is_freed_beyond_the_share_that_is_allowed(
    keep: Keep, memory: Memory | None, wanted: Pressure | None
) -> None:
    assert pressure(keep, memory) == wanted


@pytest.mark.parametrize(
    ("keep", "memory", "seconds"),
    [
        (Keep(), Memory(10 * MB, 0), 2.0),
        (Keep(), Memory(10 * MB, 4096 * MB), 2.0),
        (Keep(), Memory(400 * MB, 1000 * MB), 1.0),
        (Keep(), Memory(59 * MB, 100 * MB), 0.1),
        (Keep(), Memory(90 * MB, 100 * MB), 0.1),
        (Keep(share=None), Memory(90 * MB, 100 * MB), 2.0),
        (Keep(), None, 2.0),
    ],
)
def test_memory_is_looked_at_seldom_while_much_is_left(
    keep: Keep, memory: Memory | None, seconds: float
) -> None:
    assert look_after_s(keep, memory) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("facts", "wanted"),
    [
        ({"used_memory": "10", "maxmemory": "20"}, Memory(10, 20)),
        (
            {"used_memory": "10", "maxmemory": "20", "mem_not_counted_for_evict": "4"},
            Memory(6, 20),
        ),
        (
            {"used_memory": "1", "maxmemory": "20", "mem_not_counted_for_evict": "4"},
            Memory(0, 20),
        ),
        (
            {"used_memory": "9", "maxmemory": "20", "mem_not_counted_for_evict": "x"},
            Memory(9, 20),
        ),
        ({}, None),
        ({"used_memory": "x", "maxmemory": "20"}, None),
        ({"used_memory": "-1", "maxmemory": "20"}, None),
        ({"used_memory": "9" * 40, "maxmemory": "20"}, None),
        ({"used_memory": "٣", "maxmemory": "20"}, None),
    ],
)
def test_what_a_server_says_of_its_memory(facts: dict[str, str], wanted: Memory | None) -> None:
    assert read_memory(facts) == wanted


def test_it_is_said_in_one_line_what_is_kept() -> None:
    assert sentence(Keep()) == (
        "events of the last 7d, at most 60% of the server's maxmemory; older ones are trimmed, "
        "except what is held"
    )
    assert "archived to s3://x/y" in sentence(Keep(age_s=90.0), "s3://x/y")
    assert sentence(Keep(age_s=90.0)).startswith("events of the last 90s")
    assert "refuses all writes" in sentence(Keep(None, None))
