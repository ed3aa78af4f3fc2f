"""What a process answers to those that watch it: /metrics, /livez and /readyz.

Rule: a probe says what this process can do itself, and nothing of the rest of the farm. None of
these answers waits for long: a check that does not answer has failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType

import msgspec
from msgspec import Struct
from prometheus_client.core import Metric

from everfold.listening.small_http import Answer, Answering
from everfold.metrics.exposition import CONTENT_TYPE, exposition
from everfold.streams.border.logger import get_logger

logger = get_logger("everfold.metrics")

CHECK_WITHIN_S = 2.0
SOURCE_WITHIN_S = 8.0

Check = Callable[[], Awaitable[str]]
"""Returns why this process cannot do its work, as a sentence; empty when it can."""
Source = Callable[[], Awaitable[Iterable[Metric]]]
"""Returns metrics that are read for a scrape."""


class Readiness(Struct, frozen=True, kw_only=True):
    """Whether a process can do its work, and what it lacks where it cannot."""

    is_ready: bool
    missing: tuple[str, ...] = ()
    """Sentences for people."""
    notes: tuple[str, ...] = ()
    """What is wrong beside it, which is no reason not to use this process."""


class Surface:
    """The answers of one process, whose checks and sources may be added later."""

    def __init__(
        self,
        checks: Mapping[str, Check],
        sources: Mapping[str, Source],
        notes: Mapping[str, Check] = MappingProxyType({}),
    ) -> None:
        self._checks, self._sources, self._notes = checks, sources, notes

    def answers(self) -> dict[str, Answering]:
        """Return the answers by path."""
        return {"/metrics": self.metrics, "/livez": self.livez, "/readyz": self.readyz}

    async def livez(self) -> Answer:
        """Say that the loop turns: without that nobody would get an answer."""
        return Answer(b"ok\n")

    async def readyz(self) -> Answer:
        """Say whether all checks hold."""
        # Meanwhile there may be more of them.
        checks, beside = dict(self._checks), dict(self._notes)
        asked = {**checks, **beside}
        answers = await asyncio.gather(*map(_checked, asked, asked.values()))
        found = dict(zip(asked, answers, strict=True))
        missing = tuple(found[name] for name in checks if found[name])
        notes = tuple(found[name] for name in beside if found[name])
        told = msgspec.json.encode(Readiness(is_ready=not missing, missing=missing, notes=notes))
        return Answer(told, 503 if missing else 200, "application/json")

    async def metrics(self) -> Answer:
        """Return what the process measures, and what its sources read."""
        read = await asyncio.gather(*map(_read, self._sources, self._sources.values()))
        families = [family for part in read for family in part]
        return Answer(exposition(families), 200, CONTENT_TYPE)


async def _checked(name: str, check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_WITHIN_S):
            return await check()
    except TimeoutError:
        return f"{name} has not answered within {CHECK_WITHIN_S:g} s"
    except Exception as error:
        # A probe is answered to anybody: what the error says is in this process's own log.
        logger.warning("not_ready check=%s why=%r", name, str(error))
        return f"{name} failed ({type(error).__name__}); see the log of this process"


async def _read(name: str, source: Source) -> Iterable[Metric]:
    try:
        async with asyncio.timeout(SOURCE_WITHIN_S):
            return await source()
    except Exception as error:
        logger.warning("scrape_failed source=%s why=%r", name, str(error) or "too slow")
        return ()
