"""What an application uses: submit jobs, watch them, get their outputs.

Rule: everything here works with any process down but Redis: reads fall back to the log.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus
from msgspec import Struct

from everfold.embedded import find_server
from everfold.projector.job.job import Job
from everfold.projector.reading.queries import Page, get, list_jobs
from everfold.projector.reading.watching import Watcher
from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.errors import InvalidWorkflow, JobClosed, JobLeased
from everfold.streams.events.event import Canceled, CancelRequested, Outputs, Policy
from everfold.streams.events.record import Recorded
from everfold.streams.reading.reader import job_events, tail
from everfold.streams.redis.redis_errors import command

if TYPE_CHECKING:
    from everfold.projector.subscribing.subscription import Subscription


class SubmittedJob(Struct, frozen=True):
    job_id: str
    created: bool
    """False when an earlier submit with the same idempotency key had made the job."""


class Everfold:
    """One namespace. Open it with `Everfold.connect`; safe to use from many tasks at once."""

    def __init__(self, log: Log, watcher: Watcher) -> None:
        self.log = log
        self._watcher = watcher

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(
        cls,
        url: str | None = None,
        *,
        namespace: str = "everfold",
        partitions: int | None = None,
        actor: str = "client",
    ) -> AsyncIterator[Everfold]:
        """Connect to `url`, else to REDIS_URL or REDIS_HOST, else to a running embedded server.

        `partitions` matters only to whoever makes the namespace (default 8). `actor` is recorded
        as who submitted or canceled. Raises Misconfigured or Unavailable.
        """
        async with (
            Log.open(
                url or find_server(), namespace=namespace, partitions=partitions, actor=actor
            ) as log,
            Watcher(log) as watcher,
        ):
            yield cls(log, watcher)

    async def submit(
        self,
        workflow: Mapping[str, object] | str | bytes | Path,
        *,
        kind: str = "",
        user_id: str = "",
        metadata: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
        queue: str = "default",
        priority: str = "normal",
        run_at: datetime | None = None,
        policy: Policy | None = None,
    ) -> SubmittedJob:
        """Make a job known; when this returns it survives everything that Redis survives.

        `workflow` is an API-format graph: a mapping, its JSON, or the path of its file. With an
        `idempotency_key` a repeated submit returns the first job. `priority` is high, normal or
        low. Raises Refused with nothing written, or Unavailable.
        """
        made = await self.log.submit(
            read_workflow(workflow) if isinstance(workflow, Path) else workflow,
            kind=kind,
            user=user_id,
            metadata=metadata,
            idempotency_key=idempotency_key,
            queue=queue,
            priority=priority,
            run_at_ms=int(run_at.timestamp() * 1000) if run_at is not None else None,
            policy=policy,
        )
        return SubmittedJob(made.job_id, made.created)

    async def get(self, job_id: str, at_least_seq: int = 0) -> Job:
        """Return the job's state. Raises JobUnknown."""
        return await get(self.log, job_id, at_least_seq)

    async def list(
        self,
        *,
        statuses: Collection[str] = (),
        user_id: str | None = None,
        kind: str | None = None,
        backend: str | None = None,
        newer_than: datetime | None = None,
        older_than: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        """Return a page of jobs, the one with the newest event first."""
        return await list_jobs(
            self.log,
            statuses=statuses,
            user=user_id,
            kind=kind,
            backend=backend,
            newer_than_ms=_milliseconds(newer_than),
            older_than_ms=_milliseconds(older_than),
            cursor=cursor,
            limit=limit,
        )

    async def watch(self, job_id: str, after_seq: int = 0) -> AsyncIterator[Job]:
        """Yield the state after each event above `after_seq`, without gap, until the job ends.

        To resume, give back the `seq` of the last state that was seen.
        """
        async for job in self._watcher.watch(job_id, after_seq):
            yield job

    async def wait(self, job_id: str, timeout_s: float | None = None) -> Job:
        """Return the job once it has ended. Raises TimeoutError, JobUnknown."""
        return await self._watcher.wait(job_id, timeout_s)

    async def outputs(self, job_id: str) -> Outputs:
        """Return what each output node has delivered so far, or delivered at the end."""
        return (await self.get(job_id)).outputs

    async def events(self, job_id: str, after_seq: int = 0) -> Sequence[Recorded]:
        """Return the job's history. Raises JobUnknown."""
        return await job_events(self.log, job_id, after_seq)

    @contextlib.asynccontextmanager
    async def follow(self) -> AsyncIterator[AsyncIterator[Sequence[Recorded]]]:
        """Follow all events of all jobs, from now on."""
        async with tail(self.log) as batches:
            yield batches

    async def consume(
        self, subscription: Subscription, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED
    ) -> None:
        """Deliver events to a subscription until cancelled, together with all other processes
        that consume it. A delivery that has begun is finished, and written down, before this ends.

        Raises Misconfigured for a `start` that makes no sense; waits while the server is away.
        """
        # Here, because most programs only submit and read.
        from everfold.archives.opening import known_archive
        from everfold.projector.subscribing.consumer import Consumer
        from everfold.runner.config import runner_name

        kept = await known_archive(self.log)
        consumer = Consumer(self.log, runner_name("consumer"), subscription, kept)
        await consumer.run(task_status=task_status)

    async def cancel(self, job_id: str, reason: str = "") -> Job:
        """Ask for the job to be stopped; return its state after the request.

        A job that no runner holds is canceled at once; else its runner stops it and verifies
        that. One that has ended already stays as it is. Raises JobUnknown.
        """
        with contextlib.suppress(JobClosed):
            await self.log.append(job_id, CancelRequested(reason=reason), epoch=0)
            with contextlib.suppress(JobLeased):
                await self.log.append(job_id, Canceled(reason=reason), epoch=UNLEASED)
            hint = f"cancel {job_id}"
            await command(self.log.redis, "PUBLISH", self.log.keys.wake(), hint)
        head = await command(self.log.redis, "HGET", self.log.keys.head(job_id), "seq")
        return await self.get(job_id, int(str(head, "ascii") if isinstance(head, bytes) else 0))


def read_workflow(path: Path) -> bytes:
    """Return the content of a workflow file. Raises InvalidWorkflow when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidWorkflow(
            f"the workflow file {path} cannot be read: {error.strerror}"
        ) from error


def _milliseconds(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp() * 1000)


def to_json(job: Job) -> dict[str, object]:
    """Return a job as plain values, with the names that earlier consumers know beside ours."""
    plain: dict[str, object] = msgspec.to_builtins(job)
    earlier = {"promptId": job.prompt_id, "jobType": job.kind, "userId": job.user}
    return {**plain, **earlier}
