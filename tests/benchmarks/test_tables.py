"""What benchmarks make of their measurements: ratios, percentiles, pictures, kept results."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.measuring import publish as publishing
from benchmarks.measuring.chart import Bar, bars
from benchmarks.measuring.percentiles import percentiles
from benchmarks.measuring.publish import MARK, publish
from benchmarks.measuring.table import ratio
from benchmarks.runners.placement import ideal_s
from benchmarks.runners.small_farm import Execution, displacement, inverted, overtakes


def test_a_ratio_is_that_of_the_medians_and_knows_whether_its_target_is_met() -> None:
    found = ratio("reads", [30, 10, 20], [5, 100, 10], unit="/s", beside="theirs", at_least=2)
    assert (found.ratio, found.met) == (2.0, True)
    assert str(found).splitlines() == [
        "  2.00 x  reads  target >= 2: met",
        "          everfold 20 (10 to 30, n=3) /s",
        "          theirs 10 (5 to 100, n=3) /s",
    ]
    assert "MISSED" in str(ratio("p99", [3], [1], unit="ms", beside="theirs", at_most=2.5))


@pytest.mark.parametrize(("count", "p50", "p99"), [(1, 1, 1), (2, 1, 2), (100, 50, 99)])
def test_percentiles_are_values_that_were_measured(count: int, p50: int, p99: int) -> None:
    found = percentiles([float(value) for value in range(count, 0, -1)])
    assert (found.p50_s, found.p99_s, found.max_s, found.count) == (p50, p99, count, count)


@pytest.mark.parametrize(
    ("order", "passed", "moved", "share"),
    [
        ([0, 1, 2, 3], [0, 0, 0, 0], 0, 0.0),
        ([1, 0, 2, 3], [0, 1, 0, 0], 1, 1 / 6),
        ([3, 2, 1, 0], [0, 1, 2, 3], 3, 1.0),
        ([5, 1, 9], [0, 1, 0], 1, 1 / 3),
    ],
)
def test_an_order_is_compared_with_that_of_the_submits(
    order: list[int], passed: list[int], moved: int, share: float
) -> None:
    assert (overtakes(order), displacement(order)) == (passed, moved)
    assert inverted(order) == pytest.approx(share)


def test_the_ideal_is_the_best_share_at_the_pace_of_the_run() -> None:
    ran = [Execution("a", 0, 0, 0, 3.2), *[Execution("b", 1, 0, 0, 0.8)] * 4]
    assert ideal_s(ran) == pytest.approx(3.2)
    assert ideal_s(ran[:2]) == pytest.approx(1.6)


def test_a_chart_is_an_svg_with_a_bar_as_long_as_its_value() -> None:
    drawn = ElementTree.fromstring(
        bars("a < b", [Bar("x & y", 2.0, "2 x", ours=True, target=4.0), Bar("z", 1.0, "1 x")])
    )
    _, first, second = drawn.iter("{http://www.w3.org/2000/svg}rect")
    assert float(first.attrib["width"]) == pytest.approx(2 * float(second.attrib["width"]), 0.01)
    texts = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["a < b", "x & y", "2 x", "z", "1 x"]
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}line"))) == 1


def test_publishing_replaces_only_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# Benchmarks\n\n{MARK}\nold tables")
    monkeypatch.setattr(publishing, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(publishing, "README", readme)
    place = {"machine": "a toaster", "versions": "Valkey 1", "date": "2026-01-01"}

    publish({"archive": {**place, "report": "first", "figures": {"ratios": []}}})
    publish({"farm": {**place, "report": "second", "figures": {}}})
    publish({"farm": {**place, "report": "third", "figures": {}}})

    text = readme.read_text()
    assert text.startswith(f"# Benchmarks\n\n{MARK}")
    assert [word for word in ("old tables", "first", "second", "third") if word in text] == [
        "first",
        "third",
    ]
    assert "![archive](results/archive.svg)" in text
    assert "![farm]" not in text
    kept = json.loads((tmp_path / "results" / "latest.json").read_text())
    assert list(kept) == ["archive", "farm"]
