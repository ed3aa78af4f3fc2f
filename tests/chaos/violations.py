"""What must hold after a round: DESIGN's invariants over log, heads, hashes and ledgers.

Rule: pure where it can be; every violation is a sentence that names the job.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from everfold.projector.job.job import Job
from everfold.projector.reading.verify import verify
from everfold.streams.appending.log import Log
from tests.chaos.fault_runner import Death

Row = Mapping[str, object]


async def find_violations(
    log: Log,
    jobs: Sequence[Job],
    rows: Sequence[Row],
    deaths: Sequence[Death],
    given_up: Collection[str] = (),
) -> list[str]:
    report = await verify(log)
    found = [str(difference) for difference in report.differences]
    found += [f"invariant 7: job {job.job_id} has no end" for job in jobs if not job.is_terminal]
    return [*found, *ledger_violations(jobs, rows, deaths, given_up)]


def ledger_violations(
    jobs: Sequence[Job],
    rows: Sequence[Row],
    deaths: Sequence[Death],
    given_up: Collection[str] = (),
) -> list[str]:
    """Return what the simulators saw and must not have seen (invariant 6).

    `given_up` are prompts that the log names as such: another attempt may run beside them.
    """
    found: list[str] = []
    by_job: dict[str, list[Row]] = defaultdict(list)
    posted: dict[str, int] = defaultdict(int)
    for row in rows:
        posted[str(row["prompt_id"])] += 1
        if row["prompt_id"] not in given_up:
            by_job[_job_of(row)].append(row)
    found += [f"invariant 6: prompt {p} was POSTed {n} times" for p, n in posted.items() if n > 1]
    for job_id, mine in by_job.items():
        found += _overlaps(job_id, mine, deaths)
    for job in jobs:
        found += _claims(job, by_job[job.job_id])
    return found


def _job_of(row: Row) -> str:
    extra = row.get("extra_data")
    about = extra.get("everfold") if isinstance(extra, dict) else None
    return str(about.get("job_id")) if isinstance(about, dict) else "?"


def _overlaps(job_id: str, rows: Sequence[Row], deaths: Sequence[Death]) -> list[str]:
    spans = sorted(
        (float(str(row["started_at"])), _end(row, deaths), str(row["prompt_id"]))
        for row in rows
        if row.get("started_at")
    )
    return [
        f"invariant 6: job {job_id}: {later[2]} began while {earlier[2]} ran"
        for index, earlier in enumerate(spans)
        for later in spans[index + 1 :]
        if later[0] < earlier[1]
    ]


def _end(row: Row, deaths: Sequence[Death]) -> float:
    if row.get("ended_at"):
        return float(str(row["ended_at"]))
    started = float(str(row["started_at"]))
    ends = [d.at_s for d in deaths if d.url == row["url"] and d.at_s >= started - 0.05]
    return min(ends, default=float("inf"))


def _claims(job: Job, rows: Sequence[Row]) -> list[str]:
    """A job that says it succeeded did so with the attempt that it names."""
    if job.status != "succeeded":
        return []
    outcomes = [row["outcome"] for row in rows if row["prompt_id"] == job.prompt_id]
    if outcomes == ["success"]:
        return []
    return [f"invariant 6: job {job.job_id} says {job.prompt_id} succeeded; ledger: {outcomes}"]
