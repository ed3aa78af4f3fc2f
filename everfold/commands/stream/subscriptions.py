"""`everfold subscriptions`: who reads the stream, with what lag, and what to do with held jobs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated

from cyclopts import App, Parameter

from everfold.commands.formats import ago, span
from everfold.commands.options import SubscriptionName, chosen
from everfold.commands.output import emit, say
from everfold.commands.session import DEFAULT, Session
from everfold.commands.stream.sinks import start_point
from everfold.projector.reading.lag import COUNT_LIMIT
from everfold.projector.reading.short_ids import find_job_id
from everfold.projector.subscribing import admin
from everfold.projector.subscribing.delivery import Filter
from everfold.projector.subscribing.held import Held
from everfold.projector.subscribing.status import (
    HeldJob,
    SubscriptionSummary,
    description_of,
    held_jobs,
    subscription_status,
    subscription_summary,
)
from everfold.projector.subscribing.status import subscriptions as all_subscriptions
from everfold.streams.appending.log import Log
from everfold.streams.border.quantity import quantity
from everfold.streams.errors import Refused

subscriptions = App(
    name="subscriptions", help="List who reads the stream; retry or skip held jobs; reset, remove."
)


@subscriptions.command
async def ls(*, session: Session = DEFAULT) -> int:
    """List the subscriptions, with their lag and their waiting and parked jobs."""
    async with session.log() as log:
        found = [await subscription_summary(log, name) for name in await all_subscriptions(log)]
    session.show(
        found,
        {
            "subscription": lambda row: row.subscription,
            "lag": lambda row: _count(row.behind_events),
            "lag time": lambda row: span(row.behind_s) if row.behind_events else "-",
            "delivered": lambda row: row.delivered,
            "waiting": lambda row: row.waiting,
            "parked": lambda row: row.parked,
            "oldest": lambda row: span(row.oldest_held_s) if row.waiting or row.parked else "-",
            "consumers": lambda row: row.consumers or "none",
        },
        empty="there are no subscriptions; see docs/CONSUMING.md",
        style=lambda row: "red" if _is_stuck(row) else "",
    )
    return 0


def _is_stuck(row: SubscriptionSummary) -> bool:
    return bool(row.parked or (row.behind_events and not row.consumers))


def _count(events: int) -> str:
    return f"{events:,}" + ("+" if events >= COUNT_LIMIT else "")


@subscriptions.command
async def show(name: SubscriptionName, *, session: Session = DEFAULT) -> int:
    """Show a subscription by partition: its lag, its held jobs, and the consumer that has it."""
    async with session.log() as log:
        description = await description_of(log, name)
        rows = await subscription_status(log, name)
    if session.json:
        emit({"subscription": name, "about": description, "partitions": rows})
        return 0
    say(f"{name}  {description.about}, {_wanted(description.wants)}")
    session.show(
        rows,
        {
            "partition": lambda row: str(row.partition),
            "lag": lambda row: _count(row.lag_events),
            "lag time": lambda row: span(row.lag_s) if row.lag_events else "-",
            "delivered": lambda row: row.delivered,
            "failed": lambda row: row.failed,
            "left out": lambda row: row.left_out,
            "waiting": lambda row: row.waiting,
            "parked": lambda row: row.parked,
            "consumer": lambda row: row.owner or "none",
        },
    )
    return 0


def _wanted(wants: Filter) -> str:
    filters = (("types", wants.types), ("kinds", wants.kinds), ("users", wants.users))
    chosen = (f"{what} {', '.join(names)}" for what, names in filters if names)
    return "; ".join(chosen) or "all events"


@subscriptions.command
async def parked(
    name: SubscriptionName, *, waiting: bool = False, session: Session = DEFAULT
) -> int:
    """List the jobs that a subscription has parked, the oldest first, with the reason.

    Parameters
    ----------
    waiting
        Also list the jobs that wait for their next try.
    """
    async with session.log() as log:
        await description_of(log, name)
        found = await held_jobs(log, name, only_parked=not waiting)
    for job in found:
        # Two lines, since the reason is what matters, and it is long.
        session.tell(job, _line(job), f"    {job.held.why}")
    if not found and not session.json:
        say("no job is parked" + (" or waits" if waiting else ""))
    return 0


def _line(job: HeldJob) -> str:
    held = job.held
    tries = f", {held.failures} tries" if held.failures else ""
    return f"{job.job_id}  event {held.seq}, {ago(held.at_ms)} old{tries}, {_next_try(held)}"


def _next_try(held: Held) -> str:
    if held.next_try_ms is None:
        return "parked"
    left_s = held.next_try_ms / 1000 - time.time()
    return f"next try in {span(left_s)}" if left_s > 0 else "next try now"


@subscriptions.command
async def retry(
    name: SubscriptionName,
    job_id: Annotated[str | None, chosen("The held job. Default: all parked jobs.")] = None,
    *,
    session: Session = DEFAULT,
) -> int:
    """Deliver the event of a held job again now, or those of all parked jobs."""
    async with session.log() as log:
        if job_id:
            job_id = await find_job_id(log, job_id)
            await admin.retry(log, name, job_id)
            told: dict[str, object] = {"job_id": job_id}
            sentence = f"{job_id} is tried again"
        else:
            count = await admin.retry_all(log, name)
            sentence = f"{quantity(count, 'parked job')} of {name} to be tried again"
            told = {"retried": count}
        await _tell(log, name, session, told, sentence)
    return 0


@subscriptions.command
async def skip(
    name: SubscriptionName,
    job_id: Annotated[str, Parameter(help="The held job.")],
    *,
    session: Session = DEFAULT,
) -> int:
    """Do not deliver the event that a job is held at, and continue with the one after it."""
    async with session.log() as log:
        job_id = await find_job_id(log, job_id)
        await admin.skip(log, name, job_id)
        sentence = f"{job_id} continues after that event"
        await _tell(log, name, session, {"job_id": job_id}, sentence)
    return 0


@subscriptions.command
async def reset(
    name: SubscriptionName,
    *,
    to: Annotated[str, Parameter(metavar="POINT")],
    session: Session = DEFAULT,
) -> int:
    """Begin again at another point, as if the subscription had been made there.

    Every event after that point is delivered, also those that were delivered before. Held jobs
    are forgotten.

    Parameters
    ----------
    to
        beginning, now, an entry id (1700000000000-0), an age (2h) or a time (2026-01-31T12:00:00Z).
    """
    point = start_point(to)
    async with session.log() as log:
        held = await admin.reset(log, name, point)
        sentence = f"{name} begins again at {to}; {quantity(held, 'held job')} forgotten"
        await _tell(log, name, session, {"to": to, "forgotten": held}, sentence)
    return 0


@subscriptions.command
async def rm(name: SubscriptionName, *, session: Session = DEFAULT) -> int:
    """Remove a subscription whose consumers are stopped; it no longer holds the log's trim."""
    async with session.log() as log:
        rows = await subscription_status(log, name)
        if owners := sorted({row.owner for row in rows if row.owner}):
            raise Refused(f"{name} is consumed by {', '.join(owners)}; stop that first")
        await admin.remove(log, name)
    session.tell({"subscription": name, "is_removed": True}, f"{name} is removed")
    return 0


async def _tell(
    log: Log, name: str, session: Session, told: Mapping[str, object], sentence: str
) -> None:
    """Print what was done to a subscription, and whether a consumer is there to act on it."""
    is_consumed = any(row.owner for row in await subscription_status(log, name))
    more = [] if is_consumed else ["this happens as soon as a consumer runs; none does now"]
    session.tell({"subscription": name, **told, "is_consumed": is_consumed}, sentence, *more)
