#!lua
--[[
  Record that the server's clock was set, once for each step, whoever finds it first; and note what
  waits for a time, so that move_times.lua moves it by as much, page by page.

  KEYS[1]  clock      HASH: when the clock was looked at, how far it was set, and what moves
  KEYS[2]  later      ZSET by due time, Unix ms
  KEYS[3]  deadlines  ZSET by time, Unix ms
  ARGV[1]  hash tag of the partition, from which other keys are named
  ARGV[2]  ms by which the clock was set; negative = back
  ARGV[3]  sum of the steps that the caller knows of
  ARGV[4]  Unix ms: what was written from then on was written after the step; 0 = not known

  Returns  {"shifted", time}   time in Unix ms; call move_times.lua until all is moved
           {"moving", time}    times of a step before are still to be moved; nothing was written
           {"known", time}     somebody has recorded a step that the caller does not know of
           {"refused", time}   a runner has seen times that this step would have left out
]]
--- @include "check_key"
--- @include "now_ms"
--- @include "stand_still"
local clock, tag, unmoved = KEYS[1], ARGV[1], ARGV[1] .. ':unmoved:'
local step_ms, known_ms, anew_ms = whole(ARGV[2]), whole(ARGV[3]), whole(ARGV[4])
local sources = { later = KEYS[2], deadlines = KEYS[3], blocked = tag .. ':blocked' }
local why = check_key(clock, 'hash', 'HMGET HSET') or not (step_ms and known_ms and anew_ms) and 'ERR a time is not a whole number' or stand_still(tag)
for name, key in pairs(sources) do
  local is_denied = redis.acl_check_cmd and not redis.acl_check_cmd('COPY', key, unmoved .. name)
  why = why or check_key(key, 'zset') or check_key(unmoved .. name, 'zset')
    or is_denied and 'NOPERM this user may not send COPY for ' .. key
end
if why then return redis.error_reply(why) end
local time_ms, before = now_ms(), redis.call('HMGET', clock, 'seen_ms', 'stepped_ms', 'unsure_to_ms', 'steps', 'moving')
if before[5] then return { 'moving', time_ms } end
for i = 1, 4 do before[i] = whole(before[i]) or 0 end
if before[2] ~= known_ms then return { 'known', time_ms } end
if step_ms > 0 and before[1] > time_ms - step_ms + 1000 then return { 'refused', time_ms } end
for name, key in pairs(sources) do redis.call('COPY', key, unmoved .. name, 'REPLACE') end
redis.call('HSET', clock, 'seen_ms', time_ms, 'stepped_ms', before[2] + step_ms, 'steps', before[4] + 1, 'last_step_ms', step_ms,
  'last_step_at_ms', time_ms, 'unsure_to_ms', math.max(before[3], time_ms, time_ms - step_ms + 1000),
  'moving', step_ms .. ' ' .. string.format('%d', anew_ms) .. ' ' .. string.format('%d', time_ms))
return { 'shifted', time_ms }
