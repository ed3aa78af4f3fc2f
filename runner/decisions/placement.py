"""Which waiting job goes to which server.

Rule: pure. Jobs are taken in their order, each by a server that has all that it needs. Among those
that can run it, a job goes to the one that has its models loaded, else to the one that would end it
first. A job is overtaken for the sake of loaded models by as many others as there are slots, no
more. A slow server takes none of the last jobs that faster ones would end sooner.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from msgspec import Struct

FORESEEN_JOBS = 200
"""With more waiting jobs than these, every server has enough to do."""


class Waiting(Struct, frozen=True):
    """A waiting job, in the order of the queue."""

    job_id: str
    able: Collection[int]
    """Indexes of the servers that have all that it needs."""
    models: str = ""
    """The model files that it loads; equal for equal ones, empty for none."""
    overtaken: int = 0
    """How many later jobs were taken before it for the sake of loaded models."""


class Server(Struct, frozen=True):
    """A server, as its runner sees it now."""

    room: int
    """Free slots."""
    busy: int = 0
    """Jobs there that have not ended, those of others included."""
    pace_s: float | None = None
    """How long it has needed for a job lately; None while that is not known."""
    models: str = ""
    """What the last job that was sent there loaded."""
    takes_jobs: bool = True
    """Whether it gets jobs when it has room: no job waits for one that is away or drained."""


class Plan(Struct, frozen=True):
    """What to take now."""

    picks: tuple[tuple[int, int], ...]
    """Pairs of indexes, job and server, in the order in which they are to be sent."""
    overtaken: tuple[int, ...]
    """Indexes of jobs, once for each job that was taken before them although a server was able."""


class InTurn(Protocol):
    """Waiting jobs in their order. They may be made one by one as they are looked at."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Waiting: ...


def place(
    jobs: InTurn, servers: Sequence[Server], waiting: int, slots: int, most: int = 16
) -> Plan:
    """Return which of `jobs` to send where, `most` at most. `waiting` counts all that wait, these
    included; `slots` is how often a job may be overtaken."""
    board = _Board(servers, _worthwhile(jobs, servers, waiting))
    counts, rest = dict[int, int](), list(range(len(jobs)))
    picks, overtaken = list[tuple[int, int]](), list[int]()
    while len(picks) < most and any(board.room):
        passed, found = list[int](), None
        for index in rest:
            here = board.best(jobs[index])
            if here is None:
                continue
            count = counts.get(index, jobs[index].overtaken)
            if count >= slots or not board.waits_for_models(jobs[index], here):
                found = index
                break
            passed.append(index)
        if found is None and passed:
            # Nothing suits what these servers have loaded: they are not left idle for that.
            found, passed = passed[0], []
        if found is None:
            break
        for index in passed:
            counts[index] = counts.get(index, jobs[index].overtaken) + 1
        overtaken += passed
        picks.append((found, board.give(jobs[found])))
        rest.remove(found)
    return Plan(tuple(picks), tuple(overtaken))


class _Board:
    """The servers while a plan is made."""

    def __init__(self, servers: Sequence[Server], room: list[int]) -> None:
        self.room = room
        self._busy = [server.busy for server in servers]
        self._models = [server.models for server in servers]
        known = [pace for server in servers if (pace := server.pace_s) is not None]
        usual_s = sum(known) / len(known) if known else 1.0
        self._paces = [usual_s if s.pace_s is None else s.pace_s for s in servers]

    def best(self, job: Waiting) -> int | None:
        """Return the server with room for a job: one with its models, or with none; of these the
        one to end it first."""
        able = [s for s in job.able if self.room[s] > 0]
        return min(able, key=lambda s: self._rank(job.models, s), default=None)

    def _rank(self, models: str, s: int) -> tuple[int, float, int]:
        loaded = self._models[s]
        cold = 0 if not models or loaded == models else 2 if loaded else 1
        return (cold, (self._busy[s] + 1) * self._paces[s], s)

    def waits_for_models(self, job: Waiting, here: int) -> bool:
        """Say whether another server has the job's models loaded, and this one has others."""
        is_cold = bool(job.models and self._models[here]) and self._models[here] != job.models
        return is_cold and any(self._models[s] == job.models for s in job.able)

    def give(self, job: Waiting) -> int:
        """Send a job to the best server with room, which there must be; return that server."""
        here = self.best(job)
        assert here is not None
        self.room[here], self._busy[here] = self.room[here] - 1, self._busy[here] + 1
        self._models[here] = job.models or self._models[here]
        return here


def _worthwhile(jobs: InTurn, servers: Sequence[Server], waiting: int) -> list[int]:
    """Return how many jobs each server may take: none that others would end sooner.

    To load other models is taken to last as long as a job.
    """
    room = [server.room if server.takes_jobs else 0 for server in servers]
    serving = [s for s, server in enumerate(servers) if server.takes_jobs]
    paces = {s: pace for s in serving if (pace := servers[s].pace_s) is not None}
    if waiting > FORESEEN_JOBS or len(paces) < len(serving):
        return room
    busy, share = [server.busy for server in servers], [0] * len(servers)
    models = [server.models for server in servers]
    wanted = sum(room)
    for index in range(max(waiting, len(jobs)) if wanted else 0):
        # Jobs that were not looked at may need anything.
        job = jobs[index] if index < len(jobs) else Waiting("", serving)
        ends = [
            ((busy[s] + 1 + (job.models not in ("", models[s]))) * paces[s], bool(models[s]), s)
            for s in job.able
            if s in paces
        ]
        if not ends:
            continue
        *_, first = min(ends)
        busy[first], share[first] = busy[first] + 1, share[first] + 1
        models[first] = job.models or models[first]
        wanted -= share[first] <= room[first]
        if not wanted:
            break
    return [min(free, most) for free, most in zip(room, share, strict=True)]
