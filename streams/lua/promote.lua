#!lua
--[[
  Move jobs whose time has come from later to dispatch, and name those that waited too long.

  KEYS[1]  later      ZSET by due time, Unix ms
  KEYS[2]  deadlines  ZSET by time, Unix ms

  ARGV[1]  hash tag of the partition, from which heads and dispatch keys are named
  ARGV[2]  most jobs to move in one call
  ARGV[3]  wake channel
  ARGV[4]  wake message

  Returns  {"promoted", count, next due Unix ms or 0, overdue job ids...}   an overdue job is
           still waiting past its deadline; it stays listed until it is closed
]]
--- @include "now_ms"
local later, deadlines, tag, most = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local time_ms = now_ms()

local due = redis.call('ZRANGEBYSCORE', later, '-inf', time_ms, 'LIMIT', 0, most)
for _, job in ipairs(due) do
  local head = tag .. ':head:' .. job
  local queue, priority, phase = unpack(redis.call('HMGET', head, 'queue', 'priority', 'phase'))
  if phase == 'later' then
    local dispatch_id = redis.call('XADD', tag .. ':dispatch:' .. queue .. ':' .. priority, '*', 'j', job)
    redis.call('HSET', head, 'phase', 'waiting', 'dispatch', dispatch_id)
  end
  redis.call('ZREM', later, job)
end
if #due > 0 then redis.call('PUBLISH', ARGV[3], ARGV[4]) end

local first = redis.call('ZRANGE', later, 0, 0, 'WITHSCORES')
local outcome = { 'promoted', #due, tonumber(first[2] or 0) }
for _, job in ipairs(redis.call('ZRANGEBYSCORE', deadlines, '-inf', time_ms, 'LIMIT', 0, most)) do
  local phase = redis.call('HGET', tag .. ':head:' .. job, 'phase')
  if phase == 'waiting' or phase == 'later' then
    table.insert(outcome, job)
  else
    redis.call('ZREM', deadlines, job)
  end
end
return outcome
