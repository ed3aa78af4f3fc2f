#!lua
--[[
  Once the server's clock was set: move what waits for a time by as much, and let every lease begin
  anew. Once for each step, whoever finds it first. Times that a user has asked for stay.
  KEYS[1]  clock      HASH: when the clock was looked at, and how far it was set
  KEYS[2]  later      ZSET by due time, Unix ms
  KEYS[3]  deadlines  ZSET by time, Unix ms
  KEYS[4]  queues     SET of queue names
  ARGV[1]  hash tag of the partition, from which heads and dispatch keys are named
  ARGV[2]  ms by which the clock was set; negative = back
  ARGV[3]  sum of the steps that the caller knows of
  Returns  {"shifted", time}   time in Unix ms
           {"known", time}     somebody has recorded a step that the caller does not know of
           {"refused", time}   a runner has seen times that this step would have left out
]]
--- @include "check_key"
--- @include "now_ms"
local clock, later, deadlines, tag, step_ms, known_ms = KEYS[1], KEYS[2], KEYS[3], ARGV[1], whole(ARGV[2]), whole(ARGV[3])
local blocked = tag .. ':blocked'
local why = check_key(clock, 'hash', 'HMGET HSET') or check_key(later, 'zset', 'ZRANGE ZADD') or check_key(deadlines, 'zset', 'ZRANGE ZADD')
  or check_key(tag .. ':head:', 'hash', 'HMGET HSET') or check_key(KEYS[4], 'set', 'SMEMBERS') or check_key(blocked, 'zset', 'ZRANGE ZADD') or check_key(tag .. ':dispatch:', 'stream', 'XPENDING XCLAIM')
  or not (step_ms and known_ms) and 'ERR a time is not a whole number'
if why then return redis.error_reply(why) end
local time_ms, before = now_ms(), redis.call('HMGET', clock, 'seen_ms', 'stepped_ms', 'unsure_to_ms', 'steps')
for i = 1, 4 do before[i] = whole(before[i]) or 0 end
if before[2] ~= known_ms then return { 'known', time_ms } end
if step_ms > 0 and before[1] > time_ms - step_ms + 1000 then return { 'refused', time_ms } end
local function move(key, is_moved)
  local rows = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for i = 1, #rows, 2 do
    local head, at_ms = tag .. ':head:' .. rows[i], string.format('%d', rows[i + 1] + step_ms)
    local fields = redis.pcall('HMGET', head, 'phase', 'epoch', 'blocked')
    if is_moved(fields[1], whole(fields[2]) or 0) then
      redis.call('ZADD', key, at_ms, rows[i])
      if key == blocked and fields[3] then redis.call('HSET', head, 'blocked', (string.gsub(fields[3], '^%d+', at_ms))) end
    end
  end
end
local function restart_leases(dispatch)
  local first, pending = '-', check_key(dispatch, 'stream', 'XCLAIM') and {} or nil
  while not pending or #pending == 1000 do
    pending = redis.pcall('XPENDING', dispatch, 'runners', first, '+', 1000)
    for _, item in ipairs(pending.err and {} or pending) do
      first = '(' .. item[1]
      -- What was released keeps an idle time beyond every limit.
      if item[2] ~= 'released' then redis.call('XCLAIM', dispatch, 'runners', item[2], 0, item[1], 'IDLE', 0, 'JUSTID') end
    end
  end
end
move(later, function(_, epoch) return epoch > 0 end)
move(blocked, function() return true end)
move(deadlines, function(phase, epoch) return phase ~= 'later' or epoch > 0 end)
for _, queue in ipairs(redis.call('SMEMBERS', KEYS[4])) do
  for priority in string.gmatch('high normal low', '%a+') do restart_leases(tag .. ':dispatch:' .. queue .. ':' .. priority) end
end
redis.call('HSET', clock, 'seen_ms', time_ms, 'stepped_ms', before[2] + step_ms, 'steps', before[4] + 1, 'last_step_ms', step_ms,
  'last_step_at_ms', time_ms, 'unsure_to_ms', math.max(before[3], time_ms, time_ms - step_ms + 1000))
return { 'shifted', time_ms }
