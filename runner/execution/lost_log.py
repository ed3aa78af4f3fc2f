"""What a runner does when the log knows less of a job than the runner has seen.

Rule: name the job, put back what only this runner still knows, and let the ordinary recovery do
the rest: ComfyUI may hold attempts that the log has forgotten, and is asked for them.
"""

from __future__ import annotations

import logging

import anyio

from everfold.projector.job.job import Job
from everfold.runner.backend import Absent, Unreachable
from everfold.runner.decisions.attempts import attempt_of
from everfold.runner.execution.fleet import Berth, Fleet
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.errors import EverfoldError, Fenced, JobUnknown, Refused
from everfold.streams.events.record import entry_order
from everfold.streams.reading.reader import job_events
from everfold.streams.reading.readers import trimmed_to
from everfold.streams.retention.lost_writes import LostWrites, record_lost_writes

logger = logging.getLogger("everfold.runner")

ASK_WITHIN_S = 5.0


def log_went_back(error: EverfoldError, lease: Lease) -> bool:
    """Say whether a refused append shows that the log has forgotten this lease."""
    if isinstance(error, Fenced):
        return error.current_epoch < lease.epoch
    return isinstance(error, JobUnknown)


async def put_back(log: Log, seen: Job, graph: bytes | None) -> None:
    """Name a job that went back in time; submit it again where even its submit was lost."""
    try:
        events = await job_events(log, seen.job_id)
        found_seq = events[-1].seq if events else 0
    except JobUnknown:
        if await _was_trimmed(log, seen):
            return
        if graph is None or not await _submit_again(log, seen, graph):
            logger.error("job_lost_by_server job=%s seen_seq=%s", seen.job_id, seen.seq)
            return
        found_seq = 0
    logger.warning(
        "log_went_back job=%s seen_seq=%s found_seq=%s", seen.job_id, seen.seq, found_seq
    )
    await record_lost_writes(log, LostWrites(seen.job_id, seen.seq, found_seq))


async def _was_trimmed(log: Log, seen: Job) -> bool:
    """Say whether the job is unknown because it has ended and its events were trimmed.

    Nothing of an open job is ever trimmed, and a server that lost its writes lost this mark too.
    """
    gone = await trimmed_to(log, log.keys.partition_of(seen.job_id))
    return entry_order(gone.entry_id) >= entry_order(seen.entry_id)


async def _submit_again(log: Log, seen: Job, graph: bytes) -> bool:
    try:
        await log.submit(
            graph,
            kind=seen.kind,
            user=seen.user,
            metadata=seen.metadata,
            idempotency_key=seen.idempotency_key or None,
            job_id=seen.job_id,
            queue=seen.queue,
            priority=seen.priority,
            policy=seen.policy,
        )
    except Refused:
        return False  # it was submitted anew with something else meanwhile
    return True


async def find_forgotten(fleet: Fleet, log: Log, job_id: str, number: int) -> Berth | None:
    """Return the backend that holds an attempt which the log does not know of.

    A backend that does not answer in time is not waited for: it may be gone for good.
    """
    prompt_id = attempt_of(job_id, number, log.generation).prompt_id
    found: list[Berth] = []

    async def ask(berth: Berth, scope: anyio.CancelScope) -> None:
        truth = await berth.backend.truth(prompt_id, "")
        if not isinstance(truth, Absent | Unreachable):
            found.append(berth)
            scope.cancel()

    with anyio.move_on_after(ASK_WITHIN_S):
        async with anyio.create_task_group() as tasks:
            for berth in fleet.berths:
                tasks.start_soon(ask, berth, tasks.cancel_scope)
    return found[0] if found else None
