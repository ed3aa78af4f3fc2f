"""A job's times as one run of it may compare them: by a clock that nobody sets in between.

Rule: pure. What the log had at the claim is compared with the claim, in the server's time. What
came later counts from when this run saw it: the server's clock may have been set since, and after
a step back the entry ids of its streams stand still.
"""

from __future__ import annotations

from msgspec.structs import replace

from everfold.projector.job.job import Job
from everfold.runner.backend import Absent, Truth

TIMES = (
    "recovered_at_ms",
    "submitting_at_ms",
    "started_at_ms",
    "cancel_requested_at_ms",
    "stopping_at_ms",
    "lost_at_ms",
    "unconfirmed_since_ms",
)
"""The times that decisions compare with now, and that change while a job is held."""


class SeenTimes:
    """Since when one run knows each of its job's times."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int]] | None = None
        """Field -> its value in the log, and the time by which it counts."""
        self._absent = (0, 0)
        """An attempt, and since when its backend answers that it has it not; 0: it does not."""

    def view(self, job: Job, now_ms: int) -> Job:
        """Return the job with the times by which it is decided. `now_ms` is the server's time at
        the claim, and what has elapsed since; the first call takes the log's times as they are."""
        before = self._known
        known: dict[str, tuple[int, int]] = {}
        for name in TIMES:
            at_ms: int = getattr(job, name)
            if before is None or at_ms == 0:
                known[name] = (at_ms, at_ms)
            else:
                known[name] = before[name] if before[name][0] == at_ms else (at_ms, now_ms)
        self._known = known
        changed = {name: seen for name, (at_ms, seen) in known.items() if seen != at_ms}
        return replace(job, **changed) if changed else job

    def first_absent_ms(self, job: Job, truth: Truth | None, now_ms: int) -> int:
        """Return since when the backend answers that it has not the job's attempt, 0 where it does
        not. `truth` is its newest answer, None where it was not asked anew."""
        attempt, since_ms = self._absent
        if attempt != job.attempt or not isinstance(truth, Absent | None):
            since_ms = 0
        if isinstance(truth, Absent) and not since_ms:
            since_ms = now_ms
        self._absent = (job.attempt, since_ms)
        return since_ms
