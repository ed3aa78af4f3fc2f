"""`everfold jobs cancel|rerun`: one job, or many that options select.

Rule: nothing is done to many jobs before they were counted and shown, and somebody said yes.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from everfold.client import Everfold, to_json
from everfold.commands.formats import ago
from everfold.commands.jobs.selecting import Selection
from everfold.commands.jobs.submit import pair
from everfold.commands.output import complain, is_terminal, say
from everfold.commands.session import Session
from everfold.many_jobs import ManyDone
from everfold.projector.job.job_filter import JobFilter
from everfold.streams.border.quantity import quantity
from everfold.streams.errors import CorruptLog, JobUnknown, Refused

SHOWN = 5
"""Jobs of many that are shown before something is done to them."""


def check_choice_of_jobs(job_id: str | None, which: Selection, verb: str) -> None:
    """Raise Refused unless either a job is named, or jobs are selected."""
    if job_id and not which.is_empty:
        raise Refused(f"name one job to {verb}, or select jobs by options, not both")
    if not job_id and which.is_empty:
        raise Refused(f"name the job to {verb}, or select jobs, such as with --status or --batch")


async def act_on_many(
    everfold: Everfold,
    verb: str,
    selects: JobFilter,
    act: Callable[[Sequence[str]], Awaitable[ManyDone]],
    session: Session,
    yes: bool,
) -> int:
    """Show which jobs are selected, ask, act, and say what was done; return the exit code."""
    found = await everfold.select(selects)
    if not found:
        session.tell({"selected": 0, "done": False}, "no job is selected")
        return 0
    if not session.json:
        await _show_first(everfold, found)
    if not yes and not _agreed(f"{verb} {quantity(len(found), 'job')}", session):
        told = {"selected": len(found), "done": False}
        session.tell(
            told, f"{quantity(len(found), 'job')} selected, nothing done: add --yes to {verb} them"
        )
        return 0
    done = await act(found)
    for job_id, why in done.refused.items():
        complain(f"{job_id}: {why}")
    counts = ", ".join(f"{name} {count:,}" for name, count in done.outcomes.items())
    session.tell(done, f"{quantity(done.selected, 'job')} selected: {counts}")
    return 1 if done.outcomes.get("refused") else 0


async def _show_first(everfold: Everfold, job_ids: Sequence[str]) -> None:
    for job_id in job_ids[:SHOWN]:
        try:
            job = await everfold.get(job_id)
        except (CorruptLog, JobUnknown):
            continue
        about = "  ".join(text for text in (job.user, job.kind, job.batch) if text)
        say(f"  {job_id}  {job.status}  {ago(job.submitted_at_ms)} old  {about}".rstrip())
    if len(job_ids) > SHOWN:
        say(f"  and {len(job_ids) - SHOWN:,} more")


def _agreed(question: str, session: Session) -> bool:
    """Ask whoever sits at the terminal; False where nobody does."""
    if session.json or not is_terminal() or not sys.stdin.isatty():
        return False
    return input(f"{question}? [y/N] ").strip().lower() in ("y", "yes")


async def rerun_one(
    everfold: Everfold, job_id: str, changes: dict[str, object], session: Session
) -> str:
    """Submit one job again and say so; return the new job's id."""
    job_id = await everfold.find(job_id)
    made = await everfold.rerun(job_id, changes)
    session.tell({"job_id": made, "rerun_of": job_id}, f"{made}  (runs {job_id} again)")
    return made


async def cancel_one(everfold: Everfold, job_id: str, reason: str, session: Session) -> int:
    """Cancel one job, and say what it is then."""
    job_id = await everfold.find(job_id)
    job = await everfold.cancel(job_id, reason)
    is_open = job.status == "canceling"
    rest = ": its runner stops it and checks that it has stopped" if is_open else ""
    session.tell(to_json(job), f"{job_id} {job.status}{rest}")
    return 0


def changes_of(texts: Sequence[str] | None) -> dict[str, object]:
    """Return the changes of NODE.INPUT=VALUE. Raises InvalidName."""
    return dict(pair("--set", text) for text in texts or ())


def with_statuses(selects: JobFilter, statuses: Sequence[str]) -> JobFilter:
    """Return a filter that has these statuses, where it has none."""
    return selects if selects.statuses else replace(selects, statuses=statuses)
