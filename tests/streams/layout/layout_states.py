"""For each script the states in which it does what only the spread layout asks of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from everfold.streams.appending.log import Log
from everfold.streams.events.event import Released
from everfold.streams.layout.copies import repair_copies
from everfold.streams.layout.reservations import Wanted
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.queues.limits import Limit, set_limit
from everfold.streams.redis.redis_errors import command
from tests.streams.scripts import script_states as shared

State = Callable[[Log], Awaitable[object]]

GRAPH = shared.GRAPH


@asynccontextmanager
async def spread(log: Log) -> AsyncIterator[Log]:
    """Open a spread namespace beside a shared one."""
    name = log.keys.namespace
    async with Log.open(log.url, namespace=name, partitions=1, spread=True) as other:
        other.retry_for_s = log.retry_for_s
        yield other


def in_spread(state: State) -> State:
    """Return a state of the shared layout in the spread one."""

    async def spread_out(log: Log) -> object:
        async with spread(log) as other:
            return await state(other)

    spread_out.__name__ = f"{state.__name__}_spread"
    return spread_out


async def claim_within_a_limit(log: Log) -> object:
    for name in ("a", "b"):
        await log.submit(GRAPH, job_id=name, user="ada", kind="x")
    await set_limit(log, Limit("running", "user", "*", 1))
    return await Dispatch(log, "r1").claim(0, ["default"], 2)


async def claim_at_a_limit(log: Log) -> object:
    await log.submit(GRAPH, job_id="a", user="ada")
    await set_limit(log, Limit("running", "user", "*", 1))
    await command(log.redis, "SADD", log.keys.running(0, "user", "ada"), log.keys.head("gone"))
    return await Dispatch(log, "r1").claim(0, ["default"], 1)


async def take_over(log: Log) -> object:
    leases = await shared.leased(log, "released", "orphaned")
    await Dispatch(log, "r1").release(leases[0], Released(reason="drain"))
    return await Dispatch(log, "r2").take_over(0, shared.NORMAL, idle_limit_s=0, most=2)


async def reserve(log: Log) -> object:
    wanted = {"running user ada": Wanted(3, 2), "running kind x": Wanted(1, 2)}
    async with log.spread.reservations.reserved(wanted) as granted:
        return granted


async def change_copies(log: Log) -> object:
    await set_limit(log, Limit("running", "user", "ada", 1))
    await command(log.redis, "HSET", log.keys.limits(), "running user bob", 1)
    return await repair_copies(log)


async def copy_pauses(log: Log) -> object:
    await command(log.redis, "HSET", log.keys.paused_at(0), "old", "{}")
    await command(log.redis, "HSET", log.keys.paused(), "default", "{}")
    return await repair_copies(log)


STATES: dict[str, tuple[State, ...]] = {
    "append": tuple(map(in_spread, (shared.end, shared.end_waiting, shared.append_many))),
    "change_priority": (in_spread(shared.give_priority),),
    "claim": tuple(map(in_spread, (shared.claim, claim_within_a_limit, claim_at_a_limit))),
    "copy_hash": (in_spread(change_copies), in_spread(copy_pauses)),
    "count_running": (in_spread(claim_at_a_limit),),
    "promote": (in_spread(shared.promote),),
    "promote_blocked": (in_spread(shared.promote_blocked),),
    "release": tuple(map(in_spread, (shared.release, shared.wait))),
    "reserve": (in_spread(reserve),),
    "submit": tuple(map(in_spread, (shared.submit, shared.submit_to_a_bounded_queue))),
    "take_over": (in_spread(take_over),),
    "take_places": (in_spread(shared.submit),),
}
"""Script -> its states."""
