"""What an application uses: submit jobs, watch them, read their outputs.

Rule: only Redis has to be up. Reads of one job fall back to the log. `list` knows what the
projector or this client has seen, and says how far behind it may be.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

import anyio
import msgspec
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from everfold.assets.output_reading import OutputReading
from everfold.erasing.erasing import Erasing
from everfold.erasing.seal_cipher import environment_cipher
from everfold.health.asking_server import warn_of_losses
from everfold.many_jobs import ManyJobs
from everfold.moments import check_moment
from everfold.operations import Operations
from everfold.policy_settings import NO_SETTINGS, PolicySettings
from everfold.projector.folding.parking import is_blocked
from everfold.projector.job.job import Job
from everfold.projector.job.job_filter import JobFilter
from everfold.projector.reading.lag import Checkpoint, checkpoints
from everfold.projector.reading.queries import Page, get, page_of
from everfold.projector.reading.short_ids import find_job_id
from everfold.projector.reading.watching import Watcher
from everfold.queue_operations import QueueOperations
from everfold.settings.client_settings import client_settings
from everfold.shown_jobs import ShownJobs
from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.border.secrets import SecretUrl
from everfold.streams.errors import CorruptLog, InvalidName, JobClosed, JobLeased, JobUnknown
from everfold.streams.events.checks import check_job, check_text
from everfold.streams.events.event import Canceled, CancelRequested, Outputs
from everfold.streams.events.limits import REASON_LIMIT
from everfold.streams.events.ranges import whole_number
from everfold.streams.events.record import Recorded
from everfold.streams.leases.backends import give_up_attempt
from everfold.streams.reading.reader import job_events, tail
from everfold.streams.reading.role_look import looking
from everfold.streams.redis.hints import send_job_hint
from everfold.streams.redis.redis_errors import command
from everfold.submitting import Submitting

if TYPE_CHECKING:
    from everfold.projector.subscribing.subscription import Subscription as Consumed
    from everfold.streams.assets.asset_store import AssetStore
    from everfold.streams.assets.blob_store import BlobStore
    from everfold.streams.redis.access import Role
    from everfold.streams.redis.replicas import Replicas, ReplicasFor


READS_AT_ONCE = 50


class Everfold(Submitting, ManyJobs, OutputReading, Operations, QueueOperations, Erasing):
    """One namespace on one server, opened with `Everfold.connect`. Many tasks may use it at once.

    Every method raises Unavailable when the server stays away for more than about 15 s.
    """

    def __init__(
        self,
        log: Log,
        watcher: Watcher,
        policies: PolicySettings = NO_SETTINGS,
        assets: str | Path | BlobStore | None = None,
    ) -> None:
        self.log = log
        self._place = _checked_place(assets)
        self._assets: AssetStore | None = None
        self._policies = policies
        self._watcher = watcher
        self._shown = ShownJobs()

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(
        cls,
        url: str | SecretUrl | None = None,
        *,
        namespace: str | None = None,
        partitions: int | None = None,
        actor: str = "client",
        role: Role | None = None,
        config: str | Path | PolicySettings | None = None,
        assets: str | Path | BlobStore | None = None,
        replicas: int | Replicas | None = None,
        replicas_within_s: float | None = None,
        replicas_for: ReplicasFor | None = None,
    ) -> AsyncIterator[Everfold]:
        """Connect to `url`, else to REDIS_URL or REDIS_HOST, else to a running embedded server.

        What is left out comes from the environment, and then from the config file, as for commands:
        `url`, `namespace` (EVERFOLD_NAMESPACE, default everfold), settings of TLS, `assets`, and
        the policies that are defaults for `submit`. `config` names the file; None is what
        EVERFOLD_CONFIG names, else the nearest everfold.toml in this folder or one above, else the
        user's; os.devnull is none at all.

        A namespace that does not exist is made by the first call that writes, with 24 partitions,
        and calls that only read raise NamespaceUnknown before; where `partitions` is given, it is
        made at once with so many. For an existing one that must be its number, or None. `actor` is
        stored in each event that this client appends. With a `role`, such as "client" or "reader",
        the rights of the server's user are checked first: AccessMissing names those that are
        missing. `assets` is where the bytes of files are: a folder or s3://bucket/prefix, else
        EVERFOLD_ASSETS, else the data folder; it is opened when it is first used. With
        EVERFOLD_SEAL_KEY in the environment what belongs to users is sealed, see docs/ERASING.md.
        So many `replicas` must have what is acknowledged, see docs/DURABILITY.md. A server that may
        lose jobs is warned of once, in the log `everfold.server`. Leaving closes the connections
        and ends all `watch` and `follow`.
        Raises Misconfigured (NoServer, PartitionMismatch, ...), InvalidName or Unavailable.
        """
        said = client_settings(url, namespace, config)
        async with (
            Log.open(
                said.url,
                namespace=said.namespace,
                partitions=partitions,
                actor=actor,
                role=role,
                cipher=environment_cipher(),
                creates=partitions is not None,
                replicas=said.replicas.asked(replicas, replicas_within_s, replicas_for),
            ) as log,
            looking(log),
            Watcher(log) as watcher,
        ):
            if not isinstance(config, PolicySettings):  # a command that says it itself, if at all
                await warn_of_losses(log.redis, log.url, log.replicas.count)
            client = cls(log, watcher, said.policies, said.assets if assets is None else assets)
            try:
                yield client
            finally:
                await client._end_check()

    def acting_as(self, actor: str) -> Everfold:
        """Return this client with another actor, who is stored in what it appends and changes.

        Both use the same connections, and end together. Raises InvalidName.
        """
        self._checking()
        made = copy.copy(self)
        made.log = self.log.acting_as(actor)
        return made

    @property
    def assets(self) -> AssetStore:
        """The stored files of this namespace. Raises Misconfigured for a place that cannot be one.

        The runners must use the same place.
        """
        if self._assets is None:
            # Here, because most programs submit and read only.
            from everfold.assets.store_of import open_assets

            self._assets = open_assets(self.log, self._place)
        return self._assets

    async def get(self, job_id: str, at_least_seq: int = 0) -> Job:
        """Return the job's state, with all events up to `at_least_seq`, as far as they exist.

        The state is at least as new as what this client has shown of the job before, by `watch`,
        `wait`, `list` or `get`; else it may lag behind the log by the projector's delay. A state
        that has expired is folded from the log. Raises JobUnknown, or BrokenChain when events
        that are needed for that were trimmed.
        """
        job_id, at_least_seq = check_job(job_id), whole_number("at_least_seq", at_least_seq)
        at_least_seq = max(at_least_seq, self._shown.seq_of(job_id))
        return await self._opened(await get(self.log, job_id, at_least_seq))

    async def find(self, part: str) -> str:
        """Return the id of the one job whose id begins or ends with at least 4 characters.

        An id that is whole, or that no job has, is returned as it is. Raises InvalidName where
        several jobs fit, and names them. Jobs are found as long as their state is kept.
        """
        return await find_job_id(self.log, part)

    async def list(
        self,
        *,
        statuses: Collection[str] = (),
        user: str | None = None,
        kind: str | None = None,
        backend: str | None = None,
        batch: str | None = None,
        queue: str | None = None,
        tag: str | None = None,
        code: str | None = None,
        error: str | None = None,
        metadata: Mapping[str, str] | None = None,
        newer_than: datetime | None = None,
        older_than: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
        user_id: str | None = None,
    ) -> Page:
        """Return a page of jobs, those with the newest events first; at most 1,000.

        What this client has shown before, or submitted, is listed as new as it was shown; what it
        has not seen may be missing for `Page.behind_s` seconds, longer while no projector runs.
        A filter that is empty or None selects all; several must all match, see JobFilter.
        `newer_than` and `older_than` bound the time of a job's last event, both included; a time
        without zone is local. Pass `Page.cursor` back for the next page; it is None after the last
        one. Open jobs are always listed; one that has ended as long as its projected state is kept,
        by default 2 h after its last event.

        Jobs are found by an index of all filters but `backend` and `error`, and of those names in
        `metadata` that the projector indexes. A page that has looked at 2,000 jobs ends there: it
        may have fewer than `limit` jobs, even none, and a cursor. Raises InvalidName for a cursor
        that `list` did not return, and for a filter that no job can match.
        """
        selects = JobFilter(
            statuses=statuses,
            user=user_id if user is None else user,
            kind=kind,
            backend=backend,
            batch=batch,
            queue=queue,
            tag=tag,
            code=code,
            error=error,
            metadata=metadata or {},
            newer_than_ms=check_moment("newer_than", newer_than),
            older_than_ms=check_moment("older_than", older_than),
        )
        return await self.page(selects, cursor, limit)

    async def page(
        self, selects: JobFilter, cursor: str | None = None, limit: int = 50, partial: bool = False
    ) -> Page:
        """Return a page as `list` does; with `partial` without partitions that do not answer."""
        marks = await checkpoints(self.log, missing := set[int]() if partial else None)
        page = await page_of(
            self.log,
            selects,
            cursor=cursor,
            limit=limit,
            newer=await self._shown_after(marks),
            behind_s=max(mark.behind_s for mark in marks.values()),
            missing=missing,
        )
        return msgspec.structs.replace(page, jobs=[await self._opened(job) for job in page.jobs])

    async def _shown_after(self, marks: Mapping[int, Checkpoint]) -> dict[str, Job]:
        """Return the jobs of which this client has shown more than the projection has."""
        ahead, found = self._shown.ahead_of(marks, self.log.keys), dict[str, Job]()
        turn = anyio.Semaphore(READS_AT_ONCE)

        async def read(job_id: str) -> None:
            async with turn:
                with contextlib.suppress(CorruptLog, JobUnknown):  # listed as far as it is folded
                    found[job_id] = await self.get(job_id)

        async with anyio.create_task_group() as tasks:
            for job_id in ahead:
                tasks.start_soon(read, job_id)
        return found

    async def watch(self, job_id: str, after_seq: int = 0) -> AsyncIterator[Job]:
        """Yield the state after each event above `after_seq`, without gap, until the job ends.

        To resume, pass the `seq` of the last state that you saw; nothing is yielded for a job
        that had ended by then. A slow reader delays nobody else. Raises JobUnknown, or a kind of
        CorruptLog where an event is missing or cannot be read.
        """
        async for job in self._watcher.watch(job_id, after_seq):
            yield await self._opened(job)

    async def wait(self, job_id: str, timeout_s: float | None = None) -> Job:
        """Return the job once it has ended, whatever its status: look at `job.status`.

        Raises TimeoutError after `timeout_s` seconds (None: never), with the job unchanged;
        JobUnknown, or a kind of CorruptLog as `watch` does.
        """
        return await self._opened(await self._watcher.wait(job_id, timeout_s))

    async def _opened(self, job: Job) -> Job:
        """Return a job as the caller sees it, and remember that: a caller never un-sees it."""
        self._shown.note(job.job_id, job.seq, job.entry_id)
        return await self.log.opened(job, job.job_id)

    async def outputs(self, job_id: str) -> Outputs:
        """Return the outputs by node id, as ComfyUI reports them; those so far for an open job.

        They name files and hold no bytes: `output_files` and `open_output` do. Raises as `get`.
        """
        return (await self.get(job_id)).outputs

    async def events(self, job_id: str, after_seq: int = 0) -> Sequence[Recorded]:
        """Return the job's events above `after_seq`, in order.

        The list begins later where the log was trimmed; `everfold events` reads the archive, too.
        An event of an unknown type is an `Unreadable`. Raises JobUnknown.
        """
        job_id = check_job(job_id)
        return await self.log.opened_records(await job_events(self.log, job_id, after_seq))

    @contextlib.asynccontextmanager
    async def follow(self) -> AsyncIterator[AsyncIterator[Sequence[Recorded]]]:
        """Follow the events of all jobs that are appended after this is entered.

        Yields batches, each of one partition, in the order of its log. Goes on where it was after
        the server was away. A process that must not miss events while it is down uses `consume`.
        """
        async with tail(self.log) as batches:
            yield (await self.log.opened_records(batch) async for batch in batches)

    async def consume(
        self,
        subscription: Consumed,
        *,
        task_status: TaskStatus[None] = TASK_STATUS_IGNORED,
    ) -> None:
        """Deliver events to a subscription until cancelled: at least once, in order per job.

        All processes that consume the same subscription share its partitions. When cancelled, a
        delivery that has begun is finished and recorded first. `task_status.started()` is called
        once it delivers. Waits while the server is away. Raises Misconfigured for an invalid
        `start`.
        """
        # Here, because most programs only submit and read.
        from everfold.archives.opening import known_archive
        from everfold.projector.subscribing.consumer import Consumer
        from everfold.projector.subscribing.subscription import Subscription
        from everfold.runner.config import runner_name

        if not isinstance(subscription, Subscription):
            raise InvalidName("subscription", subscription, "pass an everfold.Subscription")
        await self.log.make()
        kept = await known_archive(self.log)
        consumer = Consumer(self.log, runner_name("consumer"), subscription, kept)
        await consumer.run(task_status=task_status)

    async def cancel(self, job_id: str, reason: str = "") -> Job:
        """Request the job to be stopped; return its state after the request.

        A job that no runner holds is `canceled` at once. One that a runner holds is `canceling`
        until its runner has stopped it: `wait` returns the end. A job that has ended is returned
        as it is. Raises JobUnknown, or what `get` raises where the cancel is in the log, but the
        state cannot be read here.
        """
        job_id, reason = check_job(job_id), check_text("reason", reason, most=REASON_LIMIT)
        with contextlib.suppress(JobClosed):
            await self.log.append(job_id, CancelRequested(reason=reason), epoch=0)
            await self._end_if_blocked(job_id)
            with contextlib.suppress(JobLeased):
                await self.log.append(job_id, Canceled(reason=reason), epoch=UNLEASED)
            await send_job_hint(self.log, "cancel", job_id)
        head = await command(self.log.redis, "HGET", self.log.keys.head(job_id), "seq")
        return await self.get(job_id, int(str(head, "ascii") if isinstance(head, bytes) else 0))

    async def _end_if_blocked(self, job_id: str) -> None:
        """End a job that a runner could not read and nobody holds; its prompt may be alive."""
        if await is_blocked(self.log, job_id):
            # Here, because most programs meet no such job.
            from everfold.runner.execution.unreadable_job import end_blocked

            await end_blocked(self.log, job_id)

    async def give_up(self, job_id: str) -> Job:
        """Have the job's present attempt given up, whatever its backend says; return the job.

        Its runner records it as lost, stops the prompt there as soon as it can, and tries the job
        again where its policy allows. Raises JobUnknown, or InvalidName for a job without an
        attempt.
        """
        job = await self.get(job_id)
        await give_up_attempt(self.log, job.job_id, 0 if job.is_terminal else job.attempt)
        return job


def _checked_place(assets: object) -> str | Path | BlobStore | None:
    """Return the place that a caller named, or made. Raises Misconfigured, InvalidName."""
    if assets is None:
        return None
    if isinstance(assets, str | Path):
        from everfold.assets.opening import open_blobs

        open_blobs(assets)
        return assets
    if not callable(getattr(assets, "walk", None)):
        raise InvalidName("assets", assets, "pass a folder, s3://bucket/prefix or a BlobStore")
    return cast("BlobStore", assets)


def to_json(job: Job) -> dict[str, object]:
    """Return a job as plain values; promptId, jobType and userId repeat fields for old readers."""
    earlier = {"promptId": job.prompt_id, "jobType": job.kind, "userId": job.user}
    return {**job.to_dict(), **earlier}
