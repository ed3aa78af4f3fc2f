"""The scripts of streams/lua as plain functions over dictionaries, with the same named outcomes.

Rule: one function per script, checks first, writes last; `tests/simulation/test_server.py` runs
both against each other. `record` is called with every new entry.
"""

from __future__ import annotations

from collections.abc import Callable

from everfold.projector.job.evolve import evolve
from everfold.projector.job.job import Job
from everfold.streams.appending.outcomes import Lease
from everfold.streams.events.event import (
    CancelRequested,
    Claimed,
    Event,
    Recovered,
    Released,
    Retried,
    Rewound,
    Submitted,
    closing_status,
)
from everfold.streams.events.record import Recorded
from everfold.streams.leases.backends import Abandoned, BackendEntry
from everfold.streams.redis.keys import PRIORITIES
from tests.simulation.head import Head, Lane
from tests.simulation.stream_model import FOREVER_MS, DispatchStream

Author = tuple[str, int] | None
"""Runner and epoch of the lease under which an entry was written; None without a lease."""
Outcome = tuple[str | int, ...]
Record = Callable[[Recorded, Author, str], None]
"""Called with an entry, its author, and its event id where the script remembers it."""


class Server:
    """One partition on one server."""

    PAGE = 1000

    def __init__(
        self, now_ms: Callable[[], int], record: Record, steady_ms: Callable[[], int] | None = None
    ) -> None:
        self._now_ms, self._record = now_ms, record
        self._steady_ms = steady_ms or now_ms
        self.heads: dict[str, Head] = {}
        self.records: dict[str, list[Recorded]] = {}
        self.states: dict[str, list[Job]] = {}
        """Of each job: its fold after 0, 1, 2 ... events."""
        self.lanes: dict[Lane, DispatchStream] = {}
        self.waiting: dict[str, tuple[int, int]] = {}
        """Job -> priority and place."""
        self.later: dict[str, int] = {}
        self.blocked: set[str] = set()
        self.strange: dict[str, list[int]] = {}
        """Of each job: the events that an older release cannot read."""
        self.deadlines: dict[str, int] = {}
        self.registered_runners: set[str] = set()
        self.backends: dict[str, BackendEntry] = {}
        self.retired: set[str] = set()
        self.abandoned: dict[str, Abandoned] = {}
        """By prompt id."""
        self.written_ms: dict[str, list[int]] = {}
        """Of each job: the virtual time of each event, which nobody sets."""
        self.changes = 0
        self._entry = (0, 0)
        self._tickets = 0

    # submit.lua
    def submit(
        self, job_id: str, event_id: str, event: Submitted, due_ms: int = 0, deadline_ms: int = 0
    ) -> Outcome:
        head = self.heads.get(job_id)
        if head is not None:
            if head.made_by == event_id:
                return ("submitted", head.first)
            if head.workflow != event.workflow:
                return ("differs",)
            return ("exists", head.first, head.status)
        head = Head((event.queue, event.priority), event.workflow, event_id)
        self.heads[job_id] = head
        self.records[job_id], self.states[job_id] = [], [Job()]
        self.written_ms[job_id] = []
        if deadline_ms:
            self.deadlines[job_id] = deadline_ms
        if due_ms:
            self.later[job_id], head.phase = due_ms, "later"
        else:
            self._let_wait(job_id, head)
        head.first = self._write(job_id, head, event, None)
        return ("submitted", head.first)

    # append.lua
    def append(
        self,
        job_id: str,
        event_id: str,
        event: Event,
        epoch: int = 0,
        holder: str = "",
        expected: int = -1,
    ) -> Outcome:
        head = self.heads.get(job_id)
        if head is None:
            return ("unknown",)
        known = self._known(head, event_id)
        if known is not None:
            return ("duplicate", *known)
        if head.status != "open":
            return ("closed", head.status)
        if epoch > 0 and not self._is_held(head, epoch, holder):
            return ("fenced", head.epoch)
        is_unheld = epoch < 0 or (epoch == 0 and closing_status(event) != "")
        if is_unheld and head.phase not in ("waiting", "later"):
            return ("leased", head.owner)
        is_free = isinstance(event, CancelRequested | Rewound)
        if epoch == 0 and not is_free and head.phase in ("leased", "released"):
            return ("leased", head.owner)
        if isinstance(event, CancelRequested) and head.canceled_by is not None:
            return ("duplicate", *head.canceled_by)
        if expected >= 0 and head.seq != expected:
            return ("conflict", head.seq)
        entry = self._write(job_id, head, event, (holder, epoch) if epoch > 0 else None, event_id)
        if isinstance(event, CancelRequested):
            head.canceled_by = (head.seq, entry)
            if head.phase in ("waiting", "later"):
                self.deadlines[job_id] = self._now_ms()
        elif status := closing_status(event):
            self._close(job_id, head, status)
        return ("appended", head.seq, entry)

    def _is_held(self, head: Head, epoch: int, holder: str) -> bool:
        return head.phase == "leased" and head.epoch == epoch and holder in ("", head.owner)

    def _known(self, head: Head, event_id: str) -> tuple[int, str] | None:
        for known, seq, entry in head.recent:
            if known == event_id:
                return seq, entry
        return None

    def _close(self, job_id: str, head: Head, status: str) -> None:
        self.waiting.pop(job_id, None)
        self.later.pop(job_id, None)
        self.blocked.discard(job_id)
        self.lane(head.lane).drop(head.dispatch_id)
        head.status, head.phase = status, "closed"

    # claim.lua
    def claim(self, runner: str, lanes: list[Lane], most: int, reads: str = "") -> list[Lease]:
        leases: list[Lease] = []
        for job_id in sorted(self.waiting, key=self.waiting.__getitem__):
            head = self.heads[job_id]
            if len(leases) == most or head.lane not in lanes:
                continue
            del self.waiting[job_id]
            if self._is_blocked(head, reads):
                self._wait_for_reader(job_id, head, reads, head.blocked_for_ms)
            else:
                self._tickets += 1
                self.lane(head.lane).hold(self._tickets, job_id, runner, self._now_ms())
                leases.append(self._lease(job_id, self._tickets, runner, Claimed(owner=runner)))
        return leases

    # take_over.lua
    def take_over(
        self,
        runner: str,
        lane: Lane,
        idle_limit_ms: int,
        cursor: int = 0,
        suspect: str = "",
        most: int = 500,
    ) -> tuple[int, list[Lease]]:
        stream, leases = self.lane(lane), list[Lease]()
        page = stream.page(cursor, suspect, self.PAGE)
        if suspect:
            idle_limit_ms = 0
        for line in page:
            if len(leases) == most:
                return cursor, leases
            idle_ms = self._now_ms() - line.renewed_ms
            if line.consumer != runner and idle_ms >= idle_limit_ms:
                leases += self._take(stream, line.entry_id, runner, line.consumer, idle_ms, suspect)
            cursor = line.entry_id
        return (0 if len(page) < self.PAGE else cursor), leases

    def _take(
        self,
        stream: DispatchStream,
        dispatch_id: int,
        runner: str,
        owner: str,
        idle_ms: int,
        why: str,
    ) -> list[Lease]:
        job_id = stream.entries.get(dispatch_id)
        if job_id is None or self.heads[job_id].status != "open":
            stream.drop(dispatch_id)
            return []
        head = self.heads[job_id]
        stream.claim(dispatch_id, runner, self._now_ms())
        if head.phase == "released":
            return [self._lease(job_id, dispatch_id, runner, Claimed(owner=runner))]
        head.crashes += 1
        recovered = Recovered(
            owner=runner,
            previous_owner=owner,
            crashes=head.crashes,
            idle_ms=idle_ms,
            reason="connection_gone" if why else "lease_expired",
        )
        return [self._lease(job_id, dispatch_id, runner, recovered)]

    def _lease(self, job_id: str, dispatch_id: int, runner: str, event: Event) -> Lease:
        head = self.heads[job_id]
        head.epoch, head.owner = self._next_epoch(head), runner
        head.phase, head.dispatch_id = "leased", dispatch_id
        self._write(job_id, head, event, (runner, head.epoch))
        return Lease(job_id, runner, head.epoch, head.seq, *head.lane, str(dispatch_id))

    def _next_epoch(self, head: Head) -> int:
        return head.epoch + 1

    # renew.lua
    def renew(self, runner: str, leases: list[Lease]) -> list[Outcome]:
        return [self._renew(runner, lease) for lease in leases]

    def _renew(self, runner: str, lease: Lease) -> Outcome:
        head = self.heads.get(lease.job_id)
        if head is None or not self._may_renew(head, lease, runner):
            return ("fenced", head.epoch if head else -1)
        stream = self.lane((lease.queue, lease.priority))
        self.changes += 1
        if not stream.claim(int(lease.dispatch_id), runner, self._now_ms()):
            return ("fenced", head.epoch)
        return ("canceling",) if head.canceled_by else ("renewed",)

    def _may_renew(self, head: Head, lease: Lease, runner: str) -> bool:
        return head.epoch == lease.epoch and head.phase == "leased" and head.owner == runner

    # release.lua
    def release(
        self,
        lease: Lease,
        event_id: str,
        event: Released | Retried,
        due_ms: int = 0,
        unreadable: tuple[str, int] | None = None,
        wait_ms: int | None = None,
    ) -> Outcome:
        if wait_ms is not None:
            due_ms = self._now_ms() + wait_ms
        head = self.heads.get(lease.job_id)
        if head is None:
            return ("unknown",)
        known = self._known(head, event_id)
        if known is not None:
            return ("duplicate", *known)
        if head.status != "open":
            return ("closed", head.status)
        if not self._is_held(head, lease.epoch, lease.runner):
            return ("fenced", head.epoch)
        entry = self._write(lease.job_id, head, event, (lease.runner, lease.epoch), event_id)
        if unreadable is not None:
            head.owner = ""
            self.lane(head.lane).drop(head.dispatch_id)
            self._wait_for_reader(lease.job_id, head, *unreadable)
        else:
            self._give_up(lease.job_id, head, due_ms)
        return ("released", head.seq, entry)

    def _give_up(self, job_id: str, head: Head, due_ms: int) -> None:
        stream, head.owner = self.lane(head.lane), ""
        if due_ms == 0 or head.canceled_by:
            stream.claim(head.dispatch_id, "released", self._now_ms(), idle_ms=FOREVER_MS)
            head.phase = "released"
        else:
            stream.drop(head.dispatch_id)
            self.later[job_id] = due_ms
            head.phase, head.dispatch_id = "later", 0

    def _is_blocked(self, head: Head, reads: str) -> bool:
        return reads in head.blocked

    def _wait_for_reader(self, job_id: str, head: Head, reads: str, for_ms: int) -> None:
        if head.canceled_by:
            head.blocked_until_ms = self._now_ms()
        elif not head.blocked or head.seq - head.blocked_seq > 2:
            head.blocked_until_ms = self._now_ms() + for_ms
        head.blocked = [*(kind for kind in head.blocked if kind != reads), reads]
        head.blocked_seq, head.blocked_for_ms = head.seq, for_ms
        head.phase, head.dispatch_id = "later", 0
        self.later[job_id] = head.blocked_until_ms + 60_000
        self.blocked.add(job_id)
        self.changes += 1

    # promote_blocked.lua
    def promote_blocked(self, reads: str) -> list[str]:
        """Move what a runner that reads so much may read; return what must be ended."""
        over: list[str] = []
        for job_id in sorted(self.blocked):
            head = self.heads[job_id]
            if head.phase != "later":
                self.blocked.discard(job_id)
            elif head.canceled_by or head.blocked_until_ms <= self._now_ms():
                over.append(job_id)
            elif not self._is_blocked(head, reads):
                self.blocked.discard(job_id)
                self.later.pop(job_id, None)
                self._let_wait(job_id, head)
        return over

    def append_strange(self, job_id: str) -> None:
        """A newer program appends what an older one cannot read."""
        head = self.heads.get(job_id)
        if head is not None and head.status == "open":
            self._write(job_id, head, Rewound(seen_seq=0, found_seq=0), None)
            self.strange.setdefault(job_id, []).append(head.seq)

    # promote.lua
    def promote(self, most: int = 500) -> tuple[int, list[str]]:
        """Return how many jobs were moved, and those that wait past their deadline."""
        now_ms = self._now_ms()
        due = sorted((at_ms, job_id) for job_id, at_ms in self.later.items() if at_ms <= now_ms)
        for _, job_id in due[:most]:
            del self.later[job_id]
            if self.heads[job_id].phase == "later":
                self._let_wait(job_id, self.heads[job_id])
        overdue: list[str] = []
        for job_id in [job for job, at_ms in self.deadlines.items() if at_ms <= now_ms]:
            if self.heads[job_id].phase in ("waiting", "later"):
                overdue.append(job_id)
            elif self.heads[job_id].phase not in ("leased", "released"):
                del self.deadlines[job_id]
        return min(len(due), most), overdue

    # read_job.lua
    def read_job(self, job_id: str) -> list[Recorded]:
        return self.records[job_id]

    # What runners tell each other of backends.

    def backends_seen(self) -> tuple[int, dict[str, BackendEntry]]:
        """Return the server's time, and every backend by name."""
        return self._now_ms(), dict(self.backends)

    def note_backends(self, entries: list[BackendEntry]) -> None:
        self.backends.update({entry.name: entry for entry in entries})

    def lane(self, lane: Lane) -> DispatchStream:
        if lane not in self.lanes:
            self.lanes[lane] = DispatchStream()
        return self.lanes[lane]

    def _let_wait(self, job_id: str, head: Head) -> None:
        """At the place that it had before, or behind all others of its priority: one user."""
        self._tickets += 1
        self.changes += 1
        head.place = head.place or self._tickets
        self.waiting[job_id] = (PRIORITIES.index(head.lane[1]), head.place)
        head.phase, head.dispatch_id = "waiting", 0

    def _write(
        self, job_id: str, head: Head, event: Event, author: Author, event_id: str = ""
    ) -> str:
        now_ms, (last_ms, counter) = self._now_ms(), self._entry
        self._entry = (now_ms, 0) if now_ms > last_ms else (last_ms, counter + 1)
        entry_id = f"{self._entry[0]}-{self._entry[1]}"
        record = Recorded(
            entry_id=entry_id,
            job_id=job_id,
            seq=head.seq + 1,
            epoch=head.epoch,
            previous=head.last,
            event=event,
            payload=b"",
        )
        head.seq, head.last = record.seq, entry_id
        if event_id:
            head.recent = [(event_id, head.seq, entry_id), *head.recent]
        self.records[job_id].append(record)
        self.written_ms[job_id].append(self._steady_ms())
        self.states[job_id].append(evolve(self.states[job_id][-1], record))
        self.changes += 1
        self._record(record, author, event_id)
        return entry_id
