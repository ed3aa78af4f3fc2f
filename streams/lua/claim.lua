#!lua
--[[
  Lease waiting jobs of one queue to a runner, in partitions of one slot, or of one server: each the first
  of its line, one after the other; each gets a new epoch. A job with a broken head leaves its line for a
  minute; an unreadable one waits.
  KEYS[1..] two for each partition: log, STREAM; lines, ZSET of the queue, line by the place of its first job
  ARGV[1]  runner      ARGV[2]  fingerprint of what it can read      ARGV[3]  queue
  ARGV[4..] four per job: number of its partition, from 1; line, '*' = that of the first job; highest
           place, '' = any, '-1' = lease nothing, tell whether the line is at a limit; `claimed` event;
           spread layout: then, if anything was reserved (reserve.lua), JSON: Unix ms of this server up
           to which that counts, then of each limit, as `user ada`, how many more jobs may run
  Returns  {"claimed", job...} where a job is
           {job id, epoch, seq, entry id, priority, dispatch entry id, which of ARGV's jobs from 1,
            its first entry, if that is the one before; spread layout: its place; what it sends, if
            that is short}
           spread layout: {'', which, Unix ms now, limit, number, ...} for a job of which these limits
           are to be reserved first; nothing after it is looked at of `*`
           {'', which} for a line with the place '-1' that is at a limit
           {"paused"}      nothing is taken of this queue
]]
--- @include "claim_line"
--- @include "now_ms"
local queue, time_ms, places, taken, outcome = ARGV[3], now_ms(), {}, {}, { 'claimed' }
local granted = read_grants(#ARGV % 4 == 0 and ARGV[#ARGV], time_ms)
local why = not granted and 'ERR what was reserved is no JSON list' or #ARGV % 4 ~= 3 and #ARGV % 4 ~= 0 and 'ERR an argument is missing'
-- Return why this user may not send what a claim sends. Asked for the first partition alone: the server has
-- refused the call where this user may not write one of its keys, and no right is a matter of the partition.
local function check_claim(log, lines, tag)
  return refused('XADD XRANGE', log) or refused('ZRANGE ZADD ZREM', lines) or refused('TYPE HEXISTS', root_of(tag) .. ':paused')
    or refused('HMGET HSET EXISTS HGET', tag .. ':head:') or refused('ZADD', tag .. ':later') or refused('ZADD', tag .. ':blocked')
    or refused('XADD XGROUP|CREATE XCLAIM', tag .. ':dispatch:') or check_rights(tag, 'ZADD ZREM ZRANGE', 'ZSCORE ZADD ZREMRANGEBYSCORE', 'SADD SREM SCARD SRANDMEMBER')
end
for at = 1, #KEYS, 2 do
  local log, lines, tag = KEYS[at], KEYS[at + 1], tag_of(KEYS[at])
  local paused = root_of(tag) .. ':paused'
  why = why or check_key(log, 'stream') or check_key(lines, 'zset') or at == 1 and check_claim(log, lines, tag)
    or check_key(tag .. ':later', 'zset') or check_key(tag .. ':blocked', 'zset')
  if why then return redis.error_reply(why) end
  local is_paused = not check_key(paused, 'hash') and redis.call('HEXISTS', paused, queue) == 1
  places[(at + 1) / 2] = not is_paused and { log = log, lines = lines, tag = tag, queue = queue, runner = ARGV[1], reads = ARGV[2], time_ms = time_ms, granted = granted, taken = taken, outcome = outcome } or nil
end
for i = 4, #ARGV - 3, 4 do
  local to = places[whole(ARGV[i])]
  for _, name in ipairs(not to and {} or ARGV[i + 1] == '*' and redis.call('ZRANGE', to.lines, 0, 99) or { ARGV[i + 1] }) do
    if claim_line(to, { which = i / 4, name = name, place = ARGV[i + 2], event = ARGV[i + 3] }) then break end
  end
end
for order, score in pairs(taken) do note_taken(order, score) end
return next(places) and outcome or { 'paused' }
