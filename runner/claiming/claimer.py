"""Takes waiting jobs while the fleet has room.

Rule: never takes a job without a reserved slot for it. It looks on a hint, when room becomes free,
and every `poll_every_s`. It asks only partitions that may have a waiting job: those of a hint,
those in which more wait, and all of them once per poll. Of these it takes the jobs that stand first
(streams/queues/waiting_jobs.py), each for a server that can run it (decisions/placement.py). What a
look showed serves further claims for a moment (known_waiting.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import anyio
from msgspec import Struct

from everfold.runner.claiming.known_waiting import KnownWaiting
from everfold.runner.claiming.trouble import LONGEST_PAUSE_S, note_trouble, note_unclaimed
from everfold.runner.claiming.waiting_needs import WaitingNeeds
from everfold.runner.claiming.work_finder import WorkFinder
from everfold.runner.decisions.placement import Server, Waiting, place
from everfold.runner.execution.backend_state import BackendState
from everfold.runner.execution.fleet import Reservation
from everfold.runner.execution.shared import Shared
from everfold.streams.appending.outcomes import Lease
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import EverfoldError
from everfold.streams.leases.fairness import all_lanes, rotated
from everfold.streams.queues.waiting_jobs import PassedOver, WaitingJob, WaitingPage, in_order, peek
from everfold.streams.redis.each import Outcomes
from everfold.streams.redis.retry import Backoff
from everfold.streams.redis.rounds import Rounds

CLAIM_LIMIT = 16
"""Jobs of one line that one look shows, and that one round takes."""

PAGES_LIMIT = 16
"""Pages of lines that one look takes of a partition, where nothing of those before can be run."""

LOOKS_LIMIT = 100
"""Looks of one round at one queue: each passes over at least one line more."""

KNOWN_S = 0.25
"""How long one look serves: what others take meanwhile costs a claim that leases nothing."""

OVERTAKEN_KEPT = 10_000

Start = Callable[[Lease, float, Reservation | None], None]
"""Starts a job run: the lease, `steady_s()` before it was asked for, the reserved slot."""

T = TypeVar("T")

Pick = tuple[WaitingJob, Reservation]


class _Suit(Struct, frozen=True):
    """Where jobs of equal needs can run."""

    able: Sequence[int]
    """Indexes of the servers that have all of it."""
    models: str
    """The model files that they load."""


class Claimer:
    """Claims jobs and calls `start` for each, which then owns the lease and the reservation."""

    def __init__(self, shared: Shared, work: WorkFinder, start: Start) -> None:
        self._shared, self._work = shared, work
        self._start = start
        self._needs = WaitingNeeds(shared.log)
        self._known = KnownWaiting(KNOWN_S)
        self._woken = anyio.Event()
        self._turn = 0
        self._due = self._all()
        """Partitions that may have a waiting job."""
        self._overtaken: dict[str, int] = {}
        """Job -> how many were taken before it for the sake of loaded models."""
        self._looked_at_all_s = 0.0
        self._hinted_s: float | None = None
        """When the last hint came of which it is not known yet what it is about."""
        self._looks, self._claims = Rounds(shared.log), Rounds(shared.log)
        self._unanswered = set[int]()
        """Partitions in which jobs may have been leased by a claim whose answer was lost."""

    def _all(self) -> set[int]:
        return set(range(self._shared.log.keys.partitions))

    def wake(self, partition: str = "") -> None:
        """Look for work now: in the partition of this number, or in all when it is no number."""
        is_number = partition.isascii() and partition.isdigit() and len(partition) < 10
        hinted = {int(partition)} & self._all() if is_number else self._all()
        self._due |= hinted
        self._known.forget(hinted)
        self._hinted_s = steady_s()
        self._woken.set()

    async def run(self) -> None:
        """Claim until cancelled; while the server is away, try again with back-off."""
        async with anyio.create_task_group() as tasks, self._looks, self._claims:
            tasks.start_soon(self._wake_on_room)
            await self._take_forever()

    async def _wake_on_room(self) -> None:
        while True:
            await self._shared.fleet.changed()
            if self._due:
                self._woken.set()

    async def _take_forever(self) -> None:
        backoff = Backoff(most_s=LONGEST_PAUSE_S)
        while True:
            with anyio.move_on_after(self._shared.config.poll_every_s):
                await self._woken.wait()
            self._woken = anyio.Event()
            self._look_at_all_in_time()
            try:
                await self._take_round()
                backoff.reset()
            except EverfoldError as error:
                note_trouble("claimer", error)
                await anyio.sleep(backoff.next_s())
            await self._start_unanswered()

    def _look_at_all_in_time(self) -> None:
        """Make all partitions due once per `poll_every_s`, even while hints never stop."""
        now_s = steady_s()
        if now_s - self._looked_at_all_s >= self._shared.config.poll_every_s:
            self._due = self._all()
            self._looked_at_all_s = now_s

    async def _take_round(self) -> None:
        """Claim from the due partitions until none is due, there is no room, or nothing fits."""
        self._turn += 1
        while self._due and self._shared.fleet.room:
            asked, taken = set(self._due), 0
            self._due.clear()  # before the look: a hint that comes during it counts
            try:
                waiting = await self._waiting(asked)
                for queue in rotated(self._shared.config.queues, self._turn):
                    if partitions := waiting[queue]:
                        taken += await self._take(partitions, queue)
            except EverfoldError:
                self._due |= asked
                raise
            if not taken:
                return

    async def _waiting(self, partitions: set[int]) -> dict[str, set[int]]:
        """Return in which of some partitions jobs of each queue wait. Those that do not answer stay
        due."""
        queues, hinted_s = self._shared.config.queues, self._hinted_s
        self._hinted_s = None
        pages = {(q, p): self._known.page(q, p) for q in queues for p in partitions}
        known = {queue: {p for p in partitions if _has_jobs(pages[queue, p])} for queue in queues}
        unknown = {p for p in partitions if any(pages[queue, p] is None for queue in queues)}
        if not unknown or (hinted_s is not None and len(queues) == 1):
            return {queue: known[queue] | unknown for queue in queues}  # a look says the same
        found = await self._looks.go(partial(self._work.of, since_s=hinted_s), unknown)
        self._due |= unknown - found.values.keys()
        self._raise_or_note(found)
        for partition, work in found.values.items():
            for queue in work.waiting:
                known[queue].add(partition)
        return known

    def _raise_or_note(self, outcomes: Outcomes[T]) -> None:
        """Raise why no partition answered; note why some did not."""
        if (failure := outcomes.failure) is not None:
            if not outcomes.values:
                raise failure
            note_trouble("claimer", failure)

    async def _take(self, partitions: set[int], queue: str) -> int:
        """Take jobs of one queue; return how many."""
        taken, passed_over = 0, PassedOver()
        for _ in range(LOOKS_LIMIT):
            if not self._shared.fleet.room:
                self._due |= partitions
                break
            pages = await self._look(partitions, queue, passed_over)
            self._due |= {page.partition for page in pages if page.count}
            jobs = [job for job in in_order(pages) if job not in passed_over]
            picks = await self._reserve(jobs, sum(page.count for page in pages))
            if jobs and not picks:
                await self._note_unclaimed(queue, jobs)
            leased = await self._claim(queue, picks)
            taken += len(leased)
            self._known.note_taken(queue, [picks[at][0] for at in leased])
            missed = [job for at, (job, _) in enumerate(picks) if at not in leased]
            self._known.forget(job.partition for job in missed)
            if not missed:
                break
            passed_over.note_missed(missed)
        return taken

    async def _note_unclaimed(self, queue: str, jobs: Sequence[WaitingJob]) -> None:
        """Log why nothing of a queue is taken, where no backend here can run what waits."""
        first = jobs[0]
        if why := self._shared.fleet.why_none(await self._needs.of(first)):
            note_unclaimed(queue, first.job_id, why)

    async def _look(
        self, partitions: set[int], queue: str, passed_over: PassedOver
    ) -> list[WaitingPage]:
        """Return the first jobs of each partition; further ones where none of those can be run."""
        pages = await self._pages(queue, dict.fromkeys(partitions, 0))
        for _ in range(PAGES_LIMIT):
            more = {page.partition: page.next for page in pages if page.next}
            jobs = [job for page in pages for job in page.jobs if job not in passed_over]
            if not more or any(suit.able for suit in (await self._suits(jobs)).values()):
                return pages
            rest = [page for page in pages if not page.next]
            pages = rest + await self._pages(queue, more)
        return pages

    async def _pages(self, queue: str, first: Mapping[int, int]) -> list[WaitingPage]:
        """Return a page of each partition from a rank on. Those that do not answer stay due."""

        async def look(partition: int) -> WaitingPage:
            rank, asked_s = first[partition], steady_s()
            page = await peek(self._shared.log, partition, queue, first=rank, each=CLAIM_LIMIT)
            if not rank:
                self._known.note(queue, page, asked_s)
            return page

        asked = first.keys() - self._claims.under_way
        known = {p: self._known.page(queue, p) for p in asked if not first[p]}
        pages = [page for page in known.values() if page is not None]
        outcomes = await self._looks.go(look, asked - {page.partition for page in pages})
        self._due |= first.keys() - outcomes.values.keys() - {page.partition for page in pages}
        self._raise_or_note(outcomes)
        return [*pages, *outcomes.values.values()]

    async def _suits(self, jobs: Iterable[WaitingJob]) -> dict[str, _Suit]:
        """Return what suits these jobs, by the signature of their needs."""
        found: dict[str, _Suit] = {}
        for job in jobs:
            if job.signature not in found:
                found[job.signature] = await self._suit(job)
        return found

    async def _suit(self, job: WaitingJob) -> _Suit:
        needs = await self._needs.of(job)
        states = self._shared.fleet.states
        able = [index for index, state in enumerate(states) if not state.can_run(needs)]
        if not able:
            self._shared.fleet.look_soon()
        return _Suit(able, " ".join(model.name for model in needs.models))

    async def _reserve(self, jobs: Sequence[WaitingJob], count: int) -> list[Pick]:
        """Choose jobs and servers, and reserve a slot for each."""
        fleet, suits = self._shared.fleet, await self._suits(jobs)
        rows = [self._row(job, suits[job.signature]) for job in jobs]
        servers = [_server(state) for state in fleet.states]  # no await from here on
        slots = sum(state.slots for state in fleet.states)
        plan = place(rows, servers, count, slots, CLAIM_LIMIT)
        for index in plan.overtaken:
            self._note_overtaken(rows[index].job_id)
        picks = list[Pick]()
        for index, server in plan.picks:
            self._overtaken.pop(rows[index].job_id, None)
            reservation = fleet.reserve_on(fleet.states[server], rows[index].models)
            picks.append((jobs[index], reservation))
        return picks

    def _row(self, job: WaitingJob, suit: _Suit) -> Waiting:
        overtaken = self._overtaken.get(job.job_id, 0)
        return Waiting(job.job_id, suit.able, suit.models, overtaken)

    def _note_overtaken(self, job_id: str) -> None:
        self._overtaken[job_id] = self._overtaken.get(job_id, 0) + 1
        if len(self._overtaken) > OVERTAKEN_KEPT:
            del self._overtaken[next(iter(self._overtaken))]

    async def _claim(self, queue: str, picks: Sequence[Pick]) -> set[int]:
        """Claim the picked jobs, side by side in their partitions; start them in their order.

        Returns the indexes of the picks that were leased. What is leased later is started then.
        """
        asked_at_s, leases, is_over = steady_s(), dict[int, Lease](), False
        by_partition: dict[int, list[int]] = {}
        for index, (job, _) in enumerate(picks):
            by_partition.setdefault(job.partition, []).append(index)

        def start(indexes: Iterable[int]) -> None:
            unused = [picks[index][1] for index in indexes if index not in leases]
            self._shared.fleet.release_unused(unused)
            for index in sorted(leases.keys() & set(indexes)):
                self._start(leases[index], asked_at_s, picks[index][1])

        async def claim(partition: int) -> None:
            indexes = by_partition[partition]
            lines = [(picks[index][0].line, picks[index][0].place) for index in indexes]
            try:
                # A leased job must get its run: a drain must not cancel between the two.
                with anyio.CancelScope(shield=True):
                    taken = await self._shared.dispatch.claim_from(partition, queue, lines)
                    leases.update({indexes[at]: lease for at, lease in taken})
            except EverfoldError:
                self._unanswered.add(partition)
                raise
            finally:
                if is_over:
                    start(indexes)

        with anyio.CancelScope(shield=True):
            outcomes = await self._claims.go(claim, by_partition)
        is_over, late = True, self._claims.under_way & by_partition.keys()
        start([index for index, (job, _) in enumerate(picks) if job.partition not in late])
        self._due |= outcomes.errors.keys() | late
        self._raise_or_note(outcomes)
        return set(leases)

    async def _start_unanswered(self) -> None:
        """Start the jobs whose leases the server gave in answers that were lost."""
        lanes, asked_at_s = all_lanes(self._shared.config.queues), steady_s()

        async def start(partition: int) -> None:
            for lease in await self._shared.dispatch.own_leases_in(partition, lanes):
                if not self._shared.leases.holds(lease.job_id):
                    self._start(lease, asked_at_s, None)
            self._unanswered.discard(partition)

        if self._unanswered:
            await self._looks.go(start, self._unanswered)


def _has_jobs(page: WaitingPage | None) -> bool:
    return page is not None and bool(page.count)


def _server(state: BackendState) -> Server:
    busy, takes_jobs = state.reserved + state.others, state.takes_jobs
    return Server(state.room, busy, state.expected_s, state.models, takes_jobs)
