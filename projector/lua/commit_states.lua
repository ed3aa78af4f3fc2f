#!lua
--[[
  Write the states of a custom projection, the acknowledgements and the checkpoint: all or nothing.

  KEYS[1]  log        STREAM
  KEYS[2]  projector  HASH: owner, checkpoint, folded (events ever committed)
  KEYS[3]  states     HASH, key -> state
  KEYS[4]  parked     HASH, job -> why its events cannot be folded

  ARGV[1]  token of the owner, which is also its consumer name
  ARGV[2]  checkpoint that the owner believes in
  ARGV[3]  new checkpoint
  ARGV[4]  consumer group, in which to acknowledge ARGV[5]; '' = a rebuild, which has none
  ARGV[5]  MessagePack: ids of entries
  ARGV[6]  MessagePack: array of keys and states; array of keys without a state any more; array of
           names and values of `parked`
  ARGV[7]  events folded

  Returns  {"committed"}
           {"not_owner", owner}     nothing was written
           {"moved", checkpoint}    another process committed in between; nothing was written
           {"foreign", consumer}    another consumer has pending entries; nothing was written
]]
--- @include "refuse_commit"
--- @include "send_in_chunks"
local log, projector, group = KEYS[1], KEYS[2], ARGV[4]
local refusal, folded = refuse_commit(projector, log, KEYS[4], group, ARGV[1], ARGV[2])
local entries, kept, gone, parked = cmsgpack.unpack(ARGV[5]), unpack(cmsgpack.unpack(ARGV[6]))
local why, events = check_key(KEYS[3], 'hash', 'HSET HDEL'), whole(ARGV[7])
if not (events and are_arrays(entries, kept, gone, parked)) then why = why or 'ERR an argument is not of its type' end
if refusal or why then return refusal or redis.error_reply(why) end

send_in_chunks(kept, 'HSET', KEYS[3])
send_in_chunks(gone, 'HDEL', KEYS[3])
send_in_chunks(parked, 'HSET', KEYS[4])
send_in_chunks(entries, 'XACK', log, group)
redis.call('HSET', projector, 'checkpoint', ARGV[3], 'folded', folded + events)
return { 'committed' }
