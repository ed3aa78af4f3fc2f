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

from everfold.runner.claiming.jobs_in_turn import JobsInTurn
from everfold.runner.claiming.known_waiting import KnownWaiting
from everfold.runner.claiming.trouble import LONGEST_PAUSE_S, note_trouble, note_unclaimed
from everfold.runner.claiming.waiting_needs import WaitingNeeds
from everfold.runner.claiming.work_finder import WorkFinder
from everfold.runner.decisions.placement import Server, Waiting, place
from everfold.runner.execution.shared import Shared
from everfold.runner.fleet.backend_state import BackendState
from everfold.runner.fleet.fleet import Reservation
from everfold.streams.appending.outcomes import Lease
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import EverfoldError
from everfold.streams.leases.fairness import all_lanes, rotated
from everfold.streams.leases.full_lines import LINES_ASKED, passing_over, to_ask
from everfold.streams.queues.waiting_jobs import PassedOver, WaitingJob, WaitingPage, peek_pages
from everfold.streams.redis.each import Outcomes
from everfold.streams.redis.retry import Backoff
from everfold.streams.redis.rounds import Rounds

LOOK_LIMIT = 16
"""Jobs of one line that one look shows."""

CLAIM_LIMIT = 32
"""Jobs that one round takes: a large fleet has room for many, and the server does nothing else for
6 to 8 ms."""

PAGES_LIMIT = 16
"""Pages of lines that one look takes of a partition, where nothing of those before can be run."""

LOOKS_LIMIT = 100
"""Looks of one round at one queue that pass over no further line: then others take what waits."""

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
            if not self._woken.is_set():
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
        seen = {queue: self._known.pages(queue, partitions) for queue in queues}
        known = {q: {p for p, page in pages.items() if page.count} for q, pages in seen.items()}
        unknown = {p for pages in seen.values() for p in partitions - pages.keys()}
        if not unknown or (hinted_s is not None and len(queues) == 1):
            return {queue: known[queue] | unknown for queue in queues}  # a look says the same
        found = await self._looks.together(partial(self._work.of_all, since_s=hinted_s), unknown)
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
        taken, passed_over, looks = 0, PassedOver(), 0
        while looks < LOOKS_LIMIT:
            if not self._shared.fleet.room:
                self._due |= partitions
                break
            pages = await self._look(partitions, queue, passed_over)
            self._due |= {page.partition for page in pages if page.count}
            picks = await self._reserve(pages, passed_over)
            if not picks:
                await self._note_unclaimed(queue, pages, passed_over)
            leased = await self._claim(queue, picks)
            taken += len(leased)
            self._known.note_taken(queue, [picks[at][0] for at in leased])
            missed = [job for at, (job, _) in enumerate(picks) if at not in leased]
            self._known.forget(job.partition for job in missed)
            if not missed:
                break
            looks += 1
            if passed_over.note_missed(missed):
                looks = 0
                await self._pass_over_full(queue, pages, passed_over)
        return taken

    async def _pass_over_full(
        self, queue: str, pages: Iterable[WaitingPage], passed_over: PassedOver
    ) -> None:
        """Pass over further lines that are at a limit, of those that can be run here."""
        firsts = to_ask(pages, passed_over)
        suits = await self._suits(firsts)
        asked = [job for job in firsts if suits[job.signature].able][:LINES_ASKED]
        look = passing_over(self._shared.log, queue, asked, passed_over)
        self._raise_or_note(await self._looks.together(look, {job.partition for job in asked}))

    async def _note_unclaimed(
        self, queue: str, pages: Iterable[WaitingPage], passed_over: PassedOver
    ) -> None:
        """Log why nothing of a queue is taken, where no backend here can run what waits."""
        firsts = (job for page in pages for job in page.firsts if job not in passed_over)
        if (first := min(firsts, default=None)) is None:
            return
        if why := self._shared.fleet.why_none(await self._needs.of(first)):
            note_unclaimed(queue, first.job_id, why)

    async def _look(
        self, partitions: set[int], queue: str, passed_over: PassedOver
    ) -> list[WaitingPage]:
        """Return the first jobs of each partition; further ones where none of those can be run."""
        pages = await self._pages(queue, dict.fromkeys(partitions, 0))
        for _ in range(PAGES_LIMIT):
            more = {page.partition: page.next for page in pages if page.next}
            if not more:
                return pages
            jobs = (job for page in pages for job in page.firsts if job not in passed_over)
            if any(suit.able for suit in (await self._suits(jobs)).values()):
                return pages
            rest = [page for page in pages if not page.next]
            pages = rest + await self._pages(queue, more)
        return pages

    async def _pages(self, queue: str, first: Mapping[int, int]) -> list[WaitingPage]:
        """Return a page of each partition from a rank on. Those that do not answer stay due."""

        async def look(partitions: Sequence[int]) -> dict[int, WaitingPage]:
            ranks, asked_s = {p: first[p] for p in partitions}, steady_s()
            pages = await peek_pages(self._shared.log, ranks, queue, each=LOOK_LIMIT)
            for page in pages.values():
                if not ranks[page.partition]:
                    self._known.note(queue, page, asked_s)
            return pages

        asked = first.keys() - self._claims.under_way
        known = self._known.pages(queue, (p for p in asked if not first[p]))
        outcomes = await self._looks.together(look, asked - known.keys())
        self._due |= first.keys() - outcomes.values.keys() - known.keys()
        self._raise_or_note(outcomes)
        return [*known.values(), *outcomes.values.values()]

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

    async def _reserve(self, pages: Sequence[WaitingPage], passed_over: PassedOver) -> list[Pick]:
        """Choose jobs and servers, and reserve a slot for each."""
        fleet = self._shared.fleet
        suits = await self._suits(job for page in pages for job in page.firsts)

        def row(job: WaitingJob) -> Waiting:
            suit, overtaken = suits[job.signature], self._overtaken.get(job.job_id, 0)
            return Waiting(job.job_id, suit.able, suit.models, overtaken)

        jobs = JobsInTurn(pages, passed_over, row)
        servers = [_server(state) for state in fleet.states]  # no await from here on
        slots = sum(state.slots for state in fleet.states)
        plan = place(jobs, servers, sum(page.count for page in pages), slots, CLAIM_LIMIT)
        for index in plan.overtaken:
            self._note_overtaken(jobs[index].job_id)
        picks = list[Pick]()
        for index, server in plan.picks:
            self._overtaken.pop(jobs[index].job_id, None)
            reservation = fleet.reserve_on(fleet.states[server], jobs[index].models)
            picks.append((jobs.job(index), reservation))
        return picks

    def _note_overtaken(self, job_id: str) -> None:
        self._overtaken[job_id] = self._overtaken.get(job_id, 0) + 1
        if len(self._overtaken) > OVERTAKEN_KEPT:
            del self._overtaken[next(iter(self._overtaken))]

    async def _claim(self, queue: str, picks: Sequence[Pick]) -> set[int]:
        """Claim the picked jobs, at once where one server has them; start them in their order.

        Returns the indexes of the picks that were leased. What is leased later is started then.
        """
        asked_at_s, leases, is_over = steady_s(), dict[int, Lease](), False
        asked = {job.partition for job, _ in picks}

        def start(indexes: Iterable[int]) -> None:
            unused = [picks[index][1] for index in indexes if index not in leases]
            self._shared.fleet.release_unused(unused)
            for index in sorted(leases.keys() & set(indexes)):
                self._start(leases[index], asked_at_s, picks[index][1])

        async def claim(partitions: Sequence[int]) -> dict[int, None]:
            indexes = [i for i, (job, _) in enumerate(picks) if job.partition in partitions]
            jobs = [picks[index][0] for index in indexes]
            lines = [(job.partition, job.line, job.place) for job in jobs]
            try:
                # A leased job must get its run: a drain must not cancel between the two.
                with anyio.CancelScope(shield=True):
                    taken = await self._shared.dispatch.claim_lines(queue, lines)
                    leases.update({indexes[at]: lease for at, lease in taken})
            except EverfoldError:
                self._unanswered.update(partitions)
                raise
            finally:
                if is_over:
                    start(indexes)
            return dict.fromkeys(partitions)

        with anyio.CancelScope(shield=True):
            outcomes = await self._claims.together(claim, asked)
        is_over, late = True, self._claims.under_way & asked
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


def _server(state: BackendState) -> Server:
    busy, takes_jobs = state.reserved + state.others, state.takes_jobs
    return Server(state.room, busy, state.expected_s, state.models, takes_jobs)
