#!lua flags=no-writes
--[[
  Say where a group of readers stands in partitions of one server, as its owner and others left it.

  KEYS[1..]  two per partition: place  HASH: checkpoint, changes; log  STREAM

  ARGV[1]  consumer group

  Returns  {"found", one per partition}   {checkpoint, changes, entries pending, consumers that have
           any...}; "" for a field that is missing, -1 entries where the log has no such group
]]
--- @include "check_key"
local why
for i = 1, #KEYS, 2 do
  why = why or check_key(KEYS[i], 'hash', 'HMGET') or check_key(KEYS[i + 1], 'stream', 'XPENDING')
end
if why then return redis.error_reply(why) end

local outcome = { 'found' }
for i = 1, #KEYS, 2 do
  local stored = redis.call('HMGET', KEYS[i], 'checkpoint', 'changes')
  local pending = redis.pcall('XPENDING', KEYS[i + 1], ARGV[1])
  local place = { stored[1] or '', stored[2] or '', pending.err and -1 or pending[1] }
  for _, consumer in ipairs(not pending.err and pending[4] or {}) do table.insert(place, consumer[1]) end
  table.insert(outcome, place)
end
return outcome
