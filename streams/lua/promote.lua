#!lua
--[[
  Let jobs whose time has come wait for a runner, and name those that waited too long. A job whose
  head or place cannot be used is looked at again a minute later.
  KEYS[1]  later      ZSET by due time, Unix ms
  KEYS[2]  deadlines  ZSET by time, Unix ms
  KEYS[3]  clock      HASH: when the clock was looked at, and how far it was set
  ARGV[1]  hash tag of the partition, from which heads and places are named
  ARGV[2]  most jobs to move in one call
  ARGV[3]  wake channel
  ARGV[4]  wake message
  ARGV[5]  latest time, Unix ms, that the caller can explain; 0 = any
  Returns  {"promoted", time, count, next due Unix ms or 0, overdue job ids...}   an overdue job is
           waiting past its deadline, or was asked to be canceled as it waited; it stays listed
           until it is closed, and may have started before.
           {"ahead", time}   it is ahead of that time, or a step of it is not dealt with: no change
]]
--- @include "hint"
--- @include "now_ms"
--- @include "waiting"
local later, deadlines, clock, tag, most = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]
local time_ms, latest_ms = now_ms(), whole(ARGV[5])
local why = check_key(later, 'zset', 'ZRANGE ZRANGEBYSCORE ZREM ZADD') or check_key(deadlines, 'zset', 'ZRANGEBYSCORE ZREM')
  or check_key(clock, 'hash', 'HMGET HSET') or check_key(tag .. ':head:', 'hash', 'HGET HMGET HSET') or check_rights(tag, 'ZADD ZRANGE', 'ZSCORE ZADD', '')
  or not (latest_ms and whole(most)) and 'ERR a limit is not a whole number'
if why then return redis.error_reply(why) end
local seen_ms, moving = unpack(redis.call('HMGET', clock, 'seen_ms', 'moving'))
if moving or latest_ms > 0 and time_ms > latest_ms then return { 'ahead', time_ms } end
if time_ms > (whole(seen_ms) or 0) + 10000 then redis.call('HSET', clock, 'seen_ms', time_ms) end

local due = redis.call('ZRANGEBYSCORE', later, '-inf', time_ms, 'LIMIT', 0, most)
for _, job in ipairs(due) do
  local head = tag .. ':head:' .. job
  local trouble = check_key(head, 'hash', 'HSET')
  local phase, place = unpack(trouble and {} or redis.call('HMGET', head, 'phase', 'place'))
  local is_to_wait, at = phase == 'later' or phase == 'waiting', nil
  if is_to_wait then at, trouble = waiting_at(tag, head) end
  if trouble then redis.call('ZADD', later, time_ms + 60000, job)
  else
    redis.call('ZREM', later, job)
    if is_to_wait then enter_waiting(at, head, job, place) end
  end
end
if #due > 0 then hint(ARGV[3], ARGV[4]) end

local first = redis.call('ZRANGE', later, 0, 0, 'WITHSCORES')
local outcome = { 'promoted', time_ms, #due, tonumber(first[2] or 0) }
for _, job in ipairs(redis.call('ZRANGEBYSCORE', deadlines, '-inf', time_ms, 'LIMIT', 0, most)) do
  local head = tag .. ':head:' .. job
  local phase = check_key(head, 'hash') and 'broken' or redis.call('HGET', head, 'phase')
  if phase == 'waiting' or phase == 'later' then table.insert(outcome, job)
  -- A held one stays listed: its runner ends it, or releases it unstarted, and then it is overdue.
  elseif phase ~= 'broken' and phase ~= 'leased' and phase ~= 'released' then redis.call('ZREM', deadlines, job) end
end
return outcome
