"""What an operator does with queues: look at them, pause them, limit them, and reorder their jobs.

Rule: every change is noted with its actor before it is done, see `Operations.acts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, cast

from msgspec import Struct

from everfold.projector.reading.queries import get
from everfold.streams.appending.log import Log
from everfold.streams.border.plain import Plain
from everfold.streams.errors import QueueUnknown
from everfold.streams.events.checks import check_choice, check_job, check_name, check_text
from everfold.streams.events.limits import REASON_LIMIT
from everfold.streams.events.record import entry_time_ms
from everfold.streams.leases.acts import note_act
from everfold.streams.leases.registry import registered_runners
from everfold.streams.queues.limits import (
    Limit,
    Scope,
    What,
    check_limit,
    limits,
    remove_limit,
    set_limit,
)
from everfold.streams.queues.queue_control import (
    change_priority,
    pause_queue,
    paused_queues,
    resume_queue,
)
from everfold.streams.queues.queue_counts import count_running
from everfold.streams.queues.waiting_jobs import first_fields, position, queue_length
from everfold.streams.redis.each import each
from everfold.streams.redis.keys import PRIORITIES
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import server_time_ms

if TYPE_CHECKING:
    from everfold.why.reason import Why

DEFAULT_QUEUE = "default"


class QueueStatus(Plain, Struct, frozen=True, kw_only=True):
    """One queue: what waits and runs there, who serves it, and whether it is paused."""

    name: str
    waiting: int
    """Jobs that any runner could take now; not those that wait for a time."""
    running: int
    """Jobs that runners hold."""
    runners: tuple[str, ...]
    """Names of the registered runners that serve it."""
    oldest_s: float
    """How long ago the oldest of the jobs that stand first was submitted, 0 without any."""
    paused_by: str = ""
    """Who paused it, empty while it is not paused."""
    paused_at_ms: int = 0
    pause_reason: str = ""


class QueueOperations:
    """The calls of `Everfold` that concern queues."""

    log: Log

    async def queues(self) -> Sequence[QueueStatus]:
        """Return every queue that ever held a job, or that a runner serves, by name."""
        log, paused = self.log, await paused_queues(self.log)
        serving, now_ms = await serving_runners(log), await server_time_ms(log.redis)
        found = list[QueueStatus]()
        for name in sorted({*await queue_names(log), *serving, *paused}):
            pause, waiting = paused.get(name), await queue_length(log, name)
            [running] = await count_running(log, [("queue", name)])
            first_ms = await _oldest_ms(log, name) if waiting else None
            status = QueueStatus(
                name=name,
                waiting=waiting,
                running=running,
                runners=serving.get(name, ()),
                oldest_s=max(0.0, (now_ms - first_ms) / 1000) if first_ms else 0.0,
                paused_by=pause.actor if pause else "",
                paused_at_ms=pause.at_ms if pause else 0,
                pause_reason=pause.reason if pause else "",
            )
            found.append(status)
        return found

    async def pause_queue(self, name: str, reason: str = "") -> bool:
        """Let no runner take jobs of a queue; what runs goes on. False when it was paused before.

        A repeat replaces actor and reason. Raises QueueUnknown, which names the nearest one.
        """
        name, reason = check_name("queue", name), check_text("reason", reason, most=REASON_LIMIT)
        await self.log.make()
        await self._check_queue(name)
        await note_act(self.log, "pause_queue", name, reason)
        return await pause_queue(self.log, name, reason)

    async def resume_queue(self, name: str) -> bool:
        """Let runners take jobs of a queue again. False when it was not paused.

        Raises QueueUnknown, which names the nearest one.
        """
        name = check_name("queue", name)
        await self._check_queue(name)
        await note_act(self.log, "resume_queue", name)
        return await resume_queue(self.log, name)

    async def limits(self) -> Sequence[Limit]:
        """Return the limits of the namespace, in order."""
        return await limits(self.log)

    async def set_limit(self, what: What, scope: Scope, name: str, number: float) -> None:
        """Set a limit, which counts from the next claim or submit on.

        `what` is "running" (jobs at once of a queue, user or kind), "waiting" (jobs of a queue,
        a submit beyond raises QueueFull) or "share" (turns of a user for one of others); `name`
        may be "*" for each one without a limit of its own. Raises InvalidName.
        """
        await note_and_set(self.log, check_limit(Limit(what, scope, name, number)))

    async def remove_limit(self, what: What, scope: Scope, name: str) -> bool:
        """Remove a limit. False when there was none."""
        gone = check_limit(Limit(what, scope, name, 1))
        await note_act(self.log, "remove_limit", _subject(gone))
        return await remove_limit(self.log, gone.what, gone.scope, gone.name)

    async def change_priority(self, job_id: str, priority: str) -> str:
        """Give a waiting job the priority high, normal or low; return the one that it had.

        It stands behind the jobs of its user that wait with that priority. Raises JobUnknown,
        JobClosed, JobLeased for a job that a runner has, or InvalidName.
        """
        chosen = check_choice("priority", priority, PRIORITIES)
        job_id = check_job(job_id)
        await get(self.log, job_id)
        await note_act(self.log, "set_priority", job_id, chosen)
        return await change_priority(self.log, job_id, chosen)

    async def position(self, job_id: str) -> int | None:
        """Return how many jobs of its queue stand before a waiting job; None for any other job.

        Raises JobUnknown.
        """
        job_id = check_job(job_id)
        found = await position(self.log, job_id)
        if found is None:
            await get(self.log, job_id)
        return found

    async def why(self, job_id: str) -> Why:
        """Return why a job waits, or does what it does: a code, a sentence, and the values in it.

        docs/REASONS.md explains the codes. Works without a projector and without a runner. Raises
        JobUnknown.
        """
        # Here, because most programs never ask.
        from everfold.why.gathering import why

        return await why(self.log, check_job(job_id))

    async def _check_queue(self, name: str) -> None:
        """Raise QueueUnknown for a queue that neither jobs nor runners name."""
        known = {DEFAULT_QUEUE, *await queue_names(self.log), *await serving_runners(self.log)}
        known |= {*await paused_queues(self.log)}
        if name not in known:
            raise QueueUnknown(name, tuple(sorted(known)))


async def note_and_set(log: Log, limit: Limit, origin: str = "") -> None:
    """Set a limit as the log's actor; `origin` says where it comes from, if not from a call."""
    detail = f"{check_limit(limit).number:g}" + (f" by {origin}" if origin else "")
    await log.make()
    await note_act(log, "set_limit", _subject(limit), detail)
    await set_limit(log, limit)


async def apply_limits(log: Log, wanted: Iterable[Limit], origin: str) -> list[Limit]:
    """Set the limits that differ from what is stored; others stay. Return those that were set."""
    stored = set(await limits(log))
    changed = [limit for limit in wanted if limit not in stored]
    for limit in changed:
        await note_and_set(log, limit, origin)
    return changed


def _subject(limit: Limit) -> str:
    return f"{limit.what} {limit.scope} {limit.name}"


async def queue_names(log: Log) -> frozenset[str]:
    """Return the names of the queues that ever held a job. Raises a leaf of Unavailable."""

    async def read(partition: int) -> Iterable[bytes]:
        found = await command(log.redis, "SMEMBERS", log.keys.queues(partition))
        return cast("Iterable[bytes]", found)

    found = (await each(log, read)).all()
    return frozenset(name.decode(errors="replace") for names in found for name in names)


async def serving_runners(log: Log) -> dict[str, tuple[str, ...]]:
    """Return the registered runners by the queues that they serve; those that drain are left out.

    Raises a leaf of Unavailable.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, entry in sorted((await registered_runners(log)).items()):
        for queue in () if entry.is_draining else entry.queues:
            found[queue] = (*found.get(queue, ()), name)
    return found


async def _oldest_ms(log: Log, queue: str) -> int | None:
    """Return when the oldest of the jobs that stand first in their line was submitted."""
    firsts = [first for (first,) in await first_fields(log, queue, "first") if first]
    return min((entry_time_ms(first.decode()) for first in firsts), default=None)
