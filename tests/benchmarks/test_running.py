"""The command itself, on sizes at which its figures mean nothing: it runs, prints and stores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.programs.programs import StartProgram

pytestmark = pytest.mark.anyio

WITHIN_S = 120.0


@pytest.mark.like_rows(1)
@pytest.mark.long
@pytest.mark.parametrize("name", ["append", "archive", "assets", "gateway", "startup"])
async def test_a_run_prints_the_ratios_first_and_stores_its_figures(
    name: str, tmp_path: Path, start_program: StartProgram
) -> None:
    stored = tmp_path / "figures.json"
    turns = 2 if name in ("archive", "startup") else 1  # each turn of the others takes long
    sizes = (
        "--events",
        "1000",
        "--repeat",
        str(turns),
        "--starts",
        "2",
        "--pictures",
        "3",
        "--video-mib",
        "16",
        "--watchers",
        "20",
        "--watch-seconds",
        "2",
        "--json",
        str(stored),
    )
    done = start_program("-m", "benchmarks", name, *sizes)

    assert (await done.end(WITHIN_S), done.error_lines) == (0, [])
    found = json.loads(stored.read_text())[name]
    machine, title, first, *_ = done.lines
    assert found["machine"] in machine
    assert title == f"== {name}"
    assert " x  " in first
    assert found["report"] in "\n".join(done.lines)
    for row in found["figures"]["ratios"]:
        assert row["ratio"] > 0
        assert row["ours"]["count"] == row["theirs"]["count"] == turns
        assert row["ours"]["low"] <= row["ours"]["median"] <= row["ours"]["high"]


async def test_what_a_claim_costs_is_counted_per_step(
    redis_url: str, start_program: StartProgram
) -> None:
    done = start_program("-P", "benchmarks/runners/order_cost.py", redis_url)

    assert (await done.end(WITHIN_S), done.error_lines) == (0, [])
    found = json.loads(done.lines[0])
    assert 1 <= found["submit"]["calls"] < 2
    assert 1 <= found["claim of one job"]["calls"] < 2
    assert 1 / 16 <= found["claim of sixteen jobs"]["calls"] < 1
    assert all(step["us"] > 0 for step in found.values())


async def test_a_benchmark_that_there_is_not_is_refused_with_those_that_there_are(
    start_program: StartProgram,
) -> None:
    done = start_program("-m", "benchmarks", "nonsense")

    assert await done.end(WITHIN_S) == 2
    assert "'lifecycle'" in "\n".join(done.error_lines)
