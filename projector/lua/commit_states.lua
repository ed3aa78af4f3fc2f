#!lua
--[[
  Write the states of a custom projection and the checkpoint: all or nothing.

  KEYS[1]  log        STREAM
  KEYS[2]  projector  HASH: owner, checkpoint, folded (events ever committed)
  KEYS[3]  states     HASH, key -> state
  KEYS[4]  parked     HASH, job -> why its events cannot be folded

  ARGV[1]  token of the owner
  ARGV[2]  checkpoint that the owner believes in
  ARGV[3]  new checkpoint
  ARGV[4]  consumer group that is put at the new checkpoint; '' = a rebuild, which has none
  ARGV[5]  MessagePack: array of keys and states; array of keys without a state any more; array of
           names and values of `parked`
  ARGV[6]  events folded

  Returns  {"committed"}
           {"not_owner", owner}     nothing was written
           {"moved", checkpoint}    another process committed in between; nothing was written
           {"foreign", consumer}    a consumer has pending entries; nothing was written
]]
--- @include "refuse_commit"
--- @include "send_in_chunks"
local log, projector, group = KEYS[1], KEYS[2], ARGV[4]
local refusal, folded = refuse_commit(check_key, projector, log, group, ARGV[1], ARGV[2])
local kept, gone, parked = unpack(cmsgpack.unpack(ARGV[5]))
local why, events = check_key(KEYS[3], 'hash', 'HSET HDEL') or check_key(KEYS[4], 'hash', 'HSET HDEL'), whole(ARGV[6])
if not (events and is_entry_id(ARGV[3]) and are_arrays(kept, gone, parked)) then why = why or 'ERR an argument is not of its type' end
if refusal or why then return refusal or redis.error_reply(why) end

send_in_chunks(kept, 'HSET', KEYS[3])
send_in_chunks(gone, 'HDEL', KEYS[3])
send_in_chunks(parked, 'HSET', KEYS[4])
if group ~= '' then redis.call('XGROUP', 'SETID', log, group, ARGV[3]) end
redis.call('HSET', projector, 'checkpoint', ARGV[3], 'folded', folded + events)
return { 'committed' }
