#!lua
--[[
  Lease waiting jobs of one queue and partition to a runner, each the first of its line; each gets a
  new epoch. A job with a broken head leaves its line for a minute; an unreadable one waits.
  KEYS[1]  log    STREAM
  KEYS[2]  lines  ZSET of a queue, line by the place of its first job
  ARGV[1]  hash tag of the partition, from which heads and lines are named
  ARGV[2]  runner      ARGV[3]  fingerprint of what it can read      ARGV[4]  queue
  ARGV[5..] three per job: line, '*' = that of the first job; highest place, '' = any; `claimed` event
  Returns  {"claimed", job...} where a job is
           {job id, epoch, seq, entry id, priority, dispatch entry id, which of ARGV's jobs from 1,
            its first entry, if that is the one before}
           {"paused"}      nothing is taken of this queue
]]
--- @include "begin_lease"
--- @include "now_ms"
--- @include "places"
--- @include "wait_for_reader"
--- @include "waiting"
local log, lines, tag, queue, time_ms, outcome = KEYS[1], KEYS[2], ARGV[1], ARGV[4], now_ms(), { 'claimed' }
local runner, reads, paused, later = ARGV[2], ARGV[3], string.match(tag, '^{(.*):%d+}$') .. ':paused', tag .. ':later'
local why = check_key(log, 'stream', 'XADD XRANGE') or check_key(lines, 'zset', 'ZRANGE ZADD ZREM') or refused('TYPE HEXISTS', paused)
  or refused('HMGET HSET EXISTS HGET', tag .. ':head:') or check_key(later, 'zset', 'ZADD') or check_key(tag .. ':blocked', 'zset', 'ZADD')
  or refused('XADD XGROUP|CREATE XCLAIM', tag .. ':dispatch:') or check_rights(tag, 'ZADD ZREM ZRANGE', 'ZSCORE ZADD ZREMRANGEBYSCORE', 'SADD SREM SCARD SRANDMEMBER') or #ARGV % 3 ~= 1 and 'ERR an argument is missing'
if why then return redis.error_reply(why) end
if not check_key(paused, 'hash') and redis.call('HEXISTS', paused, queue) == 1 then return { 'paused' } end
local function lease(i, at, job, head, score, sets)
  leave_waiting(at, job) note_taken(at.order, score)
  local id = redis.call('XADD', at.dispatch, '*', 'j', job)
  local claim = { 'XCLAIM', at.dispatch, 'runners', runner, 0, id, 'FORCE', 'JUSTID' }
  if redis.pcall(unpack(claim)).err and redis.call('XGROUP', 'CREATE', at.dispatch, 'runners', '0') then redis.call(unpack(claim)) end
  local epoch, seq, entry, last = begin_lease(log, head, job, runner, id, ARGV[i + 2], sets)
  table.insert(outcome, { job, epoch, seq, entry, at.priority, id, (i - 2) / 3, seq == 2 and redis.call('XRANGE', log, last, last)[1] or nil })
  return true
end
-- Lease the first job of a line that can be leased; return whether there was one.
local function lease_first(i, line, name)
  for _, job in ipairs(check_key(line, 'zset', 'ZRANGE') and {} or redis.call('ZRANGE', line, 0, 99)) do
    local head, score = tag .. ':head:' .. job, redis.call('ZSCORE', line, job)
    local status, _, blocked, sets = leasable(tag, head)
    local place, at = nil, waiting_at(tag, head, name)
    if not at then at, status = waiting_place(tag, { queue = queue, priority = 'normal' }, name) end
    if not at or check_key(at.dispatch, 'stream') or tonumber(score) > (tonumber(ARGV[i + 1]) or math.huge) then return false end
    if status == 'open' and not is_blocked(blocked, reads) then
      if not is_full(tag, sets) then return lease(i, at, job, head, score, sets) end
      place = waiting_at(tag, head)
      if not place or place.name == name then return false end
    end
    leave_waiting(at, job)
    if place then enter_waiting(place, head, job, score)
    elseif status == 'open' then wait_for_reader(tag, head, job, reads, time_ms)
    elseif not status and redis.pcall('EXISTS', head) == 1 then redis.call('ZADD', later, time_ms + 60000, job) end
  end
end
for i = 5, #ARGV, 3 do
  local names = ARGV[i] == '*' and redis.call('ZRANGE', lines, 0, 99) or { ARGV[i] }
  for _, name in ipairs(names) do if lease_first(i, tag .. ':line:' .. queue .. ':' .. name, name) then break end end
end
return outcome
