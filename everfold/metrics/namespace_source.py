"""What a scrape shows of a namespace, and whether it could be read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric

from everfold.metrics.namespace_metrics import namespace_metrics
from everfold.metrics.sampled import Sampled
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import EverfoldError

logger = get_logger("everfold.metrics")

READ_WITHIN_S = 6.0


class NamespaceSource:
    """Reads a namespace for scrapes; while it cannot be read it says so, and shows nothing old."""

    def __init__(self, sampled: Sampled) -> None:
        self._sampled = sampled

    async def __call__(self) -> Iterable[Metric]:
        """Return the metrics of the namespace."""
        try:
            async with asyncio.timeout(READ_WITHIN_S):
                shown = [*namespace_metrics(await self._sampled.all())]
        except (EverfoldError, TimeoutError) as error:
            logger.warning("namespace_not_read why=%r", str(error) or "too slow")
            shown = []
        return [_up(bool(shown)), *shown]


async def nothing_read() -> Iterable[Metric]:
    """Return what is shown of a namespace that was not reached yet."""
    return [_up(False)]


def _up(is_read: bool) -> Metric:
    text = "1: the namespace could be read for this scrape."
    return GaugeMetricFamily("everfold_namespace_up", text, is_read)
