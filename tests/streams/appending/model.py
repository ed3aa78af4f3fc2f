"""What must come of a job, in a few fields: the model that the real log is compared with."""

from __future__ import annotations

from msgspec import Struct

from everfold.streams.errors import EverfoldError, Fenced, JobClosed, JobLeased


class Model(Struct):
    """What the log must know of a job."""

    seq: int = 1
    epoch: int = 0
    phase: str = "waiting"
    owner: str = ""
    priority: str = "normal"
    due_ms: int = 0
    crashes: int = 0
    canceling: bool = False
    status: str = "open"

    def appends(self, epoch: int, runner: str, end: str = "") -> type[EverfoldError] | None:
        """Return what an append must raise now, None when it must enter."""
        if self.status != "open":
            return JobClosed
        if epoch > 0 and (self.phase, self.epoch, self.owner) != ("leased", epoch, runner):
            return Fenced
        if epoch < 0 and self.phase not in ("waiting", "later"):
            return JobLeased
        self.seq += 1
        if end:
            self.status, self.phase = end, "closed"
        return None
