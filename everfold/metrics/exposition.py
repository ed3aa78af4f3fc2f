"""The measures of this process as text of Prometheus, with what other sources add to them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from everfold.streams.telemetry.measures import Counter, Gauge, Histogram, declared

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_PROCESS = ProcessCollector(registry=None)
"""Memory, CPU time and open files; Linux only."""


def exposition(families: Iterable[Metric] = ()) -> bytes:
    """Return the measures of this process and `families`, each name once."""
    registry = CollectorRegistry()
    registry.register(_Families((*_PROCESS.collect(), *measured(), *families)))
    return generate_latest(registry)


def measured() -> Iterator[Metric]:
    """Yield what the code of this process has counted so far."""
    for one in declared():
        match one:
            case Counter():
                counted = CounterMetricFamily(one.name, one.about, labels=one.labels)
                for values, number in one.series.items():
                    counted.add_metric(values, number)
                yield counted
            case Gauge():
                shown = GaugeMetricFamily(one.name, one.about, labels=one.labels)
                for values, number in one.series.items():
                    shown.add_metric(values, number)
                yield shown
            case Histogram():
                yield _histogram(one)


def _histogram(one: Histogram) -> Metric:
    family = HistogramMetricFamily(one.name, one.about, labels=one.labels)
    ends = [*map(str, one.bounds), "+Inf"]
    for values, seen in one.series.items():
        counts = itertools.accumulate(seen.counts)
        family.add_metric(values, list(zip(ends, counts, strict=True)), seen.sum)
    return family


class _Families(Collector):
    """Families that were made before."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterable[Metric]:
        return self._families
