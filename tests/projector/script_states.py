"""For each script of `projector/lua` the states in which it does all that it can do.

Rule: as in tests/streams/scripts/script_states.py.
"""

from __future__ import annotations

import time

import msgspec
from msgspec import Struct

from everfold.projector.assignment.member import Member
from everfold.projector.assignment.places import Places
from everfold.projector.config import ProjectorConfig
from everfold.projector.folding import parking
from everfold.projector.folding.custom_projection import Projection
from everfold.projector.folding.jobs_commit import FoldedBatch, Part, StateChange, commit_jobs
from everfold.projector.folding.jobs_projection import JobsProjection
from everfold.projector.folding.parking import Parked
from everfold.projector.folding.projection import CommitRequest
from everfold.projector.job.job import Job
from everfold.projector.subscribing import admin
from everfold.projector.subscribing.acks import Acks
from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.held import Held
from everfold.projector.subscribing.subscription import Subscription
from everfold.streams.appending.log import Log
from everfold.streams.events.record import NO_ENTRY, Recorded
from everfold.streams.reading.consumer_group import ConsumerGroup
from everfold.streams.reading.reader import partition_page
from everfold.streams.redis.keys import PROJECTOR_GROUP
from everfold.streams.redis.partition_keys import JobsKeys
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.script import Script
from tests.projector.jobs import consuming, owner_of, read_all
from tests.streams.scripts.script_states import GRAPH, State

TOKEN = "rebuild-1"
PARKED = Parked(1, "1-0", "why", 1)


class Count(Struct, frozen=True):
    jobs: int


def _evolve(state: Count | None, job: Job, record: Recorded) -> Count | None:
    if job.user == "broken":
        raise ValueError("it is broken")
    return None if job.user == "gone" else Count(1)


COUNTS = Projection(name="counts", state=Count, key=lambda job, _: job.user, evolve=_evolve)


@Subscription("hook")
async def hook(delivery: Delivery) -> None:
    """Take everything."""


async def acquire(log: Log) -> object:
    await command(log.redis, "HSET", log.keys.projector(0), "owner", "gone", "until_ms", 1)
    return await Member(log, "jobs", "test", 5).acquire(log.keys.projector(0))


async def give_up_lease(log: Log) -> None:
    member = await owner_of(log)
    await member.release(log.keys.projector(0))


async def acquire_all(log: Log) -> object:
    await command(log.redis, "HSET", log.keys.projector(0), "owner", "gone", "until_ms", 1)
    return await Member(log, "jobs", "test", 5).acquire_all([log.keys.projector(0)], 1)


async def count_members(log: Log) -> object:
    members = log.keys.projectors("jobs")
    await command(log.redis, "ZADD", members, 1, "silent", 2**41, "ahead")
    return await Member(log, "jobs", "test", 5).heartbeat()


async def look_at_places(log: Log) -> object:
    await read_by_owner(log, PROJECTOR_GROUP, "someone")
    return await Places(log, PROJECTOR_GROUP, log.keys.projector).now(0)


async def read_by_owner(log: Log, group: str, owner: str) -> list[str]:
    """Submit two jobs, and have a consumer read them; return the entry ids."""
    for name in ("a", "b"):
        await log.submit(GRAPH, job_id=name)
    key = log.keys.log(0)
    await ConsumerGroup(log, group, owner).create(0)
    rows = await command(log.redis, "XREADGROUP", "GROUP", group, owner, "STREAMS", key, ">")
    return [row[0].decode() for row in rows[0][1]]  # type: ignore[index]


async def entry_ids_of_two(log: Log, group: str) -> list[str]:
    """Submit two jobs, and make a group that was given nothing; return the entry ids."""
    for name in ("a", "b"):
        await log.submit(GRAPH, job_id=name)
    await command(log.redis, "XGROUP CREATE", log.keys.log(0), group, "0")
    return [record.entry_id for record in await partition_page(log, 0, NO_ENTRY)]


async def commit_states_of_jobs(log: Log) -> object:
    owner = await owner_of(log)
    entry_ids = await entry_ids_of_two(log, PROJECTOR_GROUP)
    now_ms = int(time.time() * 1000)
    config = ProjectorConfig()
    ended = Job(job_id="b", seq=2, status="succeeded", updated_at_ms=now_ms)
    jobs = [
        Job(job_id="a", seq=1, updated_at_ms=now_ms),
        ended,
        msgspec.structs.replace(ended, job_id="c", updated_at_ms=1),
    ]
    keys = log.keys.jobs(0)
    await command(log.redis, "HSET", keys.job("c"), "seq", 1)
    await command(log.redis, "ZADD", keys.active(), 1, "c")
    await command(log.redis, "ZADD", keys.ended(), 1, "old")
    await command(log.redis, "HSET", keys.parked(), "d", "{}")
    changes = [StateChange(Job(seq=1) if job.job_id == "c" else Job(), job) for job in jobs]
    await command(log.redis, "HSET", keys.job("f"), "seq", 5)
    used_again = Job(job_id="f", seq=1, updated_at_ms=now_ms)
    changes.append(StateChange(Job(), used_again, is_anew=True))
    batch = FoldedBatch(changes=changes, parked={"e": PARKED}, unparked=["d"], events=2)
    request = CommitRequest(
        token=owner.token,
        expected_checkpoint=NO_ENTRY,
        new_checkpoint=entry_ids[-1],
        group=PROJECTOR_GROUP,
    )
    return await commit_jobs(log, config, [Part(0, keys, request, batch)])


async def commit_while_states_move(log: Log) -> object:
    keys = log.keys.jobs(0)
    rebuilt = log.keys.jobs(0, rebuilding=True)
    await command(log.redis, "HSET", keys.projector(), "moving", "1")
    for job_id in ("c", "d"):
        await command(log.redis, "HSET", rebuilt.job(job_id), "seq", 1)
    await command(log.redis, "HSET", rebuilt.job("f"), "status", "broken")
    return await commit_states_of_jobs(log)


async def commit_custom_states(log: Log) -> object:
    keys = COUNTS.keys(log.keys, 0)
    member = Member(log, "counts", "test", 5)
    await member.acquire(keys.projector())
    for user in ("kept", "gone", "broken"):
        await log.submit(GRAPH, job_id=user, user=user)
    await command(log.redis, "HSET", keys.states(), "gone", '{"jobs":1}')
    async with consuming(log, member.token) as group:
        group.group = COUNTS.group
        batch = await read_all(log, group)
    fold = COUNTS.partition_fold(log, 0)
    fold.start_over({})
    request = CommitRequest(
        token=member.token,
        expected_checkpoint=NO_ENTRY,
        new_checkpoint=batch[-1].entry_id,
        group=COUNTS.group,
    )
    return await fold.commit(batch, request)


async def fill(log: Log, keys: JobsKeys, *jobs: str) -> None:
    """Write a projection of jobs, the last of which has ended."""
    fields = ("owner", TOKEN, "checkpoint", "5-0", "folded", 5)
    await command(log.redis, "HSET", keys.projector(), *fields)
    await command(log.redis, "HSET", keys.parked(), "z", "{}")
    for job_id in jobs:
        await command(log.redis, "HSET", keys.job(job_id), "seq", 1)
        index = keys.ended() if job_id == jobs[-1] else keys.active()
        await command(log.redis, "ZADD", index, 1, job_id)
        await command(log.redis, "HSET", keys.indexed(), job_id, "o\nuser=ada")
        await command(log.redis, "ZADD", keys.index(), 0, f"user=ada\no\n{job_id}")


async def swap_jobs(log: Log) -> object:
    await fill(log, log.keys.jobs(0), "a", "old", "ended")
    await fill(log, log.keys.jobs(0, rebuilding=True), "a", "new", "ended")
    await command(log.redis, "ZADD", log.keys.jobs(0, rebuilding=True).active(), 1, "expired")
    return await JobsProjection().swap(log, 0, TOKEN)


async def move_states(log: Log) -> object:
    await swap_jobs(log)
    live, replaced = log.keys.jobs(0), log.keys.jobs(0, rebuilding=True)
    await command(log.redis, "HSET", live.job("a"), "seq", 2)
    swap = await command(log.redis, "HGET", live.projector(), "moving")
    script = Script("everfold.projector", "move_states")
    touched = (live.projector(), live.active(), live.ended(), replaced.active(), replaced.ended())
    asked = (swap, live.job(""), replaced.job(""), 1, "a", "new", "old", "ended", "expired")
    return await script.run(log.redis, touched, asked)  # type: ignore[arg-type]


async def swap_states(log: Log) -> object:
    for rebuilding in (False, True):
        keys = COUNTS.keys(log.keys, 0, rebuilding=rebuilding)
        fields = ("owner", TOKEN, "checkpoint", "5-0", "folded", 5)
        await command(log.redis, "HSET", keys.projector(), *fields)
        await command(log.redis, "HSET", keys.states(), f"user{rebuilding}", "{}")
        await command(log.redis, "HSET", keys.parked(), "z", "{}")
    return await COUNTS.swap(log, 0, TOKEN)


async def subscribed(log: Log, owner: str) -> list[str]:
    """Make the subscription, whose entries `owner` has read; job `a` is held. Return the ids."""
    await admin.create(log, hook)
    entry_ids = await read_by_owner(log, hook.group, owner)
    keys = log.keys.subscription(0, "hook")
    held = msgspec.json.encode(Held(seq=1, entry_id=entry_ids[0], at_ms=1, why="it failed"))
    await command(log.redis, "HSET", keys.held(), "a", held)
    return entry_ids


async def acknowledge(log: Log) -> None:
    keys = log.keys.subscription(0, "hook")
    member = Member(log, "hook", "test", 5)
    entry_ids = await subscribed(log, member.token)
    await member.acquire(keys.checkpoint())
    acks = Acks(log, 0, member.token, hook)
    acks.start_over("0")
    acks.delivered(entry_ids[0])
    acks.resumed("a")
    acks.left_out(entry_ids[1])
    acks.held("b", Held(seq=1, entry_id=entry_ids[1], at_ms=1, why="it failed"))
    await acks.write(entry_ids[1])


async def skip_held(log: Log) -> None:
    await subscribed(log, "owner")
    await admin.skip(log, "hook", "a")


async def reset(log: Log) -> object:
    await subscribed(log, "owner")
    return await admin.reset(log, "hook", "beginning")


async def reset_without_a_group(log: Log) -> object:
    await admin.create(log, hook)
    return await admin.reset(log, "hook", "beginning")


async def skip_parked(log: Log) -> None:
    await log.submit(GRAPH, job_id="a")
    keys = log.keys
    fields = ("phase", "later", "blocked", "9 1 1 x")
    await command(log.redis, "HSET", keys.head("a"), *fields)
    await command(log.redis, "ZADD", keys.blocked(0), 9, "a")
    await command(log.redis, "ZADD", keys.later(0), 9, "a")
    await command(log.redis, "HSET", keys.projector(0), "owner", "test", "until_ms", 9)
    await command(log.redis, "HSET", keys.parked(0), "a", msgspec.json.encode(PARKED))
    await parking.skip(log, "a", "an operator")


async def delete_consumers(log: Log) -> object:
    await read_by_owner(log, PROJECTOR_GROUP, "owner")
    key = log.keys.log(0)
    for name in ("idle", "gone"):
        await command(log.redis, "XGROUP CREATECONSUMER", key, PROJECTOR_GROUP, name)
    script = Script("everfold.projector", "delete_consumers")
    return await script.run(log.redis, (key,), (-1, PROJECTOR_GROUP))


async def drop_stale_index_entry(log: Log) -> object:
    keys, rebuilt = log.keys.jobs(0), log.keys.jobs(0, rebuilding=True)
    for index in (keys.active(), keys.ended()):
        await command(log.redis, "ZADD", index, 1, "a")
    await command(log.redis, "HSET", keys.indexed(), "a", "o\nuser=ada")
    await command(log.redis, "ZADD", keys.index(), 0, "user=ada\no\na")
    script = Script("everfold.projector", "drop_stale_index_entry")
    indexes = (keys.active(), keys.ended(), keys.index(), keys.indexed())
    touched = (keys.job("a"), *indexes, rebuilt.job("a"))
    return await script.run(log.redis, touched, ("a",))


async def erase_state(log: Log) -> object:
    keys, rebuilt = await _filled_index(log), log.keys.jobs(0, rebuilding=True)
    await command(log.redis, "HSET", keys.job("a"), "seq", 1)
    await command(log.redis, "HSET", keys.indexed(), "a", "o\nuser=ada")
    await command(log.redis, "HSET", rebuilt.job("a"), "seq", 1)
    script = Script("everfold.projector", "erase_state")
    indexes = (keys.active(), keys.ended(), keys.index(), keys.indexed())
    touched = (keys.job("a"), *indexes, rebuilt.job("a"))
    return await script.run(log.redis, touched, ("a",))


async def _filled_index(log: Log) -> JobsKeys:
    """Make an index that is complete: an open job and one that has ended, of the same user."""
    keys = log.keys.jobs(0)
    await command(log.redis, "HSET", keys.projector(), "indexes", "1")
    await command(log.redis, "ZADD", keys.active(), 5, "a")
    ended = f"user=ada\ne{7:016d}\nb"
    await command(log.redis, "ZADD", keys.index(), 0, "user=ada\no\na", 0, ended)
    return keys


async def _select_open(log: Log, looks: int) -> object:
    keys = await _filled_index(log)
    script = Script("everfold.projector", "select_open", is_read_only=True)
    wanted = msgspec.msgpack.encode((("1",), (("user=ada",), ("user=ada", "user=bob"))))
    touched = (keys.projector(), keys.active(), keys.index())
    return await script.run(log.redis, touched, (wanted, 9, 0, 0, 5, looks))


async def select_open(log: Log) -> object:
    return await _select_open(log, 5)


async def select_among_all_open(log: Log) -> object:
    return await _select_open(log, 0)


async def select_ended(log: Log) -> object:
    keys = await _filled_index(log)
    script = Script("everfold.projector", "select_ended", is_read_only=True)
    wanted = msgspec.msgpack.encode((("1",), (("user=ada",), ("user=ada", "user=bob"))))
    return await script.run(log.redis, (keys.projector(), keys.index()), (wanted, 9, "", 0, 5, 5))


async def measure_hashes(log: Log) -> object:
    keys = log.keys.jobs(0)
    await fill(log, keys, "a", "b")
    script = Script("everfold.projector", "measure_hashes", is_read_only=True)
    touched = (keys.projector(), keys.job("a"), keys.job("b"))
    return await script.run(log.redis, touched, ("seq", "error"))


STATES: dict[str, tuple[State, ...]] = {
    "acknowledge": (acknowledge,),
    "acquire_partition": (acquire, give_up_lease),
    "acquire_partitions": (acquire_all,),
    "change_held": (skip_held,),
    "commit_jobs": (commit_states_of_jobs, commit_while_states_move),
    "commit_states": (commit_custom_states,),
    "count_members": (count_members,),
    "delete_consumers": (delete_consumers,),
    "drop_stale_index_entry": (drop_stale_index_entry,),
    "erase_state": (erase_state,),
    "look_at_places": (look_at_places,),
    "measure_hashes": (measure_hashes,),
    "reset_subscription": (reset, reset_without_a_group),
    "select_ended": (select_ended,),
    "move_states": (move_states,),
    "select_open": (select_open, select_among_all_open),
    "swap_jobs": (swap_jobs,),
    "swap_states": (swap_states,),
    "unpark": (skip_parked,),
}
"""Script -> its states."""
