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
--- @include "check_key"
--- @include "send_in_chunks"
local log, subscription, call = KEYS[1], KEYS[2], redis.call
local why = check_key(log, 'stream', 'XACK') or check_key(subscription, 'hash', 'HMGET HSET HINCRBY')
  or check_key(KEYS[3], 'hash', 'HSET HDEL')
if why then return redis.error_reply(why) end
local owner, resets, a, b, c = unpack(call('HMGET', subscription, 'owner', 'resets', 'delivered', 'failed', 'left_out'))
if not (whole(a or '0') and whole(b or '0') and whole(c or '0')) then
  return redis.error_reply('ERR a counter of the subscription is not a whole number')
end
local entries, held, free = cmsgpack.unpack(ARGV[5]), unpack(cmsgpack.unpack(ARGV[6]))
local delivered, failed, left_out = unpack(cmsgpack.unpack(ARGV[7]))
if not (are_arrays(entries, held, free) and whole(tostring(delivered)) and whole(tostring(failed)) and whole(tostring(left_out))) then
  return redis.error_reply('ERR an argument is not of its type')
end
if owner ~= ARGV[1] then return { 'not_owner', owner or '' } end
if (resets or '0') ~= ARGV[3] then return { 'reset' } end

send_in_chunks(entries, 'XACK', log, ARGV[2])
send_in_chunks(held, 'HSET', KEYS[3])
send_in_chunks(free, 'HDEL', KEYS[3])
if ARGV[4] ~= '' then call('HSET', subscription, 'checkpoint', ARGV[4]) end
call('HINCRBY', subscription, 'delivered', delivered)
call('HINCRBY', subscription, 'failed', failed)
call('HINCRBY', subscription, 'left_out', left_out)
return { 'acknowledged' }
