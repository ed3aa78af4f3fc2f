"""The jobs of a farm, folded: those that runners hold, and what changed since somebody was told.

Rule: pure, no clock, no I/O. Memory does not grow with the jobs that wait: of those only the
RECENT_LIMIT are known that something happened to lately; how many wait is sampled, and moved on
here by the events since. A job that is not known has to be put in before its event is added.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable

from msgspec import Struct

from everfold.projector.job.job import Job
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Claimed, Submitted, Terminal
from everfold.streams.events.record import Recorded
from everfold.web.farm.pictures import Pictures
from everfold.web.farm.summaries import slim, slim_after

RECENT_LIMIT = 20_000
"""Jobs that no runner holds and that are remembered: about a kilobyte each."""
MOVES_LIMIT = 10_000
"""Changes of counts that are remembered until the next sample."""
BOOTS_LIMIT = 1_000

WAITING, LATER, HELD = "waiting", "later", "held"


class Place(Struct, frozen=True):
    """Where an open job is counted."""

    state: str
    """waiting, later or held."""
    queue: str
    priority: str


class Move(Struct, frozen=True):
    """One change of the counts."""

    time_ms: int
    place: Place
    change: int


class FarmState:
    """The jobs of one farm."""

    def __init__(self) -> None:
        self.held: dict[str, Job] = {}
        """Jobs that runners hold."""
        self._recent: OrderedDict[str, Job] = OrderedDict()
        self._changed: dict[str, Job] = {}
        self._moves: deque[Move] = deque(maxlen=MOVES_LIMIT)
        self.boots: dict[tuple[str, str], str] = {}
        """Address and identity of a server -> boot marker that its newest attempt saw."""
        self.pictures = Pictures()

    def job(self, job_id: str) -> Job | None:
        """Return what is known of a job."""
        return self.held.get(job_id) or self._recent.get(job_id)

    def put(self, job: Job) -> None:
        """Take a job in as it was read, which is no news."""
        self._keep(slim(job))

    def learn(self, job: Job, records: Iterable[Recorded] = ()) -> None:
        """Take in a job that was read because of these events of it, or because it was wrong.

        What was before is not known: the counts move by what each event means mostly.
        """
        job = slim(job)
        self._keep(job)
        self._changed[job.job_id] = job
        for record in records:
            if record.seq <= job.seq:
                self._guess(job, record)

    def _guess(self, job: Job, record: Recorded) -> None:
        changes: dict[str, int] = {}
        if isinstance(record.event, Claimed):
            changes = {WAITING: -1, HELD: 1}
        elif isinstance(record.event, Terminal):
            changes = {HELD if job.claimed_at_ms else WAITING: -1}
        for state, change in changes.items():
            place = Place(state, job.queue, job.priority)
            self._moves.append(Move(record.time_ms, place, change))

    def forget(self, job_id: str) -> None:
        """Let a job go that there is no more."""
        self.held.pop(job_id, None)
        self._recent.pop(job_id, None)

    def add(self, record: Recorded) -> bool:
        """Take an event in; False where the job has to be put in first, as it was before that
        event or later. One that was seen before changes nothing."""
        if not record.job_id:
            return True
        before = self.job(record.job_id)
        if before is None:
            if not isinstance(record.event, Submitted):
                return False
            before = Job(job_id=record.job_id)
        if record.seq > before.seq + 1:
            return False
        if record.seq <= before.seq:
            return True
        if isinstance(record.event, Unreadable) and not record.event.skipped:
            return True
        after = slim_after(before, record)
        self._move(before if before.seq else None, after, record.time_ms)
        self._keep(after)
        self._changed[after.job_id] = after
        return True

    def _keep(self, job: Job) -> None:
        if job.owner and not job.is_terminal:
            self._recent.pop(job.job_id, None)
            self.held[job.job_id] = job
        else:
            self.held.pop(job.job_id, None)
            self._recent[job.job_id] = job
            self._recent.move_to_end(job.job_id)
            if len(self._recent) > RECENT_LIMIT:
                self._recent.popitem(last=False)
        if job.boot:
            self.boots[job.backend, job.server] = job.boot
            if len(self.boots) > BOOTS_LIMIT:
                del self.boots[next(iter(self.boots))]

    def _move(self, before: Job | None, after: Job, time_ms: int) -> None:
        old = place_of(before, time_ms) if before is not None else None
        new = place_of(after, time_ms)
        if old != new:
            self._moves.extend(Move(time_ms, one, -1) for one in (old,) if one)
            self._moves.extend(Move(time_ms, one, 1) for one in (new,) if one)

    def moved_since(self, time_ms: int) -> Counter[Place]:
        """Return how the counts changed by events after a time, and forget the earlier changes."""
        while self._moves and self._moves[0].time_ms <= time_ms:
            self._moves.popleft()
        found = Counter[Place]()
        for move in self._moves:
            if move.time_ms > time_ms:
                found[move.place] += move.change
        return found

    def take_changed(self) -> list[Job]:
        """Return the newest state of each job that changed since the last call."""
        changed, self._changed = self._changed, {}
        return list(changed.values())


def unknown_of(state: FarmState, records: Iterable[Recorded]) -> dict[str, int]:
    """Return the jobs that have to be put in before these events: job -> at least the event before
    its first one here, which the projection has mostly while it has not this one yet."""
    found, begun = dict[str, int](), set[str]()
    for record in records:
        job_id = record.job_id
        if not job_id or job_id in begun or job_id in found:
            continue
        begun.add(job_id)
        known = state.job(job_id)
        seq = known.seq if known else 0
        is_first = isinstance(record.event, Submitted) and known is None
        if record.seq > seq + 1 or (known is None and not is_first):
            found[job_id] = record.seq - 1
    return found


def place_of(job: Job, now_ms: int) -> Place | None:
    """Return where a job is counted at a time; None for one that has ended."""
    if job.is_terminal:
        return None
    waits = LATER if job.run_at_ms > now_ms else WAITING
    return Place(HELD if job.owner else waits, job.queue, job.priority)
