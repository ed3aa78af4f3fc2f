"""Puts thousands of jobs into a partition in a few steps, with keys as the scripts leave them."""

from __future__ import annotations

from typing import cast

from everfold.streams.appending.log import Log
from everfold.streams.redis.keys import RUNNERS_GROUP
from everfold.streams.redis.redis_errors import command

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}

STEP = 2000
"""Jobs of one script: who watches a server takes it for dead that answers nothing for seconds."""

_FILL = """
local tag, log, phase, owner, payload, sha = ARGV[1], ARGV[1] .. ':log', unpack(ARGV, 3, 6)
local dispatch = tag .. ':dispatch:default:normal'
for i = ARGV[7] + 1, ARGV[7] + ARGV[2] do
  local job, place = 'j' .. i, ''
  local entry = redis.call('XADD', log, '*', 'j', job, 's', 1, 'e', 0, 'p', '0-0', 'd', payload)
  if phase == 'leased' then place = redis.call('XADD', dispatch, '*', 'j', job) end
  if phase == 'waiting' then
    redis.call('ZADD', tag .. ':waiting:default', i, job)
    redis.call('ZADD', tag .. ':line:default:-', i, job)
  end
  redis.call('HSET', tag .. ':head:' .. job, 'seq', 1, 'epoch', 1, 'status', 'open',
    'phase', phase, 'owner', owner, 'workflow', sha, 'queue', 'default', 'priority', 'normal',
    'dispatch', place, 'place', i, 'line', '-', 'first', entry, 'last', entry,
    'made_by', 'x', 'recent', '')
end
redis.call('HINCRBY', tag .. ':workflows', sha, ARGV[2])
if phase == 'waiting' then redis.call('ZADD', tag .. ':lines:default', 1, '-') end
if phase == 'leased' then
  redis.pcall('XGROUP', 'CREATE', dispatch, 'runners', '0')
  redis.call('XREADGROUP', 'GROUP', 'runners', owner, 'COUNT', ARGV[2], 'STREAMS', dispatch, '>')
end
"""

_SCORE = """
for i = ARGV[3] + 1, ARGV[3] + ARGV[1] do redis.call('ZADD', KEYS[1], ARGV[2] + i, 'j' .. i) end
"""


async def add_jobs(log: Log, count: int, phase: str, owner: str = "") -> list[str]:
    """Add open jobs `j1`, `j2` ... in this phase to partition 0; return their ids.

    They are alike: each has one event, of epoch 0, and epoch 1 in its head. A leased job has its
    place among the pending entries of `owner`.
    """
    await log.submit(GRAPH, job_id="model", run_at_ms=1)
    keys = log.keys
    [(_, fields)] = cast(
        "list[tuple[bytes, list[bytes]]]",
        await command(log.redis, "XRANGE", keys.log(0), "-", "+"),
    )
    sha = await command(log.redis, "HGET", keys.head("model"), "workflow")
    log.memory.clear()  # else the model is put back
    await command(log.redis, "DEL", keys.log(0), keys.head("model"), keys.later(0))
    for done in range(0, count, STEP):
        some = min(STEP, count - done)
        filled = (keys.tag(0), some, phase, owner, fields[-1], cast("bytes", sha), done)
        # The key says where it belongs; what else it writes has the same tag.
        await command(log.redis, "EVAL", _FILL, 1, keys.log(0), *filled)
    return [f"j{number}" for number in range(1, count + 1)]


async def add_times(log: Log, key: str, count: int, first_ms: int) -> None:
    """Give the jobs `j1`, `j2` ... places in a sorted set by time, a millisecond apart."""
    for done in range(0, count, STEP):
        await command(log.redis, "EVAL", _SCORE, 1, key, min(STEP, count - done), first_ms, done)


async def lease_ids(log: Log, most: int) -> list[str]:
    """Return the entry ids of the leases in the lane of `add_jobs`, the oldest first."""
    dispatch = log.keys.dispatch(0, "default", "normal")
    ask = ("XPENDING", dispatch, RUNNERS_GROUP, "-", "+", most)
    return [row[0].decode() for row in cast("list[list[bytes]]", await command(log.redis, *ask))]
