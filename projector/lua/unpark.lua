#!lua
--[[
  Ask for a parked job to be folded again. The lease of the partition is released, so that its next
  owner, most likely the same process, starts over and finds the mark.

  KEYS[1]  projector  HASH: owner, owned until
  KEYS[2]  parked     HASH, job -> why its events cannot be folded
  KEYS[3]  skipped    HASH, entry id -> decision to fold on without it

  ARGV[1]  job id
  ARGV[2]  new value of `parked`, with the mark
  ARGV[3]  entry id of the event that cannot be read
  ARGV[4]  value of `skipped`; '' = the event is not to be skipped

  Returns  {"marked"}
           {"gone"}     the job is not parked; nothing was written
]]
--- @include "check_key"
local projector, parked, skipped = KEYS[1], KEYS[2], KEYS[3]
local why = check_key(projector, 'hash', 'HSET') or check_key(parked, 'hash', 'HSET') or check_key(skipped, 'hash', 'HSET')
if why then return redis.error_reply(why) end
if redis.call('HEXISTS', parked, ARGV[1]) == 0 then return { 'gone' } end
redis.call('HSET', parked, ARGV[1], ARGV[2])
if ARGV[4] ~= '' then redis.call('HSET', skipped, ARGV[3], ARGV[4]) end
redis.call('HSET', projector, 'owner', '', 'until_ms', 0)
return { 'marked' }
