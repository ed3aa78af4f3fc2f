#!lua
--[[
  Acknowledge entries that a subscription has delivered, and store which jobs it holds. Only the
  owner of the partition may: an owner that lost it writes nothing here, whatever it delivered.

  KEYS[1]  log           STREAM
  KEYS[2]  subscription  HASH: owner, checkpoint, resets, delivered, failed, left_out
  KEYS[3]  held          HASH, job -> why its next event is not delivered yet

  ARGV[1]  token of the owner, which is also its consumer name
  ARGV[2]  consumer group
  ARGV[3]  resets that the owner knows of
  ARGV[4]  checkpoint: up to here every entry was taken; '' = unchanged
  ARGV[5]  MessagePack: ids of entries to acknowledge
  ARGV[6]  MessagePack: array of jobs and values of `held`; array of jobs that are no longer held
  ARGV[7]  MessagePack: events delivered, tries that failed, events left out

  Returns  {"acknowledged"}
           {"not_owner", owner}  nothing was written
           {"reset"}             an operator has reset the subscription; nothing was written
]]
local log, subscription, call = KEYS[1], KEYS[2], redis.call
local owner, resets = unpack(call('HMGET', subscription, 'owner', 'resets'))
if owner ~= ARGV[1] then return { 'not_owner', owner or '' } end
if (resets or '0') ~= ARGV[3] then return { 'reset' } end

local entries, held, free = cmsgpack.unpack(ARGV[5]), unpack(cmsgpack.unpack(ARGV[6]))
local counts = cmsgpack.unpack(ARGV[7])
for i = 1, #entries, 1000 do
  call('XACK', log, ARGV[2], unpack(entries, i, math.min(i + 999, #entries)))
end
if #held > 0 then call('HSET', KEYS[3], unpack(held)) end
if #free > 0 then call('HDEL', KEYS[3], unpack(free)) end
if ARGV[4] ~= '' then call('HSET', subscription, 'checkpoint', ARGV[4]) end
call('HINCRBY', subscription, 'delivered', counts[1])
call('HINCRBY', subscription, 'failed', counts[2])
call('HINCRBY', subscription, 'left_out', counts[3])
return { 'acknowledged' }
