"""The command itself, on sizes at which its figures mean nothing: it runs, prints and stores."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["append", "archive"])
def test_a_run_prints_the_ratios_first_and_stores_its_figures(name: str, tmp_path: Path) -> None:
    stored = tmp_path / "figures.json"
    sizes = ["--events", "3000", "--repeat", "2", "--json", str(stored)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", name, *sizes],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(stored.read_text())[name]
    machine, title, first, *_ = done.stdout.splitlines()
    assert found["machine"] in machine
    assert title == f"== {name}"
    assert " x  " in first
    assert found["report"] in done.stdout
    for row in found["figures"]["ratios"]:
        assert row["ratio"] > 0
        assert row["ours"]["count"] == row["theirs"]["count"] == 2
        assert row["ours"]["low"] <= row["ours"]["median"] <= row["ours"]["high"]


def test_a_benchmark_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "nonsense"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "'lifecycle'" in done.stderr
