"""What is wrong with the namespace, found out once for all who ask.

Rule: one examination at a time, and no other within KEEP_S. It does not ask the ComfyUI servers
(what runners say of them counts) and does not read all keys: `everfold doctor` does both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from msgspec import Struct

from everfold.diagnosis.examination import examine
from everfold.diagnosis.finding import Finding
from everfold.streams.appending.log import Log
from everfold.web.access.key_check import key_findings

KEEP_S = 30.0
EXAMINE_WITHIN_S = 20.0
SLOW = Finding(
    "examination", "not all was looked at in time", "`everfold doctor` takes the time that it needs"
)


class Examined(Struct, frozen=True, kw_only=True):
    """What was found, and when."""

    findings: Sequence[Finding]
    at_ms: int
    """By the gateway's clock, Unix ms."""


class Examinations:
    """The examinations of one gateway."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._one = asyncio.Lock()
        self._last: Examined | None = None
        self._until_s = 0.0

    async def get(self) -> Examined:
        """Return what was found, at most KEEP_S ago. Raises a leaf of Unavailable."""
        async with self._one:
            if self._last is None or time.monotonic() >= self._until_s:
                self._last = await self._examine()
                self._until_s = time.monotonic() + KEEP_S
            return self._last

    async def _examine(self) -> Examined:
        found = list[Finding]()
        try:
            async with asyncio.timeout(EXAMINE_WITHIN_S):
                async for finding in examine(self._log, {}, {"gateway keys": key_findings}):
                    found.append(finding)
        except TimeoutError:
            found.append(SLOW)
        return Examined(findings=found, at_ms=time.time_ns() // 1_000_000)
