#!lua
--[[
  Record that the server's clock was set, and move by as much what waits for a time. Once for each
  step, whoever finds it first. Times that a user has asked for stay, and so does what was written
  by the clock as it is now.

  KEYS[1]  clock      HASH: when the clock was looked at, and how far it was set
  KEYS[2]  later      ZSET by due time, Unix ms
  KEYS[3]  deadlines  ZSET by time, Unix ms
  ARGV[1]  hash tag of the partition, from which heads are named
  ARGV[2]  ms by which the clock was set; negative = back
  ARGV[3]  sum of the steps that the caller knows of
  ARGV[4]  Unix ms: what was written from then on was written after the step; 0 = not known

  Returns  {"shifted", time}   time in Unix ms
           {"known", time}     somebody has recorded a step that the caller does not know of
           {"refused", time}   a runner has seen times that this step would have left out
]]
--- @include "check_key"
--- @include "now_ms"
local clock, later, deadlines, tag = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local step_ms, known_ms, anew_ms, blocked = whole(ARGV[2]), whole(ARGV[3]), whole(ARGV[4]), tag .. ':blocked'
local why = check_key(clock, 'hash', 'HMGET HSET') or check_key(later, 'zset', 'ZRANGE ZSCORE ZADD') or check_key(deadlines, 'zset', 'ZRANGE ZADD')
  or check_key(tag .. ':head:', 'hash', 'HMGET HSET') or check_key(blocked, 'zset', 'ZRANGE ZADD')
  or not (step_ms and known_ms and anew_ms) and 'ERR a time is not a whole number'
if why then return redis.error_reply(why) end
local time_ms, before = now_ms(), redis.call('HMGET', clock, 'seen_ms', 'stepped_ms', 'unsure_to_ms', 'steps')
for i = 1, 4 do before[i] = whole(before[i]) or 0 end
if before[2] ~= known_ms then return { 'known', time_ms } end
if step_ms > 0 and before[1] > time_ms - step_ms + 1000 then return { 'refused', time_ms } end

local function move(key, asked_for_ms)
  local rows = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for i = 1, #rows, 2 do
    local head = tag .. ':head:' .. rows[i]
    local phase, epoch, wait, last, cancel, first = unpack(redis.pcall('HMGET', head, 'phase', 'epoch', 'blocked', 'last', 'cancel', 'first'))
    local entry = key ~= deadlines and last or cancel and string.match(cancel, '%S+$') or first
    local written_ms = whole(string.match(entry or '', '^%d+')) or 0
    local is_asked_for = phase == 'later' and not wait and (whole(epoch) or 0) == 0
    local ms = anew_ms > 0 and written_ms >= anew_ms and 0 or is_asked_for and asked_for_ms(rows[i]) or step_ms
    local at_ms = string.format('%d', rows[i + 1] + ms)
    redis.call('ZADD', key, at_ms, rows[i])
    if key == blocked and wait then redis.call('HSET', head, 'blocked', (string.gsub(wait, '^%d+', at_ms))) end
  end
end
move(deadlines, function(job)
  -- Where the step has made the job due, its deadline counts from now.
  return math.max(0, math.min(step_ms, time_ms - (tonumber(redis.call('ZSCORE', later, job) or time_ms))))
end)
move(later, function() return 0 end)
move(blocked, function() return 0 end)
redis.call('HSET', clock, 'seen_ms', time_ms, 'stepped_ms', before[2] + step_ms, 'steps', before[4] + 1, 'last_step_ms', step_ms,
  'last_step_at_ms', time_ms, 'unsure_to_ms', math.max(before[3], time_ms, time_ms - step_ms + 1000))
return { 'shifted', time_ms }
