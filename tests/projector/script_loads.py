"""For each script of `projector/lua` a call with as much to do as it ever gets.

Rule: as in tests/streams/scripts/script_loads.py.
"""

from __future__ import annotations

from typing import cast

import msgspec

from everfold.projector.assignment.member import Member
from everfold.projector.assignment.places import Places
from everfold.projector.config import ProjectorConfig
from everfold.projector.folding.custom_fold import CustomFold
from everfold.projector.folding.jobs_commit import FoldedBatch, Part, StateChange, commit_jobs
from everfold.projector.folding.jobs_projection import JobsProjection
from everfold.projector.folding.partition_projector import BATCH
from everfold.projector.folding.projection import CommitRequest, Committed
from everfold.projector.folding.stored_jobs import read_stored_jobs
from everfold.projector.job.job import Job
from everfold.projector.reading.positions import LOOKS
from everfold.projector.subscribing import admin
from everfold.projector.subscribing.acks import Acks
from everfold.projector.subscribing.held import Held
from everfold.streams.appending.log import Log
from everfold.streams.connections.connection import Argument
from everfold.streams.events.record import NO_ENTRY
from everfold.streams.reading.consumer_group import ConsumerGroup
from everfold.streams.reading.reader import partition_events
from everfold.streams.redis.keys import PROJECTOR_GROUP
from everfold.streams.redis.partition_keys import JobsKeys
from everfold.streams.redis.redis_errors import command, commands
from everfold.streams.redis.script import Script
from tests.projector.jobs import owner_of
from tests.projector.script_states import COUNTS, PARKED, TOKEN, Count, hook, skip_held, skip_parked
from tests.streams.scripts.script_loads import MANY, Load
from tests.support.many_jobs import add_jobs

HELD = Held(seq=1, entry_id="1-0", at_ms=1, why="it failed")


async def _read_by(log: Log, group: str, owner: str) -> list[str]:
    """Have a consumer read the log of MANY jobs; return the entry ids."""
    await add_jobs(log, MANY, "waiting")
    key = log.keys.log(0)
    await ConsumerGroup(log, group, owner).create(0)
    ask = ("XREADGROUP", "GROUP", group, owner, "STREAMS", key, ">")
    rows = cast("list[list[list[list[bytes]]]]", await command(log.redis, *ask))
    return [row[0].decode() for row in rows[0][1]]


async def _entry_ids(log: Log, group: str) -> list[str]:
    """Make MANY jobs, and a group that was given nothing; return the entry ids."""
    await add_jobs(log, MANY, "waiting")
    await command(log.redis, "XGROUP CREATE", log.keys.log(0), group, "0")
    return [record.entry_id async for record in partition_events(log, 0)]


async def _fill(log: Log, key: str) -> None:
    """Give a hash MANY fields."""
    flat = [text for number in range(1, MANY + 1) for text in (f"j{number}", "{}")]
    await command(log.redis, "HSET", key, *flat)


async def acquire_many(log: Log) -> None:
    leases = [f"{log.keys.projector(0)}:{number}" for number in range(1024)]
    found = await Member(log, "jobs", "test", 5).acquire_all(leases, len(leases))
    assert all(one is not None and one.is_new for one in found)


async def count_many_members(log: Log) -> None:
    flat = [part for number in range(MANY) for part in (number, f"p{number}")]
    await command(log.redis, "ZADD", log.keys.projectors("jobs"), *flat)
    assert await Member(log, "jobs", "test", 5).heartbeat() == 1


async def look_at_a_place_with_much_pending(log: Log) -> None:
    await _read_by(log, PROJECTOR_GROUP, "someone")
    place = await Places(log, PROJECTOR_GROUP, log.keys.projector).now(0)
    assert (place.pending, *place.consumers) == (MANY, "someone")


async def acknowledge(log: Log) -> None:
    keys = log.keys.subscription(0, hook.name)
    member = Member(log, hook.name, "test", 5)
    await member.acquire(keys.checkpoint())
    entry_ids = await _read_by(log, hook.group, member.token)
    await _fill(log, keys.held())
    acks = Acks(log, 0, member.token, hook)
    acks.start_over("0")
    acks.delivered(*entry_ids)
    for number in range(1, MANY + 1):
        acks.resumed(f"j{number}")
        acks.held(f"other{number}", HELD)
    await acks.write(entry_ids[-1])
    assert await command(log.redis, "HLEN", keys.held()) == MANY


async def commit_a_batch(log: Log) -> None:
    owner, keys = await owner_of(log), log.keys.jobs(0)
    entry_ids = await _entry_ids(log, PROJECTOR_GROUP)
    await _fill(log, keys.parked())
    jobs = [Job(job_id=f"j{n}", seq=1, updated_at_ms=2**41) for n in range(BATCH)]
    batch = FoldedBatch(
        changes=[StateChange(Job(), job) for job in jobs],
        parked={f"other{number}": PARKED for number in range(MANY)},
        unparked=[f"j{number}" for number in range(1, MANY + 1)],
        events=MANY,
    )
    request = CommitRequest(
        token=owner.token,
        expected_checkpoint=NO_ENTRY,
        new_checkpoint=entry_ids[-1],
        group=PROJECTOR_GROUP,
    )
    [done] = await commit_jobs(log, ProjectorConfig(), [Part(0, keys, request, batch)])
    assert isinstance(done, Committed)
    assert await command(log.redis, "HLEN", keys.parked()) == MANY


async def commit_custom_states(log: Log) -> None:
    keys = COUNTS.keys(log.keys, 0)
    member = Member(log, COUNTS.name, "test", 5)
    await member.acquire(keys.projector())
    entry_ids = await _entry_ids(log, COUNTS.group)
    fold = COUNTS.partition_fold(log, 0)
    assert isinstance(fold, CustomFold)
    request = CommitRequest(
        token=member.token,
        expected_checkpoint=NO_ENTRY,
        new_checkpoint=entry_ids[-1],
        group=COUNTS.group,
    )
    changed: dict[str, Count | None] = {f"j{number}": None for number in range(MANY)}
    changed |= {f"k{number}": Count(1) for number in range(MANY)}
    parked = {f"other{number}": PARKED for number in range(MANY)}
    done = await fold._commit(changed, parked, MANY, request)
    assert isinstance(done, Committed)
    assert await command(log.redis, "HLEN", keys.parked()) == MANY


async def delete_consumers(log: Log) -> None:
    key = log.keys.log(0)
    await add_jobs(log, 1, "waiting")
    await command(log.redis, "XGROUP CREATE", key, PROJECTOR_GROUP, "0")
    made = [("XGROUP CREATECONSUMER", key, PROJECTOR_GROUP, f"c{n}") for n in range(MANY)]
    await commands(log.redis, made)
    script = Script("everfold.projector", "delete_consumers")
    assert await script.run(log.redis, (key,), (-1, PROJECTOR_GROUP)) == [b"deleted", MANY]


async def measure_hashes(log: Log) -> None:
    jobs = [f"j{number}" for number in range(MANY)]
    assert await read_stored_jobs(log, jobs) == [None] * MANY


async def reset(log: Log) -> None:
    keys = log.keys.subscription(0, hook.name)
    await admin.create(log, hook)
    await _read_by(log, hook.group, "owner")
    await _fill(log, keys.held())
    await admin.reset(log, hook.name, "beginning")
    assert await command(log.redis, "HLEN", keys.held()) == 0


async def skip_one_of_many_held(log: Log) -> None:
    await _fill(log, log.keys.subscription(0, hook.name).held())
    await skip_held(log)


async def skip_one_of_many_parked(log: Log) -> None:
    await _fill(log, log.keys.parked(0))
    await skip_parked(log)


_STATES = """
for i = 1, ARGV[1] do
  redis.call('HSET', KEYS[1] .. 'j' .. i, 'seq', 1, 'job_id', 'j' .. i, 'status', 'queued')
  redis.call('ZADD', KEYS[1 + i % 2 + 1], i, 'j' .. i)
end
"""


async def swap_jobs(log: Log) -> None:
    for rebuilding in (False, True):
        keys = log.keys.jobs(0, rebuilding=rebuilding)
        fields = ("owner", TOKEN, "checkpoint", "5-0", "folded", 5)
        await command(log.redis, "HSET", keys.projector(), *fields)
        touched = (keys.job(""), keys.active(), keys.ended())
        await command(log.redis, "EVAL", _STATES, 3, *touched, MANY)
        await _fill(log, keys.parked())
    await JobsProjection().swap(log, 0, TOKEN)
    assert await command(log.redis, "ZCARD", log.keys.jobs(0).active()) == MANY // 2


async def move_states(log: Log) -> None:
    await swap_jobs(log)
    live, replaced = log.keys.jobs(0), log.keys.jobs(0, rebuilding=True)
    swap = await command(log.redis, "HGET", live.projector(), "moving")
    assert isinstance(swap, bytes)
    script = Script("everfold.projector", "move_states")
    touched = (live.projector(), live.active(), live.ended(), replaced.active(), replaced.ended())
    jobs = [f"j{number}" for number in range(1, MANY + 1)]
    asked: list[Argument] = [swap, live.job(""), replaced.job(""), 1, *jobs]
    assert await script.run(log.redis, touched, asked) == [b"moved"]
    assert await command(log.redis, "EXISTS", replaced.job("j1"), live.job("j1")) == 1


async def swap_states(log: Log) -> None:
    for rebuilding in (False, True):
        keys = COUNTS.keys(log.keys, 0, rebuilding=rebuilding)
        fields = ("owner", TOKEN, "checkpoint", "5-0", "folded", 5)
        await command(log.redis, "HSET", keys.projector(), *fields)
        await _fill(log, keys.states())
        await _fill(log, keys.parked())
    await COUNTS.swap(log, 0, TOKEN)
    assert await command(log.redis, "HLEN", COUNTS.keys(log.keys, 0).states()) == MANY


_FILL_INDEX = """
for i = 1, ARGV[1] do
  redis.call('ZADD', KEYS[1], i, 'j' .. i)
  redis.call('ZADD', KEYS[2], 0, 'user=ada\\no\\nj' .. i)
  redis.call('ZADD', KEYS[2], 0, string.format('user=ada\\ne%016d\\ne%d', i, i))
end
"""


async def _indexed(log: Log) -> tuple[JobsKeys, bytes]:
    """Index MANY open jobs of one user and as many that have ended; return what is asked for."""
    keys = log.keys.jobs(0)
    await command(log.redis, "HSET", keys.projector(), "indexes", "1")
    await command(log.redis, "EVAL", _FILL_INDEX, 2, keys.active(), keys.index(), MANY)
    return keys, msgspec.msgpack.encode((("1",), (("user=ada",), ("user=bob",))))


async def select_open(log: Log) -> None:
    keys, wanted = await _indexed(log)
    script = Script("everfold.projector", "select_open", is_read_only=True)
    touched = (keys.projector(), keys.active(), keys.index())
    found = await script.run(log.redis, touched, (wanted, 2 * MANY, 0, 0, 1000, LOOKS))
    assert (found[0], len(found)) == (b"selected", 2)


async def select_ended(log: Log) -> None:
    keys, wanted = await _indexed(log)
    script = Script("everfold.projector", "select_ended", is_read_only=True)
    touched, asked = (keys.projector(), keys.index()), (wanted, 2 * MANY, "", 0, 1000, LOOKS)
    found = await script.run(log.redis, touched, asked)
    assert found[0] == b"selected"


LOADS: dict[str, tuple[Load, ...]] = {
    "acknowledge": (acknowledge,),
    "acquire_partitions": (acquire_many,),
    "change_held": (skip_one_of_many_held,),
    "commit_jobs": (commit_a_batch,),
    "commit_states": (commit_custom_states,),
    "count_members": (count_many_members,),
    "delete_consumers": (delete_consumers,),
    "look_at_places": (look_at_a_place_with_much_pending,),
    "measure_hashes": (measure_hashes,),
    "reset_subscription": (reset,),
    "select_ended": (select_ended,),
    "move_states": (move_states,),
    "select_open": (select_open,),
    "swap_jobs": (swap_jobs,),
    "swap_states": (swap_states,),
    "unpark": (skip_one_of_many_parked,),
}
"""Script -> calls of it."""

SINGLE = {"acquire_partition", "drop_stale_index_entry", "erase_state"}
"""Scripts that do one thing, with keys that they do not walk."""
