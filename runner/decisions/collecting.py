"""What follows once the files of an attempt that has ended were collected, as far as that went.

Rule: pure. Only `require` makes more of a missing file than a mark. What a later try may store is
tried again, by this runner or another, at no cost of a retry, for `backend_away_s` after the end.
"""

from __future__ import annotations

from collections.abc import Collection

from everfold.projector.job.job import Job
from everfold.runner.backend import Ended
from everfold.runner.decisions import endings
from everfold.runner.decisions.actions import Action, DecisionInputs, Finish, HandOver, Postpone
from everfold.runner.decisions.decide import failed
from everfold.runner.decisions.output_files import Why
from everfold.streams.events.event import Canceled, Succeeded, Terminal

LATER = frozenset[Why](("unreachable", "store_full"))
"""A later try may store what these words are said of."""
ELSEWHERE = frozenset[Why](("gone", "missed", "unreachable"))
"""Another attempt may have the files that this one has lost."""

FIRST_WAIT_S, LONGEST_WAIT_S, WAIT_SHARE = 1.0, 30.0, 0.1
"""The next try waits for this share of the time since the end."""

FAILED_WITHIN_S = 30.0
"""Of an attempt that failed or was canceled, files are tried for no longer: they are extras. Nor of
one that succeeded, from when a cancel is asked."""


CLOCKS_DIFFER_S = 60.0
"""What two clocks may go apart while an attempt runs."""

CRASHES_LIMIT = 10
"""Runners that died over a job in a row: it ends without its files before it takes down more."""


def kills_runners(job: Job) -> bool:
    """Say whether so many runners died over the job that nothing more is tried for its files."""
    return job.crashes_in_a_row >= max(CRASHES_LIMIT, job.policy.crash_limit)


def is_to_collect(job: Job, event: Terminal) -> bool:
    """Say whether the files of the outputs are to be stored before the event is appended."""
    return job.policy.outputs != "keep" and (isinstance(event, Succeeded) or has_outputs(event))


def has_outputs(event: Terminal) -> bool:
    """Say whether an attempt that did not succeed has left outputs."""
    return bool(getattr(event, "outputs", {}))


def after_collection(
    job: Job, event: Terminal, missing: Collection[Why], now: DecisionInputs
) -> Action:
    """Return what to do; `event` has the outputs as collected, `missing` says why files of it that
    the policy means are not stored."""
    if not isinstance(event, Succeeded) or not missing:
        return Finish(event)
    if "unreachable" in missing and now.reachable_elsewhere and not job.is_canceling:
        return HandOver(f"{job.backend} cannot be reached for its outputs")
    if job.policy.outputs != "require":
        return Finish(event)
    if job.is_canceling:
        outputs = event.outputs
        return Finish(Canceled(reason=job.reason, attempt=job.attempt, outputs=outputs))
    why = ", ".join(sorted(missing))
    waited_s, limit_s = _since_end_s(job, event, now), job.policy.backend_away_s
    if LATER.issuperset(missing) and (limit_s is None or waited_s < limit_s):
        after_s = min(max(waited_s * WAIT_SHARE, FIRST_WAIT_S), LONGEST_WAIT_S)
        return Postpone(after_s, why=f"its outputs cannot be stored now ({why})")
    failure = endings.outputs_lost(job, why, retryable=ELSEWHERE.issuperset(missing))
    return failed(job, failure, _ended(event), now)


def _since_end_s(job: Job, event: Succeeded, now: DecisionInputs) -> float:
    """Return how long ago the attempt ended: its start by the log, and its length by the backend.

    The backend's clock may have been set meanwhile. A length that cannot be, longer than all the
    time since the intent, does not count: the tries must come to an end.
    """
    began_ms, ended_ms = event.started_at_ms or 0, event.ended_at_ms or 0
    ran_s = max(0, ended_ms - began_ms) / 1000 if began_ms else 0.0
    since_s = now.since_s(job.started_at_ms or job.submitting_at_ms)
    if ran_s > now.since_s(job.submitting_at_ms or job.started_at_ms) + CLOCKS_DIFFER_S:
        return since_s
    return max(0.0, since_s - ran_s)


def _ended(event: Succeeded) -> Ended:
    return Ended(
        succeeded=False,
        interrupted=False,
        outputs=event.outputs,
        outputs_reused=event.outputs_reused,
        failure=None,
        started_at_ms=event.started_at_ms,
        ended_at_ms=event.ended_at_ms,
    )
