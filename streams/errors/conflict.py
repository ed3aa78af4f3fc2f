"""Read again, decide again; nothing was written."""

from __future__ import annotations

from collections.abc import Sequence

from everfold.streams.border.quantity import quantity
from everfold.streams.errors.base import EverfoldError


class Conflict(EverfoldError):
    """The job is not in the state that the caller expected. Nothing was written."""


class WrongExpectedSequence(Conflict):
    """Somebody else appended first."""

    def __init__(self, job_id: str, expected: int, actual: int) -> None:
        super().__init__(f"job {job_id} is at sequence {actual}, not at the expected {expected}")
        self.job_id, self.expected, self.actual = job_id, expected, actual


class JobClosed(Conflict):
    """The job has ended; its terminal event is its last one."""

    def __init__(self, job_id: str, status: str) -> None:
        super().__init__(f"job {job_id} has ended as {status}; nothing can follow a terminal event")
        self.job_id, self.status = job_id, status


class JobLeased(Conflict):
    """The append was meant for a job that nobody works on, but a runner has a lease of this one."""

    def __init__(self, job_id: str, owner: str) -> None:
        super().__init__(f"job {job_id} is leased to runner {owner!r}")
        self.job_id, self.owner = job_id, owner


class RebuildTaken(Conflict):
    """Another process rebuilds the same projection now. What both have done so far stays."""

    def __init__(self, projection: str) -> None:
        advice = "wait for its end, or end it and run the rebuild again: it goes on from there"
        super().__init__(f"another process rebuilds the projection {projection!r} now; {advice}")
        self.projection = projection


class QueueFull(Conflict):
    """As many jobs wait in the queue as its limit allows; submit again when some have started."""

    def __init__(self, queue: str, waiting: int, limit: int) -> None:
        super().__init__(
            f"queue {queue!r} is full: {waiting:,} jobs wait, the limit is {limit:,}; "
            "submit again later, or have the limit raised"
        )
        self.queue, self.waiting, self.limit = queue, waiting, limit


class UserHasOpenJobs(Conflict):
    """A user with open jobs is not erased: nothing was."""

    def __init__(self, user: str, job_ids: Sequence[str]) -> None:
        """`job_ids` are those that have not ended."""
        who = f"user {user!r}" if user else "the user of the empty name"
        first = ", ".join(job_ids[:3]) + (", ..." if len(job_ids) > 3 else "")
        super().__init__(
            f"{who} has {quantity(len(job_ids), 'open job')}: {first}; cancel them, or pass "
            "--cancel (cancel=True), and erase again"
        )
        self.user, self.job_ids = user, tuple(job_ids)
