"""Leases of jobs: claim waiting jobs, take over orphaned ones, renew and release.

Rule: a lease is a pending entry of a dispatch stream plus the epoch in the job's head; both
change in one script, and the epoch alone decides who may append.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import cast

from msgspec.structs import replace

from everfold.streams.appending.group_commit import counted
from everfold.streams.appending.log import Log
from everfold.streams.appending.memory.remembered import Remembered
from everfold.streams.appending.outcomes import (
    Appended,
    Lease,
    LeaseOver,
    OldId,
    Renewed,
    append_outcome,
)
from everfold.streams.connections.replies import NoGroup
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import ServerError, WrongKeyType
from everfold.streams.events.checks import author_of, check_event_id
from everfold.streams.events.codec import reads
from everfold.streams.events.event import Claimed, Recovered, Released, Retried
from everfold.streams.events.record import Recorded
from everfold.streams.layout.limited_claims import claim_within_limits
from everfold.streams.leases.claimed_jobs import history_of, remember_lease, taken_places
from everfold.streams.leases.due_jobs import BlockedPage, DueJobs, Promotion
from everfold.streams.leases.fairness import Lane, all_lanes
from everfold.streams.leases.own_leases import own_leases
from everfold.streams.leases.renewing import renew
from everfold.streams.leases.server_clock import ServerClock
from everfold.streams.redis import scripts
from everfold.streams.redis.each import each
from everfold.streams.redis.keys import RUNNERS_GROUP
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.retry import with_retry

LEASE_TTL_S = 10.0
"""A lease that was not renewed for so many seconds may be taken over. All runners of a queue use
the same time: one with a shorter time takes jobs away from runners that live."""

FOR_EVER_S = 300 * 86_400.0
"""Only what was released has an idle time beyond this one."""

ALONE_S = 5.0
"""How long a released job waits for the runner that it was released to."""

TAKE_OVER_LIMIT = 500
"""Jobs taken over in one call."""

RESTORE_PAGE = 500
"""Entries of dispatch looked at in one script call."""

ANY_LINE = "*"
"""In a claim: the line whose first job stands before all others of its queue and partition."""


class Dispatch:
    """The leases of one runner in one namespace. Safe to use from many tasks at once.

    `runner` must be unique per process start: two of one name would share their leases. `lease_s`
    is the length of a lease.
    """

    def __init__(self, log: Log, runner: str, lease_s: float = LEASE_TTL_S) -> None:
        self.clock = ServerClock(log, lease_s)
        self._grace_s = lease_s / 10
        self._log = log
        self._keys = log.keys
        self._redis = log.redis
        self.runner = runner
        self._reads = reads()
        self._due_jobs = DueJobs(log, self.clock, self._reads)

    async def claim(self, partition: int, queues: Sequence[str], most: int) -> list[Lease]:
        """Lease up to `most` waiting jobs of a partition in their order; [] when none waits.

        Jobs of the first of `queues` come before those of the next. Each job gets a new epoch and a
        `claimed` event. Raises a leaf of Unavailable, without a retry: then jobs may have been
        leased, and `own_leases` names them.
        """
        leases: list[Lease] = []
        for queue in queues:
            if len(leases) < most:
                anything = [(ANY_LINE, None)] * (most - len(leases))
                found = await self.claim_from(partition, queue, anything)
                leases += [lease for _, lease in found]
        return leases

    async def claim_from(
        self, partition: int, queue: str, lines: Sequence[tuple[str, int | None]]
    ) -> list[tuple[int, Lease]]:
        """Lease the first job of each of `lines` of a partition, as `claim_lines` does."""
        return await self.claim_lines(queue, [(partition, *line) for line in lines])

    async def claim_lines(
        self, queue: str, lines: Sequence[tuple[int, str, int | None]]
    ) -> list[tuple[int, Lease]]:
        """Lease the first job of each of `lines`, in this order. A line may be named several times.

        Before a line stands its partition; all of them are on one server, or one is named alone.
        Behind it is the place of the job that was seen there: one that stands behind that is not
        leased. Returns each lease with the index of its line; a line whose jobs are gone, or at
        their limit, has none. [] where the queue is paused. Raises as `claim` does.
        """
        if not lines:
            return []
        partitions = list(dict.fromkeys(partition for partition, _, _ in lines))
        number_of = {partition: number for number, partition in enumerate(partitions)}
        clocks = await self.clock.of_all(partitions)
        events = [self._claimed() for _ in lines]
        payloads = [self._log.encoded(event, trusted=True) for event in events]

        async def claim(indexes: Sequence[int], granted: bytes | None) -> list[scripts.Reply]:
            keys = [(self._keys.log(p), self._keys.lines(p, queue)) for p in partitions]
            return await scripts.claim(
                self._redis,
                keys=[key for pair in keys for key in pair],
                runner=self.runner,
                reads=self._reads,
                queue=queue,
                wanted=[(number_of[lines[index][0]], *lines[index][1:]) for index in indexes],
                payloads=[payloads[index] for index in indexes],
                granted=granted,
            )

        reservations = self._log.spread.reservations
        jobs = await claim_within_limits(reservations, len(lines), claim)
        leases: list[tuple[int, Lease]] = []
        for index, job in jobs:
            written_ms = int(cast("bytes", job[3]).split(b"-")[0])
            clocks[lines[index][0]].doubt(written_ms, steady_s())
            history = history_of(job, events[index], payloads[index])
            lane = (queue, cast("bytes", job[4]).decode())
            leases.append((index, self._lease(job, lane, job[5], history, job[9])))
            remember_lease(self._log.memory, job, events[index], payloads[index])
        self._log.spread.places.note_soon(taken_places(queue, [job for _, job in jobs]))
        return leases

    async def take_over(
        self,
        partition: int,
        lane: Lane,
        *,
        idle_limit_s: float,
        cursor: str = "-",
        suspect: str = "",
        most: int = TAKE_OVER_LIMIT,
    ) -> tuple[str, list[Lease]]:
        """Lease up to `most` jobs of a lane whose lease was not renewed for `idle_limit_s`.

        Looks at a page of leases after `cursor`, which the caller keeps from call to call; returns
        the next cursor, "-" at the end, and the leases. With `suspect`, the name of a runner,
        takes all leases of that one, however fresh. An orphaned job gets a `recovered` event and
        its crashes are counted, a released one gets `claimed`.
        Raises a leaf of Unavailable, without a retry: then jobs may have been leased, and
        `own_leases` names them.
        """
        for _ in range(2):
            page = await self._take_over(partition, lane, idle_limit_s, cursor, suspect, most)
            if page is not None and page[0]:
                return page[0], [self._taken(job, lane) for job in page[1]]
            if page is not None:
                await self.restore(partition, lane)
                continue
            # The answer came late, or the clock was set: then leases only look old.
            await self.clock.look(partition)
        raise ServerError("the server's clock was set; nothing is taken over until that is clear")

    async def _take_over(
        self, partition: int, lane: Lane, idle_limit_s: float, cursor: str, suspect: str, most: int
    ) -> tuple[str, list[scripts.Reply]] | None:
        clock = await self.clock.of(partition)
        asked_s = steady_s()
        # After a step of the clock owners get one lease to renew.
        idle_limit_s += FOR_EVER_S if clock.is_holding(asked_s) else 0.0
        reason = "connection_gone" if suspect else "lease_expired"
        events = [
            event for _ in range(most) for event in (self._claimed(), self._recovered(reason))
        ]
        payloads = [self._log.encoded(event, trusted=True) for event in events]
        page = await scripts.take_over(
            self._redis,
            log=self._keys.log(partition),
            dispatch=self._keys.dispatch(partition, *lane),
            tag=self._keys.tag(partition),
            runner=self.runner,
            idle_limit_ms=int(idle_limit_s * 1000),
            cursor=cursor,
            suspect=suspect,
            latest_ms=clock.latest_ms(asked_s),
            payloads=payloads,
        )
        for index, job in enumerate(page[1] if page is not None else ()):
            used = 2 * index + bool(job[5])
            remember_lease(self._log.memory, job, events[used], payloads[used])
        return page

    async def restore(self, partition: int, lane: Lane) -> int:
        """Release the jobs of a lane of which no lease is known, as after its consumer group was
        lost; return how many. Raises a leaf of Unavailable, without a retry; it may be repeated."""
        key, tag = self._keys.dispatch(partition, *lane), self._keys.tag(partition)
        first, total = "-", 0
        while first:
            count, first = await scripts.restore_leases(
                self._redis, dispatch=key, tag=tag, first=first, most=RESTORE_PAGE
            )
            total += count
        return total

    async def lacks_leases(self, partition: int, lane: Lane) -> bool:
        """Say whether a lane has jobs of which no lease is known. Raises a leaf of Unavailable."""
        key = self._keys.dispatch(partition, *lane)
        try:
            held = await command(self._redis, "XPENDING", key, RUNNERS_GROUP)
            count = await command(self._redis, "XLEN", key)
        except (NoGroup, WrongKeyType):
            return False  # the next sweep sees to the first
        # Jobs end between the two: only more entries than leases mean something.
        return int(cast("int", count)) > int(cast("list[int]", held)[0])

    async def has_leases(self, runner: str, queues: Sequence[str]) -> bool:
        """Say whether a runner holds leases in these queues. Raises a leaf of Unavailable, unless
        a partition that answers has some."""

        async def has_some(partition: int) -> bool:
            for lane in all_lanes(queues):
                key = self._keys.dispatch(partition, *lane)
                with suppress(NoGroup, WrongKeyType):
                    if await command(
                        self._redis, "XPENDING", key, RUNNERS_GROUP, "-", "+", 1, runner
                    ):
                        return True
            return False

        outcomes = await each(self._log, has_some)
        return any(outcomes.values.values()) or any(outcomes.all())

    def _claimed(self) -> Claimed:
        return self._log.stamp(Claimed(owner=self.runner))

    def _recovered(self, reason: str) -> Recovered:
        blank = Recovered(owner=self.runner, previous_owner="", crashes=0, idle_ms=0, reason=reason)
        return self._log.stamp(blank)

    def _taken(self, job: scripts.Reply, lane: Lane) -> Lease:
        previous = cast("bytes", job[5]).decode() if len(job) > 5 else ""
        return replace(self._lease(job, lane, job[4]), previous_owner=previous)

    def _lease(
        self,
        job: scripts.Reply,
        lane: Lane,
        dispatch_id: bytes | int,
        history: tuple[Recorded, ...] = (),
        stored: bytes | int | None = None,
    ) -> Lease:
        return Lease(
            job_id=cast("bytes", job[0]).decode(),
            runner=self.runner,
            epoch=int(job[1]),
            seq=int(job[2]),
            queue=lane[0],
            priority=lane[1],
            dispatch_id=cast("bytes", dispatch_id).decode(),
            history=history,
            stored=cast("bytes | None", stored),
        )

    async def renew(self, leases: Sequence[Lease]) -> list[Renewed | LeaseOver]:
        """Renew leases; return one outcome for each, in the same order, see `renewing.renew`."""
        return await renew(self._log, self.runner, leases, grace_s=self._grace_s)

    async def release(
        self,
        lease: Lease,
        event: Released | Retried,
        *,
        unreadable_for_s: float | None = None,
        wait_s: float | None = None,
        to: str = "",
    ) -> Appended:
        """Release the lease: after `Released` any runner may take the job over at once, after
        `Retried` the job waits until its `not_before_ms`.

        With `wait_s` the job waits for so long from now, by the server's clock as it is when it
        gets this: right only when no attempt of it is alive. It comes behind those that wait
        already. `to` names the runner that alone may take a released job over within ALONE_S.
        With `unreadable_for_s` it waits for a runner that reads other types or versions of events
        than this program, and for so many seconds at most. None of these counts as a crash.

        Raises Fenced, JobClosed, JobUnknown or Refused with nothing written; a leaf of Unavailable
        when the server stayed away for the log's `retry_for_s`, and then the lease may go on until
        it runs out.
        """
        stamped = await self._log.sealed(lease.job_id, self._log.stamp(event))
        due_ms = stamped.not_before_ms if isinstance(stamped, Retried) else 0
        due = str(due_ms) if wait_s is None else f"+{int(wait_s * 1000)}"
        wait_ms = None if unreadable_for_s is None else int(min(unreadable_for_s, 1e9) * 1000)
        check_event_id(stamped.id)
        return await self._released(lease, stamped, self._log.encoded(stamped), due, wait_ms, to)

    async def _released(
        self,
        lease: Lease,
        stamped: Released | Retried,
        payload: bytes,
        due: str,
        wait_ms: int | None,
        to: str,
    ) -> Appended:
        """Release a lease, and remember how. It may be repeated. Raises as `release` does."""
        looked, again = -1, partial(self._released, lease, stamped, payload, due, wait_ms, to)
        while True:
            reply = await with_retry(
                partial(self._release, lease, stamped, payload, due, looked, wait_ms, to),
                self._log.retry_for_s,
            )
            outcome = append_outcome(reply, lease.job_id, lease.epoch, -1)
            if isinstance(outcome, OldId):
                found = await self._log.earlier_append(lease.job_id, stamped.id, max(looked, 0))
                if not isinstance(found, Appended):
                    looked = found.seq
                    continue
                outcome = found
            if not isinstance(outcome, Appended):
                raise counted(outcome)
            where = (outcome.seq, outcome.entry_id, payload, steady_s(), stamped.id)
            self._log.memory.note(Remembered(lease.job_id, stamped.id, *where, release=again))
            return outcome

    async def _release(
        self,
        lease: Lease,
        event: Released | Retried,
        payload: bytes,
        due: str,
        looked: int,
        wait_ms: int | None,
        to: str,
    ) -> scripts.Reply:
        partition = self._keys.partition_of(lease.job_id)
        return await scripts.release(
            self._redis,
            keys=(
                self._keys.log(partition),
                self._keys.head(lease.job_id),
                self._dispatch_key(lease),
                self._keys.later(partition),
            ),
            job_id=lease.job_id,
            event_id=event.id,
            epoch=lease.epoch,
            runner=lease.runner,
            payload=payload,
            due=due,
            wake_channel=self._keys.wake_at(partition),
            wake_message=f"release {partition}",
            author=author_of(event),
            looked=looked,
            reads="" if wait_ms is None else self._reads,
            wait_ms=wait_ms or 0,
            kept_for=f"{to} {int(ALONE_S * 1000)}" if to else "",
            replicas=self._log.replicas,
        )

    async def promote(self, partition: int) -> Promotion:
        """Let jobs whose time has come wait for a runner, see `DueJobs.promote`."""
        return await self._due_jobs.promote(partition)

    async def promote_blocked(self, partition: int) -> BlockedPage:
        """Let jobs wait that others could not read, see `DueJobs.promote_blocked`."""
        return await self._due_jobs.promote_blocked(partition)

    async def own_leases(self, lanes: Sequence[Lane]) -> list[Lease]:
        """Return the leases that the server has for this runner, in all partitions.

        To be called after an Unavailable claim or take-over: a job that was leased by a call whose
        answer was lost would else wait until the lease runs out. Raises a leaf of Unavailable.
        """
        found = await each(self._log, partial(self.own_leases_in, lanes=lanes))
        return [lease for leases in found.all() for lease in leases]

    async def own_leases_in(self, partition: int, lanes: Sequence[Lane]) -> list[Lease]:
        """Return what `own_leases` returns, of one partition. Raises as that does."""
        return await own_leases(self._redis, self._keys, self.runner, partition, lanes)

    def _dispatch_key(self, lease: Lease) -> str:
        partition = self._keys.partition_of(lease.job_id)
        return self._keys.dispatch(partition, lease.queue, lease.priority)
