"""What came of the demo: counted from the log and from the simulator's ledger, never assumed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct

from everfold.projector.job.job import Job


class Seen(Struct, frozen=True, kw_only=True):
    """What the servers' records say of who got which job."""

    before_bob: int
    """Jobs that were sent before bob's, which was submitted last."""
    blurred: int
    """Jobs with the node that one server lacks that ran at the other one."""
    blurred_elsewhere: int
    """Those that ran anywhere else."""
    while_drained: int
    """Prompts that the drained server took."""


class Summary(Struct, frozen=True, kw_only=True):
    submitted: int
    succeeded: int
    failed: int
    canceled: int
    recovered: int
    """Jobs that another runner took over and carried on."""
    moved: int
    """Jobs whose ComfyUI never came back, begun anew at another one."""
    executed_twice: int
    """Jobs that the living ComfyUI executed more than once, in one attempt or several."""
    lost: int
    """Jobs that have no end."""
    as_meant: bool
    """Whether each job ended as it was meant to."""
    seen: Seen
    recovery_s: float
    """From the kill of the runner to the first job that went on."""
    images: int
    outputs: str
    seconds: float

    @property
    def is_good(self) -> bool:
        is_placed = self.seen.blurred_elsewhere == 0 and self.seen.while_drained == 0
        return self.lost == 0 and self.executed_twice == 0 and self.as_meant and is_placed


def summarize(
    jobs: Sequence[Job],
    meant: Mapping[str, str],
    ledger: Sequence[Mapping[str, object]],
    *,
    seen: Seen,
    recovery_s: float,
    images: int,
    outputs: str,
    seconds: float,
) -> Summary:
    """Count. `meant`: job id -> how it was meant to end; `ledger`: the simulator's rows."""
    statuses = Counter(job.status for job in jobs)
    return Summary(
        submitted=len(meant),
        succeeded=statuses["succeeded"],
        failed=statuses["failed"],
        canceled=statuses["canceled"],
        recovered=sum(1 for job in jobs if job.recovered),
        moved=sum(1 for job in jobs if job.losses),
        executed_twice=count_executed_twice(ledger),
        lost=len(meant) - sum(1 for job in jobs if job.is_terminal),
        as_meant=all(meant[job.job_id] == job.status for job in jobs),
        seen=seen,
        recovery_s=round(recovery_s, 2),
        images=images,
        outputs=outputs,
        seconds=round(seconds, 1),
    )


def job_of(row: Mapping[str, object]) -> str:
    """Return the id of the job that a ledger's row belongs to, "?" where it says none."""
    extra = row.get("extra_data")
    about = extra.get("everfold", {}) if isinstance(extra, dict) else {}
    return str(about.get("job_id", "?"))


def count_executed_twice(ledger: Sequence[Mapping[str, object]]) -> int:
    """Return how many jobs were executed more than once."""
    executions = Counter(job_of(row) for row in ledger if row.get("started_at"))
    return sum(1 for count in executions.values() if count > 1)
