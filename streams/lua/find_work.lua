#!lua
--[[
  Say what a runner of some queues has to do in some partitions of one server. Notes of each that its
  clock was looked at. What this user may not read, or another program has written, counts as work.

  KEYS[1..]  clock  HASH of each partition: when it was looked at, and how far it was set

  ARGV[1]    latest time, Unix ms, that the caller can explain; 0 = any
  ARGV[2]    count of queues
  ARGV[3..]  the queues, then the hash tags of the partitions in the order of KEYS

  Returns  {"found", time, partition...}   a partition is
           {due, waiting, held, clock...}  due: 1 where a time has come, or jobs are blocked; waiting:
           numbers of the queues in which jobs wait, from 0; held: of the lanes with jobs that
           runners hold: three for each queue; clock: as look_at_clock.lua says it, without the time,
           and nothing where it cannot be read
]]
--- @include "check_key"
--- @include "now_ms"
local latest_ms, count, time_ms = whole(ARGV[1]), whole(ARGV[2]), now_ms()
if not (latest_ms and count) or #ARGV ~= 2 + count + #KEYS then return redis.error_reply('ERR a number is not a whole one') end
local outcome, unnoted = { 'found', time_ms }, {}
local is_odd
local function ask(...) local reply = redis.pcall(...)
  is_odd = is_odd or type(reply) == 'table' and reply.err
  return reply
end
local function is_due(zset)
  local first = ask('ZRANGE', zset, 0, 0, 'WITHSCORES')
  return first[2] and tonumber(first[2]) <= time_ms
end
-- Asked once for all queues: most partitions have nothing.
local function exists(keys) return ask('EXISTS', unpack(keys)) ~= 0 end

local PRIORITIES = { ':high', ':normal', ':low' }
for index, clock in ipairs(KEYS) do
  local tag, all_waiting, all_held, waiting, held, is_work = ARGV[2 + count + index], {}, {}, {}, {}, 0
  for number = 1, count do
    all_waiting[number] = tag .. ':lines:' .. ARGV[2 + number]
    for lane = 1, 3 do all_held[3 * number - 3 + lane] = tag .. ':dispatch:' .. ARGV[2 + number] .. PRIORITIES[lane] end
  end
  is_odd = false
  for number = 1, exists(all_waiting) and count or 0 do if exists({ all_waiting[number] }) then table.insert(waiting, number - 1) end end
  for lane = 1, exists(all_held) and 3 * count or 0 do
    if ask('XLEN', all_held[lane]) ~= 0 then table.insert(held, lane - 1) end
  end
  if is_due(tag .. ':later') or is_due(tag .. ':deadlines') or ask('ZCARD', tag .. ':blocked') ~= 0 or is_odd then is_work = 1 end
  local partition = { is_work, waiting, held }
  if not check_key(clock, 'hash', 'HMGET HSET') then
    local look = redis.call('HMGET', clock, 'seen_ms', 'stepped_ms', 'unsure_to_ms', 'moving')
    for part = 1, 3 do partition[3 + part] = whole(look[part]) or 0 end
    partition[7] = look[4] and 1 or 0
    local is_known = not (is_odd or look[4] or latest_ms > 0 and time_ms > latest_ms)
    if is_known and time_ms > partition[4] + 10000 then table.insert(unnoted, clock) end
  end
  table.insert(outcome, partition)
end
for _, clock in ipairs(unnoted) do redis.call('HSET', clock, 'seen_ms', time_ms) end
return outcome
