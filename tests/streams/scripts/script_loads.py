"""For each script of `streams/lua` a call with as much to do as it ever gets.

Rule: keys have MANY members, and a call has MANY items, or as many as its callers ever send. A
script that takes no list and walks no key stands in SINGLE.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import pytest

from everfold.metrics.queue_numbers import QUEUES_LIMIT
from everfold.streams.appending.group_commit import BATCH_LIMIT
from everfold.streams.appending.log import Log
from everfold.streams.appending.memory.put_back import LOOK_PAGE
from everfold.streams.appending.outcomes import Lease
from everfold.streams.errors import TooLarge
from everfold.streams.events.event import CancelRequested
from everfold.streams.events.limits import USER_SETTINGS_LIMIT
from everfold.streams.events.ranges import MOST_TIMES
from everfold.streams.events.record import RawEntry, recorded
from everfold.streams.layout.copies import repair_copies
from everfold.streams.layout.places import PLACES_AT_ONCE
from everfold.streams.layout.reservations import Wanted
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.due_jobs import BLOCKED_PAGE, PROMOTE_LIMIT
from everfold.streams.leases.renewing import RENEW_LIMIT
from everfold.streams.leases.server_clock import PAGE as SHIFT_PAGE
from everfold.streams.queues.limits import Limit, set_limit
from everfold.streams.queues.queue_counts import count_waiting
from everfold.streams.queues.waiting_jobs import LINES_AT_ONCE, peek_pages
from everfold.streams.reading.consumer_group import ConsumerGroup
from everfold.streams.reading.reader import job_events
from everfold.streams.redis import scripts
from everfold.streams.redis.keys import RUNNERS_GROUP
from everfold.streams.redis.pages import (
    PAGE,
    WALKED_BYTES,
    count_entries,
    read_large_hash,
)
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.script import Script
from everfold.streams.retention.importing import import_entries
from everfold.streams.retention.republish import republish
from everfold.streams.retention.trimming import trim
from everfold.streams.user_files.user_files import write_user_file
from everfold.streams.user_files.user_settings import write_user_settings
from tests.streams.layout.layout_states import spread
from tests.streams.queues import work_states as work
from tests.support.many_jobs import GRAPH, add_jobs, add_times, lease_ids

Load = Callable[[Log], Awaitable[None]]

MANY = 20_000
FAR_MS = 2**41
LANE = ("default", "normal")
RUNNER = "r1"


async def append_a_batch(log: Log) -> None:
    jobs = await add_jobs(log, MANY, "waiting")
    async with anyio.create_task_group() as tasks:
        for job_id in jobs[: 2 * BATCH_LIMIT]:
            tasks.start_soon(partial(log.append, job_id, CancelRequested(), epoch=0))
    assert await command(log.redis, "ZCARD", log.keys.deadlines(0)) == 2 * BATCH_LIMIT


async def find_a_page_of_entries(log: Log) -> None:
    jobs = await add_jobs(log, MANY, "waiting")
    entries = [(0, "1-1", job_id, "e", "r1") for job_id in jobs[:LOOK_PAGE]]
    names = {"logs": [log.keys.log(0)], "trimmed": [log.keys.trimmed(0)]}
    assert len(await scripts.find_entries(log.redis, **names, entries=entries)) == LOOK_PAGE


async def check_many_rights(log: Log) -> None:
    asked = ("2", "GET", f"{log.keys.namespace}:x") * MANY
    script = Script("everfold.streams", "check_access", is_read_only=True)
    assert await script.run(log.redis, (), asked) == [b"checked"]


async def claim(log: Log) -> None:
    await add_jobs(log, MANY, "waiting")
    assert len(await Dispatch(log, RUNNER).claim(0, [LANE[0]], MOST_TIMES)) == MOST_TIMES


async def claim_what_it_cannot_read(log: Log) -> None:
    jobs = await add_jobs(log, MOST_TIMES, "waiting")
    dispatch = Dispatch(log, RUNNER)
    for job_id in jobs:
        kinds = f"{FAR_MS} 1 60000 {dispatch._reads}"
        await command(log.redis, "HSET", log.keys.head(job_id), "blocked", kinds)
    assert await dispatch.claim(0, [LANE[0]], MOST_TIMES) == []
    assert await command(log.redis, "ZCARD", log.keys.blocked(0)) == MOST_TIMES


async def claim_past_users_at_their_limit(log: Log) -> None:
    await add_jobs(log, MANY, "waiting")
    fill = """
    for i = 1, ARGV[2] do redis.call('HSET', ARGV[1] .. ':head:j' .. i, 'user', 'u' .. i % 100) end
    """
    await command(log.redis, "EVAL", fill, 0, log.keys.tag(0), MANY)
    await set_limit(log, Limit("running", "user", "*", 0))
    dispatch = Dispatch(log, RUNNER)
    for _ in range(3):
        assert await dispatch.claim(0, [LANE[0]], 16) == []


async def peek_a_long_line(log: Log) -> None:
    await add_jobs(log, MANY, "waiting")
    page = (await peek_pages(log, {0: 0}, LANE[0], each=MOST_TIMES))[0]
    assert (page.count, len(page.jobs)) == (MANY, MOST_TIMES)


async def measure_many_queues(log: Log) -> None:
    await add_jobs(log, MANY, "waiting")
    found = await count_waiting(log, [LANE[0], *(f"q{number}" for number in range(QUEUES_LIMIT))])
    assert sum(found[LANE[0]].by_priority) == MANY


async def peek_many_lines(log: Log) -> None:
    fill = """
    for i = 1, ARGV[2] do
      for _, key in ipairs({ ':waiting:default', ':line:default:' .. i }) do
        redis.call('ZADD', ARGV[1] .. key, i, 'j' .. i)
      end
      redis.call('ZADD', ARGV[1] .. ':lines:default', i, i)
    end
    """
    await command(log.redis, "EVAL", fill, 0, log.keys.tag(0), MANY)
    page = (await peek_pages(log, {0: 0}, LANE[0]))[0]
    assert (page.count, len(page.jobs), page.next) == (MANY, LINES_AT_ONCE, LINES_AT_ONCE)


async def restore_leases(log: Log) -> None:
    await add_jobs(log, MANY, "leased", RUNNER)
    await command(log.redis, "XGROUP DESTROY", log.keys.dispatch(0, *LANE), RUNNERS_GROUP)
    assert await Dispatch(log, RUNNER).restore(0, LANE) == MANY


async def count_many(log: Log) -> None:
    await add_jobs(log, MANY, "waiting")
    found = await count_entries(log.redis, log.keys.log(0), most=MANY, most_bytes=WALKED_BYTES)
    assert found.count > PAGE


async def _entries(log: Log) -> list[RawEntry]:
    found = await command(log.redis, "XRANGE", log.keys.log(0), "-", "+")
    return [(row[0], row[1]) for row in found]  # type: ignore[attr-defined]


async def import_a_page(log: Log) -> None:
    await add_jobs(log, MANY, "waiting")
    entries = await _entries(log)
    await command(log.redis, "DEL", log.keys.log(0))
    for start in (0, PAGE // 2):
        await import_entries(log, 0, entries[start : start + PAGE])
    assert await command(log.redis, "XLEN", log.keys.log(0)) == PAGE * 3 // 2


async def republish_a_page(log: Log) -> None:
    await add_jobs(log, MANY, "waiting")
    records = [recorded(*entry) for entry in (await _entries(log))[:PAGE]]
    await command(log.redis, "DEL", *(log.keys.head(record.job_id) for record in records))
    await republish(log, records)
    assert await command(log.redis, "XLEN", log.keys.log(0)) == MANY + PAGE


async def promote(log: Log) -> None:
    await add_jobs(log, MANY, "later")
    await add_times(log, log.keys.later(0), MANY, 1)
    await add_times(log, log.keys.deadlines(0), MANY, 1)
    done = await Dispatch(log, RUNNER).promote(0)
    assert done.promoted == len(done.overdue) == PROMOTE_LIMIT


async def promote_blocked(log: Log) -> None:
    await add_jobs(log, MANY, "later")
    await add_times(log, log.keys.blocked(0), MANY, FAR_MS)
    for number in range(1, BLOCKED_PAGE + 1):
        head = log.keys.head(f"j{number}")
        await command(log.redis, "HSET", head, "blocked", f"{FAR_MS} 1 60000 another")
    assert (await Dispatch(log, RUNNER).promote_blocked(0)).promoted == BLOCKED_PAGE


async def _long_job(log: Log) -> None:
    """Give the job `a` MANY events."""
    await log.submit(GRAPH, job_id="a")
    fill = """
    local log, head = KEYS[1], KEYS[2]
    local last = redis.call('HGET', head, 'last')
    local payload = redis.call('XRANGE', log, last, last)[1][2][10]
    for seq = 2, ARGV[1] do
      last = redis.call('XADD', log, '*', 'j', 'a', 's', seq, 'e', 0, 'p', last, 'd', payload)
    end
    redis.call('HSET', head, 'seq', ARGV[1], 'last', last)
    """
    await command(log.redis, "EVAL", fill, 2, log.keys.log(0), log.keys.head("a"), MANY)


async def read_long_job(log: Log) -> None:
    await _long_job(log)
    assert len(await job_events(log, "a", MANY - 2 * PAGE)) == 2 * PAGE


async def read_pending(log: Log) -> None:
    await add_jobs(log, MANY, "waiting")
    group = ConsumerGroup(log, "projector", "p")
    await group.create(0)
    key = log.keys.log(0)
    await command(log.redis, "XREADGROUP", "GROUP", "projector", "p", "STREAMS", key, ">")
    assert len(await group.read_pending(0, most=MANY)) > PAGE
    await group.aclose()


def _lease(job_id: str, dispatch_id: str) -> Lease:
    return Lease(
        job_id=job_id,
        runner=RUNNER,
        epoch=1,
        seq=1,
        queue=LANE[0],
        priority=LANE[1],
        dispatch_id=dispatch_id,
    )


async def renew(log: Log) -> None:
    jobs = await add_jobs(log, MANY, "leased", RUNNER)
    leases = list(map(_lease, jobs, await lease_ids(log, MANY)))
    renewed = await Dispatch(log, RUNNER).renew(leases[: 2 * RENEW_LIMIT])
    assert {type(outcome).__name__ for outcome in renewed} == {"Renewed"}


async def restart_leases(log: Log) -> None:
    await add_jobs(log, MANY, "leased", RUNNER)
    await _add_lanes(log)
    queues, tag, cursor, count = log.keys.queues(0), log.keys.tag(0), ("", ""), 0
    while True:
        found, cursor = await scripts.restart_leases(
            log.redis, queues=queues, tag=tag, cursor=cursor, most=SHIFT_PAGE
        )
        count += found
        if not cursor[0]:
            break
    assert count == MANY


async def _add_lanes(log: Log) -> None:
    names = [f"q{number}" for number in range(MOST_TIMES)]
    await command(log.redis, "SADD", log.keys.queues(0), "default", *names)


async def scan_hash(log: Log) -> None:
    flat = [text for number in range(MANY) for text in (f"field{number}", "x" * 50)]
    await command(log.redis, "HSET", log.keys.parked(0), *flat)
    assert len(await read_large_hash(log.redis, log.keys.parked(0))) == MANY


async def shift_times(log: Log) -> None:
    await add_jobs(log, MANY, "later")
    keys = log.keys
    touched = (keys.clock(0), keys.later(0), keys.deadlines(0))
    for key in (*touched[1:], keys.blocked(0)):
        await add_times(log, key, MANY, FAR_MS)
    outcome = await scripts.shift_times(
        log.redis, keys=touched, tag=keys.tag(0), step_ms=5000, known_ms=0, anew_ms=0
    )
    assert outcome == "shifted"


async def move_times(log: Log) -> None:
    await shift_times(log)
    keys = log.keys
    touched = (keys.clock(0), keys.later(0), keys.deadlines(0))
    assert await scripts.move_times(log.redis, keys=touched, tag=keys.tag(0), most=SHIFT_PAGE)
    left = await command(log.redis, "ZCARD", keys.unmoved(0, "deadlines"))
    assert left == MANY - SHIFT_PAGE


async def take_over(log: Log) -> None:
    await add_jobs(log, MANY, "leased", "dead")
    dispatch = Dispatch(log, RUNNER)
    _, leases = await dispatch.take_over(0, LANE, idle_limit_s=9, suspect="dead", most=MOST_TIMES)
    assert len(leases) == MOST_TIMES


async def trim_a_page(log: Log) -> None:
    await add_jobs(log, MANY, "closed")
    close = "for i = 1, ARGV[1] do redis.call('HSET', KEYS[1] .. i, 'status', 'failed') end"
    await command(log.redis, "EVAL", close, 1, f"{log.keys.tag(0)}:head:j", PAGE)
    reader = '{"position":"0-0","required":false,"until_ms":1}'
    readers = [text for number in range(MANY) for text in (f"r{number}", reader)]
    await command(log.redis, "HSET", log.keys.readers(0), *readers)
    await anyio.sleep(0.002)
    assert (await trim(log, 0, 0, needs_archive=False)).count == PAGE


async def write_beside_many(log: Log) -> None:
    await _fill(log, log.keys.user_files("ada"))
    with pytest.raises(TooLarge):
        await write_user_file(log, "ada", "a.json", b"{}")


async def set_many(log: Log) -> None:
    await _fill(log, log.keys.user_settings("ada"))
    settings = {f"new{number}": b"{}" for number in range(USER_SETTINGS_LIMIT)}
    with pytest.raises(TooLarge):
        await write_user_settings(log, "ada", settings)


async def _fill(log: Log, key: str) -> None:
    """Give a hash MANY fields."""
    flat = [text for number in range(MANY) for text in (f"f{number}", "{}")]
    await command(log.redis, "HSET", key, *flat)


async def take_many_places(log: Log) -> None:
    async with spread(log) as other, anyio.create_task_group() as tasks:
        for number in range(PLACES_AT_ONCE):
            tasks.start_soon(other.spread.places.take, "default", "normal", f"u{number}")


async def reserve_many(log: Log) -> None:
    async with spread(log) as other:
        wanted = {f"running user u{number}": Wanted(1000, 1000) for number in range(16)}
        async with other.spread.reservations.reserved(wanted):
            pass


async def count_many_running(log: Log) -> None:
    await reserve_many(log)


async def copy_many_limits(log: Log) -> None:
    async with spread(log) as other:
        await _fill(other, other.keys.limits())
        assert await repair_copies(other) == 1
        assert await repair_copies(other) == 0


LOADS: dict[str, tuple[Load, ...]] = {
    "append": (append_a_batch,),
    "check_access": (check_many_rights,),
    "claim": (claim, claim_what_it_cannot_read, claim_past_users_at_their_limit),
    "count_entries": (count_many,),
    "find_entries": (find_a_page_of_entries,),
    "find_work": (work.find_much_work,),
    "import_entries": (import_a_page,),
    "measure_queues": (measure_many_queues,),
    "move_times": (move_times,),
    "peek_waiting": (peek_many_lines, peek_a_long_line),
    "promote": (promote,),
    "promote_blocked": (promote_blocked,),
    "read_hashes": (work.read_many_fields,),
    "read_logs": (work.read_many_entries,),
    "read_job": (read_long_job,),
    "read_pending": (read_pending,),
    "renew": (renew,),
    "republish": (republish_a_page,),
    "restore_leases": (restore_leases,),
    "restart_leases": (restart_leases,),
    "scan_hash": (scan_hash,),
    "shift_times": (shift_times,),
    "submit_many": (work.submit_as_many_as_one_call_takes,),
    "take_over": (take_over,),
    "trim": (trim_a_page,),
    "copy_hash": (copy_many_limits,),
    "count_running": (count_many_running,),
    "reserve": (reserve_many,),
    "take_places": (take_many_places,),
    "write_user_file": (write_beside_many,),
    "write_user_settings": (set_many,),
}
"""Script -> calls of it."""

SINGLE = {
    "change_priority",
    "change_user_key",
    "doom_blob",
    "extend_asset",
    "forget_graph",
    "forget_graph_assets",
    "look_at_clock",
    "make_namespace",
    "move_user_file",
    "name_upload",
    "put_asset",
    "raise_last_entry",
    "raise_levels",
    "release",
    "remove_asset",
    "remove_user_file",
    "reopen",
    "submit",
}
"""Scripts that do one thing, with keys that they do not walk."""
