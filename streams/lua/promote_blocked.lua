#!lua
--[[
  Let jobs that other runners could not read wait for a runner that reads something else, and name those that have waited too long for one or are to be canceled. Walks one page of them.

  KEYS[1]  blocked  ZSET by time until which a job waits, Unix ms
  KEYS[2]  later    ZSET by due time, Unix ms

  ARGV[1]  hash tag of the partition, from which heads and places are named
  ARGV[2]  fingerprint of what the runner can read
  ARGV[3]  index in blocked at which the page begins, from 0
  ARGV[4]  most jobs to look at in one call
  ARGV[5]  wake channel
  ARGV[6]  wake message

  Returns  {"page", index of the next page or 0, count of those, job id...}   a job that is named
           is open and unheld; it stays blocked until it is closed. None while times are to be
           moved by a step of the clock
]]
--- @include "hint"
--- @include "now_ms"
--- @include "wait_for_reader"
--- @include "waiting"
local blocked, later, tag, reads = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local first, most, time_ms = tonumber(ARGV[3]), tonumber(ARGV[4]), now_ms()
local why = check_key(blocked, 'zset', 'ZRANGE ZRANGEBYSCORE ZREM') or check_key(later, 'zset', 'ZREM')
  or check_key(tag .. ':head:', 'hash', 'HMGET HSET')
  or check_key(tag .. ':clock', 'hash', 'HGET') or check_rights(tag, 'ZADD ZRANGE', 'ZSCORE ZADD', '')
if why then return redis.error_reply(why) end
if redis.call('HGET', tag .. ':clock', 'moving') then return { 'page', 0, 0 } end

local page = redis.call('ZRANGE', blocked, first, first + most - 1)
local outcome, gone = { 'page', #page < most and 0 or first + #page, 0 }, 0
local named = {}
local function look(job, is_late)
  local head = tag .. ':head:' .. job
  if named[job] or check_key(head, 'hash') then return end
  local kinds, phase, cancel, place = unpack(redis.call('HMGET', head, 'blocked', 'phase', 'cancel', 'place'))
  if phase ~= 'later' or not kinds then
    gone = gone + redis.call('ZREM', blocked, job)
  elseif is_late or cancel then
    table.insert(outcome, job)
    named[job] = true
  elseif not is_blocked(kinds, reads) then
    local at = waiting_at(tag, head)
    if not at then return end
    gone, outcome[3] = gone + redis.call('ZREM', blocked, job), outcome[3] + 1
    redis.call('ZREM', later, job)
    enter_waiting(at, head, job, place)
  end
end
for _, job in ipairs(redis.call('ZRANGEBYSCORE', blocked, '-inf', time_ms, 'LIMIT', 0, most)) do look(job, true) end
for _, job in ipairs(page) do look(job) end
if outcome[2] > 0 then outcome[2] = outcome[2] - gone end
if outcome[3] > 0 then hint(ARGV[5], ARGV[6]) end
return outcome
