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
local log, projector, group, call = KEYS[1], KEYS[2], ARGV[4], redis.call
local refusal, folded = refuse_commit(projector, log, group, ARGV[1], ARGV[2])
if refusal then return refusal end

local entries, kept, gone, parked = cmsgpack.unpack(ARGV[5]), unpack(cmsgpack.unpack(ARGV[6]))
if #kept > 0 then call('HSET', KEYS[3], unpack(kept)) end
if #gone > 0 then call('HDEL', KEYS[3], unpack(gone)) end
if #parked > 0 then call('HSET', KEYS[4], unpack(parked)) end
if #entries > 0 then call('XACK', log, group, unpack(entries)) end
call('HSET', projector, 'checkpoint', ARGV[3], 'folded', folded + ARGV[7])
return { 'committed' }
