"""`everfold consumers`: who consumes the stream, how far, and what to do when one is stuck."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from cyclopts import App
from rich.table import Table

from everfold.commands.session import DEFAULT, Session
from everfold.commands.words import ago, console, emit, plain_table, span
from everfold.projector.reading.lag import COUNT_LIMIT
from everfold.projector.subscribing import admin
from everfold.projector.subscribing.delivery import Filter
from everfold.projector.subscribing.held import Held
from everfold.projector.subscribing.status import (
    HeldJob,
    SubscriptionStatus,
    description_of,
    held_jobs,
    subscription_status,
    subscriptions,
)
from everfold.projector.subscribing.subscription import BEGINNING, NOW
from everfold.streams.appending.log import Log
from everfold.streams.errors import Refused

consumers = App(name="consumers", help="See who consumes the stream, and steer them.")


@consumers.command
async def ls(*, session: Session = DEFAULT) -> int:
    """List the subscriptions: how far behind each is, and what waits or is parked."""
    async with session.open() as everfold:
        log = everfold.log
        found = {name: await subscription_status(log, name) for name in await subscriptions(log)}
    if session.json:
        for name, rows in found.items():
            emit({"subscription": name, **_sum(rows)})
    elif found:
        console.print(_list(found))
    else:
        console.print("nobody consumes the stream; see docs/CONSUMING.md")
    return 0


def _sum(rows: Sequence[SubscriptionStatus]) -> dict[str, int | float]:
    return {
        "consumers": len({row.owner for row in rows} - {""}),
        "behind_events": sum(row.lag_events for row in rows),
        "behind_s": max(row.lag_s for row in rows),
        "delivered": sum(row.delivered for row in rows),
        "failed": sum(row.failed for row in rows),
        "left_out": sum(row.left_out for row in rows),
        "waiting": sum(row.waiting for row in rows),
        "parked": sum(row.parked for row in rows),
        "oldest_held_s": max(row.oldest_held_s for row in rows),
    }


def _list(found: dict[str, list[SubscriptionStatus]]) -> Table:
    widths = {"behind": 7, "for": 6, "delivered": 9, "waiting": 7, "parked": 6, "oldest": 6}
    table = plain_table({"subscription": 12, **widths}, "consumers")
    for name, rows in found.items():
        told = _sum(rows)
        stuck = told["parked"] or (told["behind_events"] and not told["consumers"])
        table.add_row(
            name,
            _count(told["behind_events"]),
            span(told["behind_s"]) if told["behind_events"] else "-",
            f"{told['delivered']:,}",
            str(told["waiting"] or "-"),
            str(told["parked"] or "-"),
            span(told["oldest_held_s"]) if told["waiting"] or told["parked"] else "-",
            str(told["consumers"] or "nobody"),
            style="red" if stuck else "",
        )
    return table


def _count(events: float) -> str:
    return f"{events:,}" + ("+" if events >= COUNT_LIMIT else "")


@consumers.command
async def show(name: str, *, session: Session = DEFAULT) -> int:
    """Show a subscription by partition: what it wants, who has it, how far it is."""
    async with session.open() as everfold:
        description = await description_of(everfold.log, name)
        rows = await subscription_status(everfold.log, name)
    if session.json:
        emit({"subscription": name, "about": description, "partitions": rows})
        return 0
    console.print(f"{name}  {description.about}, {_wanted(description.wants)}", markup=False)
    widths = {"partition": 9, "behind": 7, "for": 6, "delivered": 9, "failed": 6}
    table = plain_table({**widths, "left out": 8, "waiting": 7, "parked": 6}, "consumer")
    for row in rows:
        table.add_row(
            str(row.partition),
            _count(row.lag_events),
            span(row.lag_s) if row.lag_events else "-",
            f"{row.delivered:,}",
            *(str(count or "-") for count in (row.failed, row.left_out, row.waiting, row.parked)),
            row.owner or "nobody",
        )
    console.print(table)
    return 0


def _wanted(wants: Filter) -> str:
    told = [
        f"{what} {', '.join(names)}"
        for what, names in (("types", wants.types), ("kinds", wants.kinds), ("users", wants.users))
        if names
    ]
    return "; ".join(told) or "all events"


@consumers.command
async def parked(name: str, *, waiting: bool = False, session: Session = DEFAULT) -> int:
    """List the jobs that a subscription has parked, the oldest first, with the reason.

    Parameters
    ----------
    waiting
        Those too that will be tried again by themselves.
    """
    async with session.open() as everfold:
        await description_of(everfold.log, name)
        found = await held_jobs(everfold.log, name, only_parked=not waiting)
    if session.json:
        for job in found:
            emit(job)
    else:
        for job in found:
            _tell(job)
        if not found:
            console.print("no job is parked" + (" or waits" if waiting else ""))
    return 0


def _tell(job: HeldJob) -> None:
    """Two lines: the reason is what matters, and it is long."""
    held = job.held
    tries = f", {held.failures} tries" if held.failures else ""
    console.print(f"{job.job_id}  event {held.seq}, {ago(held.at_ms)} old{tries}, {_due(held)}")
    console.print(f"    {held.why}", markup=False)


def _due(held: Held) -> str:
    if held.next_try_ms is None:
        return "parked"
    left_s = held.next_try_ms / 1000 - datetime.now(UTC).timestamp()
    return f"next try in {span(left_s)}" if left_s > 0 else "to be tried now"


@consumers.command
async def retry(name: str, job_id: str = "", *, session: Session = DEFAULT) -> int:
    """Deliver a held job's event again now; without a job, those of all parked jobs."""
    async with session.open() as everfold:
        if job_id:
            await admin.retry(everfold.log, name, job_id)
            console.print(f"{job_id} is tried again", markup=False)
        else:
            count = await admin.retry_all(everfold.log, name)
            console.print(f"{count} parked job(s) of {name} are tried again", markup=False)
        await _say_if_nobody(everfold.log, name)
    return 0


@consumers.command
async def skip(name: str, job_id: str, *, session: Session = DEFAULT) -> int:
    """Go on with a held job after the event that it is held at, which is not delivered."""
    async with session.open() as everfold:
        await admin.skip(everfold.log, name, job_id)
        console.print(f"{job_id} goes on after that event", markup=False)
        await _say_if_nobody(everfold.log, name)
    return 0


@consumers.command
async def reset(name: str, *, to: str, session: Session = DEFAULT) -> int:
    """Begin again at a place, as if the subscription had been made there.

    Everything after it is delivered, again too; what is held or parked is forgotten.

    Parameters
    ----------
    to
        beginning, now, an entry id (1700000000000-0), or a time (2026-01-31T12:00:00Z).
    """
    place = _place(to)
    async with session.open() as everfold:
        held = await admin.reset(everfold.log, name, place)
        console.print(f"{name} begins again at {to}; {held} held job(s) forgotten", markup=False)
        await _say_if_nobody(everfold.log, name)
    return 0


@consumers.command
async def rm(name: str, *, session: Session = DEFAULT) -> int:
    """Remove a subscription, once its consumers are stopped: it holds the log's trim no more."""
    async with session.open() as everfold:
        rows = await subscription_status(everfold.log, name)
        at_work = sorted({row.owner for row in rows if row.owner})
        if at_work:
            raise Refused(f"{name} is consumed by {', '.join(at_work)}; stop that first")
        await admin.remove(everfold.log, name)
    console.print(f"{name} is removed", markup=False)
    return 0


def _place(to: str) -> str:
    """Return what `admin.reset` understands; times are written as people write them."""
    if to in (BEGINNING, NOW) or (to.replace("-", "").isdigit() and len(to) > 10):
        return to
    try:
        moment = datetime.fromisoformat(to)
    except ValueError as error:
        raise Refused(
            f"{to!r} is no place; write beginning, now, an entry id such as 1700000000000-0, or a "
            "time such as 2026-01-31T12:00:00Z"
        ) from error
    return str(int(moment.timestamp() * 1000))


async def _say_if_nobody(log: Log, name: str) -> None:
    if not any(row.owner for row in await subscription_status(log, name)):
        console.print("as soon as a consumer runs: nobody does now")
