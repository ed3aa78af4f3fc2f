"""Of which running jobs there is a picture, by what servers say; the route of previews has it.

Rule: pure, no clock. A job's newer picture is told once within EVERY_MS, and none for longer than
Redis keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from everfold.projector.job.job import Job
from everfold.streams.live.live_message import PREVIEW_TTL_S

EVERY_MS = 1_000
KEPT_MS = PREVIEW_TTL_S * 1_000 - 5_000
"""A picture that is older may be gone when a page asks for it."""
LIMIT = 2_000


class _Noted(Struct):
    """When pictures of a job came, server time."""

    attempt: int
    newest_ms: int
    told_ms: int = 0


class Pictures:
    """The newest picture of each job."""

    def __init__(self) -> None:
        self._noted: dict[str, _Noted] = {}

    def note(self, job_id: str, attempt: int, at_ms: int) -> bool:
        """Note a picture of a job's attempt; say whether it is to be told now."""
        noted = self._noted.pop(job_id, None)
        if noted is None or noted.attempt < attempt:
            noted = _Noted(attempt, at_ms)
        noted.newest_ms = max(noted.newest_ms, at_ms)
        self._noted[job_id] = noted
        if len(self._noted) > LIMIT:
            del self._noted[next(iter(self._noted))]
        return noted.newest_ms - noted.told_ms >= EVERY_MS

    def of(self, jobs: Iterable[Job], now_ms: int) -> dict[str, int]:
        """Return when the newest picture of each of these jobs came, of those that have one."""
        found = dict[str, int]()
        for job in jobs:
            noted = self._noted.get(job.job_id)
            if noted is None or noted.attempt != job.attempt or not job.may_be_alive:
                continue
            if noted.newest_ms + KEPT_MS < now_ms:
                continue
            # What came last is told, too, once nothing newer comes.
            if max(noted.newest_ms, now_ms) - noted.told_ms >= EVERY_MS:
                noted.told_ms = noted.newest_ms
            found[job.job_id] = noted.told_ms
        return found

    def forget_old(self, now_ms: int) -> None:
        """Let pictures go that there are no more."""
        for job_id, noted in list(self._noted.items()):
            if noted.newest_ms + KEPT_MS < now_ms:
                del self._noted[job_id]
