"""The log of a namespace: submit jobs, append events, and find the rooms for everything else.

Rule: every change of a job is one script call, and every append may be repeated with its event id.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from everfold.streams.appending.group_commit import GroupCommit, Outcome
from everfold.streams.appending.outcomes import Appended, Submission, append_outcome
from everfold.streams.errors import IdempotencyConflict, Refused
from everfold.streams.events.checks import (
    check_choice,
    check_job_id,
    check_metadata,
    check_name,
    check_text,
    check_workflow,
)
from everfold.streams.events.codec import encode
from everfold.streams.events.event import Event, Fact, Policy, Submitted, closing_status
from everfold.streams.events.ids import job_id_for, new_id, uuid_time_ms
from everfold.streams.redis import scripts
from everfold.streams.redis.keys import PRIORITIES, Keyspace
from everfold.streams.redis.namespace import Namespace, open_namespace
from everfold.streams.redis.pipelining import PipeliningRedis
from everfold.streams.redis.redis_errors import read_string
from everfold.streams.redis.retry import with_retry
from everfold.streams.redis.scripts import NewEvent
from everfold.streams.redis.server import check_server, connect

WORKFLOW_TTL_S = 7 * 24 * 3600
"""How long a graph is kept after its last open job: long enough to look into a failure."""

RETRY_FOR_S = 15.0
"""How long a write tries again while the server is away; a restart with AOF takes seconds."""

ANY = -1
"""Expected sequence of an append that does not care."""

UNLEASED = -1
"""Epoch of an append that is meant only for a job that no runner holds."""

E = TypeVar("E", bound=Fact)


def _start_deadline_ms(event: Submitted) -> int:
    """Return the Unix time by which the job must have started, 0 for none."""
    if event.policy.queue_deadline_s is None:
        return 0
    begin_ms = event.run_at_ms or uuid_time_ms(event.id)
    return begin_ms + int(event.policy.queue_deadline_s * 1000)


class Log:
    """One namespace on one server, opened by `Log.open`. Safe to use from many tasks at once."""

    def __init__(self, url: str, redis: PipeliningRedis, namespace: Namespace, actor: str) -> None:
        self.url = url
        self.redis = redis
        self.keys: Keyspace = namespace.keys
        self.generation = namespace.generation
        self.actor = actor
        self.retry_for_s = RETRY_FOR_S
        self._commits: dict[int, GroupCommit] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        namespace: str = "everfold",
        partitions: int | None = None,
        actor: str = "client",
    ) -> AsyncIterator[Log]:
        """Connect, check the server and the namespace, and close the connections at the end.

        `actor` is recorded in each event as who said so, and shown in CLIENT LIST.
        Raises Misconfigured or Unavailable.
        """
        check_name("actor", actor)
        redis = connect(url, name=f"everfold:{actor}")
        try:
            await check_server(redis)
            yield cls(url, redis, await open_namespace(redis, namespace, partitions), actor)
        finally:
            await redis.aclose()

    def stamp(self, event: E) -> E:
        """Return `event` with an id and an actor, where it has none yet."""
        if event.id and event.actor:
            return event
        return msgspec.structs.replace(
            event, id=event.id or new_id(), actor=event.actor or self.actor
        )

    async def append(
        self, job_id: str, event: Event, *, epoch: int, holder: str = "", expected: int = ANY
    ) -> Appended:
        """Append one event to the job's history; concurrent calls are committed together.

        `epoch` is that of the caller's lease; 0 for an event that needs none (a request to
        cancel); UNLEASED for one that is valid only while no runner holds the job. `holder` is the
        lease's runner: epochs alone may repeat after a server lost its newest writes. `expected` is
        the sequence number that the job must be at. An event that already has an id may be
        appended again: the first append counts.
        Raises JobUnknown, JobClosed, Fenced, JobLeased or WrongExpectedSequence with nothing
        written; Unavailable when the server stayed away for `retry_for_s`, and then the event may
        have been appended.
        """
        event = self.stamp(event)
        effect = closing_status(event)
        if effect and epoch == 0:
            raise Refused("a terminal event needs the epoch of a lease, or UNLEASED")
        if event.__struct_config__.tag == "job.cancel_requested":
            effect = "cancel"
        new = NewEvent(
            job_id=job_id,
            event_id=event.id,
            payload=encode(event),
            expected=expected,
            epoch=epoch,
            holder=holder,
            effect=effect,
        )
        return await self._commit(self.keys.partition_of(job_id)).append(new)

    def _commit(self, partition: int) -> GroupCommit:
        if partition not in self._commits:

            async def write(events: Sequence[NewEvent]) -> Sequence[Outcome]:
                return await self._write(partition, events)

            self._commits[partition] = GroupCommit(write, self.retry_for_s)
        return self._commits[partition]

    async def _write(self, partition: int, events: Sequence[NewEvent]) -> Sequence[Outcome]:
        keys = self.keys
        replies = await scripts.append(
            self.redis,
            log=keys.log(partition),
            later=keys.later(partition),
            workflows=keys.workflows(partition),
            tag=keys.tag(partition),
            workflow_ttl_ms=WORKFLOW_TTL_S * 1000,
            heads=[keys.head(event.job_id) for event in events],
            events=events,
        )
        return [
            append_outcome(reply, event.job_id, event.epoch, event.expected)
            for reply, event in zip(replies, events, strict=True)
        ]

    async def submit(
        self,
        workflow: object,
        *,
        kind: str = "",
        user: str = "",
        metadata: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
        job_id: str | None = None,
        queue: str = "default",
        priority: str = "normal",
        run_at_ms: int | None = None,
        policy: Policy | None = None,
    ) -> Submission:
        """Make a job known. When this returns, the job is in the log and waits for a runner.

        `workflow` is an API-format graph: a mapping, or its JSON as text. With an
        `idempotency_key` a repeated submit returns the first job. `run_at_ms` is a Unix time.
        Raises a leaf of Refused with nothing written; Unavailable when the server stayed away,
        and then only a repeat with the same idempotency key or job id is sure not to make two.
        """
        graph = check_workflow(workflow)
        if idempotency_key is not None:
            check_text("idempotency key", idempotency_key)
            job_id = job_id or job_id_for(self.keys.namespace, idempotency_key)
        job_id = check_job_id(job_id or new_id())
        event = self.stamp(
            Submitted(
                kind=check_text("kind", kind),
                user=check_text("user", user),
                queue=check_name("queue", queue),
                priority=check_choice("priority", priority, PRIORITIES),
                workflow=graph.sha256,
                metadata=check_metadata(metadata or {}),
                policy=policy or Policy(),
                run_at_ms=run_at_ms,
                idempotency_key=idempotency_key,
            )
        )
        reply = await with_retry(lambda: self._submit(job_id, event, graph.json), self.retry_for_s)
        if reply[0] == b"differs":
            raise IdempotencyConflict(idempotency_key or job_id, job_id)
        return Submission(job_id, bytes(reply[1]).decode(), created=reply[0] == b"submitted")

    async def _submit(self, job_id: str, event: Submitted, graph: bytes) -> scripts.Reply:
        keys, partition = self.keys, self.keys.partition_of(job_id)
        return await scripts.submit(
            self.redis,
            keys=(
                keys.log(partition),
                keys.head(job_id),
                keys.workflow(partition, event.workflow),
                keys.workflows(partition),
                keys.dispatch(partition, event.queue, event.priority),
                keys.later(partition),
                keys.deadlines(partition),
                keys.queues(partition),
            ),
            job_id=job_id,
            event_id=event.id,
            payload=encode(event),
            sha256=event.workflow,
            graph=graph,
            queue=event.queue,
            priority=event.priority,
            due_ms=event.run_at_ms or 0,
            deadline_ms=_start_deadline_ms(event),
            wake_channel=keys.wake(),
            wake_message=f"dispatch {partition}",
        )

    async def workflow(self, job_id: str, sha256: str) -> bytes | None:
        """Return the graph that a job was submitted with, None when it is no longer kept."""
        key = self.keys.workflow(self.keys.partition_of(job_id), sha256)
        return await with_retry(lambda: read_string(self.redis, key), self.retry_for_s)
