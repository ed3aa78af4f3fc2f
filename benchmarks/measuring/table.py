"""Measurements made in turns, and how they are told: the ratio first, then what it is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from msgspec import Struct


class Runs(Struct, frozen=True):
    """The same thing measured several times, in the same unit."""

    median: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{number(self.median)} ({number(self.low)} to {number(self.high)}, n={self.count})"


class Ratio(Struct, frozen=True):
    """What is measured beside what it is measured against, run in turns in one process."""

    name: str
    ratio: float
    """Median of ours over median of theirs; of the least ones where only those count."""
    target: str
    """What was asked for, empty where nothing was."""
    met: bool | None
    unit: str
    ours: Runs
    theirs: Runs
    beside: str
    """What it was measured against."""

    def __str__(self) -> str:
        verdict = {
            None: "",
            True: f"  target {self.target}: met",
            False: f"  target {self.target}: MISSED",
        }
        return (
            f"{self.ratio:6.2f} x  {self.name}{verdict[self.met]}\n"
            f"          everfold {self.ours} {self.unit}\n"
            f"          {self.beside} {self.theirs} {self.unit}"
        )


def runs(values: Sequence[float]) -> Runs:
    return Runs(median(values), min(values), max(values), len(values))


def ratio(
    name: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    unit: str,
    beside: str,
    at_least: float | None = None,
    at_most: float | None = None,
    of: Callable[[Sequence[float]], float] = median,
) -> Ratio:
    """Compare two measurements by `of`, the median or the least of each one's values."""
    found = of(ours) / of(theirs)
    target, met = "", None
    if at_least is not None:
        target, met = f">= {at_least:g}", found >= at_least
    if at_most is not None:
        target, met = f"<= {at_most:g}", found <= at_most
    return Ratio(name, round(found, 3), target, met, unit, runs(ours), runs(theirs), beside)


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
