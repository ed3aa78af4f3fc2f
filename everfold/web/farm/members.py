"""What the board shows: queues, servers, runners, what runs, why jobs wait.

Rule: no I/O. Each member is small whatever there is: what is beyond its limit is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from everfold.diagnosis.finding import Finding
from everfold.metrics.queue_numbers import UNSEEN_S, QueueNumbers
from everfold.operations import BackendStatus, RunnerStatus
from everfold.projector.job.job import Job
from everfold.streams.events.event import ON_HOST
from everfold.streams.leases.backends import is_loopback
from everfold.streams.queues.queue_control import Pause
from everfold.streams.redis.keys import PRIORITIES
from everfold.web.farm.farm_state import HELD, LATER, WAITING, Place
from everfold.web.farm.summaries import JobSummary, summary_of

RUNNING_LIMIT = 500
"""Jobs that runners hold and that are shown; of more the number is told."""
RUNS_LIMIT = 100
"""The same of one server."""

ALARMS_LIMIT = 50
STOPPING = ("projection", "unreadable jobs", "queue", "runner", "backend", "disk", "lost writes")
"""How findings begin that keep jobs from running, or being seen."""


class Paused(Struct, frozen=True):
    """Who paused a queue, when and why."""

    by: str
    at_ms: int
    reason: str


class FarmQueue(Struct, frozen=True, kw_only=True):
    """One queue."""

    name: str
    waiting: tuple[int, ...]
    """Jobs that any runner could take now, by priority: high, normal, low."""
    later: int
    """Jobs that wait for a time."""
    running: int
    """Jobs that runners hold."""
    paused: Paused | None
    oldest_s: float
    """How long ago the oldest of the jobs that stand first was submitted, 0 without any."""
    backlog_s: float | None
    """Seconds until what waits has begun; None while nobody knows."""
    run_s: float | None
    """How long its jobs run, as it was learned; None while nobody knows."""
    servers: int
    runners: int


class FarmBackend(Struct, frozen=True, kw_only=True):
    """One ComfyUI server."""

    name: str
    """What people call it, else its address."""
    address: str
    server: str
    """Identity of the server there, where it has one."""
    up: bool
    """Whether a runner has reached it lately, and it takes jobs."""
    why: str
    """Why it takes no jobs, empty while it does."""
    retired: str
    """Who took it out of service, empty for nobody."""
    drained: str
    unseen_s: float
    """Since when no runner has reached it; 0 for less than 10 s."""
    slots: int
    busy: int
    """Prompts that run or wait there, whoever sent them."""
    labels: tuple[str, ...]
    boot: str
    """Boot marker that the newest attempt there has seen, empty while none was seen."""
    models: int | None
    """Model files that its nodes can load, None while that is not known."""
    runs: tuple[str, ...]
    """Ids of the jobs that are there, the first 100."""
    runs_besides: int


class FarmRunner(Struct, frozen=True, kw_only=True):
    """One registered runner."""

    name: str
    host: str
    version: str
    queues: tuple[str, ...]
    backends: tuple[str, ...]
    leases: int
    """Jobs that it holds."""
    slots: int
    """Jobs that its servers take from it."""
    draining: bool
    drained_by: str
    since_ms: int
    unseen_s: float
    """Since when it was not heard of; 0 for less than 10 s."""


class WaitReason(Struct, frozen=True, kw_only=True):
    """Why some jobs wait."""

    code: str
    """As `GET /jobs/{id}/why` has it."""
    reason: str
    """A sentence."""
    jobs: int
    queue: str
    job_id: str
    """One of them; empty where none is known."""


class Alarm(Struct, frozen=True, kw_only=True):
    """Something that is to be changed."""

    severity: str
    """error: jobs do not run, or are lost; warning: they may."""
    what: str
    text: str
    advice: str


class FarmSample(Struct, frozen=True, kw_only=True):
    """What was read of the farm, all at about one time."""

    at_ms: int
    """Server time before the queues were read, Unix ms."""
    now_ms: int
    """Server time after all was read."""
    queues: Mapping[str, QueueNumbers]
    later: Mapping[tuple[str, str], int]
    later_besides: int
    pauses: Mapping[str, Pause]
    backends: Sequence[BackendStatus]
    runners: Sequence[RunnerStatus]
    models: Mapping[tuple[str, str], int]
    """Address and identity of a server -> model files that its nodes can load."""
    reasons: Sequence[WaitReason]


def queues_of(sample: FarmSample, moved: Counter[Place]) -> list[FarmQueue]:
    """Return the queues, by name, moved on by what happened since the sample."""
    names = {*sample.queues, *(place.queue for place in moved)}
    later = Counter[str]()
    for (queue, _), number in sample.later.items():
        later[queue] += number
    return [_queue(name, sample, moved, later[name]) for name in sorted(names)]


def _queue(name: str, sample: FarmSample, moved: Counter[Place], later: int) -> FarmQueue:
    known, pause = sample.queues.get(name), sample.pauses.get(name)
    moves = {state: [moved[Place(state, name, one)] for one in PRIORITIES]
             for state in (WAITING, LATER, HELD)}  # fmt: skip
    waiting = known.waiting if known else (0,) * len(PRIORITIES)
    held = sum(known.leased) if known else 0
    return FarmQueue(
        name=name,
        waiting=tuple(max(0, a + b) for a, b in zip(waiting, moves[WAITING], strict=True)),
        later=max(0, later + sum(moves[LATER])),
        running=max(0, held + sum(moves[HELD])),
        paused=Paused(pause.actor, pause.at_ms, pause.reason) if pause else None,
        oldest_s=round(known.oldest_s) if known else 0,
        backlog_s=None if known is None or known.backlog_s is None else round(known.backlog_s, 1),
        run_s=None if known is None or known.run_s is None else round(known.run_s, 2),
        servers=known.servers if known else 0,
        runners=len(known.runners) if known else 0,
    )


def backends_of(
    sample: FarmSample, held: Iterable[Job], boots: Mapping[tuple[str, str], str]
) -> list[FarmBackend]:
    """Return the servers, by what people call them, each with the jobs that are there."""
    runs, firsts = _runs(held), dict[str, BackendStatus]()
    for one in sample.backends:
        firsts.setdefault(one.name, one)
    found = list[FarmBackend]()
    for one in sample.backends:
        there = runs.get((one.server, ""), []) if one.server else []
        # A loopback address is another server on each host: the first is taken to be meant.
        if firsts[one.name] is one or not is_loopback(one.name):
            there = [*there, *runs.get(("", one.name), [])]
        found.append(_backend(one, sample, there, boots))
    return sorted(found, key=lambda one: (one.name, one.address, one.server))


def _runs(held: Iterable[Job]) -> dict[tuple[str, str], list[str]]:
    """Return the jobs at each server, by its identity, or by its address where it has none."""
    found: dict[tuple[str, str], list[str]] = {}
    for job in held:
        if job.may_be_alive:
            is_known = bool(job.server) and not job.server.startswith(ON_HOST)
            key = (job.server, "") if is_known else ("", job.backend)
            found.setdefault(key, []).append(job.job_id)
    return found


def _backend(
    one: BackendStatus,
    sample: FarmSample,
    runs: Sequence[str],
    boots: Mapping[tuple[str, str], str],
) -> FarmBackend:
    unseen_s = _silence(one.unseen_s)
    is_out = bool(one.retired_by or one.drained_by)
    return FarmBackend(
        name=one.title or one.name,
        address=one.name,
        server=one.server,
        up=not (unseen_s or one.why or is_out),
        why=one.why,
        retired=one.retired_by,
        drained=one.drained_by,
        unseen_s=unseen_s,
        slots=one.slots,
        busy=one.busy,
        labels=one.labels,
        boot=boots.get((one.name, one.server), ""),
        models=sample.models.get((one.name, one.server)),
        runs=tuple(runs[:RUNS_LIMIT]),
        runs_besides=max(0, len(runs) - RUNS_LIMIT),
    )


def runners_of(sample: FarmSample) -> list[FarmRunner]:
    """Return the runners, by name."""
    slots = {one.title or one.name: one.slots for one in sample.backends}
    return [
        FarmRunner(
            name=one.name,
            host=one.host,
            version=one.version,
            queues=one.queues,
            backends=one.backends,
            leases=one.jobs,
            slots=sum(slots.get(name, 0) for name in one.backends),
            draining=one.is_draining,
            drained_by=one.drained_by,
            since_ms=one.since_ms,
            unseen_s=_silence(one.unseen_s),
        )
        for one in sample.runners
    ]


def running_of(held: Iterable[Job], user: str | None) -> tuple[list[JobSummary], int]:
    """Return the jobs that runners hold, the one that was claimed first first, and how many more
    there are than are returned; of one user, or of all for None."""
    found = [job for job in held if user in (None, job.user)]
    found.sort(key=lambda job: (job.claimed_at_ms, job.job_id))
    return [summary_of(job) for job in found[:RUNNING_LIMIT]], max(0, len(found) - RUNNING_LIMIT)


def alarms_of(findings: Iterable[Finding]) -> list[Alarm]:
    """Return what is to be changed, what keeps jobs from running first."""
    found = [
        Alarm(
            severity="error" if one.what.startswith(STOPPING) else "warning",
            what=one.what,
            text=f"{one.what}: {one.found}",
            advice=one.advice,
        )
        for one in findings
        if one.advice
    ]
    return sorted(found, key=lambda one: one.severity)[:ALARMS_LIMIT]


def _silence(unseen_s: float) -> float:
    """Return a silence that is worth telling: what lives is heard of every 2 s."""
    return 0.0 if unseen_s < UNSEEN_S else round(unseen_s)
