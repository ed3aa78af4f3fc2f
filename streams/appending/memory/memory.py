"""What this process remembers of the writes that were acknowledged to it, for a minute.

Rule: the minute is one in which their server answers: an outage is no part of it. Bounded in count
and in bytes; what has to go before its time is counted. Nothing here asks the server: `watching.py`
looks whether all of it is still there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from everfold.streams.appending.memory.remembered import Remembered, kind_of
from everfold.streams.appending.outcomes import Appended
from everfold.streams.appending.submitting import NewJob
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.redis.scripts import NewEvent
from everfold.streams.telemetry.measures import counter, gauge

KEPT_S = 60.0
"""A failover is over in seconds; an old primary may take writes until somebody tells it."""

WRITES_LIMIT = 20_000
"""Of one process: 300 a second for a minute. A job's progress counts once."""

BYTES_LIMIT = 32 * 1024 * 1024
"""Of one process: what events and graphs of 20,000 usual writes take."""

DROPPED_JOBS = 1_000
"""Jobs of dropped writes that are kept until they are named, the newest."""

KEPT = gauge("everfold_remembered_writes", "Acknowledged writes that this process could repeat.")
KEPT_BYTES = gauge("everfold_remembered_bytes", "About what these take in memory.")
DROPPED = counter(
    "everfold_unremembered_writes",
    "Acknowledged writes that were dropped from memory before their time, because it was full.",
)


class Memory:
    """The acknowledged writes of one process. All logs of a client share it."""

    def __init__(self) -> None:
        self._kept: dict[str, Remembered] = {}
        """By event id, the oldest first."""
        self._by_job: dict[str, dict[str, Remembered]] = {}
        self._progress: dict[str, str] = {}
        """Job -> event id of its newest progress, which takes the place of the one before."""
        self._bytes = 0
        self.dropped = 0
        """How many were dropped before their time."""
        self._dropped_jobs: dict[str, float] = {}
        """Job -> when a write of it was dropped last."""
        self.records_intents = False
        """Whether this process tells of each attempt before it begins, as runners do."""
        self.in_hand: Callable[[str, int], bool] = lambda _, __: False
        """Says whether somebody in this process works on a job and has seen its event of a sequence
        number, and wakes whoever has: the log is told again by that one."""
        self.on_first: Callable[[], None] = lambda: None
        """Called when something is remembered again after nothing was."""
        self.show()

    def __len__(self) -> int:
        return len(self._kept)

    def note_submit(
        self, new: NewJob, payload: bytes, entry_id: str, *, is_first: bool = True
    ) -> None:
        """Remember a job that is known; not `is_first` where an earlier submit had made it."""
        event_id = new.event.id
        where = (new.job_id, event_id, 1, entry_id, payload, steady_s())
        self._keep(Remembered(*where, event_id if is_first else "", submit=new))

    def note_appends(self, written: Iterable[tuple[NewEvent, object]]) -> None:
        """Remember those of the events whose outcome is that they are in the log."""
        for new, outcome in written:
            if isinstance(outcome, Appended):
                self._note_append(new, outcome)

    def _note_append(self, new: NewEvent, done: Appended) -> None:
        found_by = "" if done.duplicate and new.effect == "cancel" else new.event_id
        where = (new.job_id, new.event_id, done.seq, done.entry_id, new.payload)
        self._keep(Remembered(*where, steady_s(), found_by, append=new))
        if kind_of(new.payload) == "progressed":
            earlier = self._progress.get(new.job_id, "")
            self._progress[new.job_id] = new.event_id
            if earlier != new.event_id:
                self._forget(earlier)

    def note(self, one: Remembered) -> None:
        """Remember the beginning or the release of a lease, or what was found elsewhere."""
        self._keep(one)

    def partitions(self, partition_of: Callable[[str], int]) -> dict[int, list[Remembered]]:
        """Return partition -> what is remembered there, in the order of its acknowledgement."""
        found: dict[int, list[Remembered]] = {}
        for one in self._kept.values():
            found.setdefault(partition_of(one.job_id), []).append(one)
        return found

    def of_job(self, job_id: str) -> list[Remembered]:
        """Return what is remembered of a job, by sequence number."""
        return sorted(self._by_job.get(job_id, {}).values(), key=lambda one: one.seq)

    def forget_old(self, seen: Iterable[Remembered], since_s: float, now_s: float) -> None:
        """Forget what is older than KEPT_S of what was seen at a server now; it has answered since
        `since_s`."""
        oldest_s = now_s - KEPT_S
        if since_s < oldest_s:
            old = [one for one in seen if one.at_s < oldest_s]
            self.forget(one.event_id for one in old if self._kept.get(one.event_id) is one)

    def forget(self, event_ids: Iterable[str]) -> None:
        """Forget events that nothing can or need be done for."""
        for event_id in event_ids:
            self._forget(event_id)

    def take_dropped_jobs(self, is_away: Callable[[str], bool]) -> list[str]:
        """Return the jobs of which writes were dropped lately whose server is away now, each once:
        DROPPED_JOBS at most."""
        oldest_s, dropped = steady_s() - KEPT_S, self._dropped_jobs
        taken = [job_id for job_id in dropped if is_away(job_id)]
        self._dropped_jobs = {job_id: at_s for job_id, at_s in dropped.items() if at_s > oldest_s}
        for job_id in taken:
            self._dropped_jobs.pop(job_id, None)
        return taken

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._by_job.clear()
        self._progress.clear()
        self._bytes = 0
        self.show()

    def _keep(self, one: Remembered) -> None:
        if not self._kept:
            self.on_first()
        self._forget(one.event_id)  # one that is told again is the newest
        self._kept[one.event_id] = one
        self._by_job.setdefault(one.job_id, {})[one.event_id] = one
        self._bytes += one.size_bytes
        while len(self._kept) > WRITES_LIMIT or self._bytes > BYTES_LIMIT:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        event_id, oldest = next(iter(self._kept.items()))
        self._forget(event_id)
        self.dropped += 1
        DROPPED.add()
        self._dropped_jobs.pop(oldest.job_id, None)
        self._dropped_jobs[oldest.job_id] = steady_s()
        if len(self._dropped_jobs) > DROPPED_JOBS:
            del self._dropped_jobs[next(iter(self._dropped_jobs))]

    def _forget(self, event_id: str) -> None:
        one = self._kept.pop(event_id, None)
        if one is None:
            return
        self._bytes -= one.size_bytes
        of_job = self._by_job[one.job_id]
        del of_job[event_id]
        if not of_job:
            del self._by_job[one.job_id]
        if self._progress.get(one.job_id) == event_id:
            del self._progress[one.job_id]

    def show(self) -> None:
        """Set the gauges."""
        KEPT.set(len(self._kept))
        KEPT_BYTES.set(self._bytes)
