#!lua
--[[
  Change how a job is held by a subscription: tried at once, or on after the event it is held at.

  KEYS[1]  log           STREAM
  KEYS[2]  subscription  HASH: changes (tells its consumer to look at what is held again)
  KEYS[3]  held          HASH, job -> why its next event is not delivered yet

  ARGV[1]  job id
  ARGV[2]  value of `held` that was seen
  ARGV[3]  its new value
  ARGV[4]  consumer group
  ARGV[5]  id of an entry to acknowledge; '' = none

  Returns  {"changed"}
           {"moved"}    it is held differently by now; nothing was written
]]
local log, place, held = KEYS[1], KEYS[2], KEYS[3]
if redis.call('HGET', held, ARGV[1]) ~= ARGV[2] then return { 'moved' } end
redis.call('HSET', held, ARGV[1], ARGV[3])
if ARGV[5] ~= '' then redis.call('XACK', log, ARGV[4], ARGV[5]) end
redis.call('HINCRBY', place, 'changes', 1)
return { 'changed' }
