"""One round: jobs and faults by the schedule, then healing, then the checks."""

from __future__ import annotations

import contextlib
from collections import Counter
from itertools import pairwise

import anyio
from msgspec import Struct

from everfold.projector.job.fold import fold
from everfold.projector.job.job import Job
from everfold.projector.reading.lag import lag
from everfold.projector.reading.queries import current
from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.errors import EverfoldError, JobClosed, JobLeased
from everfold.streams.events.event import (
    Canceled,
    CancelRequested,
    Expired,
    Failed,
    Lost,
    Policy,
    Recovered,
)
from everfold.streams.reading.reader import job_events
from tests.chaos.fault_runner import FaultRunner
from tests.chaos.schedule import Fault, PlannedJob, Schedule
from tests.chaos.violations import find_violations
from tests.support.programs.stack import sleeper
from tests.support.wait import eventually

END_WITHIN_S = 60.0
POLICY = Policy(
    retries=5, crash_limit=20, retry_backoff_s=0.2, backend_away_s=3.0, stop_within_s=5.0
)


class Result(Struct, frozen=True):
    seed: int
    faults: dict[str, int]
    outcomes: dict[str, int]
    recoveries_s: list[float]
    """From the last event before to the `recovered` event."""
    violations: list[str]
    event_texts: list[str]


class Round:
    def __init__(self, faults: FaultRunner, plan: Schedule) -> None:
        self._faults = faults
        self._plan = plan
        self._jobs: list[str] = []
        self._injected: Counter[str] = Counter()

    async def run(self) -> Result:
        async with anyio.create_task_group() as tasks:
            for number, planned in enumerate(self._plan.jobs):
                tasks.start_soon(self._submit, number, planned)
            for fault in self._plan.faults:
                tasks.start_soon(self._inject, fault)
        await self._faults.heal()
        violations = await self._settle()
        jobs = [await current(self._log, job_id) for job_id in self._jobs]
        rows = self._faults.ledgers()
        mine = [row for row in rows if _belongs(row, set(self._jobs))]
        given_up = await self._given_up()
        violations += await find_violations(self._log, jobs, mine, self._faults.deaths, given_up)
        await self._faults.bring_back()
        return Result(
            seed=self._plan.seed,
            faults=dict(self._injected),
            outcomes=dict(Counter(job.status for job in jobs)),
            recoveries_s=[gap for job_id in self._jobs for gap in await self._gaps(job_id)],
            violations=violations,
            event_texts=[await self._event_text(job, violations) for job in jobs if violations],
        )

    @property
    def _log(self) -> Log:
        return self._faults.log

    async def _submit(self, number: int, planned: PlannedJob) -> None:
        await anyio.sleep(planned.at_s)
        key = f"{self._plan.seed}-{number}"
        made = await self._log.submit(_graph(planned), idempotency_key=key, policy=POLICY)
        self._jobs.append(made.job_id)

    async def _inject(self, fault: Fault) -> None:
        await anyio.sleep(fault.at_s)
        if fault.kind == "cancel":
            hit = await self._cancel(fault.which)
        elif fault.kind == "submit_again":
            hit = await self._submit_again(fault.which)
        else:
            hit = await self._faults.inject(fault.kind, fault.which, self._jobs)
        self._injected[fault.kind] += hit

    async def _cancel(self, which: int) -> bool:
        if not self._jobs:
            return False
        job_id = self._jobs[which % len(self._jobs)]
        with contextlib.suppress(JobClosed, JobLeased):
            await self._log.append(job_id, CancelRequested(reason="chaos"), epoch=0)
            await self._log.append(job_id, Canceled(reason="chaos"), epoch=UNLEASED)
        return True

    async def _submit_again(self, which: int) -> bool:
        """Submit with a key that is taken, or about to be."""
        number = which % len(self._plan.jobs)
        key = f"{self._plan.seed}-{number}"
        graph = _graph(self._plan.jobs[number])
        made = await self._log.submit(graph, idempotency_key=key, policy=POLICY)
        if made.created:
            self._jobs.append(made.job_id)
        return True

    async def _settle(self) -> list[str]:
        """Wait until every job has ended and is projected; a job that does not end is named."""
        self._jobs = list(dict.fromkeys(self._jobs))
        for job_id in self._jobs:

            async def ended(job_id: str = job_id) -> bool:
                return (await current(self._log, job_id)).is_terminal

            try:
                await eventually(ended, END_WITHIN_S)
            except AssertionError:
                return [f"invariant 7: job {job_id} has not ended in {END_WITHIN_S:g} s"]

        async def projected() -> bool:
            return all(found.lag_events == 0 for found in await lag(self._log))

        try:
            await eventually(projected, END_WITHIN_S)
        except AssertionError:
            return ["invariant 4: the projection does not catch up"]
        return []

    async def _given_up(self) -> frozenset[str]:
        """Return the prompts that the log names as given up: they may go on where nobody sees."""
        found = set[str]()
        for job_id in self._jobs:
            job = Job(job_id=job_id)
            for record in await job_events(self._log, job_id):
                job = fold([record], job)
                event = record.event
                if isinstance(event, Lost | Failed | Canceled | Expired) and event.abandoned:
                    found.add(job.prompt_id)
        return frozenset(found)

    async def _gaps(self, job_id: str) -> list[float]:
        events = await job_events(self._log, job_id)
        return [
            (after.time_ms - before.time_ms) / 1000
            for before, after in pairwise(events)
            if isinstance(after.event, Recovered)
        ]

    async def _event_text(self, job: Job, violations: list[str]) -> str:
        if not any(job.job_id in violation for violation in violations):
            return ""
        try:
            events = await job_events(self._log, job.job_id)
        except EverfoldError as error:
            return f"{job.job_id}: {error}"
        lines = [f"{e.time_ms} {e.seq} {e.epoch} {e.payload.decode()}" for e in events]
        return "\n".join([f"job {job.job_id}", *lines])


def _belongs(row: dict[str, object], jobs: set[str]) -> bool:
    extra = row.get("extra_data")
    about = extra.get("everfold", {}) if isinstance(extra, dict) else {}
    return about.get("job_id") in jobs


def _graph(planned: PlannedJob) -> dict[str, object]:
    color = int(planned.at_s * 1e6) & 0xFFFFFF
    graph = sleeper(planned.seconds, color=color)
    nodes: dict[str, dict[str, object]] = {
        "fail": {
            "class_type": "JTRaise",
            "inputs": {"image": ["1", 0], "message": "boom", "seconds": planned.seconds},
        },
        "deaf": {
            "class_type": "JTSleepDeaf",
            "inputs": {"image": ["1", 0], "seconds": planned.seconds, "seed": color},
        },
        "invalid": {"class_type": "JTSleepDeaf", "inputs": {"image": ["1", 0]}},
    }
    return {**graph, "2": nodes[planned.kind]} if planned.kind in nodes else graph
