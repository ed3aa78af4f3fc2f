"""Gathers what the reason of a job is decided by: its state, its head, and what waits around it.

Rule: everything is read from Redis, so that neither a projector nor a runner has to be there. What
is not needed for the job's phase is not read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import cast

from msgspec import Struct

from everfold.durations import duration_text
from everfold.projector.job.job import Job
from everfold.projector.reading.queries import get
from everfold.runner.capabilities.capability_store import stored_capabilities
from everfold.runner.capabilities.fits import Server, missing, why_none
from everfold.runner.capabilities.object_info import ObjectInfo
from everfold.runner.fleet.backend_state import NOT_ASKED
from everfold.streams.appending.job_input import load_needs
from everfold.streams.appending.log import Log
from everfold.streams.errors import CorruptLog
from everfold.streams.events.needs import Needs
from everfold.streams.leases.backends import BackendEntry, Mark, backend_entries, retired_backends
from everfold.streams.leases.registry import RunnerEntry, registered_runners, silence_s
from everfold.streams.queues.queue_control import paused_queues
from everfold.streams.queues.waiting_jobs import position
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import server_time_ms
from everfold.why.limit_counts import running_counts
from everfold.why.reason import Facts, KnownBackend, ServingRunner, Why, reason

UNSEEN_S = 10.0
"""A backend that no runner has reached for so long is said to be out of reach."""


class _Head(Struct, frozen=True):
    """What a job's head says."""

    seq: int
    phase: str
    is_blocked: bool


async def why(log: Log, job_id: str) -> Why:
    """Return why a job waits, or does what it does.

    Raises JobUnknown, or a leaf of Unavailable.
    """
    return reason(await gathered(log, job_id))


async def gathered(log: Log, job_id: str) -> Facts:
    """Return the facts about a job. Raises as `why` does."""
    head, now_ms = await _head(log, job_id), await server_time_ms(log.redis)
    try:
        job = await log.opened(await get(log, job_id, head.seq), job_id)
    except CorruptLog:
        return Facts(job=Job(job_id=job_id), now_ms=now_ms, is_blocked=True)
    if job.is_terminal:
        return Facts(job=job, now_ms=now_ms)
    known, pauses, entries, retired = await asyncio.gather(
        registered_runners(log), paused_queues(log), backend_entries(log), retired_backends(log)
    )
    is_waiting = head.phase in ("waiting", "later")
    serving = [one for one in known.values() if job.queue in one.queues and not one.is_draining]
    backends = [(entry, _down(entry, retired, now_ms)) for entry in _of(serving, entries)]
    needs = await _needs(log, job) if is_waiting and backends else Needs()
    servers = await _servers(log, [entry for entry, _ in backends] if is_waiting else [])
    lacks = [bool(missing(needs, one.info, one.labels)) for one in servers]
    pause = pauses.get(job.queue)
    at = _at(job, entries)
    return Facts(
        job=job,
        now_ms=now_ms,
        due_ms=await _due_ms(log, job_id) if head.phase == "later" else 0,
        is_blocked=head.is_blocked and head.phase == "later",
        paused_by=pause.actor if pause else "",
        pause_reason=pause.reason if pause else "",
        runners=tuple(_runner(one, job.queue, now_ms) for one in known.values()),
        limits=tuple(await running_counts(log, _limited(job))) if is_waiting else (),
        missing=why_none(servers, needs) if lacks and all(lacks) else "",
        backends=tuple(
            KnownBackend(_name(entry), why, can_run=not lack)
            for (entry, why), lack in zip(backends, lacks or [False] * len(backends), strict=True)
        ),
        at=_name(at) if at else "",
        at_why=_trouble(at, now_ms) if at else "",
        at_busy=at.busy if at else 0,
        position=await position(log, job_id) if is_waiting else None,
    )


async def _head(log: Log, job_id: str) -> _Head:
    asked = ("HMGET", log.keys.head(job_id), "seq", "phase", "blocked")
    seq, phase, blocked = cast("list[bytes | None]", await command(log.redis, *asked))
    whole = int(seq) if seq and seq.isdigit() else 0
    return _Head(whole, (phase or b"").decode(errors="replace"), bool(blocked))


async def _due_ms(log: Log, job_id: str) -> int:
    later = log.keys.later(log.keys.partition_of(job_id))
    score = await command(log.redis, "ZSCORE", later, job_id)
    return int(float(cast("bytes | float", score))) if score is not None else 0


def _runner(entry: RunnerEntry, queue: str, now_ms: int) -> ServingRunner:
    unseen_s = silence_s(entry.seen_ms, now_ms) if entry.seen_ms else 0.0
    return ServingRunner(entry.runner, unseen_s, queue in entry.queues and not entry.is_draining)


def _of(runners: Sequence[RunnerEntry], entries: Iterable[BackendEntry]) -> list[BackendEntry]:
    """Return the backends with which these runners are configured; of each name the newest."""
    found = dict[str, BackendEntry]()
    for entry in entries:  # sorted by name and time
        if any(entry.is_of(url, "", one.host) for one in runners for url in one.backends):
            found[entry.name] = entry
    return [*found.values()]


def _down(entry: BackendEntry, retired: dict[str, Mark], now_ms: int) -> str:
    """Return why a backend takes no jobs, empty while it does."""
    mark = retired.get(entry.server) or retired.get(entry.name)
    if mark is not None:
        return f"{'drained' if mark.is_drain else 'retired'} by {mark.actor}"
    unseen_s = silence_s(entry.seen_ms, now_ms)
    if not entry.why and unseen_s > UNSEEN_S:
        return f"no runner has reached it for {duration_text(unseen_s)}"
    return entry.why


def _trouble(entry: BackendEntry, now_ms: int) -> str:
    """Return why a backend that holds the job is not reached or does not work, empty if it does."""
    why = _down(entry, {}, now_ms)
    return "" if why == NOT_ASKED else why  # a heartbeat from before the job came there


def _name(entry: BackendEntry) -> str:
    return entry.title or entry.name


def _at(job: Job, entries: Iterable[BackendEntry]) -> BackendEntry | None:
    """Return the backend of a job's attempt as it was seen last."""
    if not job.backend:
        return None
    found = [entry for entry in entries if entry.is_of(job.backend, job.server, entry.host)]
    return max(found, key=lambda entry: entry.seen_ms, default=None)


async def _needs(log: Log, job: Job) -> Needs:
    return await load_needs(log, job.job_id, job.stored, job.needs)


async def _servers(log: Log, entries: Sequence[BackendEntry]) -> list[Server]:
    infos = dict[str, ObjectInfo | None]()
    for one in {entry.object_info for entry in entries} - {""}:
        infos[one] = await stored_capabilities(log, one)
    return [
        Server(_name(entry), infos.get(entry.object_info), frozenset(entry.labels))
        for entry in entries
    ]


def _limited(job: Job) -> list[tuple[str, str]]:
    return [("queue", job.queue), ("user", job.user), ("kind", job.kind)]
