"""For runner processes that are not Everfold's own: claim jobs, append their events, end them.

Rule: a runner renews each lease at least every `RENEW_EVERY_S` and stops its work on LeaseLost.
A program in any language can do the same with the scripts in `lua/`, see docs/PRODUCING.md.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import cast

import anyio

from everfold.streams.appending.log import Log
from everfold.streams.appending.many.appends import AppendOutcome, ToAppend, append_all
from everfold.streams.appending.outcomes import Appended, Lease, LeaseOver, Renewed
from everfold.streams.errors import OUTAGES, CorruptLog, InvalidName
from everfold.streams.events.checks import check_list, check_name, check_texts
from everfold.streams.events.event import CLOSING_STATUS, Event, Released, Retried, Terminal
from everfold.streams.events.ranges import check_number
from everfold.streams.layout.copies import COMPARE_EVERY_S, repair_copies
from everfold.streams.leases.dispatch import LEASE_TTL_S, Dispatch
from everfold.streams.leases.due_jobs import end_overdue
from everfold.streams.leases.fairness import all_lanes, rotated
from everfold.streams.leases.full_lines import LINES_ASKED, passing_over, to_ask
from everfold.streams.leases.registry import note_process
from everfold.streams.queues.waiting_jobs import PassedOver, WaitingJob, in_order, peek_past
from everfold.streams.redis.each import GRACE_S, each, each_together
from everfold.streams.redis.keys import RELEASED
from everfold.streams.redis.retry import with_retry

RENEW_EVERY_S = 2.0
"""Five tries before a lease runs out."""

POLL_S = 0.25
"""Seconds between two looks for a job while `claim` waits."""


class Producer:
    """One runner of your own. Safe to use from many tasks at once.

    `runner` is a name that no other process start uses. It serves `queues`. Making one sends
    nothing; it raises InvalidName for names that keys cannot carry.
    """

    def __init__(
        self,
        log: Log,
        runner: str,
        queues: Sequence[str] = ("default",),
        *,
        lease_ttl_s: float = LEASE_TTL_S,
    ) -> None:
        self.log = log
        self.runner = check_name("runner", runner)
        if runner == RELEASED:
            raise InvalidName("runner", runner, "jobs that nobody holds are kept under this name")
        self.queues = tuple(check_name("queue", queue) for queue in check_texts("queues", queues))
        check_number("lease_ttl_s", lease_ttl_s)
        self.lease_ttl_s = lease_ttl_s
        self.dispatch = Dispatch(log, self.runner, lease_ttl_s)
        self._turn = 0
        self._noted_at_s = self._compared_at_s = -COMPARE_EVERY_S
        self._cursors: dict[tuple[int, str, str], str] = {}

    async def claim(self, most: int = 1, wait_s: float = 0.0) -> list[Lease]:
        """Lease up to `most` jobs: orphaned ones first, then waiting ones.

        Before that, jobs whose time has come are let wait, and waiting ones end that are past
        their queue deadline or are to be canceled.
        Waits up to `wait_s` seconds for the first; [] when none came. Read the job's events before
        working on it: a job that had an owner before may still run somewhere. Raises a leaf of
        Unavailable; then jobs may have been leased, and `own_leases` names them. Raises
        NamespaceTooNew where this program could not read the namespace's events, InvalidName.
        """
        check_number("most", most)
        check_number("wait_s", wait_s)
        give_up_at_s = anyio.current_time() + wait_s
        while True:
            await self._note()
            # What is due where nobody answers is seen to later.
            await each(self.log, self._promote, self._partitions(), grace_s=GRACE_S)
            leases = await self._orphans(most)
            if len(leases) < most:
                leases += await self._waiting(most - len(leases))
            if leases or anyio.current_time() >= give_up_at_s:
                return leases
            await anyio.sleep(POLL_S)

    async def _note(self) -> None:
        """Say now and then that this producer lives, and look whether it may go on."""
        now_s = time.monotonic()
        if now_s - self._noted_at_s >= RENEW_EVERY_S:
            await self.log.check_level()
            await note_process(self.log, self.runner, "producer")
            self._noted_at_s = now_s
        if self.log.keys.is_spread and now_s - self._compared_at_s >= COMPARE_EVERY_S:
            self._compared_at_s = now_s
            with suppress(*OUTAGES):  # what does not answer is compared another time
                await repair_copies(self.log)

    async def _promote(self, partition: int) -> None:
        for job_id in (await self.dispatch.promote(partition)).overdue:
            # One whose keys are damaged holds back no other one.
            with suppress(CorruptLog):
                await end_overdue(self.log, job_id)

    async def _orphans(self, most: int) -> list[Lease]:
        leases: list[Lease] = []
        for partition in self._partitions():
            for lane in all_lanes(self.queues):
                if len(leases) < most:
                    leases += await self._orphans_in(partition, lane, most - len(leases))
        return leases

    async def _orphans_in(self, partition: int, lane: tuple[str, str], most: int) -> list[Lease]:
        place = (partition, *lane)
        self._cursors[place], leases = await self.dispatch.take_over(
            partition,
            lane,
            idle_limit_s=self.lease_ttl_s,
            cursor=self._cursors.get(place, "-"),
            most=most,
        )
        return leases

    async def _waiting(self, most: int) -> list[Lease]:
        self._turn += 1
        leases: list[Lease] = []
        for queue in rotated(self.queues, self._turn):
            if len(leases) < most:
                leases += await self._waiting_in(queue, most - len(leases))
        return leases

    async def _waiting_in(self, queue: str, most: int) -> list[Lease]:
        leases, passed_over = list[Lease](), PassedOver()
        while len(leases) < most:
            pages = await peek_past(self.log, self._partitions(), queue, passed_over, each=most)
            jobs = [job for job in in_order(pages) if job not in passed_over]
            asked: dict[int, list[WaitingJob]] = {}
            for job in jobs[: most - len(leases)]:
                asked.setdefault(job.partition, []).append(job)
            missed = list[WaitingJob]()
            for partition, wanted in asked.items():
                lines = [(job.line, job.place) for job in wanted]
                found = await self.dispatch.claim_from(partition, queue, lines)
                leases += [lease for _, lease in found]
                taken = {index for index, _ in found}
                missed += [job for index, job in enumerate(wanted) if index not in taken]
            if not missed:
                break
            if passed_over.note_missed(missed):
                await self._pass_over_full(queue, to_ask(pages, passed_over), passed_over)
        return leases

    async def _pass_over_full(
        self, queue: str, firsts: Sequence[WaitingJob], passed_over: PassedOver
    ) -> None:
        asked = firsts[:LINES_ASKED]
        look = passing_over(self.log, queue, asked, passed_over)
        (await each_together(self.log, look, {job.partition for job in asked})).all()

    async def own_leases(self) -> list[Lease]:
        """Return the leases that the server has for this runner, those of lost answers too.

        Raises a leaf of Unavailable when the server stayed away for the log's `retry_for_s`.
        """
        lanes = all_lanes(self.queues)
        return await with_retry(lambda: self.dispatch.own_leases(lanes), self.log.retry_for_s)

    def _partitions(self) -> list[int]:
        return rotated(range(self.log.keys.partitions), self._turn)

    async def append(self, lease: Lease, event: Event) -> Appended:
        """Append an event under the lease; one that is repeated with its id is stored once.

        Raises Fenced, JobClosed or JobUnknown with nothing written: stop working then. Raises
        Refused for an event that nobody could read again. Raises a leaf of Unavailable when the
        server stayed away for the log's `retry_for_s`: then the event may have been appended.
        """
        _check_leases([lease])
        return await self.log.append(lease.job_id, event, epoch=lease.epoch, holder=lease.runner)

    async def append_many(self, events: Iterable[tuple[Lease, Event]]) -> list[AppendOutcome]:
        """Append many events, each under its lease; return the outcome of each, in the same order.

        What `append` would raise for one stands in its place, and stops no other. Events of one job
        enter in the order in which they are given. One that is Unavailable may have been appended:
        repeat it with the id that `log.stamp` gave it before. `events` may be of any number. Raises
        InvalidName, with nothing appended, for what is no pair of a lease and an event.
        """
        return await append_all(
            self.log, [_to_append(pair) for pair in check_list("events", events)]
        )

    async def renew(self, leases: Sequence[Lease]) -> list[Renewed | LeaseOver]:
        """Renew leases; return one outcome for each, in the same order.

        LeaseOver means: stop the work, append nothing. `canceling` means: stop the work and append
        Canceled. Raises a leaf of Unavailable, without a retry; some may have been renewed.
        """
        return await self.dispatch.renew(_check_leases(check_list("leases", leases)))

    async def finish(self, lease: Lease, event: Terminal) -> Appended:
        """Append the job's terminal event, which closes the job and ends the lease.

        Raises as `append` does; a repeat with the event's id after an Unavailable is safe.
        """
        _check_kind(event, *CLOSING_STATUS)
        return await self.append(lease, event)

    async def release(self, lease: Lease, event: Released | Retried) -> Appended:
        """Release the lease: the next runner may take the job at once, or after a time.

        Raises Fenced, JobClosed, JobUnknown or Refused with nothing written; a leaf of Unavailable
        when the server stayed away, and then the lease may go on until it runs out.
        """
        _check_leases([lease])
        _check_kind(event, Released, Retried)
        return await self.dispatch.release(lease, event)


def _check_kind(event: object, *kinds: type[Event]) -> None:
    if not isinstance(event, kinds):
        rule = f"pass one of {', '.join(kind.__name__ for kind in kinds)}"
        raise InvalidName("event", type(event).__name__, rule)


def _check_leases(leases: Sequence[object]) -> list[Lease]:
    for lease in leases:
        if not isinstance(lease, Lease):
            rule = "pass a lease that `claim` returned"
            raise InvalidName("lease", type(lease).__name__, rule)
    return cast("list[Lease]", list(leases))


def _to_append(pair: object) -> ToAppend:
    match pair:
        case (Lease(job_id=job_id, epoch=epoch, runner=runner), event):
            # An event that is none is refused when it is encoded, as the outcome of its pair.
            event = cast("Event", event)
            return ToAppend(job_id=job_id, event=event, epoch=epoch, holder=runner)
    raise InvalidName("events", type(pair).__name__, "each is a pair of a lease and an event")
