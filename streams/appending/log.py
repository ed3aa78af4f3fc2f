"""One namespace's log: submit jobs, append events.

Rule: every change of a job is one script call, and every append may be repeated with its event id.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Self, TypeVar

from msgspec.structs import replace

from everfold.streams.appending.body import PartnerKeys
from everfold.streams.appending.group_commit import GroupCommit, Outcome
from everfold.streams.appending.job_page import earlier_append
from everfold.streams.appending.memory.watching import MemoryWatch
from everfold.streams.appending.outcomes import Appended, Looked, OldId, Submission
from everfold.streams.appending.sealed_content import SealedContent
from everfold.streams.appending.submitted_event import JobRequest
from everfold.streams.appending.submitting import checked_job, submit_job
from everfold.streams.appending.writing import group_of, write_events
from everfold.streams.border.secrets import SecretUrl
from everfold.streams.closing import close
from everfold.streams.connections.client import LedgerRedis
from everfold.streams.connections.connection import Argument
from everfold.streams.errors import InvalidName, NamespaceTooNew, Refused, WrongExpectedSequence
from everfold.streams.events.checks import author_of, check_append, check_event_id, check_name
from everfold.streams.events.codec import encode, encode_trusted, reader_level
from everfold.streams.events.event import (
    AssetInput,
    CancelRequested,
    Event,
    Fact,
    Policy,
    Submitting,
    closing_status,
)
from everfold.streams.events.ids import new_id
from everfold.streams.events.limits import EVENT_LIMIT_BYTES
from everfold.streams.layout.spread import Spread
from everfold.streams.redis.access import Access, Role, check_access, checked_wait
from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.namespace import (
    Levels,
    Namespace,
    OpenedNamespace,
    check_namespace,
    chosen_layout,
    read_importing,
)
from everfold.streams.redis.redis_errors import read_string
from everfold.streams.redis.replicas import NONE, Replicas, ReplicasFor, write
from everfold.streams.redis.retry import with_retry
from everfold.streams.redis.scripts import NewEvent, looked_up_to
from everfold.streams.redis.server import check_server, open_redis, warn_of_eviction
from everfold.streams.redis.server_watch import ServerWatch
from everfold.streams.sealing.cipher import Cipher
from everfold.streams.sealing.sealing import Sealing

RETRY_FOR_S = 15.0
"""Seconds that a call tries again while the server is away; a restart with AOF takes seconds."""

ANY = -1
"""Expected sequence number of an append that accepts any."""

UNLEASED = -1
"""Epoch of an append that is valid only while no runner has a lease of the job."""

E = TypeVar("E", bound=Fact)


class Log(SealedContent):
    """One namespace on one server, opened by `Log.open`. Safe to use from many tasks at once.

    Two attributes may be changed before the first append. For `retry_for_s` seconds every call
    tries again while the server is away, then it raises Unavailable. No event is larger than
    `event_limit_bytes`: its outputs are shortened, or it is refused.
    """

    def __init__(
        self,
        url: str | SecretUrl,
        redis: LedgerRedis,
        namespace: OpenedNamespace,
        actor: str,
        cipher: Cipher | None = None,
        replicas: Replicas = NONE,
    ) -> None:
        self.url = SecretUrl(url)
        self.redis = redis
        self._namespace = namespace
        self.actor = actor
        self.replicas = replicas
        self.retry_for_s = RETRY_FOR_S
        self.event_limit_bytes = EVENT_LIMIT_BYTES
        self.sealing = Sealing(redis, self.keys, cipher) if cipher is not None else None
        self.spread = Spread(self)
        self._group_commits: dict[int, GroupCommit] = {}
        self.servers = ServerWatch(redis, lambda: self.keys)
        self.memory_watch = MemoryWatch(self)
        self.memory = self.memory_watch.memory

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        url: str | SecretUrl,
        *,
        namespace: str = "everfold",
        partitions: int | None = None,
        actor: str = "client",
        role: Role | None = None,
        cipher: Cipher | None = None,
        creates: bool = True,
        replicas: int | Replicas | None = None,
        replicas_within_s: float | None = None,
        replicas_for: ReplicasFor | None = None,
        spread: bool | None = None,
    ) -> AsyncIterator[Log]:
        """Connect, check the server and the namespace, and close the connections at the end.

        docs/CONFIGURATION.md has the forms of `url`. The first program that opens a namespace makes
        it, with `partitions` (1 to 1024, default 24); the number never changes after that. Without
        `creates` it is made by the first submit, and other calls raise NamespaceUnknown before.
        On a cluster its keys are laid out so that its masters share the partitions, elsewhere only
        with `spread`; one that exists is opened as it is. `actor` is recorded in each event and
        shown in CLIENT LIST. With a `role` the rights of the server's user are checked first:
        AccessMissing names what is missing. With a `cipher` what belongs to users is sealed; see
        docs/ERASING.md. With `replicas` so many must have what is written, see docs/DURABILITY.md.
        Raises InvalidName, ServerUrlInvalid, ServerTooOld, ServerRefusesAccess, NeedsAsyncio,
        PartitionMismatch or NamespaceTooNew, a leaf of Unavailable when the server cannot answer;
        nothing stays open. In another event loop or process each call raises ClientShared.
        """
        actor = check_name("actor", actor)
        if not isinstance(cipher, Cipher | None):
            raise InvalidName("cipher", cipher, "pass what `everfold.environment_cipher` returns")
        asked = NONE.asked(replicas, replicas_within_s, replicas_for)
        redis = await open_redis(url, name=f"everfold:{actor}")
        try:
            spread = chosen_layout(redis, spread)
            OpenedNamespace.set_home(redis, namespace, spread)
            await check_server(redis)
            asked = await checked_wait(redis, asked)
            if role is not None:
                spread = bool(spread)  # the rights are for one layout
                await check_access(redis, Access(role, namespace, spread))
                await warn_of_eviction(redis)
            opened = await OpenedNamespace.open(redis, namespace, partitions, creates, spread)
            async with cls(url, redis, opened, actor, cipher, asked).memory_watch as log:
                yield log
        finally:
            await close(redis)

    @property
    def keys(self) -> Keyspace:
        return self._namespace.now.keys

    @property
    def generation(self) -> str:
        return self._namespace.now.generation

    @property
    def levels(self) -> Levels:
        return self._namespace.now.levels

    async def make(self) -> None:
        """Make the namespace where it does not exist yet. Raises as `open` does."""
        await self._namespace.make()

    async def check_exists(self) -> None:
        """Raise NamespaceUnknown, which names those that there are, where it does not exist."""
        await self._namespace.look()

    def acting_as(self, actor: str) -> Self:
        """Return this log with another actor. Both use the same connections. Raises InvalidName."""
        made = copy.copy(self)
        made.actor = check_name("actor", actor)
        return made

    async def write(self, *words: Argument) -> object:
        """Send a command that a person is told of, and that may be repeated as it is; wait for the
        replicas. Raises as `command` does, and TooFewReplicas."""
        return await write(self.redis, self.replicas, *words)

    async def check_level(self, meta: dict[bytes, bytes] | None = None) -> None:
        """Read the namespace's levels again. To be called by whatever works on jobs, now and then.

        `meta` is what its hash `meta` has, where that was just read.

        Raises NamespaceTooNew where this program could not read its events, and as
        `check_namespace` does.
        """
        opened = Namespace(self.keys, self.generation)
        self._namespace.note(levels=await check_namespace(self.redis, opened, meta))
        if self.levels.min_reader > reader_level():
            what = "needs readers of level"
            raise NamespaceTooNew(self.keys.namespace, self.levels.min_reader, reader_level(), what)

    def encoded(self, event: Event, *, trusted: bool = False) -> bytes:
        """Return an event's JSON as all programs of this namespace can read it.

        `trusted` saves a check of an event that typed code has built. Raises Refused.
        """
        written = encode_trusted if trusted else encode
        return written(event, self.event_limit_bytes, self.levels.writes)

    def stamp(self, event: E) -> E:
        """Return `event` with an id and an actor, where it has none yet."""
        if event.id and event.actor:
            return event
        return replace(event, id=event.id or new_id(), actor=event.actor or self.actor)

    async def append(
        self, job_id: str, event: Event, *, epoch: int, holder: str = "", expected: int = ANY
    ) -> Appended:
        """Append one event to the job's history; concurrent calls are committed together.

        `epoch` is that of the caller's lease; 0 for an event that needs none (a request to
        cancel); UNLEASED for one that is valid only while no runner has a lease. `holder` is the
        lease's runner: epochs alone may repeat after a server lost its newest writes. `expected` is
        the sequence number that the job must be at. An event that already has an id may be
        appended again: the first append counts.

        Raises with nothing written: Refused for an event that nobody could read again,
        EventTooLarge for one that is too large even without its outputs, JobUnknown, JobClosed,
        Fenced, JobLeased, WrongExpectedSequence. Raises a leaf of Unavailable when the server
        stayed away for `retry_for_s`; then the event may have been appended.
        """
        event = await self.sealed(job_id, event)
        return await self.commit(
            self.new_event(job_id, event, epoch=epoch, holder=holder, expected=expected)
        )

    def new_event(
        self,
        job_id: str,
        event: Event,
        *,
        epoch: int,
        holder: str = "",
        expected: int = ANY,
        trusted: bool = False,
    ) -> NewEvent:
        """Return the event, stamped and encoded, as `commit` takes it. Arguments as of `append`.

        `trusted` saves a check of an event that typed code has built (see `encode_trusted`).
        Raises Refused.
        """
        job_id, epoch, holder, expected = check_append(job_id, event, epoch, holder, expected)
        event = self.stamp(event)
        effect = closing_status(event)
        if effect and epoch == 0:
            raise Refused("a terminal event needs the epoch of a lease, or UNLEASED")
        if isinstance(event, CancelRequested):
            effect = "cancel"
        return NewEvent(
            job_id=job_id,
            event_id=check_event_id(event.id),
            author=author_of(event),
            payload=self.encoded(event, trusted=trusted),
            expected=expected,
            epoch=epoch,
            holder=holder,
            effect=effect,
            is_intent=isinstance(event, Submitting),
        )

    def committing(self, new: NewEvent) -> asyncio.Future[Appended]:
        """Put an encoded event among those that are written next. Await it as `commit`, but for an
        OldId."""
        return self.group_commit(new.job_id).append_soon(new)

    async def commit(self, new: NewEvent) -> Appended:
        """Append an encoded event. It may be repeated. Raises as `append` does."""
        self.redis.owner.loop()  # before it waits in a queue that another event loop empties
        looked, wanted = 0, new.expected
        while True:
            try:
                return await self.committing(new)
            except OldId as old:
                found = await self.earlier_append(new.job_id, new.event_id, looked)
                if isinstance(found, Appended):
                    return found
                if wanted not in (ANY, found.seq):
                    raise WrongExpectedSequence(new.job_id, wanted, old.seq) from None
                looked = found.seq
                new = replace(new, expected=looked_up_to(looked))

    async def earlier_append(
        self, job_id: str, event_id: str, after_seq: int = 0
    ) -> Appended | Looked:
        """Look for an event by its id, in all events of its job after a sequence number.

        Raises EventIdForgotten where the log does not have them all, or a leaf of Unavailable.
        """
        return await with_retry(
            lambda: earlier_append(self.redis, self.keys, job_id, event_id, after_seq),
            self.retry_for_s,
        )

    def group_commit(self, job_id: str) -> GroupCommit:
        """Return what writes the events of this job together with others. Raises InvalidName."""
        group = group_of(self, self.keys.partition_of(job_id))
        if group not in self._group_commits:

            async def write(events: Sequence[NewEvent]) -> Sequence[Outcome]:
                return await write_events(self, events)

            self._group_commits[group] = GroupCommit(write, self.retry_for_s)
        return self._group_commits[group]

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
        delay_s: float | None = None,
        policy: Policy | None = None,
        batch: str = "",
        tags: Collection[str] = (),
        rerun_of: str = "",
        needs: Collection[str] = (),
        extra_data: Mapping[str, object] | None = None,
        partner_keys: PartnerKeys | None = None,
        inputs: Mapping[str, AssetInput] | None = None,
        traceparent: str | None = None,
        callback: str = "",
    ) -> Submission:
        """Make a job known. When this returns, the job is in the log and waits for a runner.

        `workflow` is an API-format graph of at most 4 MiB: a mapping, or its JSON as text.
        `metadata` is any JSON object of at most 64 KiB. `priority` is high, normal or low. The job
        does not run before `run_at_ms`, Unix milliseconds, or `delay_s` seconds from now, and only
        where the backend has all labels in `needs`.
        `batch` is a name that many jobs share; of `tags` a job has TAGS_LIMIT at most. `rerun_of`
        is the job that this one runs again. `extra_data` is what ComfyUI takes beside a graph, of
        at most 4 MiB. `partner_keys` are stored beside the log, for a day or while a runner has
        the job, and are in no event. `inputs` are stored files by place, such as 10.image, at most
        INPUTS_LIMIT. `callback` is the URL that is told of the job's end. `traceparent` is the span
        that submits, by default the caller's current one; what is none is ignored.

        With an `idempotency_key` a repeated submit of the same user returns the first job; the key
        belongs to the user. With the same key, or the same `job_id`, any other argument is a
        conflict that is named; of partner keys the names count, and a delay is not compared.

        Raises InvalidWorkflow, TooLarge, InvalidName, IdempotencyConflict or QueueFull with nothing
        written, Refused while an import into the namespace is not finished; a leaf of
        Unavailable when the server stayed away for `retry_for_s`, and then only a repeat with the
        same idempotency key or job id is sure not to make two jobs.
        """
        request = JobRequest(
            workflow=workflow, kind=kind, user=user, metadata=metadata, job_id=job_id,
            idempotency_key=idempotency_key, queue=queue, priority=priority, run_at_ms=run_at_ms,
            delay_s=delay_s, policy=policy, batch=batch, tags=tags, rerun_of=rerun_of, needs=needs,
            extra_data=extra_data, partner_keys=partner_keys, inputs=inputs, callback=callback,
            traceparent=traceparent,
        )  # fmt: skip
        return await self.submit_request(request)

    async def submit_request(self, request: JobRequest) -> Submission:
        """Submit as `submit` does, with its arguments as one value."""
        if not self._namespace.exists:
            await self.check_request(request)  # what is refused makes no namespace
            await self.make()
        await self._refuse_while_importing()
        return await submit_job(self, request)

    async def check_request(self, request: JobRequest) -> None:
        """Raise what `submit_request` would for the arguments alone; nothing is written."""
        await self._refuse_while_importing()
        # In a namespace that is not there without the server's clock, which is behind the gate.
        asked = request if self._namespace.exists else replace(request, delay_s=None)
        await checked_job(self, asked)

    async def _refuse_while_importing(self) -> None:
        """Raise Refused while an import is not finished: it could not add older entries later."""
        if self._namespace.now.is_importing:
            self._namespace.note(is_importing=bool(await read_importing(self.redis, self.keys)))
        if self._namespace.now.is_importing:
            name = self.keys.namespace
            raise Refused(f"an import into the namespace {name!r} is not finished: repeat it first")

    async def workflow(self, job_id: str, sha256: str) -> bytes | None:
        """Return what a job stored, None when it is no longer kept: its graph as JSON, or its graph
        and extra_data, see appending/body.py.

        `sha256` is the `stored` of its `submitted` event. Raises a leaf of Unavailable.
        """
        key = self.keys.workflow(self.keys.partition_of(job_id), sha256)
        return await with_retry(lambda: read_string(self.redis, key), self.retry_for_s)
