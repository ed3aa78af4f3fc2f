"""Repairs a job whose newest events the server has lost in a restart or a failover.

Rule: record which job is affected, and restore what only this runner still knows. The ordinary
recovery does the rest: a backend may hold an attempt that the log no longer knows.
"""

from __future__ import annotations

import anyio

from everfold.projector.job.job import Job
from everfold.runner.backend import Absent, Attempt, Unreachable
from everfold.runner.execution.backend_state import BackendState
from everfold.runner.execution.fleet import Fleet
from everfold.streams.appending.job_input import JobInput
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import EverfoldError, Fenced, JobUnknown, Refused
from everfold.streams.events.record import entry_order
from everfold.streams.reading.reader import job_events
from everfold.streams.reading.readers import trimmed_to
from everfold.streams.retention.lost_writes import LostWrites, record_lost_writes

logger = get_logger("everfold.runner")

ASK_WITHIN_S = 5.0

RESTORED_WAITS_S = 2.0
"""How long a job that was submitted again waits. Its history says by then that events were lost:
whoever takes it before that would not look for the attempt that still runs."""


def has_lost_writes(error: EverfoldError, lease: Lease) -> bool:
    """Return whether a refused append shows that the server has forgotten this lease."""
    if isinstance(error, Fenced):
        return error.current_epoch < lease.epoch
    return isinstance(error, JobUnknown)


async def restore_job(log: Log, seen: Job, sent: JobInput | None) -> None:
    """Record which events of `seen` were lost; submit the job again when all of them were.

    `seen` is the newest state that the server had acknowledged to this runner, `sent` what the job
    sends. A job that was lost as a whole, and for which this runner does not know that, stays lost:
    an error is logged. Does nothing to a job that has ended and was trimmed. Raises EverfoldError
    when the server refuses or is away.
    """
    await log.check_level()  # in a namespace that was made anew the job would have two addresses
    try:
        events = await job_events(log, seen.job_id)
        found_seq = events[-1].seq if events else 0
    except JobUnknown:
        if await _was_trimmed(log, seen):
            return
        if sent is None or not await _submit_again(log, seen, sent):
            logger.error("job_lost_by_server job=%s seen_seq=%s", seen.job_id, seen.seq)
            return
        found_seq = 0
    logger.warning(
        "job_lost_writes job=%s seen_seq=%s found_seq=%s", seen.job_id, seen.seq, found_seq
    )
    await record_lost_writes(log, LostWrites(seen.job_id, seen.seq, found_seq))


async def _was_trimmed(log: Log, seen: Job) -> bool:
    """Return whether the job is unknown because it has ended and its events were trimmed.

    Nothing of an open job is ever trimmed, and a server that lost its writes lost this mark too.
    """
    gone = await trimmed_to(log, log.keys.partition_of(seen.job_id))
    return entry_order(gone.entry_id) >= entry_order(seen.entry_id)


async def _submit_again(log: Log, seen: Job, sent: JobInput) -> bool:
    seen = await log.opened(seen, seen.job_id)
    try:
        await log.submit(
            sent.workflow,
            kind=seen.kind,
            user=seen.user,
            metadata=seen.metadata,
            idempotency_key=seen.idempotency_key or None,
            job_id=seen.job_id,
            queue=seen.queue,
            priority=seen.priority,
            policy=seen.policy,
            batch=seen.batch,
            tags=seen.tags,
            needs=seen.needs,
            rerun_of=seen.rerun_of,
            delay_s=RESTORED_WAITS_S,
            extra_data=sent.extra_data,
            partner_keys=sent.partner_keys,
            inputs=seen.inputs,
            traceparent=seen.trace,
            callback=sent.callback,
        )
    except Refused:
        return False  # its id or key was given to something else in the meantime
    return True


async def find_unrecorded(fleet: Fleet, attempt: Attempt) -> BackendState | None:
    """Return the listed backend that holds an attempt which the log does not know.

    None when no backend says within ASK_WITHIN_S that it has it: one that does not answer may be
    gone for good.
    """
    found: list[BackendState] = []

    async def ask(state: BackendState, scope: anyio.CancelScope) -> None:
        truth = await state.backend.truth(attempt.prompt_id, "")
        if not isinstance(truth, Absent | Unreachable):
            found.append(state)
            scope.cancel()

    with anyio.move_on_after(ASK_WITHIN_S):
        async with anyio.create_task_group() as tasks:
            for state in fleet.states:
                tasks.start_soon(ask, state, tasks.cancel_scope)
    return found[0] if found else None
