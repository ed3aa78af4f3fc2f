#!lua
--[[
  Let a subscription begin again after an entry, as if it had been made there: what is pending and
  what it holds is dropped. A consumer that is at work notices that `resets` rose, and starts over.

  KEYS[1]  log           STREAM
  KEYS[2]  subscription  HASH: checkpoint, resets, changes
  KEYS[3]  held          HASH, job -> why its next event is not delivered yet

  ARGV[1]  consumer group
  ARGV[2]  entry id after which to begin

  Returns  {"reset", held}  how many jobs were held
]]
local log, subscription, held = KEYS[1], KEYS[2], KEYS[3]
local count = redis.call('HLEN', held)
redis.call('DEL', held)
if redis.call('EXISTS', log) == 1 then redis.call('XGROUP', 'DESTROY', log, ARGV[1]) end
redis.call('XGROUP', 'CREATE', log, ARGV[1], ARGV[2], 'MKSTREAM')
redis.call('HSET', subscription, 'checkpoint', ARGV[2])
redis.call('HINCRBY', subscription, 'resets', 1)
redis.call('HINCRBY', subscription, 'changes', 1)
return { 'reset', count }
