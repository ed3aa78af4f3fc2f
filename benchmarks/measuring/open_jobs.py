"""Very many open jobs in little time: copies of one that was really submitted and projected.

Rule: each copy has all that the scripts and the projector leave of a job: its event, its head, its
places, its state and its index. Only its id, its user and its place are its own.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import cast

import anyio
import msgspec

from everfold import Everfold
from everfold.projector.projector import Projector
from everfold.projector.reading.lag import lag
from everfold.streams.appending.log import Log
from everfold.streams.connections.connection import Argument
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.server import server_time_ms

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
EACH_OF = 10
"""Jobs of each user."""
AT_ONCE = 1_000

_COPY = """
local log, waiting, line, active, index, indexed = unpack(KEYS, 1, 6)
local head, state, fields, entry, names = unpack(cmsgpack.unpack(ARGV[1]))
local heads, states, place, first_ms = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
for i = 6, #ARGV do
  local job, user, number = string.match(ARGV[i], '^(%S+) (%S+) (%S+)$')
  fields[2] = job
  local id = redis.call('XADD', log, '*', unpack(fields))
  redis.call('HSET', heads .. job, unpack(head))
  local at = string.format('%d', place + i)
  redis.call('HSET', heads .. job, 'first', id, 'last', id, 'place', at, 'user', user)
  redis.call('ZADD', waiting, place + i, job)
  redis.call('ZADD', line, place + i, job)
  redis.call('HSET', states .. job, unpack(state))
  redis.call('HSET', states .. job, 'job_id', job, 'user', user)
  -- One in a millisecond, as at a thousand submits a second, and the newest ones in all partitions:
  -- by the time of its copy they would be in the partition that was filled last.
  redis.call('ZADD', active, first_ms + number, job)
  redis.call('HSET', indexed, job, entry .. '\\nuser=' .. user)
  redis.call('ZADD', index, 0, '#' .. job, 0, '$' .. string.reverse(job))
  redis.call('ZADD', index, 0, 'user=' .. user .. '\\no\\n' .. job)
  for _, name in ipairs(names) do redis.call('ZADD', index, 0, name .. '\\no\\n' .. job) end
end
"""


async def add_open_jobs(everfold: Everfold, count: int) -> list[str]:
    """Add so many waiting jobs, EACH_OF of each user; return the ids of about a thousand."""
    model = (await everfold.submit(GRAPH)).job_id
    await project(everfold.log)
    by_partition: dict[int, list[str]] = {}
    some, users = list[str](), max(1, count // EACH_OF)
    for number in range(count):
        job_id = str(uuid.uuid4())
        of_partition = by_partition.setdefault(everfold.log.keys.partition_of(job_id), [])
        of_partition.append(f"{job_id} user-{number % users} {number}")
        if number % max(1, count // 1_000) == 0:
            some.append(job_id)
    first_ms = await server_time_ms(everfold.log.redis) - count
    for partition, jobs in by_partition.items():
        await _copy(everfold.log, model, partition, jobs, first_ms)
    return some


async def project(log: Log) -> None:
    """Fold all that is in the log."""
    async with anyio.create_task_group() as tasks:
        await tasks.start(Projector(log, "bench").run)
        while any(row.lag_events for row in await lag(log)):  # noqa: ASYNC110 - the server knows
            await anyio.sleep(0.2)
        tasks.cancel_scope.cancel()


async def _copy(log: Log, model: str, partition: int, jobs: Sequence[str], first_ms: int) -> None:
    keys, source = log.keys, log.keys.partition_of(model)
    head = await read_hash(log.redis, keys.head(model))
    rows = await command(log.redis, "XRANGE", keys.log(source), "-", "+", "COUNT", 1)
    [(_, fields)] = cast("list[tuple[bytes, list[bytes]]]", rows)
    names = await command(log.redis, "HGET", keys.jobs(source).indexed(), model)
    at, *rest = cast("bytes", names).decode().split("\n")
    rest = [name for name in rest if not name.startswith("user=")]
    queue, line = head[b"queue"].decode(), head[b"line"].decode()
    state = await read_hash(log.redis, keys.job(model))
    flat = [[part.decode() for pair in one.items() for part in pair] for one in (head, state)]
    event = [field.decode() for field in fields]
    packed = msgspec.msgpack.encode((*flat, event, "\n".join((at, *rest)), rest))
    own = keys.jobs(partition)
    touched = (
        *(keys.log(partition), keys.waiting(partition, queue), keys.line(partition, queue, line)),
        *(own.active(), own.index(), own.indexed()),
    )
    prefixes = (f"{keys.tag(partition)}:head:", own.job(""))
    for first in range(0, len(jobs), AT_ONCE):
        page = jobs[first : first + AT_ONCE]
        place = int(head[b"place"]) + first
        asked: list[Argument] = [packed, *prefixes, place, first_ms, *page]
        await command(log.redis, "EVAL", _COPY, len(touched), *touched, *asked)
    await command(log.redis, "ZADD", keys.lines(partition, queue), int(head[b"place"]) + 6, line)
    await command(log.redis, "SADD", keys.queues(partition), queue)
    indexes = await command(log.redis, "HGET", keys.projector(source), "indexes")
    newest = await command(log.redis, "XREVRANGE", keys.log(partition), "+", "-", "COUNT", 1)
    checkpoint = cast("list[list[bytes]]", newest)[0][0]
    complete = ("indexes", cast("bytes", indexes), "checkpoint", checkpoint)
    await command(log.redis, "HSET", keys.projector(partition), *complete)
