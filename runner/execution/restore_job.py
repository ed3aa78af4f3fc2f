"""Repairs a job whose newest events the server has lost in a restart or a failover.

Rule: record which job is affected, and restore what only this runner still knows. The ordinary
recovery does the rest: a backend may hold an attempt that the log no longer knows.
"""

from __future__ import annotations

from contextlib import suppress

import anyio

from everfold.projector.job.fold import fold
from everfold.projector.job.job import Job
from everfold.runner.backend import Absent, Attempt, Unreachable
from everfold.runner.decisions.attempts import forgotten
from everfold.runner.execution.known_submit import KnownSubmit
from everfold.runner.fleet.backend_state import BackendState
from everfold.runner.fleet.fleet import Fleet
from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.appending.memory.lost_writes import LastSeen
from everfold.streams.appending.outcomes import Lease
from everfold.streams.errors import Conflict, EverfoldError, Fenced, JobUnknown, LeaseLost
from everfold.streams.events.record import entry_order
from everfold.streams.reading.reader import job_events
from everfold.streams.reading.readers import trimmed_to

ASK_WITHIN_S = 5.0


def has_lost_writes(error: EverfoldError, lease: Lease) -> bool:
    """Return whether a refused append shows that the server has forgotten this lease."""
    if isinstance(error, Fenced):
        return error.current_epoch < lease.epoch
    return isinstance(error, JobUnknown)


async def restore_job(log: Log, seen: Job, submitted: KnownSubmit | None) -> None:
    """Record which events of `seen` were lost; submit the job again when all of them were, and
    tell what is known of an attempt that may be alive.

    `seen` is the newest state that the server had acknowledged to this runner. A job that was lost
    as a whole, and of which this runner does not know the submit, stays lost: an error is logged.
    Does nothing to a job that has ended and was trimmed. Raises EverfoldError when the server
    refuses or is away.
    """
    await log.check_level()  # in a namespace that was made anew the job would have two addresses
    if await _was_trimmed(log, seen):
        return
    if submitted is not None:
        log.memory.note_submit(*submitted)
    lost = LastSeen(seen.job_id, seen.seq, seen.entry_id)
    await log.memory_watch.put_back.put_back(seen.job_id, lost)
    with suppress(JobUnknown, Conflict, LeaseLost):
        found = fold(await job_events(log, seen.job_id))
        for number, event in enumerate(forgotten(seen, found)):
            # While nobody has it: whoever takes it is to know of the attempt.
            expected = found.seq + number
            await log.append(seen.job_id, event, epoch=UNLEASED, expected=expected)


async def _was_trimmed(log: Log, seen: Job) -> bool:
    """Return whether the job is unknown because it has ended and its events were trimmed.

    Nothing of an open job is ever trimmed, and a server that lost its writes lost this mark too.
    """
    gone = await trimmed_to(log, log.keys.partition_of(seen.job_id))
    return entry_order(gone.entry_id) >= entry_order(seen.entry_id)


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
