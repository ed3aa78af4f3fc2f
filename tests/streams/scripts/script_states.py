"""For each script of `streams/lua` the states in which it does all that it can do.

Rule: a state is a function that prepares it and then has the script called, once more at least, by
the product's own code. Together the states of a script make it send every command that it has.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import anyio

from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.events.codec import reads
from everfold.streams.events.event import (
    Canceled,
    CancelRequested,
    Failure,
    Policy,
    Progressed,
    Released,
    Retried,
    Succeeded,
)
from everfold.streams.events.record import RawEntry, Recorded
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.fairness import all_lanes
from everfold.streams.queues.limits import Limit, set_limit
from everfold.streams.queues.queue_control import change_priority
from everfold.streams.queues.queue_counts import count_waiting
from everfold.streams.queues.waiting_jobs import peek_pages
from everfold.streams.reading.consumer_group import ConsumerGroup
from everfold.streams.reading.reader import job_events
from everfold.streams.reading.readers import register
from everfold.streams.redis import scripts
from everfold.streams.redis.access import Access, check_access
from everfold.streams.redis.keys import RUNNERS_GROUP
from everfold.streams.redis.pages import count_entries, read_large_hash
from everfold.streams.redis.redis_errors import command
from everfold.streams.retention.importing import import_entries, reopen
from everfold.streams.retention.republish import republish
from everfold.streams.retention.trimming import trim
from everfold.streams.sealing.user_keys import field_of, make_key
from tests.support.network.ciphers import CIPHER

State = Callable[[Log], Awaitable[object]]

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
LANES = all_lanes(["default"])
QUEUES = ["default"]
NORMAL = ("default", "normal")
FAR_MS = 2**41
DONE = Succeeded(attempt=1, outputs={})
RETRIED = Retried(attempt=1, failure=Failure(code="x", message="y"), not_before_ms=FAR_MS)
CANNOT_READ = Released(reason="cannot_read")


async def leased(log: Log, *names: str) -> Sequence[Lease]:
    """Submit jobs and have r1 claim them; return the leases in the same order."""
    for name in names:
        await log.submit(GRAPH, job_id=name)
    return await Dispatch(log, "r1").claim(0, QUEUES, len(names))


async def change_head(log: Log, job_id: str, *fields: str | int) -> None:
    await command(log.redis, "HSET", log.keys.head(job_id), *fields)


async def make_user_key(log: Log) -> object:
    return await make_key(log.redis, log.keys, field_of("ada"), CIPHER)


async def submit(log: Log) -> object:
    return await log.submit(GRAPH, job_id="a", policy=Policy(queue_deadline_s=60))


async def submit_for_later(log: Log) -> object:
    return await log.submit(GRAPH, job_id="a", run_at_ms=FAR_MS)


async def submit_to_a_bounded_queue(log: Log) -> object:
    await set_limit(log, Limit("waiting", "queue", "*", 9))
    await log.submit(GRAPH, job_id="b", user="ada", kind="x")
    return await log.submit(GRAPH, job_id="a", user="ada", kind="x")


async def end(log: Log) -> object:
    await leased(log, "a")
    return await log.append("a", DONE, epoch=1)


async def end_in_later(log: Log) -> object:
    await submit_for_later(log)
    return await log.append("a", Canceled(), epoch=UNLEASED)


async def cancel(log: Log) -> object:
    await submit(log)
    return await log.append("a", CancelRequested(), epoch=0)


async def append_many(log: Log) -> object:
    await leased(log, "a", "b", "c")
    progress = Progressed(attempt=1, value=0.5, nodes_done=0, nodes_total=1)
    async with anyio.create_task_group() as tasks:
        for name, event in (("a", DONE), ("b", progress), ("b", DONE), ("c", progress)):
            tasks.start_soon(_append, log, name, event)
    return None


async def _append(log: Log, name: str, event: Succeeded | Progressed) -> None:
    await log.append(name, event, epoch=1)


async def add_authors(log: Log) -> None:
    authors = "".join(f"author{number}\n" for number in range(32))
    await change_head(log, "a", "authors", authors, "ids:author31", "\nid 1 1-0\n")


async def append_as_one_of_many_authors(log: Log) -> object:
    await submit(log)
    await add_authors(log)
    return await log.append("a", CancelRequested(), epoch=0)


async def end_waiting(log: Log) -> object:
    await log.submit(GRAPH, job_id="b", user="ada", kind="x")
    await log.submit(GRAPH, job_id="a", user="ada", kind="x")
    return await log.append("b", Canceled(), epoch=UNLEASED)


async def claim(log: Log) -> object:
    for name in ("a", "blocked", "broken", "b"):
        await log.submit(GRAPH, job_id=name)
    kinds = f"{FAR_MS} 1 60000 {reads()}"
    await change_head(log, "blocked", "blocked", kinds, "cancel", "2 1-0")
    await change_head(log, "broken", "seq", "x")
    await log.submit(GRAPH, job_id="gone")
    await command(log.redis, "DEL", log.keys.head("gone"))
    await log.submit(GRAPH, job_id="c", priority="low", user="ada", kind="x")
    return await Dispatch(log, "r1").claim(0, QUEUES, 5)


async def claim_again(log: Log) -> object:
    await leased(log, "z")
    await submit(log)
    return await Dispatch(log, "r1").claim(0, QUEUES, 1)


async def claim_at_a_limit(log: Log) -> object:
    await log.submit(GRAPH, job_id="a", user="ada")
    await log.submit(GRAPH, job_id="b", user="ada")
    await set_limit(log, Limit("running", "user", "*", 1))
    await command(log.redis, "SADD", log.keys.running(0, "user", "ada"), log.keys.head("gone"))
    return await Dispatch(log, "r1").claim(0, QUEUES, 2)


async def peek_waiting(log: Log) -> object:
    await submit(log)
    return await peek_pages(log, {0: 0}, "default")


async def measure_queues(log: Log) -> object:
    await submit(log)
    await log.submit(GRAPH, job_id="high", priority="high")
    return await count_waiting(log, ["default", "empty"])


async def give_priority(log: Log) -> object:
    await submit(log)
    await log.submit(GRAPH, job_id="b")
    return await change_priority(log, "a", "high")


async def restore_leases(log: Log) -> object:
    await leased(log, "a")
    await command(log.redis, "XGROUP DESTROY", log.keys.dispatch(0, *NORMAL), RUNNERS_GROUP)
    return await Dispatch(log, "r2").restore(0, NORMAL)


async def take_over(log: Log) -> object:
    leases = await leased(log, "gone", "released", "orphaned")
    await command(log.redis, "DEL", log.keys.head("gone"))
    await Dispatch(log, "r1").release(leases[1], Released(reason="drain"))
    return await Dispatch(log, "r2").take_over(0, NORMAL, idle_limit_s=0, most=2)


async def take_over_from_a_dead_runner(log: Log) -> object:
    await leased(log, "a", "b")
    return await Dispatch(log, "r2").take_over(0, NORMAL, idle_limit_s=9, suspect="r1", most=2)


async def renew(log: Log) -> object:
    return await Dispatch(log, "r1").renew(await leased(log, "a", "b"))


async def release(log: Log) -> object:
    [lease] = await leased(log, "a")
    return await Dispatch(log, "r1").release(lease, Released(reason="drain"), to="r2")


async def retry(log: Log) -> object:
    [lease] = await leased(log, "a")
    await add_authors(log)
    return await Dispatch(log, "r1").release(lease, RETRIED)


async def wait(log: Log) -> object:
    [lease] = await leased(log, "a")
    return await Dispatch(log, "r1").release(lease, Released(reason="no_room"), wait_s=60)


async def block(log: Log) -> object:
    [lease] = await leased(log, "a")
    return await Dispatch(log, "r1").release(lease, CANNOT_READ, unreadable_for_s=60)


async def promote(log: Log) -> object:
    for name in ("due", "ended", "broken"):
        await log.submit(GRAPH, job_id=name, run_at_ms=1, policy=Policy(queue_deadline_s=0.001))
    await log.submit(GRAPH, job_id="far", run_at_ms=FAR_MS)
    await change_head(log, "ended", "phase", "closed")
    await command(log.redis, "HDEL", log.keys.head("broken"), "queue")
    return await Dispatch(log, "r1").promote(0)


async def promote_blocked(log: Log) -> object:
    leases = await leased(log, "a", "overdue", "moved")
    for lease in leases:
        await Dispatch(log, "r1").release(lease, CANNOT_READ, unreadable_for_s=60)
        kinds = f"{FAR_MS} 1 60000 another"
        await change_head(log, lease.job_id, "blocked", kinds)
    await command(log.redis, "ZADD", log.keys.blocked(0), 1, "overdue")
    await change_head(log, "moved", "phase", "waiting")
    await change_priority(log, "a", "high")  # so that it has no place any more
    return await Dispatch(log, "r1").promote_blocked(0)


async def shift_times(log: Log) -> object:
    leases = await leased(log, "retried", "blocked")
    await Dispatch(log, "r1").release(leases[0], RETRIED)
    await Dispatch(log, "r1").release(leases[1], CANNOT_READ, unreadable_for_s=60)
    limited = Policy(queue_deadline_s=60.0)
    await log.submit(GRAPH, job_id="delayed", run_at_ms=FAR_MS, policy=limited)
    keys, tag, step = _timed(log), log.keys.tag(0), {"step_ms": 5000, "known_ms": 0, "anew_ms": 0}
    return await scripts.shift_times(log.redis, keys=keys, tag=tag, **step)


def _timed(log: Log) -> Sequence[str]:
    return (log.keys.clock(0), log.keys.later(0), log.keys.deadlines(0))


async def move_times(log: Log) -> object:
    await shift_times(log)
    return await scripts.move_times(log.redis, keys=_timed(log), tag=log.keys.tag(0), most=9)


async def end_to_move_times(log: Log) -> object:
    await command(log.redis, "HSET", log.keys.clock(0), "moving", "5000 0 1")
    return await scripts.move_times(log.redis, keys=_timed(log), tag=log.keys.tag(0), most=9)


async def restart_leases(log: Log) -> object:
    await leased(log, "held")
    keys, cursor = log.keys, ("", "")
    return await scripts.restart_leases(
        log.redis, queues=keys.queues(0), tag=keys.tag(0), cursor=cursor, most=9
    )


async def find_entries(log: Log) -> object:
    made = await log.submit(GRAPH, job_id="a")
    names = {"logs": [log.keys.log(0)], "trimmed": [log.keys.trimmed(0)]}
    entries = [(0, made.entry_id, "a", "", ""), (0, "1-1", "a", "e", "r1")]
    await scripts.raise_last_entry(log.redis, log=names["logs"][0], entry_id=f"{2**45}-3")
    return await scripts.find_entries(log.redis, **names, entries=entries)


async def look_at_clock(log: Log) -> object:
    return await scripts.look_at_clock(log.redis, clock=log.keys.clock(0))


async def read_job(log: Log) -> object:
    await leased(log, "a")
    return await job_events(log, "a")


async def count_some(log: Log) -> object:
    await leased(log, "a", "b")
    return await count_entries(log.redis, log.keys.log(0), most=3)


async def scan_hash(log: Log) -> object:
    await submit(log)
    return await read_large_hash(log.redis, log.keys.head("a"))


async def read_pending(log: Log) -> object:
    await leased(log, "a", "b")
    group = ConsumerGroup(log, "projector", "p")
    await group.create(0)
    await group.read_ready(0)
    found = await group.read_pending(0)
    await group.aclose()
    return found


async def check_rights(log: Log) -> None:
    await check_access(log.redis, Access("client", log.keys.namespace))


async def make_namespace(log: Log) -> object:
    await command(log.redis, "DEL", log.keys.meta())
    async with Log.open(log.url, namespace=log.keys.namespace, partitions=1):
        return None


async def raise_levels(log: Log) -> object:
    return await scripts.raise_levels(log.redis, meta=log.keys.meta(), level=9)


async def trim_ended(log: Log) -> object:
    await end(log)
    await log.submit(GRAPH, job_id="b")
    key = log.keys.log(0)
    await command(log.redis, "XGROUP CREATE", key, "projector", "0")
    await command(log.redis, "XREADGROUP GROUP projector p NOACK STREAMS", key, ">")
    await register(log, 0, "audit", f"{FAR_MS}-0")
    await anyio.sleep(0.002)
    return await trim(log, 0, 0, needs_archive=False)


async def republish_two(log: Log) -> None:
    await leased(log, "a")
    records: list[Recorded] = list(await job_events(log, "a"))
    await command(log.redis, "DEL", log.keys.log(0), log.keys.head("a"))
    await republish(log, records)


async def _entries(log: Log) -> list[RawEntry]:
    await leased(log, "a", "b")
    found = await command(log.redis, "XRANGE", log.keys.log(0), "-", "+")
    for node in log.redis.primaries():
        await command(node, "FLUSHALL")
    return [(row[0], row[1]) for row in cast("list[list]", found)]  # type: ignore[type-arg]


async def import_twice(log: Log) -> object:
    entries = await _entries(log)
    await import_entries(log, 0, entries[:2])
    return await import_entries(log, 0, entries)


async def reopen_now(log: Log) -> object:
    await import_entries(log, 0, await _entries(log))
    return await reopen(log, "a", b"{}", 0, start_by_ms=1)


async def reopen_later(log: Log) -> object:
    await import_entries(log, 0, await _entries(log))
    return await reopen(log, "a", b"{}", int(time.time() * 1000) + 60_000)


STATES: dict[str, tuple[State, ...]] = {
    "append": (end, end_in_later, end_waiting, cancel, append_many, append_as_one_of_many_authors),
    "check_access": (check_rights,),
    "change_priority": (give_priority,),
    "change_user_key": (make_user_key,),
    "claim": (claim, claim_again, claim_at_a_limit),
    "count_entries": (count_some,),
    "find_entries": (find_entries,),
    "raise_last_entry": (find_entries,),
    "import_entries": (import_twice,),
    "look_at_clock": (look_at_clock,),
    "make_namespace": (make_namespace,),
    "measure_queues": (measure_queues,),
    "move_times": (move_times, end_to_move_times),
    "peek_waiting": (peek_waiting,),
    "promote": (promote,),
    "promote_blocked": (promote_blocked,),
    "raise_levels": (raise_levels,),
    "read_job": (read_job,),
    "read_pending": (read_pending,),
    "release": (release, retry, wait, block),
    "renew": (renew,),
    "reopen": (reopen_now, reopen_later),
    "republish": (republish_two,),
    "restore_leases": (restore_leases,),
    "restart_leases": (restart_leases,),
    "scan_hash": (scan_hash,),
    "shift_times": (shift_times,),
    "submit": (submit, submit_for_later, submit_to_a_bounded_queue),
    "take_over": (take_over, take_over_from_a_dead_runner),
    "trim": (trim_ended,),
}
"""Script -> its states."""
