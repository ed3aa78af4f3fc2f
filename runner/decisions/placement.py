"""Which waiting job goes to which server.

Rule: pure. Jobs are taken in their order, each by a server that has all that it needs. Among those
that can run it, a job goes to the one that has its models loaded, else to the one that would end it
first. A job is overtaken for the sake of loaded models by as many others as there are slots, no
more. A slow server takes none of the last jobs that faster ones would end sooner.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

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


class Plan(Struct, frozen=True):
    """What to take now."""

    picks: tuple[tuple[int, int], ...]
    """Pairs of indexes, job and server, in the order in which they are to be sent."""
    overtaken: tuple[int, ...]
    """Indexes of jobs, once for each job that was taken before them although a server was able."""


def place(jobs: Sequence[Waiting], servers: Sequence[Server], waiting: int, slots: int) -> Plan:
    """Return which of `jobs` to send where. `waiting` counts all that wait, these included; `slots`
    is how often a job may be overtaken."""
    room = _worthwhile(servers, waiting)
    busy, models = [server.busy for server in servers], [server.models for server in servers]
    picks, overtaken, passed = list[tuple[int, int]](), list[int](), list[int]()
    for index, job in enumerate(jobs):
        able = [s for s in job.able if room[s] > 0]
        if not able:
            if not any(room):
                break
            continue
        here = _best(able, job, servers, busy, models)
        if _waits_for_its_models(job, models, here) and job.overtaken < slots:
            passed.append(index)
            continue
        overtaken += passed
        picks.append((index, here))
        room[here], busy[here] = room[here] - 1, busy[here] + 1
        models[here] = job.models or models[here]
    # Nothing suits what these servers have loaded: they are not left idle for that.
    for index in passed:
        able = [s for s in jobs[index].able if room[s] > 0]
        if able:
            here = _best(able, jobs[index], servers, busy, models)
            picks.append((index, here))
            room[here], busy[here] = room[here] - 1, busy[here] + 1
            models[here] = jobs[index].models or models[here]
    return Plan(tuple(picks), tuple(overtaken))


def _waits_for_its_models(job: Waiting, models: Sequence[str], here: int) -> bool:
    """Say whether another server has the job's models loaded, and this one has others."""
    is_cold = bool(job.models and models[here]) and models[here] != job.models
    return is_cold and any(models[s] == job.models for s in job.able)


def _best(
    able: Sequence[int],
    job: Waiting,
    servers: Sequence[Server],
    busy: Sequence[int],
    models: Sequence[str],
) -> int:
    """Return the server for a job: with its models, or with none; then the one to end it first."""
    known = [pace for server in servers if (pace := server.pace_s) is not None]
    usual_s = sum(known) / len(known) if known else 1.0

    def rank(s: int) -> tuple[bool, bool, float, int]:
        pace_s = servers[s].pace_s
        ends_s = (busy[s] + 1) * (usual_s if pace_s is None else pace_s)
        is_warm, is_empty = models[s] == job.models, not models[s]
        return (bool(job.models) and not is_warm, not is_empty and not is_warm, ends_s, s)

    return min(able, key=rank)


def _worthwhile(servers: Sequence[Server], waiting: int) -> list[int]:
    """Return how many jobs each server may take: none that others would end sooner."""
    paces = [server.pace_s for server in servers]
    room = [server.room for server in servers]
    known: Mapping[int, float] = {s: pace for s, pace in enumerate(paces) if pace is not None}
    if waiting > FORESEEN_JOBS or len(known) < len(servers) or not any(room):
        return room
    busy, share = [server.busy for server in servers], [0] * len(servers)
    for _ in range(waiting):
        first = min(known, key=lambda s: ((busy[s] + 1) * known[s], s))
        busy[first], share[first] = busy[first] + 1, share[first] + 1
    return [min(free, most) for free, most in zip(room, share, strict=True)]
