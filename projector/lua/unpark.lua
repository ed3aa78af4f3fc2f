#!lua
--[[
  Ask for a parked or blocked job to be read again. The lease of the partition is released, so that
  its next owner, most likely the same process, starts over and finds the mark; any runner may claim
  the job.

  KEYS[1]  projector  HASH: owner, owned until
  KEYS[2]  parked     HASH, job -> why its events cannot be folded
  KEYS[3]  skipped    HASH, entry id -> decision to fold on without it
  KEYS[4]  head       HASH of the job
  KEYS[5]  blocked    ZSET of jobs that runners could not read
  KEYS[6]  later      ZSET by due time, Unix ms

  ARGV[1]  job id
  ARGV[2]  new value of `parked`, with the mark; '' = it is only blocked
  ARGV[3]  entry id of the event that cannot be read
  ARGV[4]  value of `skipped`; '' = the event is not to be skipped

  Returns  {"marked"}
           {"gone"}     the job is neither parked nor blocked; nothing was written
]]
--- @include "check_key"
local projector, parked, skipped, head, blocked, later = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local job, mark = ARGV[1], ARGV[2]
local why = check_key(projector, 'hash', 'HSET') or check_key(parked, 'hash', 'HEXISTS HSET') or check_key(skipped, 'hash', 'HSET')
  or check_key(head, 'hash', 'HEXISTS HGET HDEL') or check_key(blocked, 'zset', 'ZREM') or check_key(later, 'zset', 'ZADD')
if why then return redis.error_reply(why) end

local is_parked = mark ~= '' and redis.call('HEXISTS', parked, job) == 1
if not is_parked and redis.call('HEXISTS', head, 'blocked') == 0 then return { 'gone' } end
if ARGV[4] ~= '' then redis.call('HSET', skipped, ARGV[3], ARGV[4]) end
redis.call('HDEL', head, 'blocked')
if redis.call('ZREM', blocked, job) == 1 and redis.call('HGET', head, 'phase') == 'later' then
  redis.call('ZADD', later, 1, job)
end
if is_parked then
  redis.call('HSET', parked, job, mark)
  redis.call('HSET', projector, 'owner', '', 'until_ms', 0)
end
return { 'marked' }
