"""Which bars a benchmark's figures become. Rule: pure; from the figures as JSON has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import cast

from benchmarks.measuring.chart import Bar, bars

LONGEST_LABEL = 44

Figures = Mapping[str, object]
Rows = list[dict[str, object]]


def picture(name: str, figures: Figures) -> str | None:
    """Return an SVG, None for a benchmark that has no bars to show."""
    draw = _DRAWN.get(name)
    return draw(figures) if draw is not None else None


def _ratios(title: str) -> Callable[[Figures], str]:
    def draw(figures: Figures) -> str:
        rows = cast("Rows", figures["ratios"])
        # Those of which less is better would be read the wrong way round.
        return bars(title, [_ratio(row) for row in rows if "<" not in str(row["target"])])

    return draw


def _ratio(row: Mapping[str, object]) -> Bar:
    asked = re.findall(r"[\d.]+", str(row["target"]))
    value = float(str(row["ratio"]))
    beside = str(row["beside"]).partition(",")[0].removesuffix(" XADD")
    whole = f"{row['name']}, beside {beside}"
    return Bar(
        whole if len(whole) <= LONGEST_LABEL else str(row["name"]),
        value,
        f"{value:.2f} x",
        ours=True,
        target=float(asked[0]) if asked else None,
    )


def _lifecycle(figures: Figures) -> str:
    rows = cast("Rows", figures["rows"])
    found = [
        Bar(
            str(row["version"]),
            _median(row["jobs_per_s"]),
            f"{_median(row['jobs_per_s']):,.0f} jobs/s",
            ours=row["name"] == "everfold",
        )
        for row in rows
    ]
    title = "Jobs per second that do nothing, one worker process"
    return bars(title, sorted(found, key=lambda bar: -bar.value))


def _recovery_of_peers(figures: Figures) -> str:
    rows = cast("Rows", figures["rows"])
    found = [
        Bar(
            str(row["version"]),
            float(str(row["median_s"])),
            f"{'> ' if row['is_least'] else ''}{float(str(row['median_s'])):.3g} s",
            ours=row["name"] == "everfold",
        )
        for row in rows
    ]
    title = "From kill -9 of a worker until its job was begun again, default settings"
    return bars(title, sorted(found, key=lambda bar: bar.value))


def _median(runs: object) -> float:
    return float(str(cast("dict[str, object]", runs)["median"]))


_DRAWN: dict[str, Callable[[Figures], str]] = {
    "append": _ratios("Appends: Everfold over what stands beside it, more is better"),
    "projector": _ratios("Projector: Everfold over bare reading and acknowledging"),
    "archive": _ratios("Archive: events per second over plain gzip of the same JSON"),
    "lifecycle": _lifecycle,
    "recovery-peers": _recovery_of_peers,
}
