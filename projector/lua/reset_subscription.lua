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
--- @include "check_key"
local log, subscription, held = KEYS[1], KEYS[2], KEYS[3]
local why = check_key(log, 'stream', 'XGROUP|CREATE XGROUP|DESTROY') or check_key(subscription, 'hash', 'HMGET HSET HINCRBY')
  or check_key(held, 'hash', 'HLEN DEL')
  or not is_entry_id(ARGV[2]) and 'ERR this is not an entry id'
if why then return redis.error_reply(why) end
local resets, changes = unpack(redis.call('HMGET', subscription, 'resets', 'changes'))
if not (whole(resets or '0') and whole(changes or '0')) then
  return redis.error_reply('ERR a counter of the subscription is not a whole number')
end
local count = redis.call('HLEN', held)
local made = redis.pcall('XGROUP', 'CREATE', log, ARGV[1], ARGV[2], 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP') then return made end
if made.err then
  redis.call('XGROUP', 'DESTROY', log, ARGV[1])
  redis.call('XGROUP', 'CREATE', log, ARGV[1], ARGV[2])
end
redis.call('DEL', held)
redis.call('HSET', subscription, 'checkpoint', ARGV[2])
redis.call('HINCRBY', subscription, 'resets', 1)
redis.call('HINCRBY', subscription, 'changes', 1)
return { 'reset', count }
