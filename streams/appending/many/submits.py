"""Submits many jobs that have all but graph and idempotency key in common: one call per partition.

Rule: bounded, as appends are. What one call cannot do for a job is done by a submit of its own: a
job that is known already or waits for a time, a bounded queue, sealed content, a spread namespace.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import anyio
from msgspec import Struct, structs

from everfold.streams.appending.earlier_submit import chosen_job_id
from everfold.streams.appending.outcomes import Submission
from everfold.streams.appending.submitted_event import JobRequest
from everfold.streams.appending.submitting import NewJob, checked_job, start_within_ms
from everfold.streams.closing import end_all
from everfold.streams.errors import EverfoldError
from everfold.streams.events.checks import check_idempotency_key
from everfold.streams.events.ids import new_id
from everfold.streams.events.limits import BATCH_LIMIT_BYTES
from everfold.streams.events.workflow_check import CheckedWorkflow, check_workflow
from everfold.streams.redis import scripts
from everfold.streams.redis.retry import with_retry

if TYPE_CHECKING:
    from everfold.streams.appending.log import Log

SLICE = 1024
"""Jobs that are encoded before others have a turn of the event loop."""

AHEAD = 2
"""Slices that wait for their answers while the next one is encoded."""

JOBS_PER_CALL = 64
"""Of one script call: it keeps the server for some milliseconds."""

SINGLE_AT_ONCE = 50
"""Submits of their own that are under way at once."""

NO_NODES = CheckedWorkflow(b"{}", "")

SubmitOutcome = Submission | EverfoldError
"""A job that is known, or what `Log.submit` would have raised."""

Asked = tuple[object, str | None]
"""A job's workflow and its idempotency key."""


class _Encoded(Struct, frozen=True):
    """A job on its way: which of the given ones it is, and what it sends."""

    number: int
    asked: Asked
    new: NewJob
    payload: bytes


class ManySubmits:
    """One call of `submit_many`."""

    def __init__(self, log: Log, common: JobRequest) -> None:
        self._log = log
        self._common = common
        self._outcomes: dict[int, SubmitOutcome] = {}
        self._limit = anyio.CapacityLimiter(SINGLE_AT_ONCE)
        self._last: tuple[object, CheckedWorkflow, str] | None = None

    async def submit(self, jobs: Iterable[Asked]) -> list[SubmitOutcome]:
        """Submit all; return the outcome of each, in the same order.

        Raises what is wrong with what they have in common, before anything is written.
        """
        request = structs.replace(self._common, workflow=NO_NODES)
        await self._log.check_request(request)
        await self._log.make()
        template = await checked_job(self._log, request)
        given, under_way = enumerate(jobs), deque[list[asyncio.Task[None]]]()
        try:
            while piece := list(islice(given, SLICE)):
                under_way.append(self._writing(template, piece))
                await asyncio.sleep(0)
                if len(under_way) > AHEAD:
                    await asyncio.gather(*under_way[0])
                    under_way.popleft()
            while under_way:
                await asyncio.gather(*under_way[0])
                under_way.popleft()
        finally:
            await end_all([task for tasks in under_way for task in tasks])
        return [self._outcomes[number] for number in range(len(self._outcomes))]

    def _writing(
        self, template: NewJob, piece: Sequence[tuple[int, Asked]]
    ) -> list[asyncio.Task[None]]:
        """Encode jobs, and begin to write them."""
        log = self._log
        if self._is_special(template):
            return [asyncio.create_task(self._alone(number, one)) for number, one in piece]
        by_partition: dict[int, list[_Encoded]] = {}
        for number, asked in piece:
            try:
                one = self._encoded(template, number, asked)
            except EverfoldError as error:
                self._outcomes[number] = error
            else:
                by_partition.setdefault(log.keys.partition_of(one.new.job_id), []).append(one)
        return [
            asyncio.create_task(self._write(partition, batch))
            for partition, jobs in by_partition.items()
            for batch in _batches(jobs)
        ]

    def _is_special(self, template: NewJob) -> bool:
        """Say whether each job is to be submitted alone."""
        log, common = self._log, self._common
        is_timed = template.event.run_at_ms is not None
        is_more = is_timed or common.extra_data or common.partner_keys or common.inputs
        return bool(is_more or log.keys.is_spread or log.sealing is not None)

    def _encoded(self, template: NewJob, number: int, asked: Asked) -> _Encoded:
        workflow, key = asked
        if self._last is None or self._last[0] is not workflow:
            graph = check_workflow(workflow)
            needs = graph.needs.with_labels(template.event.needs or ())
            self._last = (workflow, structs.replace(graph, needs=needs), needs.signature)
        graph, event = self._last[1], template.event
        key = check_idempotency_key(key)
        job_id = chosen_job_id(self._log.generation, event.user, None, key)
        event = structs.replace(event, id=new_id(), workflow=graph.sha256, idempotency_key=key)
        new = NewJob(job_id, event, graph, {}, graph.needs)
        return _Encoded(number, asked, new, self._log.encoded(event))

    async def _write(self, partition: int, batch: Sequence[_Encoded]) -> None:
        log = self._log
        try:
            sending = partial(_send, log, partition, batch)
            replies = await with_retry(sending, log.retry_for_s)
        except EverfoldError as error:
            self._outcomes |= {one.number: error for one in batch}
            return
        for one, reply in zip(batch, replies, strict=True):
            if reply[0] != b"submitted":
                await self._alone(one.number, one.asked)
                continue
            made = Submission(one.new.job_id, bytes(reply[1]).decode(), created=True)
            log.memory.note_submit(one.new, one.payload, made.entry_id)
            self._outcomes[one.number] = made

    async def _alone(self, number: int, asked: Asked) -> None:
        """Submit one as any other."""
        workflow, key = asked
        request = structs.replace(self._common, workflow=workflow, idempotency_key=key)
        async with self._limit:
            try:
                self._outcomes[number] = await self._log.submit_request(request)
            except EverfoldError as error:
                self._outcomes[number] = error


def _batches(jobs: Sequence[_Encoded]) -> Iterable[list[_Encoded]]:
    """Yield as many jobs as one call takes, by count and by bytes."""
    batch, size = list[_Encoded](), 0
    for one in jobs:
        size += len(one.payload) + len(one.new.stored.json)
        if batch and (len(batch) == JOBS_PER_CALL or size > BATCH_LIMIT_BYTES):
            yield batch
            batch, size = [], len(one.payload) + len(one.new.stored.json)
        batch.append(one)
    yield batch


async def _send(log: Log, partition: int, batch: Sequence[_Encoded]) -> list[scripts.Reply]:
    keys, event = log.keys, batch[0].new.event
    names = [keys.log(partition), keys.workflows(partition), keys.later(partition)]
    names += [keys.deadlines(partition), keys.queues(partition)]
    graphs, signatures, jobs = set[str](), dict[str, str](), []
    for one in batch:
        new, sha256 = one.new, one.new.stored.sha256
        names += (keys.head(new.job_id), keys.workflow(partition, sha256))
        graph = b"" if sha256 in graphs else new.stored.json
        if graph:
            graphs.add(sha256)
            signatures[sha256] = new.needs.signature
        jobs.append((new.job_id, new.event.id, one.payload, sha256, graph, signatures[sha256]))
    return await scripts.submit_many(
        log.redis,
        keys=names,
        start_within_ms=start_within_ms(event),
        wake=(keys.wake_at(partition), f"dispatch {partition}"),
        place=(event.queue, event.priority, event.user, event.kind),
        jobs=jobs,
        replicas=log.replicas,
    )
