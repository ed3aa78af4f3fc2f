"""Counters, gauges and histograms that code declares beside what it measures.

Rule: no I/O, no dependency, and a bounded size: each label has at most LABELS_LIMIT values and each
measure at most SERIES_LIMIT series. What is beyond is counted under OTHERS, so that no total is
lost and none goes backwards, whatever names people make up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

LABELS_LIMIT = 200
SERIES_LIMIT = 2_000
VALUE_LIMIT = 100
"""Characters of a label's value that are kept."""
OTHERS = "(others)"

FAST_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Buckets of calls to a server."""
SPANS_S = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 14_400, 86_400)
"""Buckets of what a person waits for."""

Values = tuple[str, ...]


class Measure:
    """A name, what it says, and its labels."""

    def __init__(self, name: str, about: str, labels: Sequence[str] = ()) -> None:
        self.name, self.about, self.labels = name, about, tuple(labels)
        self._forget()

    def _forget(self) -> None:
        self._known: tuple[dict[str, None], ...] = tuple({} for _ in self.labels)

    def _admitted(self, values: Values, series: Mapping[Values, object]) -> Values:
        """Return under which values a series that is not there yet is kept."""
        if len(values) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, not {values}")
        kept = tuple(map(_kept, self._known, values))
        if kept in series or len(series) < SERIES_LIMIT:
            return kept
        return (OTHERS,) * len(self.labels)


def _kept(known: dict[str, None], value: str) -> str:
    value = value[:VALUE_LIMIT]
    if value not in known:
        if len(known) >= LABELS_LIMIT:
            return OTHERS
        known[value] = None
    return value


class Counter(Measure):
    """A number that only grows; `_total` is added to its name where it is shown."""

    def __init__(self, name: str, about: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, about, labels)
        self.series: dict[Values, float] = {}
        self.clear()

    def clear(self) -> None:
        """Count from zero on, as a new process does."""
        self._forget()
        self.series = {} if self.labels else {(): 0.0}

    def add(self, *values: str, amount: float = 1) -> None:
        """Count; `values` are those of its labels, in their order."""
        if values not in self.series:
            values = self._admitted(values, self.series)
        self.series[values] = self.series.get(values, 0) + amount


class Gauge(Measure):
    """A number that rises and falls."""

    def __init__(self, name: str, about: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, about, labels)
        self.series = dict[Values, float]()

    def set(self, number: float, *values: str) -> None:
        """Set it; `values` are those of its labels, in their order."""
        if values not in self.series:
            values = self._admitted(values, self.series)
        self.series[values] = number

    def drop(self, *values: str) -> None:
        """Show a series no more."""
        self.series.pop(values, None)


class Seen:
    """What a histogram has seen under some values of its labels."""

    __slots__ = ("counts", "sum")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * (buckets + 1)
        """By bucket; the last one is of what is larger than all bounds."""
        self.sum = 0.0


class Histogram(Measure):
    """How many numbers were how large; `bounds` are the upper ends of its buckets."""

    def __init__(
        self, name: str, about: str, labels: Sequence[str] = (), *, bounds: Sequence[float]
    ) -> None:
        super().__init__(name, about, labels)
        self.bounds = tuple(map(float, bounds))
        self.series: dict[Values, Seen] = {}
        self.clear()

    def clear(self) -> None:
        """Count from zero on, as a new process does."""
        self._forget()
        self.series = {} if self.labels else {(): Seen(len(self.bounds))}

    def observe(self, number: float, *values: str) -> None:
        """Count a number. A negative one, as of a clock that was set back, counts as 0."""
        seen = self.series.get(values)
        if seen is None:
            values = self._admitted(values, self.series)
            seen = self.series.setdefault(values, Seen(len(self.bounds)))
        number = max(0.0, number)
        seen.counts[bisect_left(self.bounds, number)] += 1
        seen.sum += number


Made = TypeVar("Made", Counter, Gauge, Histogram)

_declared = dict[str, Counter | Gauge | Histogram]()


def declared() -> Iterator[Counter | Gauge | Histogram]:
    """Yield every measure that the modules loaded so far have declared, by name."""
    for name in sorted(_declared):
        yield _declared[name]


def counter(name: str, about: str, labels: Sequence[str] = ()) -> Counter:
    """Declare a counter of this process. Raises ValueError for a name that is taken."""
    return _declare(Counter(name, about, labels))


def gauge(name: str, about: str, labels: Sequence[str] = ()) -> Gauge:
    """Declare a gauge of this process. Raises ValueError for a name that is taken."""
    return _declare(Gauge(name, about, labels))


def histogram(
    name: str, about: str, labels: Sequence[str] = (), *, bounds: Sequence[float] = SPANS_S
) -> Histogram:
    """Declare a histogram of this process. Raises ValueError for a name that is taken."""
    return _declare(Histogram(name, about, labels, bounds=bounds))


def _declare(made: Made) -> Made:
    if made.name in _declared:
        raise ValueError(f"{made.name} is declared twice")
    _declared[made.name] = made
    return made
