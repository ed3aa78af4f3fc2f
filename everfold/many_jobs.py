"""What is done to many jobs at once, and to jobs that have ended: cancel, run again, batches.

Rule: the jobs are chosen first, then each is looked at again when its turn comes. All of it may be
repeated after an interruption: what is done already is not done twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import anyio
import msgspec
from msgspec import Struct

from everfold.changed_graph import check_changes
from everfold.projector.job.job import OPEN_STATUSES, TERMINAL_STATUSES, Job
from everfold.projector.job.job_filter import JobFilter
from everfold.projector.reading.batches import batch_names, count_batch
from everfold.projector.reading.lag import Checkpoint, checkpoints
from everfold.projector.reading.queries import PAGE_LIMIT, Page
from everfold.rerunning import RerunClient, rerun_once
from everfold.streams.appending.job_input import load_input
from everfold.streams.appending.log import Log
from everfold.streams.border.plain import Plain
from everfold.streams.errors import Conflict, CorruptLog, EverfoldError, JobUnknown, Refused
from everfold.streams.events.checks import check_choice, check_list, check_name, check_text
from everfold.streams.events.event import Failure
from everfold.streams.events.ids import job_id_for, new_id
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.events.limits import REASON_LIMIT
from everfold.streams.events.ranges import check_number
from everfold.streams.leases.acts import note_act
from everfold.streams.queues.queue_control import change_priority
from everfold.streams.redis.keys import PRIORITIES

_read_graph = decoder(dict[str, object])

AT_ONCE = 20
"""Jobs that are acted on at the same time."""

WHY_LIMIT = 20
"""Failures that a result names."""

LOOK_EVERY_S = 0.25
"""Seconds between two looks at a batch that is waited for."""

RATE_JOBS = 50
"""Jobs that have ended last, by which is guessed when a batch will have ended."""

RERUN_STATUSES = ("failed", "expired")
"""What is run again where a filter asks for no status."""


class ManyDone(Plain, Struct, frozen=True):
    """What was done to many jobs."""

    selected: int
    outcomes: dict[str, int]
    """How many jobs had each outcome: canceled, canceling, already ended, rerun, already rerun,
    still open, changed, unchanged, waiting no more, gone, or refused."""
    refused: dict[str, str]
    """Job -> why nothing could be done: the first 20."""


class BatchProgress(Plain, Struct, frozen=True, kw_only=True):
    """How far a batch is. Jobs that have ended count as long as their state is kept."""

    batch: str
    total: int
    ended: int
    by_status: dict[str, int]
    """Only statuses that a job of the batch has."""
    percent: float
    left_s: float | None = None
    """About how long until all have ended, by the pace of the last; None where nobody knows."""
    behind_s: float = 0.0
    """Age of the oldest event that may not be counted yet."""

    @property
    def is_over(self) -> bool:
        """Whether all jobs have ended."""
        return self.ended == self.total


class Client(RerunClient, Protocol):
    """What of a client is needed here."""

    async def get(self, job_id: str, at_least_seq: int = 0) -> Job: ...
    async def cancel(self, job_id: str, reason: str = "") -> Job: ...
    async def page(
        self, selects: JobFilter, cursor: str | None = None, limit: int = 50
    ) -> Page: ...
    async def _shown_after(self, marks: Mapping[int, Checkpoint]) -> dict[str, Job]: ...


class ManyJobs:
    """The calls of `Everfold` for many jobs, and for jobs that have ended."""

    async def select(self: Client, selects: JobFilter) -> list[str]:
        """Return the ids of all jobs that a filter selects now, the newest event first."""
        return [job.job_id async for job in _every(self, selects)]

    async def graph(self: Client, job_id: str) -> dict[str, object]:
        """Return the graph of a job as it was submitted, in API format.

        It is kept as long as the job needs it, and for as long as its state after that. Raises
        JobUnknown, Refused where it is no longer kept or its user was erased, SealKeyMissing.
        """
        job = await self.get(job_id)
        sent = await load_input(self.log, job)
        if isinstance(sent, Failure):
            raise Refused(f"there is no graph of job {job.job_id}: {sent.message}")
        try:
            return _read_graph(sent.workflow)
        except NotJson as error:  # of a program in another language
            raise Refused(f"the graph of job {job.job_id} cannot be read: {error}") from error

    async def rerun(self: Client, job_id: str, changes: Mapping[str, object] | None = None) -> str:
        """Submit a job that has ended once more; return the id of the new job.

        It has the graph, extra_data, metadata, policy, queue, needs, batch, tags and callback of
        the old one, and names it as `rerun_of`. `changes` are inputs such as {"3.seed": 7}, typed
        as the graph has them. Raises JobUnknown, InvalidName for a node or an input that there is
        not, Refused for a job that is open, or whose graph or partner keys are no longer kept.
        """
        given = check_changes({} if changes is None else changes)
        job = await self.get(job_id)
        # What is sealed in the log must not stand in the list of acts.
        shown = given if self.log.sealing is None else dict.fromkeys(given, "(sealed)")
        detail = ", ".join(f"{name}={value}" for name, value in shown.items())
        made = await rerun_once(self, job, given, new_id(), detail)
        return made or job_id

    async def cancel_many(
        self: Client, jobs: JobFilter | Sequence[str], reason: str = ""
    ) -> ManyDone:
        """Request jobs to be stopped: those of a filter that are open, or those of these ids."""
        reason = check_text("reason", reason, most=REASON_LIMIT)
        chosen = await _chosen(self, jobs, OPEN_STATUSES)
        told = reason if self.log.sealing is None else "(sealed)"
        await note_act(
            self.log, "cancel_jobs", _words(self.log, jobs, chosen), f"{len(chosen)} jobs: {told}"
        )

        async def cancel(job_id: str) -> str:
            if (await self.get(job_id)).is_terminal:
                return "already ended"
            job = await self.cancel(job_id, reason)
            return job.status if job.status in ("canceled", "canceling") else "already ended"

        return await _each(chosen, cancel)

    async def rerun_many(
        self: Client,
        jobs: JobFilter | Sequence[str],
        changes: Mapping[str, object] | None = None,
    ) -> ManyDone:
        """Submit jobs that have ended once more, each once: a repeat finds those that it has made.

        Of a filter without statuses that are those that failed or expired. `changes` as of `rerun`.
        """
        given = check_changes({} if changes is None else changes)
        chosen = await _chosen(self, jobs, RERUN_STATUSES)
        detail = msgspec.json.encode(given, order="sorted").decode()
        told = detail if self.log.sealing is None else ", ".join(given)
        await note_act(
            self.log, "rerun_jobs", _words(self.log, jobs, chosen), f"{len(chosen)} jobs: {told}"
        )

        async def rerun(job_id: str) -> str:
            job = await self.get(job_id)
            if not job.is_terminal:
                return "still open"
            # An id that no user's key can lead to: a user has no line break.
            once = job_id_for(self.log.generation, "\nrerun", f"{job_id} {detail}")
            made = await rerun_once(self, job, given, once, None)
            return "rerun" if made else "already rerun"

        return await _each(chosen, rerun)

    async def change_priorities(
        self: Client, jobs: JobFilter | Sequence[str], priority: str
    ) -> ManyDone:
        """Give waiting jobs the priority high, normal or low, one after the other: those of a
        filter in the order of their last events, or those of these ids in their order."""
        priority = check_choice("priority", priority, PRIORITIES)
        chosen = await _chosen(self, jobs, ("queued",))
        if isinstance(jobs, JobFilter):
            chosen.reverse()
        note = f"{len(chosen)} jobs: {priority}"
        await note_act(self.log, "set_priority", _words(self.log, jobs, chosen), note)

        async def change(job_id: str) -> str:
            try:
                before = await change_priority(self.log, job_id, priority)
            except Conflict:
                return "waiting no more"
            return "unchanged" if before == priority else "changed"

        return await _each(chosen, change, at_once=1)

    def batch(self: Client, name: str) -> Batch:
        """Return the batch of this name; it need not have jobs yet. Raises InvalidName."""
        return Batch(self, check_name("batch", name))

    async def batches(self: Client, after: str = "", limit: int = 50) -> list[str]:
        """Return the names of batches of which jobs are kept, in their order, from `after` on."""
        check_number("limit", limit)
        return await batch_names(self.log, check_text("after", after), min(limit, PAGE_LIMIT))


class Batch:
    """The jobs that were submitted with one `batch`."""

    def __init__(self, client: Client, name: str) -> None:
        self._client, self.name = client, name

    async def jobs(self, statuses: Sequence[str] = ()) -> AsyncIterator[Job]:
        """Yield its jobs, those with the newest events first."""
        async for job in _every(self._client, JobFilter(batch=self.name, statuses=statuses)):
            yield job

    async def progress(self) -> BatchProgress:
        """Return how many of its jobs have which status, and about when all will have ended."""
        log = self._client.log
        marks = await checkpoints(log)
        counts = await count_batch(log, self.name, await self._client._shown_after(marks))
        total = sum(counts.values())
        ended = sum(counts[status] for status in TERMINAL_STATUSES)
        return BatchProgress(
            batch=self.name,
            total=total,
            ended=ended,
            by_status={status: count for status, count in counts.items() if count > 0},
            percent=100 * ended / total if total else 100.0,
            left_s=await self._left_s(total - ended) if 0 < ended < total else None,
            behind_s=max(mark.behind_s for mark in marks.values()),
        )

    async def _left_s(self, still: int) -> float | None:
        selects = JobFilter(batch=self.name, statuses=TERMINAL_STATUSES)
        ends = [job.ended_at_ms for job in (await self._client.page(selects, None, RATE_JOBS)).jobs]
        took_ms = max(ends, default=0) - min(ends, default=0)
        return still * took_ms / 1000 / (len(ends) - 1) if took_ms and len(ends) > 1 else None

    async def wait(self, timeout_s: float | None = None) -> BatchProgress:
        """Return once all its jobs have ended that were submitted by then.

        It needs a projector. Raises TimeoutError after `timeout_s` seconds (None: never).
        """
        check_number("wait_timeout_s", timeout_s)
        with anyio.fail_after(timeout_s):
            while True:
                progress = await self.progress()
                if progress.is_over and not progress.behind_s:
                    return progress
                await anyio.sleep(LOOK_EVERY_S)

    async def cancel(self, reason: str = "") -> ManyDone:
        """Request all its open jobs to be stopped."""
        return await ManyJobs.cancel_many(self._client, JobFilter(batch=self.name), reason)


async def _every(client: Client, selects: JobFilter) -> AsyncIterator[Job]:
    cursor: str | None = None
    while True:
        page = await client.page(selects, cursor, PAGE_LIMIT)
        for job in page.jobs:
            yield job
        cursor = page.cursor
        if cursor is None:
            return


async def _chosen(
    client: Client, jobs: JobFilter | Sequence[str], statuses: Sequence[str]
) -> list[str]:
    if not isinstance(jobs, JobFilter):
        return [check_text("job id", job_id, least=1) for job_id in check_list("jobs", jobs)]
    selects = jobs if jobs.statuses else msgspec.structs.replace(jobs, statuses=statuses)
    return await ManyJobs.select(client, selects)


def _words(log: Log, jobs: JobFilter | Sequence[str], chosen: Sequence[str]) -> str:
    """Return which jobs were chosen, for the list of acts, which is not sealed."""
    if not isinstance(jobs, JobFilter):
        return ", ".join(chosen[:3]) + (", ..." if len(chosen) > 3 else "")
    if log.sealing is not None:
        metadata = dict.fromkeys(jobs.metadata, "(sealed)")
        error = "(sealed)" if jobs.error else None
        jobs = msgspec.structs.replace(jobs, metadata=metadata, error=error)
    given = {name: getattr(jobs, name) for name in jobs.__struct_fields__}
    told = {name: value for name, value in given.items() if value or value == ""}
    return ", ".join(f"{name}={value or '(none)'}" for name, value in told.items()) or "all jobs"


async def _each(
    jobs: Sequence[str], act: Callable[[str], Awaitable[str]], at_once: int = AT_ONCE
) -> ManyDone:
    """Act on each job, a few at a time. What is refused for one job does not stop the others.

    Raises a leaf of Unavailable: then some are done, and a repeat does the others.
    """
    outcomes: Counter[str] = Counter()
    refused: dict[str, str] = {}
    waiting = iter(jobs)
    failures: list[EverfoldError] = []

    async def work() -> None:
        for job_id in waiting:
            try:
                outcomes[await act(job_id)] += 1
            except JobUnknown:
                outcomes["gone"] += 1
            except (Refused, CorruptLog) as error:
                outcomes["refused"] += 1
                if len(refused) < WHY_LIMIT:
                    refused[job_id] = str(error)
            except EverfoldError as error:
                failures.append(error)
            if failures:
                return

    async with anyio.create_task_group() as tasks:
        for _ in range(at_once):
            tasks.start_soon(work)
    if failures:
        raise failures[0]
    return ManyDone(len(jobs), dict(outcomes), refused)
