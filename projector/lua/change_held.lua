#!lua
--[[
  Change how a subscription holds a job: its event is tried again at once, or is skipped.

  KEYS[1]  log           STREAM
  KEYS[2]  subscription  HASH: changes (its consumer reads `held` again when it rises)
  KEYS[3]  held          HASH, job -> why its next event is not delivered yet

  ARGV[1]  job id
  ARGV[2]  value of `held` that was seen
  ARGV[3]  its new value
  ARGV[4]  consumer group
  ARGV[5]  id of an entry to acknowledge; '' = none

  Returns  {"changed"}
           {"moved"}    `held` has another value by now; nothing was written
]]
--- @include "check_key"
local log, subscription, held = KEYS[1], KEYS[2], KEYS[3]
local why = check_key(log, 'stream', 'XACK') or check_key(subscription, 'hash', 'HGET HINCRBY') or check_key(held, 'hash', 'HGET HSET')
  or not whole(redis.call('HGET', subscription, 'changes') or '0') and 'ERR the count of changes is not a whole number'
  or ARGV[5] ~= '' and not is_entry_id(ARGV[5]) and 'ERR this is not an entry id'
if why then return redis.error_reply(why) end
if redis.call('HGET', held, ARGV[1]) ~= ARGV[2] then return { 'moved' } end
redis.call('HSET', held, ARGV[1], ARGV[3])
if ARGV[5] ~= '' then redis.call('XACK', log, ARGV[4], ARGV[5]) end
redis.call('HINCRBY', subscription, 'changes', 1)
return { 'changed' }
