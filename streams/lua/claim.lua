#!lua
--[[
  Lease waiting jobs of one queue and partition to a runner, each the first of its line; each gets a
  new epoch. A job with a broken head leaves its line for a minute; an unreadable one waits.
  KEYS[1]  log    STREAM
  KEYS[2]  lines  ZSET of a queue, line by the place of its first job
  ARGV[1]  hash tag of the partition, from which heads and lines are named
  ARGV[2]  runner      ARGV[3]  fingerprint of what it can read      ARGV[4]  queue
  ARGV[5..] three per job: line, '*' = that of the first job; highest place, '' = any; `claimed` event;
           spread layout: then, if anything was reserved (reserve.lua), JSON: Unix ms of this server up
           to which that counts, then of each limit, as `user ada`, how many more jobs may run
  Returns  {"claimed", job...} where a job is
           {job id, epoch, seq, entry id, priority, dispatch entry id, which of ARGV's jobs from 1,
            its first entry, if that is the one before; spread layout: its place}
           spread layout: {'', which, Unix ms now, limit, number, ...} for a job of which these limits
           are to be reserved first; nothing after it is looked at of `*`
           {"paused"}      nothing is taken of this queue
]]
--- @include "claim_line"
--- @include "now_ms"
local log, lines, tag, queue, time_ms = KEYS[1], KEYS[2], ARGV[1], ARGV[4], now_ms()
local paused, later, has_grants = root_of(tag) .. ':paused', tag .. ':later', #ARGV % 3 == 2
local why = check_key(log, 'stream', 'XADD XRANGE') or check_key(lines, 'zset', 'ZRANGE ZADD ZREM') or refused('TYPE HEXISTS', paused)
  or refused('HMGET HSET EXISTS HGET', tag .. ':head:') or check_key(later, 'zset', 'ZADD') or check_key(tag .. ':blocked', 'zset', 'ZADD')
  or refused('XADD XGROUP|CREATE XCLAIM', tag .. ':dispatch:') or check_rights(tag, 'ZADD ZREM ZRANGE', 'ZSCORE ZADD ZREMRANGEBYSCORE', 'SADD SREM SCARD SRANDMEMBER')
  or #ARGV % 3 == 0 and 'ERR an argument is missing'
if why then return redis.error_reply(why) end
if not check_key(paused, 'hash') and redis.call('HEXISTS', paused, queue) == 1 then return { 'paused' } end
local granted = read_grants(has_grants and ARGV[#ARGV], time_ms)
if not granted then return redis.error_reply('ERR what was reserved is no JSON list') end
local to = { log = log, tag = tag, queue = queue, runner = ARGV[2], reads = ARGV[3], time_ms = time_ms, granted = granted, outcome = { 'claimed' } }
for i = 5, #ARGV - 2, 3 do
  for _, name in ipairs(ARGV[i] == '*' and redis.call('ZRANGE', lines, 0, 99) or { ARGV[i] }) do
    if claim_line(to, { which = (i - 2) / 3, name = name, place = ARGV[i + 1], event = ARGV[i + 2] }) then break end
  end
end
return to.outcome
