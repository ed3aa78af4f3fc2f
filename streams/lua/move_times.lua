#!lua
--[[
  Move times by the step of the server's clock that shift_times.lua has recorded: one page of what
  waited then. Times that a user has asked for stay, and so does what was written by the clock as it
  is now. What was moved leaves `unmoved` in the same step, so nothing is moved twice.

  KEYS[1]  clock      HASH: moving = "step ms, Unix ms from which on all was written after it, its time"
  KEYS[2]  later      ZSET by due time, Unix ms
  KEYS[3]  deadlines  ZSET by time, Unix ms
  ARGV[1]  hash tag of the partition, from which other keys are named
  ARGV[2]  most times to look at

  Returns  {"moving", count}   call it again
           {"moved", 0}        nothing is left to move
]]
--- @include "check_key"
--- @include "stand_still"
local clock, later, deadlines, tag, most = KEYS[1], KEYS[2], KEYS[3], ARGV[1], whole(ARGV[2])
local blocked, unmoved, count = tag .. ':blocked', tag .. ':unmoved:', 0
local why = check_key(clock, 'hash', 'HGET HDEL') or check_key(tag .. ':head:', 'hash', 'HMGET HSET')
  or not most and 'ERR the limit is not a whole number' or stand_still(tag)
for name, key in pairs({ later = later, deadlines = deadlines, blocked = blocked }) do
  why = why or check_key(key, 'zset', 'ZSCORE ZADD') or check_key(unmoved .. name, 'zset', 'ZRANGE ZREM')
end
if why then return redis.error_reply(why) end
local step, anew, time = string.match(redis.call('HGET', clock, 'moving') or '', '^(%-?%d+) (%d+) (%d+)$')
local step_ms, anew_ms, time_ms = whole(step), whole(anew), whole(time)

local function moved_by(key, job, phase, epoch, wait, last, cancel, first)
  local entry = key ~= deadlines and last or cancel and string.match(cancel, '%S+$') or first
  if anew_ms > 0 and (whole(string.match(entry or '', '^%d+')) or 0) >= anew_ms then return 0 end
  if not (phase == 'later' and not wait and (whole(epoch) or 0) == 0) then return step_ms end
  -- A user has asked for the job's time. Where the step has made it due, its deadline counts from then.
  local due_ms = tonumber(redis.call('ZSCORE', later, job) or time_ms)
  return key == deadlines and math.max(0, math.min(step_ms, time_ms - due_ms)) or 0
end
local function move(key, job, score)
  local head, now = tag .. ':head:' .. job, redis.call('ZSCORE', key, job)
  if not now or tonumber(now) ~= tonumber(score) then return end -- It has another time by now.
  local fields = redis.pcall('HMGET', head, 'phase', 'epoch', 'blocked', 'last', 'cancel', 'first')
  local ms, wait = moved_by(key, job, unpack(fields, 1, 6)), fields[3]
  -- One that would be over by that was written after the step back: entry ids stand still then.
  if key == deadlines and not fields[5] and step_ms < 0 and score + ms < time_ms then ms = 0 end
  local at_ms = string.format('%d', score + ms)
  redis.call('ZADD', key, at_ms, job)
  if key == blocked and wait then redis.call('HSET', head, 'blocked', (string.gsub(wait, '^%d+', at_ms))) end
end
for _, key in ipairs(step_ms and anew_ms and time_ms and { deadlines, later, blocked } or {}) do
  local name = unmoved .. string.match(key, '[^:]+$')
  local rows = count < most and redis.call('ZRANGE', name, 0, most - count - 1, 'WITHSCORES') or {}
  for i = 1, #rows, 2 do move(key, rows[i], rows[i + 1]) redis.call('ZREM', name, rows[i]) end
  count = count + #rows / 2
end
if count > 0 then return { 'moving', count } end
redis.call('HDEL', clock, 'moving')
return { 'moved', 0 }
