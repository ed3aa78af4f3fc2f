"""What one client has shown of jobs, so that it never shows less of them later."""

from __future__ import annotations

from collections.abc import Mapping

from everfold.projector.reading.lag import Checkpoint
from everfold.streams.events.record import entry_order
from everfold.streams.redis.keys import Keyspace

SHOWN_LIMIT = 10_000
"""Jobs that are remembered; then the one that was shown longest ago is forgotten."""


class ShownJobs:
    """The highest sequence number of each job that a client has handed out, and its entry id."""

    def __init__(self) -> None:
        self._shown: dict[str, tuple[int, str]] = {}

    def note(self, job_id: str, seq: int, entry_id: str) -> None:
        """Remember what the caller has seen of a job."""
        seen = max((seq, entry_id), self._shown.pop(job_id, (0, "")))
        self._shown[job_id] = seen  # last in the order in which they are forgotten
        if len(self._shown) > SHOWN_LIMIT:
            del self._shown[next(iter(self._shown))]

    def seq_of(self, job_id: str) -> int:
        """Return the sequence number up to which a job was shown, 0 for none."""
        return self._shown.get(job_id, (0, ""))[0]

    def ahead_of(self, marks: Mapping[int, Checkpoint], keys: Keyspace) -> list[str]:
        """Return the jobs of which more was shown than the projection has, by its checkpoints."""
        return [
            job_id
            for job_id, (_, entry_id) in self._shown.items()
            if (mark := marks.get(keys.partition_of(job_id))) is not None
            and entry_order(entry_id) > entry_order(mark.entry_id)
        ]
